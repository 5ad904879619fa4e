//! The table of settings as the manual prints it.

use std::fmt::Write as _;

use super::Settings;
use super::spec::{Apply, Spec};

/// The reference part of `docs/OPERATING.md`: a heading and a table for each section.
#[must_use]
pub fn manual() -> String {
    let mut out = String::new();
    let mut section = "";
    for spec in Settings::specs() {
        if spec.section != section {
            section = spec.section;
            heading(&mut out, section);
        }
        row(&mut out, &spec);
    }
    out
}

fn heading(out: &mut String, section: &str) {
    let written = match section.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{section}]"),
    };
    let before = if out.is_empty() { "" } else { "\n" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{before}### `{written}`\n\n| key | default | unit | bounds | applies at | meaning |\n|---|---|---|---|---|---|"
    );
}

fn row(out: &mut String, spec: &Spec) {
    let default = (spec.default)();
    let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
    let bounds = match spec.bounds {
        Some((min, max)) => format!("{min} to {max}"),
        None => spec.kind.to_owned(),
    };
    let apply = match spec.apply {
        Apply::Reload => "reload",
        Apply::Restart => "restart",
    };
    let _ =
        writeln!(out, "| `{}` | {default} | {} | {bounds} | {apply} | {} |", spec.key(), spec.unit, spec.doc);
}
