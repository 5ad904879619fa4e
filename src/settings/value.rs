//! How one value is read from a file, a variable or a flag, and how it is written back.
//!
//! A file has typed values, a variable or a flag has one word; `Text` is either. A value is read or rejected, never
//! rounded or clamped: the caller knows the key and the bounds and says what was expected.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::choice::{Anonymous, Durable, LogFormat, LogLevel, RefusedFilter};

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// An integer of the file.
    Integer(i128),
    /// A boolean of the file.
    Bool(bool),
    /// A string of the file.
    Text(String),
    /// An array of the file.
    List(Vec<Raw>),
    /// The whole of a variable or of a flag's value.
    Word(String),
    /// A value of the file that no setting has: a float, a date, a table.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Word(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A value to be read, and the folder that relative paths in it start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    /// The value as given.
    pub raw: &'a Raw,
    /// The folder of the file; `None` for variables and flags, whose paths start at the working directory.
    pub folder: Option<&'a Path>,
}

/// The value is not of the kind or not within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected;

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// What values look like.
    const KIND: &'static str;

    /// Reads a value.
    fn read(text: &Text<'_>, bounds: Option<(u64, u64)>) -> Result<Self, Rejected>;

    /// Writes it as in the file; empty if nothing is set.
    fn show(&self) -> String;
}

macro_rules! number {
    ($($type:ty),*) => { $(
        impl Value for $type {
            const KIND: &'static str = "a number";

            fn read(text: &Text<'_>, bounds: Option<(u64, u64)>) -> Result<Self, Rejected> {
                let number = match text.raw {
                    Raw::Integer(number) => u64::try_from(*number).map_err(|_| Rejected)?,
                    Raw::Word(word) => word.trim().replace('_', "").parse().map_err(|_| Rejected)?,
                    _ => return Err(Rejected),
                };
                match bounds {
                    Some((min, max)) if number < min || number > max => Err(Rejected),
                    _ => Self::try_from(number).map_err(|_| Rejected),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

number!(u8, u16, u32, u64, usize);

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        match text.raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Word(word) => word.trim().parse().map_err(|_| Rejected),
            _ => Err(Rejected),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "a text";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        plain(text.raw).map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Value for Option<PathBuf> {
    const KIND: &'static str = "a path";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        match (plain(text.raw)?, text.folder) {
            ("", _) => Ok(None),
            (path, Some(folder)) => Ok(Some(folder.join(path))),
            (path, None) => Ok(Some(PathBuf::from(path))),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(|path| quoted(&path.display().to_string())).unwrap_or_default()
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "an address and port such as \"127.0.0.1:1883\" or \"[::]:1883\"";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        let text = plain(text.raw)?.trim();
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        // A name: its first IPv4 address, else its first, so that `localhost` is what most clients try first.
        let found: Vec<_> = text.to_socket_addrs().map_err(|_| Rejected)?.collect();
        found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or(Rejected)
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Option<SocketAddr> {
    const KIND: &'static str = "an address and port such as \"127.0.0.1:8080\", or \"off\"";

    fn read(text: &Text<'_>, bounds: Option<(u64, u64)>) -> Result<Self, Rejected> {
        if plain(text.raw)? == "off" {
            return Ok(None);
        }
        SocketAddr::read(text, bounds).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted("off"), Value::show)
    }
}

impl Value for Vec<usize> {
    const KIND: &'static str = "a list of numbers";

    fn read(text: &Text<'_>, bounds: Option<(u64, u64)>) -> Result<Self, Rejected> {
        elements(text, |item| usize::read(item, bounds))
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "a list of texts";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        elements(text, |item| String::read(item, None))
    }

    fn show(&self) -> String {
        let items: Vec<_> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A text that is never shown: neither by `Debug` nor in a listing of the settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "unset" } else { "hidden" })
    }
}

impl Value for Secret {
    const KIND: &'static str = "a text";

    fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
        plain(text.raw).map(|text| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        if self.0.is_empty() { String::new() } else { quoted("(hidden)") }
    }
}

macro_rules! choice {
    ($type:ty, $kind:literal, $($word:literal => $value:path),+) => {
        impl Value for $type {
            const KIND: &'static str = $kind;

            fn read(text: &Text<'_>, _: Option<(u64, u64)>) -> Result<Self, Rejected> {
                match plain(text.raw)? {
                    $( $word => Ok($value), )+
                    _ => Err(Rejected),
                }
            }

            fn show(&self) -> String {
                match self { $( $value => quoted($word), )+ }
            }
        }
    };
}

choice!(Anonymous, "\"auto\", \"allow\" or \"deny\"",
    "auto" => Anonymous::Auto, "allow" => Anonymous::Allow, "deny" => Anonymous::Deny);
choice!(Durable, "\"auto\" or \"never\"", "auto" => Durable::Auto, "never" => Durable::Never);
choice!(RefusedFilter, "\"not-authorized\" or \"unspecified\"",
    "not-authorized" => RefusedFilter::NotAuthorized, "unspecified" => RefusedFilter::Unspecified);
choice!(LogFormat, "\"text\" or \"json\"", "text" => LogFormat::Text, "json" => LogFormat::Json);
choice!(LogLevel, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    "error" => LogLevel::Error, "warn" => LogLevel::Warn, "info" => LogLevel::Info,
    "debug" => LogLevel::Debug, "trace" => LogLevel::Trace);

fn plain(raw: &Raw) -> Result<&str, Rejected> {
    match raw {
        Raw::Text(text) | Raw::Word(text) => Ok(text),
        _ => Err(Rejected),
    }
}

fn elements<T>(text: &Text<'_>, read: impl Fn(&Text<'_>) -> Result<T, Rejected>) -> Result<Vec<T>, Rejected> {
    match text.raw {
        Raw::List(items) => items.iter().map(|raw| read(&Text { raw, ..*text })).collect(),
        Raw::Word(word) if word.trim().is_empty() => Ok(Vec::new()),
        Raw::Word(word) => {
            word.split(',').map(|item| read(&Text { raw: &Raw::Word(item.trim().into()), ..*text })).collect()
        }
        _ => Err(Rejected),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
