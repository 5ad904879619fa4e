//! The will message of a session: what it is, and when it is sent.
//!
//! It is sent when the link ends without DISCONNECT 0x00 [MQTT-3.1.2-8], after its delay or at the session's end, whichever is
//! first [MQTT-3.1.3-9]; a link that comes back in time takes the delayed one back.

use crate::access::Action;
use crate::engine::Engine;
use crate::mail::Origin;
use crate::message::{Incoming, Message, MessageRef, NEVER};
use crate::probe::Refusal;
use crate::record::WillRecord;
use crate::time::Now;
use bitsim_protocol::Qos;
use std::sync::Arc;

/// A will, as given with CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) properties: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) delay_secs: u32,
    pub(crate) expiry_secs: Option<u32>,
}

impl Will {
    /// The row's form.
    pub(crate) fn record(&self) -> WillRecord {
        WillRecord {
            topic: self.topic.to_string(),
            properties: self.properties.to_vec(),
            payload: self.payload.to_vec(),
            qos: self.qos as u8,
            retain: self.retain,
            delay_secs: self.delay_secs,
            expiry_secs: self.expiry_secs.unwrap_or(u32::MAX),
        }
    }
}

impl Engine {
    /// Publishes a will on behalf of a session, now, if the session may still write its topic.
    pub(crate) fn send_will(&mut self, now: Now, will: &Will, at: u32) {
        let Some(publisher) = self.sessions.get(at).map(|session| session.uid) else { return };
        if will.topic.starts_with('$') || !self.may(at, Action::Write, &will.topic) {
            return self.counters.refuse(Refusal::Access);
        }
        self.counters.wills += 1;
        let message = Arc::new(Message::new(&MessageRef {
            topic: &will.topic,
            properties: &will.properties,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: will.expiry_secs.map_or(NEVER, |secs| now.monotonic_ms + u64::from(secs) * 1000),
            publisher,
        }));
        let origin = Origin::nobody(self.shard, publisher, will.qos);
        self.publish(now, &origin, &mut Incoming::shared(&message));
    }
}
