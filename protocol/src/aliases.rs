//! The topic aliases that one client gave to one server, for as long as their connection lives [MQTT-3.3.2-7].
//!
//! Bounded twice: by the Topic Alias Maximum that the server told the client, and by the bytes of all topics together.
//! Allocated only once a client uses an alias.

use crate::violation::Violation;

/// Topics by alias.
#[derive(Debug, Default)]
pub struct InboundAliases {
    /// The topic of alias n at n - 1; empty where none was given.
    topics: Vec<Box<str>>,
    bytes: usize,
}

impl InboundAliases {
    /// Gives `alias` (1 to the maximum) a topic, in place of one it may have had. `bytes_max` bounds all topics together.
    ///
    /// # Errors
    /// [`Violation::TopicAliasInvalid`] for 0, [`Violation::TopicAliasBytes`] over the bound.
    pub fn set(&mut self, alias: u16, topic: &str, bytes_max: u32) -> Result<(), Violation> {
        let index = usize::from(alias).checked_sub(1).ok_or(Violation::TopicAliasInvalid)?;
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, Box::default);
        }
        let Some(place) = self.topics.get_mut(index) else { return Err(Violation::TopicAliasInvalid) };
        if **place == *topic {
            return Ok(());
        }
        let bytes = self.bytes - place.len() + topic.len();
        if bytes > bytes_max as usize {
            return Err(Violation::TopicAliasBytes);
        }
        self.bytes = bytes;
        *place = topic.into();
        Ok(())
    }

    /// The topic of `alias`.
    ///
    /// # Errors
    /// [`Violation::TopicAliasUnset`] if none was given.
    pub fn get(&self, alias: u16) -> Result<&str, Violation> {
        let index = usize::from(alias).checked_sub(1).ok_or(Violation::TopicAliasInvalid)?;
        match self.topics.get(index) {
            Some(topic) if !topic.is_empty() => Ok(topic),
            _ => Err(Violation::TopicAliasUnset),
        }
    }

    /// Bytes held by the topics.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
