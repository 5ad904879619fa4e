//! What the table of settings says about one setting, and the macro that turns the table into structs.
//!
//! A setting is declared once, in `table.rs`: key, type, default, unit, bounds, whether it needs a restart, and a
//! line of documentation. The macro makes of that the typed field, its default, its reader, and its `Spec`, so that
//! the manual, the error messages and the program cannot disagree. Everything here is pure data.

use std::fmt;

use super::value::{Rejected, Text};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// No number, or a pure one.
    None,
    /// Things, which the key names.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Events in each second.
    PerSecond,
    /// Bytes in each second.
    BytesPerSecond,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::PerSecond => "per s",
            Self::BytesPerSecond => "bytes per s",
        })
    }
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// At the next reload (SIGHUP).
    Reload,
    /// At the next start; a reload keeps the old value and says so.
    Restart,
}

/// What the table says about one setting.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The section, as in the file: `limits`, `listeners[]`.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// What values look like, in a word or as the words to choose from.
    pub kind: &'static str,
    /// What a number counts.
    pub unit: Unit,
    /// Smallest and largest value of a number.
    pub bounds: Option<(u64, u64)>,
    /// When a change takes effect.
    pub apply: Apply,
    /// The default, as it would be written in the file; empty if there is none.
    pub default: fn() -> String,
    /// One line for the manual.
    pub doc: &'static str,
}

impl Spec {
    /// The key as in messages and in the manual, `limits.packet_bytes_max`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets this, `BITSIM_LIMITS__PACKET_BYTES_MAX`. Fields of listed tables have
    /// none.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        if self.section.ends_with("[]") {
            return None;
        }
        let section = self.section.replace('.', "__");
        Some(format!("BITSIM_{section}__{}", self.name).to_uppercase())
    }

    /// What a value must be, for an error message.
    #[must_use]
    pub fn expected(&self) -> String {
        match self.bounds {
            Some((min, max)) if self.unit == Unit::None || self.unit == Unit::Count => {
                format!("a number from {min} to {max}")
            }
            Some((min, max)) => format!("a number from {min} to {max} ({})", self.unit),
            None => self.kind.to_owned(),
        }
    }
}

/// One section of the settings: a struct whose fields can be set and shown by name.
pub(super) trait Section: Default {
    /// The settings of the section, in the order of the manual.
    const SPECS: &'static [Spec];

    /// Sets the field `name`, which is one of `SPECS`.
    fn set(&mut self, name: &str, text: &Text<'_>) -> Result<(), Rejected>;

    /// The field `name` as it would be written in the file.
    fn show(&self, name: &str) -> String;

    /// Takes the field `name` from `other`.
    fn copy(&mut self, name: &str, other: &Self);
}

/// Declares a section. Each row: doc, field, type, default, unit, bounds, when a change takes effect.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident = $section:literal {
        $( $doc:literal $field:ident : $type:ty = $default:expr, $unit:ident, $bounds:expr, $apply:ident; )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $( #[doc = $doc] pub $field: $type, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::settings::spec::Section for $name {
            const SPECS: &'static [$crate::settings::spec::Spec] = &[ $( $crate::settings::spec::Spec {
                section: $section,
                name: stringify!($field),
                kind: <$type as $crate::settings::value::Value>::KIND,
                unit: $crate::settings::spec::Unit::$unit,
                bounds: $bounds,
                apply: $crate::settings::spec::Apply::$apply,
                default: || $crate::settings::value::Value::show(&$name::default().$field),
                doc: $doc,
            }, )* ];

            fn set(
                &mut self,
                name: &str,
                text: &$crate::settings::value::Text<'_>,
            ) -> Result<(), $crate::settings::value::Rejected> {
                match name {
                    $( stringify!($field) => {
                        self.$field = $crate::settings::value::Value::read(text, $bounds)?;
                    } )*
                    _ => return Err($crate::settings::value::Rejected),
                }
                Ok(())
            }

            fn show(&self, name: &str) -> String {
                match name {
                    $( stringify!($field) => $crate::settings::value::Value::show(&self.$field), )*
                    _ => String::new(),
                }
            }

            fn copy(&mut self, name: &str, other: &Self) {
                match name {
                    $( stringify!($field) => self.$field.clone_from(&other.$field), )*
                    _ => {}
                }
            }
        }
    };
}

pub(super) use section;
