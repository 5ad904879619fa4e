//! The password file: one `name:hash` a line.
//!
//! A file is read whole or refused whole: a line that cannot be used, a name that comes twice, a file without any
//! name and a last line without its end (the mark of a file that was cut) are errors.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::record::{Record, RecordError};

/// Largest password file.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a password file was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFileError {
    /// The system refused to read it.
    Unreadable(PathBuf, String),
    /// It holds no account.
    Empty(PathBuf),
    /// The last line has no end.
    Cut(PathBuf),
    /// This line, counted from 1, has no `:`, or no name before it.
    NoName(PathBuf, usize),
    /// This line names an account that an earlier line named.
    Twice(PathBuf, usize),
    /// This line has a hash that cannot be used.
    Hash(PathBuf, usize, RecordError),
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Empty(path) => {
                write!(f, "{}: no account in it; `bitsim passwd FILE USER` adds one", path.display())
            }
            Self::Cut(path) => {
                write!(f, "{}: the last line does not end with a newline; the file looks cut", path.display())
            }
            Self::NoName(path, line) => write!(f, "{}:{line}: not of the form name:hash", path.display()),
            Self::Twice(path, line) => write!(f, "{}:{line}: this account was named before", path.display()),
            Self::Hash(path, line, why) => write!(f, "{}:{line}: {why}", path.display()),
        }
    }
}

impl std::error::Error for PasswordFileError {}

/// All accounts. Immutable; a reload reads a new one.
#[derive(Debug)]
pub struct Passwords {
    records: Vec<Record>,
    by_name: HashMap<Box<str>, usize>,
    /// Picks which hash is computed for a name that does not exist.
    decoys: RandomState,
}

impl Passwords {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, PasswordFileError> {
        let unreadable = |why: String| PasswordFileError::Unreadable(path.to_owned(), why);
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, path)
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PasswordFileError> {
        let file = || path.to_owned();
        let mut passwords = Self { records: Vec::new(), by_name: HashMap::new(), decoys: RandomState::new() };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, hash)) = line.split_once(':').filter(|(name, _)| is_name(name)) else {
                return Err(PasswordFileError::NoName(file(), number));
            };
            let record =
                Record::parse(hash.trim_end()).map_err(|why| PasswordFileError::Hash(file(), number, why))?;
            if passwords.by_name.insert(name.into(), passwords.records.len()).is_some() {
                return Err(PasswordFileError::Twice(file(), number));
            }
            passwords.records.push(record);
        }
        match text {
            _ if passwords.records.is_empty() => Err(PasswordFileError::Empty(file())),
            text if !text.ends_with('\n') => Err(PasswordFileError::Cut(file())),
            _ => Ok(passwords),
        }
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Never true of a file that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether this is the password of this account. Slow on purpose. For a name that does not exist the hash of
    /// some account is computed all the same, always the same one for the same name, so that unknown names take
    /// the time that known ones take, even where hashes of several kinds are mixed.
    #[must_use]
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        if let Some(record) = self.by_name.get(name).and_then(|index| self.records.get(*index)) {
            return record.verify(password);
        }
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX).max(1);
        let decoy = usize::try_from(self.decoys.hash_one(name) % count).unwrap_or(0);
        if let Some(record) = self.records.get(decoy) {
            std::hint::black_box(record.verify(password));
        }
        false
    }
}

/// The text of a password file with this account added, or its hash replaced.
///
/// # Errors
/// The name cannot be written in a file of lines.
pub fn upsert(text: &str, name: &str, hash: &str) -> Result<String, &'static str> {
    if !is_name(name) {
        return Err(
            "a user name must have 1 to 65535 bytes and neither `:` nor control characters, and not begin \
                    with `#`",
        );
    }
    let mut out = String::with_capacity(text.len() + name.len() + hash.len() + 2);
    let mut written = false;
    for line in text.lines() {
        let same = line.split_once(':').is_some_and(|(other, _)| other == name);
        if same && !written {
            out.push_str(&format!("{name}:{hash}\n"));
            written = true;
        } else if !same {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !written {
        out.push_str(&format!("{name}:{hash}\n"));
    }
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let length = 1..=65_535;
    length.contains(&name.len())
        && !name.starts_with('#')
        && !name.contains(|c: char| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::hash_password;

    fn parse(text: &str) -> Result<Passwords, PasswordFileError> {
        Passwords::parse(text, Path::new("passwords"))
    }

    #[test]
    fn accounts_are_told_apart() {
        let (a, b) = (hash_password(b"pa").expect("salt"), hash_password(b"pb").expect("salt"));
        let passwords = parse(&format!("# people\n\nalice:{a}\nbob:{b}\n")).expect("two accounts");
        assert_eq!(passwords.len(), 2);
        assert!(passwords.verify("alice", b"pa") && passwords.verify("bob", b"pb"));
        assert!(!passwords.verify("alice", b"pb") && !passwords.verify("bob", b"pa"));
        assert!(!passwords.verify("carol", b"pa") && !passwords.verify("", b"pa"));
    }

    #[test]
    fn a_file_is_taken_whole_or_refused() {
        let hash = hash_password(b"x").expect("salt");
        let kinds = [
            (String::new(), "no account"),
            ("# nobody\n".to_owned(), "no account"),
            (format!("alice:{hash}"), "looks cut"),
            (format!("alice:{hash}\nbob\n"), "passwords:2: not of the form"),
            (format!(":{hash}\n"), "passwords:1: not of the form"),
            (format!("alice:{hash}\nalice:{hash}\n"), "passwords:2: this account was named before"),
            ("alice:secret\n".to_owned(), "passwords:1: the hash is neither"),
        ];
        for (text, part) in kinds {
            let said = parse(&text).expect_err("a bad file").to_string();
            assert!(said.contains(part), "{said}");
            assert!(!said.contains("secret"), "no password in a message");
        }
    }

    #[test]
    fn an_account_is_added_or_replaced_and_the_rest_is_kept() {
        let text = upsert("# people\n", "alice", "A").expect("a name");
        let text = upsert(&text, "bob", "B").expect("a name");
        assert_eq!(upsert(&text, "alice", "C").as_deref(), Ok("# people\nalice:C\nbob:B\n"));
        for name in ["", "a:b", "a\nb", "#a"] {
            assert!(upsert("", name, "A").is_err(), "{name:?}");
        }
    }

    /// An unknown name costs one hash, as a known one does.
    #[test]
    fn an_unknown_name_takes_as_long_as_a_wrong_password() {
        let hash = hash_password(b"x").expect("salt");
        let passwords = parse(&format!("alice:{hash}\n")).expect("an account");
        let once = |name: &str| {
            let start = std::time::Instant::now();
            assert!(!passwords.verify(name, b"wrong"));
            start.elapsed()
        };
        // In turn, so that other work on the machine slows both; the best of each is what the code itself takes.
        let mut best = (once("alice"), once("nobody"));
        for _ in 0..20 {
            best = (best.0.min(once("alice")), best.1.min(once("nobody")));
        }
        let (known, unknown) = best;
        assert!(unknown * 2 > known && known * 2 > unknown, "{known:?} {unknown:?}");
    }
}
