//! Faults that can be planted between an engine and its surroundings, to see that the simulator notices them.

use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A commit is answered before it is in the store, and one in eight then never gets there.
    AcknowledgeEarly,
    /// The news of a cursor that goes to another shard is two messages ahead of what was acknowledged.
    CursorEarly,
    /// A message goes out under an identifier that another one still has.
    IdentifierReused,
    /// A trim takes one record more than was asked.
    ReferenceTrimmed,
}

impl Fault {
    /// Every fault with its name on the command line.
    pub const ALL: [(&'static str, Fault); 4] = [
        ("acknowledge-early", Fault::AcknowledgeEarly),
        ("cursor-early", Fault::CursorEarly),
        ("identifier-reused", Fault::IdentifierReused),
        ("reference-trimmed", Fault::ReferenceTrimmed),
    ];
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        let known = Fault::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, fault)| *fault).ok_or_else(|| format!("no fault is named `{name}`"))
    }
}
