//! The access file: rules as lines.
//!
//! ```text
//! # Everybody keeps a folder of their own, and reads the news.
//! allow everyone  readwrite home/%u/#
//! allow anonymous read      news/#
//! allow user:bob  write     news/+
//! deny  everyone  subscribe news/drafts
//! ```
//!
//! Each line stands for itself, so that a line that moves or is lost never changes whom another is about. The rest
//! of a line after the right is the filter. A file is read whole or refused whole; a file without a rule would shut
//! everybody out, and is taken for a mistake. What the rules mean is `bitsim_engine::access`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitsim_engine::access::{AccessRules, AccessRulesBuilder, Effect, Rights, RuleError, Subject};

use crate::settings::Access;

/// Largest access file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why access rules were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessFileError {
    /// The system refused to read the file.
    Unreadable(PathBuf, String),
    /// It holds no rule.
    Empty(PathBuf),
    /// The last line has no end.
    Cut(PathBuf),
    /// One line is wrong.
    Line(Place, LineError),
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File(PathBuf, usize),
    /// An entry of the setting `access.rules`, counted from 1.
    Setting(usize),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It has fewer than four parts.
    TooShort,
    /// The first word is neither `allow` nor `deny`.
    Effect,
    /// The second is neither `everyone`, `anonymous` nor `user:NAME`.
    Subject,
    /// The third is no right.
    Right,
    /// The filter or the name cannot be used.
    Rule(RuleError),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Setting(entry) => write!(f, "`access.rules`, entry {entry}"),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("a rule is `allow|deny WHO RIGHT FILTER`"),
            Self::Effect => f.write_str("a rule begins with `allow` or `deny`"),
            Self::Subject => f.write_str(
                "after `allow` or `deny` comes `everyone`, `anonymous`, `user:NAME` or `user:\"NAME WITH SPACES\"`",
            ),
            Self::Right => f.write_str("the right is `read`, `write`, `readwrite`, `subscribe` or `all`"),
            Self::Rule(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for AccessFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Empty(path) => write!(
                f,
                "{}: no rule in it, so nobody could do anything; to allow everything, take `access.file` out",
                path.display()
            ),
            Self::Cut(path) => {
                write!(f, "{}: the last line does not end with a newline; the file looks cut", path.display())
            }
            Self::Line(place, why) => write!(f, "{place}: {why}"),
        }
    }
}

impl std::error::Error for AccessFileError {}

/// The rules that the settings name; those that allow everything if they name none.
///
/// # Errors
/// Names the line and what is wrong with it.
pub fn load(access: &Access) -> Result<Arc<AccessRules>, AccessFileError> {
    if access.file.is_none() && access.rules.is_empty() {
        return Ok(AccessRules::open());
    }
    let mut builder = AccessRules::builder();
    if let Some(path) = &access.file {
        let unreadable = |why: String| AccessFileError::Unreadable(path.clone(), why);
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        add_file(&mut builder, &text, path)?;
    }
    for (index, line) in access.rules.iter().enumerate() {
        let place = || Place::Setting(index + 1);
        add_line(&mut builder, line).map_err(|why| AccessFileError::Line(place(), why))?;
    }
    Ok(builder.build())
}

fn add_file(builder: &mut AccessRulesBuilder, text: &str, path: &Path) -> Result<(), AccessFileError> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let place = || Place::File(path.to_owned(), index + 1);
            add_line(builder, line).map_err(|why| AccessFileError::Line(place(), why))?;
        }
    }
    if builder.is_empty() {
        Err(AccessFileError::Empty(path.to_owned()))
    } else if !text.ends_with('\n') {
        Err(AccessFileError::Cut(path.to_owned()))
    } else {
        Ok(())
    }
}

fn add_line(builder: &mut AccessRulesBuilder, line: &str) -> Result<(), LineError> {
    let (effect, rest) = word(line)?;
    let effect = match effect {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        _ => return Err(LineError::Effect),
    };
    let (subject, rest) = subject(rest)?;
    let (right, filter) = word(rest)?;
    let rights = match right {
        "read" => Rights::READ,
        "write" => Rights::WRITE,
        "subscribe" => Rights::SUBSCRIBE,
        "all" | "readwrite" => Rights::ALL,
        _ => return Err(LineError::Right),
    };
    builder.add(effect, subject, rights, filter).map_err(LineError::Rule)
}

