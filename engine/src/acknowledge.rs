//! Acknowledgements of a client: for what it was sent, and PUBREL for what it sent.
//!
//! QoS 1 and 2 are sent again on reconnect only, never by a timer [MQTT-4.4.0-1]. For a message out of a log, QoS 2 state is committed
//! before the packet that depends on it.

use crate::commit::Release;
use crate::engine::Engine;
use crate::identity::{LinkId, SessionUid};
use crate::link::{NONE, Pause};
use crate::mail::Mail;
use crate::outbound::{Again, Source, Stage};
use crate::publish::received_key;
use crate::store::{Table, Write};
use crate::time::Now;
use bitsim_protocol::encode::{self, Peer};
use bitsim_protocol::{Ack, ReasonCode};
use std::collections::VecDeque;
use std::sync::Arc;

impl Engine {
    /// PUBACK [MQTT-4.3.2-3].
    pub(crate) fn puback(&mut self, now: Now, id: LinkId, ack: &Ack<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let Some(outbound) = self.sessions.get_mut(at).and_then(|s| s.outbound.as_mut()) else { return };
        let found = outbound
            .find(ack.packet_id)
            .filter(|i| outbound.get_mut(*i).is_some_and(|e| e.stage == Stage::Puback));
        if found.is_some() {
            self.finish_entry(now, at, ack.packet_id);
            self.pump(now, at);
        }
    }

    /// PUBREC [MQTT-4.3.3-5].
    pub(crate) fn pubrec(&mut self, now: Now, id: LinkId, ack: &Ack<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let subscriber = session.uid;
        let entry = session.outbound.as_mut().and_then(|o| o.find(ack.packet_id).and_then(|i| o.get_mut(i)));
        let Some(entry) = entry else {
            // Section 3.6.2.1 of MQTT 5: there is a reason code for it.
            return self.send_pubrel(id, ack.packet_id, ReasonCode::PacketIdentifierNotFound);
        };
        match entry.stage {
            // [MQTT-4.3.3-4]: a refusal ends it.
            Stage::Pubrec if ack.reason as u8 >= 0x80 => {
                self.finish_entry(now, at, ack.packet_id);
                self.pump(now, at);
            }
            Stage::Pubrec => {
                let logged = match &entry.source {
                    Source::Log(log, _) => Some(*log),
                    _ => None,
                };
                entry.stage = if logged.is_some() { Stage::Received } else { Stage::Pubcomp };
                match logged {
                    Some(log) => {
                        self.write_cursor(at, log);
                        self.release(Release::Pubrel { subscriber, packet_id: ack.packet_id });
                    }
                    None => {
                        // The message itself is not needed any more; a shared one stays known by its handle.
                        if let Source::Held(_) = entry.source {
                            entry.source = Source::Gone;
                        }
                        self.send_pubrel(id, ack.packet_id, ReasonCode::Success);
                    }
                }
            }
            Stage::Pubcomp => self.send_pubrel(id, ack.packet_id, ReasonCode::Success),
            Stage::Committing | Stage::Puback | Stage::Received | Stage::Done => {}
        }
    }

