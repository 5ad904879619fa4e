//! The user properties of a packet, in place and in their order [MQTT-3.1.3-10] [MQTT-3.3.2-17].

use crate::property::{Property, PropertyWalk, put};
use crate::violation::Violation;

/// The user properties among the raw properties of a packet, in the order in which they were sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserProperties<'a> {
    raw: &'a [u8],
    count: u32,
    bytes: u32,
}

impl<'a> UserProperties<'a> {
    /// The user properties among `raw`, a packet's properties as on the wire without their length; other properties
    /// in it are passed over.
    ///
    /// # Errors
    /// A [`Violation`] if `raw` is not a well-formed list of properties.
    pub fn from_raw(raw: &'a [u8]) -> Result<Self, Violation> {
        let mut found = Self { raw, count: 0, bytes: 0 };
        let mut walk = PropertyWalk::lenient(raw);
        while let Some(property) = walk.next()? {
            if let Property::User(name, value) = property {
                found.note(name, value);
            }
        }
        Ok(found)
    }

    /// Appends one user property to a buffer for [`Self::from_raw`]. Strings over 65,535 bytes are cut at a character.
    pub fn append(raw: &mut Vec<u8>, name: &str, value: &str) {
        put::user(raw, name, value);
    }

    /// A list over `raw` whose properties are still to be counted by [`Self::note`].
    #[inline]
    pub(crate) const fn over(raw: &'a [u8]) -> Self {
        Self { raw, count: 0, bytes: 0 }
    }

    /// Counts one user property of `raw`.
    #[inline]
    pub(crate) fn note(&mut self, name: &str, value: &str) {
        self.count = self.count.saturating_add(1);
        let bytes = u32::try_from(name.len() + value.len()).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of their names and values together.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let raw: &'a [u8] = if self.count == 0 { &[] } else { self.raw };
        let mut walk = PropertyWalk::lenient(raw);
        std::iter::from_fn(move || {
            // The walk was checked when the list was made: an error cannot come back.
            while let Ok(Some(property)) = walk.next() {
                if let Property::User(name, value) = property {
                    return Some((name, value));
                }
            }
            None
        })
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}
