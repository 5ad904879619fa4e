//! The configuration file as a flat list of (key, value, line).
//!
//! Only the shape is read here: which keys exist and what their values may be is the table's matter.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{SettingError, Source};
use super::value::Raw;

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One value of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// `limits.packet_bytes_max`; for the second table of a list `listeners[1].address`.
    pub key: String,
    /// The value; `Raw::Other("an empty list")` and the like where a list of tables is expected.
    pub raw: Raw,
    /// The line, counted from 1.
    pub line: usize,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, SettingError> {
    let unreadable = |why: String| SettingError::Unreadable { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, path)
}

/// Reads the text of the file `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Entry>, SettingError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        SettingError::Syntax { at: Source::File(path.to_owned(), line), why: error.message().to_owned() }
    })?;
    let mut entries = Vec::new();
    walk(text, "", table.get_ref(), &mut entries);
    // In the order of the file, which is the order of messages.
    entries.sort_by_key(|entry: &Entry| entry.line);
    Ok(entries)
}

/// Tables nest as deep as TOML's own parser allows, which bounds this recursion.
fn walk(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let dot = if prefix.is_empty() { "" } else { "." };
        let key = format!("{prefix}{dot}{}", name.get_ref());
        let line = line_of(text, name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => walk(text, &key, inner, entries),
            DeValue::Array(items) if is_tables(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let line = line_of(text, item.span().start);
                        let key = format!("{key}[{index}]");
                        entries.push(Entry { key: key.clone(), raw: Raw::Other("a table"), line });
                        walk(text, &key, inner, entries);
                    }
                }
            }
            other => entries.push(Entry { key, raw: raw(other), line }),
        }
    }
}

fn is_tables(items: &DeArray<'_>) -> bool {
    !items.is_empty() && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("too large"), Raw::Integer),
        DeValue::Array(items) => Raw::List(items.iter().map(Spanned::get_ref).map(raw).collect()),
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