    /// The state at PUBREC is committed.
    pub(crate) fn pubrel_committed(&mut self, subscriber: SessionUid, packet_id: u16) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let slot = session.link;
        let entry = session.outbound.as_mut().and_then(|o| o.find(packet_id).and_then(|i| o.get_mut(i)));
        if let Some(entry) = entry.filter(|e| e.stage == Stage::Received) {
            entry.stage = Stage::Pubcomp;
            if let Some(id) = self.links.live(slot) {
                self.send_pubrel(id, packet_id, ReasonCode::Success);
            }
        }
    }

    fn send_pubrel(&mut self, id: LinkId, packet_id: u16, reason: ReasonCode) {
        if let Some(link) = self.links.outbox(id.slot) {
            let peer = Peer { version: link.version, packet_max: link.packet_max };
            let _ = encode::pubrel(peer, &Ack::new(packet_id, reason), &mut link.out);
        }
    }

    /// PUBCOMP.
    pub(crate) fn pubcomp(&mut self, now: Now, id: LinkId, ack: &Ack<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let Some(outbound) = self.sessions.get_mut(at).and_then(|s| s.outbound.as_mut()) else { return };
        let found = outbound
            .find(ack.packet_id)
            .filter(|i| outbound.get_mut(*i).is_some_and(|e| e.stage == Stage::Pubcomp));
        if found.is_some() {
            self.finish_entry(now, at, ack.packet_id);
            self.pump(now, at);
        }
    }

    /// PUBREL: the identifier is free [MQTT-4.3.3-11]; for a durable session PUBCOMP leaves when that is committed.
    pub(crate) fn pubrel(&mut self, now: Now, id: LinkId, ack: &Ack<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        // The identifier is free for a new message [MQTT-4.3.3-12]; whether the old one has expired is not asked [MQTT-4.3.3-13].
        let known = session.received.as_mut().is_some_and(|r| r.remove(ack.packet_id));
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        if known && session.stored {
            let key = received_key(session.uid, ack.packet_id);
            self.write(Write::Delete { table: Table::Received, key });
            return self.release(Release::Pubcomp { link: id, packet_id: ack.packet_id });
        }
        self.send_pubcomp(now, id, ack.packet_id, reason);
    }

    /// Sends PUBCOMP; the place in the Receive Maximum is free.
    pub(crate) fn send_pubcomp(&mut self, now: Now, id: LinkId, packet_id: u16, reason: ReasonCode) {
        if self.links.get(id).is_none() {
            return;
        }
        let Some(link) = self.links.outbox(id.slot) else { return };
        let peer = Peer { version: link.version, packet_max: link.packet_max };
        let _ = encode::pubcomp(peer, &Ack::new(packet_id, reason), &mut link.out);
        let mut room = false;
        if reason == ReasonCode::Success
            && let Some(connected) = link.connection.connected()
        {
            connected.acknowledged();
            room = link.paused & Pause::Window as u8 != 0 && connected.has_room();
        }
        if room {
            self.resume(now, id, Pause::Window);
        }
    }

    /// A message is finished, whatever the client said of it [MQTT-4.4.0-2]; a group hands it to nobody else [MQTT-4.8.2-6].
    pub(crate) fn finish_entry(&mut self, now: Now, at: u32, packet_id: u16) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Some(source) =
            session.outbound.as_mut().and_then(|o| o.find(packet_id).and_then(|i| o.finish(i)))
        else {
            return;
        };
        match source {
            Source::Gone | Source::Held(_) => {}
            Source::Log(log, offset) => {
                if let Some(reader) = session.readers.as_mut().and_then(|r| r.get_mut(log)) {
                    reader.finish(offset);
                }
                self.cursor_changed(now, at);
            }
            Source::Shared(_, group, handle) => self.post_share_done(&group, handle),
        }
    }

    /// Tells a group that a member is done with a message.
    pub(crate) fn post_share_done(&mut self, group: &Arc<str>, handle: u64) {
        if handle != 0 {
            let shard = self.group_shard(group);
            self.post_first(shard, None, Mail::ShareDone { group: (**group).into(), handle });
        }
    }

    /// A session has a link again: what was sent and not finished is sent again first, in order, with the same identifiers
    /// [MQTT-4.4.0-1], [MQTT-4.6.0-1]; then its logs are read on.
    pub(crate) fn session_back(&mut self, now: Now, at: u32) {
        self.share_rooms(at, false);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let slot = session.link;
        if let Some(mut outbound) = session.outbound.take() {
            let mut again = VecDeque::new();
            let committing: Vec<u16> = outbound.committing().collect();
            for entry in outbound.entries_mut() {
                let packet_id = entry.packet_id;
                match (&entry.source, entry.stage) {
                    // [MQTT-4.3.3-6]
                    (_, Stage::Pubcomp) => {
                        if let Some(id) = self.links.id(slot) {
                            self.send_pubrel(id, packet_id, ReasonCode::Success);
                        }
                    }
                    // [MQTT-3.3.1-1]: DUP on a resend.
                    (Source::Held(_) | Source::Shared(..), Stage::Puback | Stage::Pubrec) => {
                        again.push_back(Again { place: None, packet_id, dup: true });
                    }
                    (Source::Log(log, offset), Stage::Puback | Stage::Pubrec) => {
                        again.push_back(Again { place: Some((*log, *offset)), packet_id, dup: true });
                    }
                    // The store refused its state when it was to be sent first.
                    (Source::Log(log, offset), Stage::Committing) if !committing.contains(&packet_id) => {
                        again.push_back(Again { place: Some((*log, *offset)), packet_id, dup: false });
                    }
                    _ => {}
                }
            }
            outbound.again = again;
            if let Some(session) = self.sessions.get_mut(at) {
                session.outbound = Some(outbound);
            }
            self.send_again(now, at);
        }
        self.wake_readers(at);
        if slot != NONE {
            self.pump(now, at);
        }
    }
}
