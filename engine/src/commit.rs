//! Continuations of store requests: what a committed batch releases, and what a read was for.
//!
//! The one durability rule lives here: an acknowledgement whose promise needs a write leaves only in its release. A release for an
//! older link updates the session and never speaks on a newer one; a session is named by its identity, since its place may be another's.

use crate::engine::Engine;
use crate::identity::{LinkId, SessionUid};
use crate::mail::{Mail, Origin, PublishOutcome};
use crate::probe::Refusal;
use crate::record::MessageRecord;
use crate::store::{Answer, LogId, Offset, StoreToken};
use crate::time::Now;
use bitsim_protocol::ReasonCode;
use hashbrown::HashMap;

/// What waits for a commit.
#[derive(Clone, Debug)]
pub(crate) enum Release {
    /// CONNACK.
    Connected { link: LinkId },
    /// SUBACK.
    Subscribed { request: u32 },
    /// UNSUBACK.
    Unsubscribed { link: LinkId, packet_id: u16, codes: Vec<u8> },
    /// A message in a topic log: forward and acknowledge.
    Append { log: LogId, offset: Offset },
    /// A retained message: acknowledge.
    Publish { origin: Origin, reason: ReasonCode },
    /// QoS 2 to a client: PUBLISH.
    Publish2 { subscriber: SessionUid, packet_id: u16, record: Box<MessageRecord> },
    /// QoS 2 to a client: PUBREL.
    Pubrel { subscriber: SessionUid, packet_id: u16 },
    /// QoS 2 of a client: PUBCOMP.
    Pubcomp { link: LinkId, packet_id: u16 },
    /// A cursor: its home may trim.
    Cursor { subscriber: SessionUid, log: LogId, to: Offset, released: Vec<(LogId, Offset)>, ended: bool },
}

/// What a read is for.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// The next page of a reader.
    Page { subscriber: SessionUid, log: LogId },
    /// The message behind a reference.
    Target { subscriber: SessionUid, log: LogId, offset: Offset, target: (LogId, Offset) },
    /// A message that is sent again.
    Again { subscriber: SessionUid, packet_id: u16, reference: bool },
    /// A reference log of a subscriber that ended.
    Discard { log: LogId, from: Offset },
}

/// Requests that were not answered.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    last: u64,
    commits: HashMap<u64, Vec<Release>, foldhash::fast::FixedState>,
    reads: HashMap<u64, Then, foldhash::fast::FixedState>,
}

impl Waiting {
    /// A commit and what it releases.
    pub(crate) fn commit(&mut self, releases: Vec<Release>) -> StoreToken {
        self.last += 1;
        self.commits.insert(self.last, releases);
        StoreToken(self.last)
    }

    /// A read and what it is for.
    pub(crate) fn ask(&mut self, then: Then) -> StoreToken {
        self.last += 1;
        self.reads.insert(self.last, then);
        StoreToken(self.last)
    }
}

impl Engine {
    /// The store has answered.
    pub(crate) fn stored(&mut self, now: Now, token: StoreToken, answer: Answer) {
        if let Some(releases) = self.waiting.commits.remove(&token.0) {
            let stored = answer == Answer::Committed;
            for release in releases {
                if stored { self.released(now, release) } else { self.failed(now, release) }
            }
        } else if let Some(then) = self.waiting.reads.remove(&token.0) {
            self.read_came(now, then, answer);
        }
    }

    fn released(&mut self, now: Now, release: Release) {
        match release {
            Release::Connected { link } => self.connected(now, link),
            Release::Subscribed { request } => self.subscribed(now, request),
            Release::Unsubscribed { link, packet_id, codes } => self.send_unsuback(link, packet_id, &codes),
            Release::Append { log, offset } => self.appended(now, log, offset, true),
            Release::Publish { origin, reason } => {
                self.post_second(
                    origin.shard,
                    Mail::PublishAnswer { origin, outcome: PublishOutcome::Answered(reason) },
                );
            }
            Release::Publish2 { subscriber, packet_id, record } => {
                self.publish2_committed(now, subscriber, packet_id, Some(record))
            }
            Release::Pubrel { subscriber, packet_id } => self.pubrel_committed(subscriber, packet_id),
            Release::Pubcomp { link, packet_id } => {
                self.send_pubcomp(now, link, packet_id, ReasonCode::Success)
            }
            Release::Cursor { subscriber, log, to, released, ended } => {
                let home = self.shard_of(log.slot);
                self.post_first(home, None, Mail::CursorMoved { subscriber, log, to, released, ended });
            }
        }
    }

    /// The store did not take it: nothing is acknowledged that is not durable.
    fn failed(&mut self, now: Now, release: Release) {
        match release {
            Release::Append { log, offset } => self.appended(now, log, offset, false),
            Release::Publish { origin, .. } => {
                self.post_second(
                    origin.shard,
                    Mail::PublishAnswer { origin, outcome: PublishOutcome::NotStored },
                );
            }
            Release::Connected { link } => {
                self.counters.refuse(Refusal::Store);
                self.refuse(now, link, ReasonCode::ServerUnavailable);
            }
            Release::Subscribed { request } => self.subscribe_failed(now, request),
            // [MQTT-4.8.0-2@3.1.1]
            Release::Unsubscribed { link, .. } | Release::Pubcomp { link, .. } => {
                self.counters.refuse(Refusal::Store);
                self.close_link(now, link, Some(ReasonCode::UnspecifiedError));
            }
            Release::Publish2 { subscriber, packet_id, .. } => {
                self.publish2_committed(now, subscriber, packet_id, None);
                self.session_refused(now, subscriber);
            }
            Release::Pubrel { subscriber, .. } => self.session_refused(now, subscriber),
            // The tail is delivered again after a restart; nothing is lost.
            Release::Cursor { .. } => {}
        }
    }

    /// The store does not take the state of a session: its link ends, so that the client tries again.
    fn session_refused(&mut self, now: Now, uid: SessionUid) {
        let session = self.sessions.by_uid(uid).and_then(|at| self.sessions.get(at));
        if let Some(id) = session.and_then(|s| self.links.id(s.link)) {
            self.counters.refuse(Refusal::Store);
            self.close_link(now, id, Some(ReasonCode::UnspecifiedError));
        }
    }
}