fn word(text: &str) -> Result<(&str, &str), LineError> {
    let (word, rest) = text.trim_start().split_once([' ', '\t']).ok_or(LineError::TooShort)?;
    Ok((word, rest.trim_start()))
}

fn subject(text: &str) -> Result<(Subject<'_>, &str), LineError> {
    if let Some(rest) = text.strip_prefix("user:\"") {
        let (name, rest) = rest.split_once('"').ok_or(LineError::Subject)?;
        let rest = rest.strip_prefix([' ', '\t']).ok_or(LineError::Subject)?;
        return Ok((Subject::User(name), rest.trim_start()));
    }
    let (who, rest) = word(text)?;
    let subject = match who {
        "everyone" => Subject::Everyone,
        "anonymous" => Subject::Anonymous,
        _ => Subject::User(who.strip_prefix("user:").ok_or(LineError::Subject)?),
    };
    Ok((subject, rest))
}

/// A rule as a line of the file.
#[must_use]
pub(crate) fn line(effect: &str, subject: &Subject<'_>, right: &str, filter: &str) -> String {
    let who = match subject {
        Subject::Everyone => "everyone".to_owned(),
        Subject::Anonymous => "anonymous".to_owned(),
        Subject::User(name) if name.contains([' ', '\t']) => format!("user:\"{name}\""),
        Subject::User(name) => format!("user:{name}"),
    };
    format!("{effect} {who} {right} {filter}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitsim_engine::access::{Action, Identity};

    fn rules(text: &str) -> Result<Arc<AccessRules>, AccessFileError> {
        let mut builder = AccessRules::builder();
        add_file(&mut builder, text, Path::new("acl"))?;
        Ok(builder.build())
    }

    fn user(name: &str) -> Identity<'_> {
        Identity { username: Some(name), client_id: "c" }
    }

    #[test]
    fn lines_become_rules() {
        let rules = rules(
            "# rules\n\nallow everyone  readwrite home/%u/#\n\tallow user:bob write news/a b\r\n\
             allow user:\"eve the 2nd\" read x\ndeny everyone all home/+/secret\nallow anonymous subscribe y\n",
        )
        .expect("good lines");
        assert!(rules.may(&user("bob"), Action::Write, "home/bob/x"));
        assert!(!rules.may(&user("bob"), Action::Write, "home/eve/x"));
        assert!(!rules.may(&user("bob"), Action::Read, "home/bob/secret"));
        assert!(rules.may(&user("bob"), Action::Write, "news/a b"));
        assert!(rules.may(&user("eve the 2nd"), Action::Read, "x"));
        let nobody = Identity { username: None, client_id: "c" };
        assert!(rules.may(&nobody, Action::Subscribe, "y") && !rules.may(&nobody, Action::Read, "y"));
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        let kinds = [
            ("", "no rule in it"),
            ("# only words\n", "no rule in it"),
            ("allow everyone all a/#", "looks cut"),
            ("allow everyone all a\nallow everyone all\n", "acl:2: a rule is"),
            ("permit everyone all a\n", "acl:1: a rule begins with"),
            ("allow bob all a\n", "acl:1: after `allow`"),
            ("allow user:\"bob all a\n", "acl:1: after `allow`"),
            ("allow user: all a\n", "user name is empty"),
            ("allow everyone rw a\n", "acl:1: the right is"),
            ("allow everyone all a/#/b\n", "acl:1: `+` must be"),
            ("allow everyone all %x\n", "acl:1: after `%`"),
        ];
        for (text, part) in kinds {
            let said = rules(text).expect_err(text).to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }

    #[test]
    fn settings_without_rules_allow_everything_and_rules_stand_in_settings_too() {
        assert!(load(&Access::default()).expect("no rules").allows_everything());
        let access = Access { rules: vec!["allow everyone read a".to_owned()], ..Access::default() };
        let rules = load(&access).expect("one rule");
        assert!(rules.may(&user("u"), Action::Read, "a") && !rules.may(&user("u"), Action::Write, "a"));
        let access = Access { rules: vec!["allow everyone".to_owned()], ..Access::default() };
        let said = load(&access).expect_err("half a rule").to_string();
        assert!(said.starts_with("`access.rules`, entry 1"), "{said}");
        let access = Access { file: Some("/nonexistent/acl".into()), ..Access::default() };
        assert!(load(&access).is_err(), "a missing file never allows everything");
    }
}
