//! What can be wrong with the settings, said so that it can be put right: key, value, what was expected, and where
//! the value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of the configuration file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// The configuration file, or a file it names, cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The configuration file is not TOML.
    Syntax {
        /// The place.
        at: Source,
        /// What the parser said.
        why: String,
    },
    /// There is no such setting.
    UnknownKey {
        /// The key as written.
        key: String,
        /// The place.
        at: Source,
        /// The setting that was probably meant.
        meant: Option<String>,
    },
    /// The value is of the wrong kind or out of bounds.
    BadValue {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What it must be.
        expected: String,
        /// The place.
        at: Source,
    },
    /// Two settings contradict each other, or one needs another.
    Conflict(String),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Self::Syntax { at, why } => write!(f, "{at}: not valid TOML: {why}"),
            Self::UnknownKey { key, at, meant: Some(meant) } => {
                write!(f, "{at}: there is no setting `{key}`; did you mean `{meant}`?")
            }
            Self::UnknownKey { key, at, meant: None } => {
                write!(f, "{at}: there is no setting `{key}`; `bitsim settings` lists all")
            }
            Self::BadValue { key, value, expected, at } => {
                write!(f, "{at}: `{key}` is {value}, but must be {expected}")
            }
            Self::Conflict(why) => f.write_str(why),
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub Vec<SettingError>);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}
