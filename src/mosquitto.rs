//! Reads the password and access files of Mosquitto and says the same in our form.
//!
//! Pure text to text. Mosquitto grants every SUBSCRIBE and filters at delivery; so that clients meet the same
//! answers, the converted rules let everyone subscribe and leave the rest to the rules for reading.

use std::fmt;

use bitsim_engine::access::Subject;

use crate::access_file;

/// What cannot be converted, by line counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The line begins with no word of the format.
    UnknownWord(usize),
    /// A word lacks what must follow it.
    Incomplete(usize),
    /// The account name has a character that our file cannot hold.
    Name(usize),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownWord(line) => {
                write!(f, "line {line}: a line begins with `user`, `topic` or `pattern`")
            }
            Self::Incomplete(line) => write!(f, "line {line}: the name or topic is missing"),
            Self::Name(line) => write!(f, "line {line}: the user name has a quotation mark"),
        }
    }
}

impl std::error::Error for ImportError {}

/// Converts an access file.
///
/// # Errors
/// The first line that is not of the format.
pub fn access_rules(text: &str) -> Result<String, ImportError> {
    let mut out = String::from("# Converted from a Mosquitto access file.\n");
    out.push_str(
        "# Mosquitto grants every SUBSCRIBE and decides at delivery; these two lines do the same.\n",
    );
    out.push_str("allow everyone subscribe #\nallow everyone subscribe $SYS/#\n");
    let mut user: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        // Topics may begin with spaces nowhere in that format, but may hold them.
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once([' ', '\t']).ok_or(ImportError::Incomplete(number))?;
        let rest = rest.trim_start();
        match word {
            "user" if rest.contains('"') => return Err(ImportError::Name(number)),
            "user" => user = Some(rest.to_owned()),
            "topic" => {
                let subject = user.as_deref().map_or(Subject::Anonymous, Subject::User);
                let (right, topic) = right_and_topic(rest);
                out.push_str(&rule(&subject, right, &topic.replace('%', "%%")));
            }
            "pattern" => {
                let (right, topic) = right_and_topic(rest);
                out.push_str(&rule(&Subject::Everyone, right, &placeholders(topic)));
            }
            _ => return Err(ImportError::UnknownWord(number)),
        }
    }
    Ok(out)
}

/// The right, which may be missing, and the rest.
fn right_and_topic(text: &str) -> (&str, &str) {
    match text.split_once([' ', '\t']) {
        Some((right @ ("read" | "write" | "readwrite" | "deny"), topic)) => (right, topic.trim_start()),
        _ => ("readwrite", text),
    }
}

fn rule(subject: &Subject<'_>, right: &str, filter: &str) -> String {
    match right {
        "deny" => access_file::line("deny", subject, "all", filter),
        _ => access_file::line("allow", subject, right, filter),
    }
}

/// `%u` and `%c` stay, every other `%` is one.
fn placeholders(topic: &str) -> String {
    let mut out = String::with_capacity(topic.len());
    let mut rest = topic;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        out.push_str(if after.starts_with(['u', 'c']) { "%" } else { "%%" });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Access;
    use bitsim_engine::access::{Action, Identity};

    #[test]
    fn a_mosquitto_file_means_the_same() {
        let text = "# anonymous\ntopic read $SYS/#\ntopic open/100%/#\n\nuser alice b\ntopic write a b/c\n\
                    topic deny a b/c/d\ntopic a b/#\npattern write sensor/%u/50%/%c\n";
        let converted = access_rules(text).expect("a good file");
        let lines = converted.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let rules = access_file::load(&Access { rules: lines, ..Access::default() }).expect("our own lines");
        let alice = Identity { username: Some("alice b"), client_id: "c1" };
        let nobody = Identity { username: None, client_id: "c2" };
        assert!(rules.may(&nobody, Action::Read, "$SYS/broker/uptime"));
        assert!(
            !rules.may(&alice, Action::Read, "$SYS/broker/uptime"),
            "topic lines before `user`: anonymous"
        );
        assert!(rules.may(&nobody, Action::Write, "open/100%/x"));
        assert!(rules.may(&alice, Action::Write, "a b/c") && rules.may(&alice, Action::Read, "a b/c"));
        assert!(!rules.may(&alice, Action::Read, "a b/c/d"));
        assert!(rules.may(&alice, Action::Write, "sensor/alice b/50%/c1"));
        assert!(!rules.may(&nobody, Action::Write, "sensor//50%/c2"));
        assert!(rules.may(&nobody, Action::Subscribe, "#") && !rules.may(&nobody, Action::Read, "z"));
    }

    #[test]
    fn what_is_not_of_the_format_is_refused() {
        assert_eq!(access_rules("topic\n"), Err(ImportError::Incomplete(1)));
        assert_eq!(access_rules("\nuser \"x\ntopic a\n"), Err(ImportError::Name(2)));
        assert_eq!(access_rules("allow all\n"), Err(ImportError::UnknownWord(1)));
    }
}
