//! An application message: as a view into a receive buffer, and owned.
//!
//! A message is owned only where it must outlive the turn: retained, queued, logged, or sent to another shard. Then it is
//! shared by all who hold it. Properties are the bytes a server passes on, in the sender's order [MQTT-3.3.2-18].

use crate::identity::SessionUid;
use bitsim_protocol::Qos;
use std::sync::Arc;

/// No expiry.
pub const NEVER: u64 = u64::MAX;

/// A message in somebody else's memory.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Valid topic name.
    pub topic: &'a str,
    /// Forwardable v5 properties, encoded, without length prefix.
    pub properties: &'a [u8],
    /// Application bytes.
    pub payload: &'a [u8],
    /// As published.
    pub qos: Qos,
    /// As published.
    pub retain: bool,
    /// Monotonic milliseconds, or `NEVER`.
    pub expires_at: u64,
    /// For No Local. `SessionUid(0)`: nobody's.
    pub publisher: SessionUid,
}

/// A message that owns its bytes. Shared as `Arc<Message>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    topic: Box<str>,
    /// Properties, then payload.
    body: Box<[u8]>,
    properties_len: u32,
    /// As published.
    pub qos: Qos,
    /// As published.
    pub retain: bool,
    /// Monotonic milliseconds, or `NEVER`.
    pub expires_at: u64,
    /// For No Local.
    pub publisher: SessionUid,
}

impl Message {
    /// Copies a view.
    pub fn new(view: &MessageRef<'_>) -> Message {
        let mut body = Vec::with_capacity(view.properties.len() + view.payload.len());
        body.extend_from_slice(view.properties);
        body.extend_from_slice(view.payload);
        Message {
            topic: view.topic.into(),
            body: body.into_boxed_slice(),
            // A packet's remaining length is below 2^28 [MQTT-1.5.5-1].
            properties_len: u32::try_from(view.properties.len()).unwrap_or(0),
            qos: view.qos,
            retain: view.retain,
            expires_at: view.expires_at,
            publisher: view.publisher,
        }
    }

    /// The message as a view.
    pub fn view(&self) -> MessageRef<'_> {
        let (properties, payload) = self.body.split_at(self.properties_len as usize);
        MessageRef {
            topic: &self.topic,
            properties,
            payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            publisher: self.publisher,
        }
    }

    /// Its topic name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Heap bytes, for bounds: topic, properties, payload, and what allocation adds.
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.topic.len() + self.body.len() + 112).unwrap_or(u32::MAX)
    }
}

/// A message on its way through a turn: a view that becomes owned at most once.
pub struct Incoming<'a> {
    view: MessageRef<'a>,
    owned: Option<Arc<Message>>,
}

impl<'a> Incoming<'a> {
    /// Of a view in a receive buffer.
    pub fn borrowed(view: MessageRef<'a>) -> Incoming<'a> {
        Incoming { view, owned: None }
    }

    /// Of a message that is shared already.
    pub fn shared(message: &'a Arc<Message>) -> Incoming<'a> {
        Incoming { view: message.view(), owned: Some(message.clone()) }
    }

    /// Its content.
    pub fn view(&self) -> &MessageRef<'a> {
        &self.view
    }

    /// The shared message, made at the first call.
    pub fn share(&mut self) -> Arc<Message> {
        self.owned.get_or_insert_with(|| Arc::new(Message::new(&self.view))).clone()
    }
}
