//! Bytes of a link to packets, and the life of a link: open, pause, resume, close.
//!
//! Whole frames are handled in place in the caller's buffer; only the start of a frame that is not complete is copied. While a link is
//! paused, PUBLISH, SUBSCRIBE and UNSUBSCRIBE wait as whole frames, in order; acknowledgements, PINGREQ and DISCONNECT are handled at once.

use crate::effect::Effect;
use crate::engine::Engine;
use crate::identity::LinkId;
use crate::input::LinkMeta;
use crate::link::{LinkState, NONE, Pause};
use crate::probe::Refusal;
use crate::time::Now;
use crate::timers::TimerKind;
use bitsim_protocol::{
    Admission, Connection, Disconnect, Frame, Packet, PacketKind, ReasonCode, Version, Violation, decode,
    encode, first_byte_ok, split_frame,
};

impl Engine {
    /// A connection of this shard begins.
    pub(crate) fn open(&mut self, now: Now, id: LinkId, meta: LinkMeta) {
        self.links.open(id, meta);
        self.links.live += 1;
        let timer =
            self.timer(now.monotonic_ms + self.limits.connect_timeout_ms, TimerKind::Connect, id.slot);
        if let Some(link) = self.links.get_mut(id) {
            (link.timer, link.seen_ms) = (Some(timer), now.monotonic_ms);
            link.opened_secs = u32::try_from(now.monotonic_ms / 1000).unwrap_or(u32::MAX);
        }
        if self.draining {
            self.close_link(now, id, None);
        }
    }

    /// Bytes of a link in their order, cut anywhere [MQTT-4.2.0-1].
    pub(crate) fn received(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        self.counters.bytes_in += bytes.len() as u64;
        let bound = self.limits.outbox_bytes_max as usize;
        let Some(link) = self.links.get_mut(id) else { return };
        // Deliveries stop at the bound; answers do not, so who asks on and on without reading them is closed.
        if link.queued() >= 2 * bound {
            self.counters.refuse(Refusal::SlowConsumer);
            return self.close_link(now, id, Some(ReasonCode::QuotaExceeded));
        }
        link.seen_ms = now.monotonic_ms;
        if link.part.is_empty() {
            self.frames(now, id, bytes);
            return;
        }
        let mut part = std::mem::take(&mut link.part);
        let rest = self.complete(id, &mut part, bytes);
        match rest {
            Ok(Some(rest)) => {
                self.frames(now, id, &part);
                self.frames(now, id, rest);
            }
            Ok(None) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.part = part;
                }
            }
            Err(violation) => self.violated(now, id, violation),
        }
    }

    /// Moves bytes to `part` until its frame is whole; gives what is left then.
    fn complete<'b>(
        &self,
        id: LinkId,
        part: &mut Vec<u8>,
        mut bytes: &'b [u8],
    ) -> Result<Option<&'b [u8]>, Violation> {
        let packet_max = self.packet_max_in(id);
        // The fixed header has at most five bytes; from then on the length is known.
        while let Some((byte, rest)) = bytes.split_first() {
            if let Some(total) = whole_length(part, packet_max)? {
                let take = total.saturating_sub(part.len()).min(bytes.len());
                let (head, rest) = bytes.split_at(take);
                if part.capacity() < total {
                    part.reserve_exact(total.min(part.len() + bytes.len().max(4096)) - part.len());
                }
                part.extend_from_slice(head);
                return Ok(if part.len() == total { Some(rest) } else { None });
            }
            part.push(*byte);
            bytes = rest;
        }
        Ok(if whole_length(part, packet_max)? == Some(part.len()) { Some(bytes) } else { None })
    }

    fn packet_max_in(&self, id: LinkId) -> u32 {
        match self.links.get(id).map(|l| &l.state) {
            Some(LinkState::Opening) => {
                self.limits.prelogin_bytes_max.min(self.limits.packet_bytes_max).max(1024)
            }
            _ => self.limits.packet_bytes_max,
        }
    }

    /// Handles whole frames; keeps the start of the last one.
    fn frames(&mut self, now: Now, id: LinkId, mut bytes: &[u8]) {
        self.route.forget_topic();
        loop {
            let Some(link) = self.links.get(id) else { return };
            if matches!(link.state, LinkState::Closing) {
                return;
            }
            let opening = matches!(link.state, LinkState::Opening);
            // [MQTT-3.1.0-1]: the first byte decides, before any allocation.
            if opening && bytes.first().is_some_and(|first| !first_byte_ok(*first)) {
                return self.violated(now, id, Violation::ConnectExpected);
            }
            let packet_max = self.packet_max_in(id);
            match split_frame(bytes, packet_max) {
                Err(violation) => return self.violated(now, id, violation),
                Ok(None) => break,
                Ok(Some(frame)) => {
                    bytes = bytes.get(frame.total..).unwrap_or_default();
                    self.counters.packets_in += 1;
                    self.frame(now, id, &frame);
                }
            }
        }
        if !bytes.is_empty()
            && let Some(link) = self.links.get_mut(id)
        {
            link.part.extend_from_slice(bytes);
        }
    }

    /// One whole packet.
    fn frame(&mut self, now: Now, id: LinkId, frame: &Frame<'_>) {
        let Some(link) = self.links.get(id) else { return };
        let (version, paused) = (link.version, link.paused);
        match link.state {
            LinkState::Live if paused == 0 => {
                if frame.first >> 4 == 3 {
                    return self.publish_frame(now, id, version, frame);
                }
            }
            LinkState::Live => {
                if matches!(
                    PacketKind::of_first_byte(frame.first),
                    Some(PacketKind::Publish | PacketKind::Subscribe | PacketKind::Unsubscribe)
                ) {
                    return self.hold(now, id, frame);
                }
            }
            LinkState::Opening => return self.connect_frame(now, id, frame),
            LinkState::Pending(_) => return self.hold(now, id, frame),
            LinkState::Free | LinkState::Closing => return,
        }
        match decode(version, frame) {
            Ok(packet) => self.packet(now, id, &packet),
            // A second CONNECT is wrong whatever is in it [MQTT-3.1.0-2], and only a CONNACK could say what.
            Err(_) if frame.first >> 4 == 1 => self.violated(now, id, Violation::ConnectRepeated),
            Err(violation) => self.violated(now, id, violation),
        }
    }

    fn packet(&mut self, now: Now, id: LinkId, packet: &Packet<'_>) {
        let Some(link) = self.links.get_mut(id) else { return };
        match link.connection.admit(packet) {
            Ok(Admission::Go | Admission::Pause) => {}
            Err(violation) => return self.violated(now, id, violation),
        }
        match packet {
            Packet::PubAck(ack) => self.puback(now, id, ack),
            Packet::PubRec(ack) => self.pubrec(now, id, ack),
            Packet::PubRel(ack) => self.pubrel(now, id, ack),
            Packet::PubComp(ack) => self.pubcomp(now, id, ack),
            Packet::Subscribe(subscribe) => self.subscribe(now, id, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, id, unsubscribe),
            // [MQTT-3.12.4-1]
            Packet::PingReq => {
                if let Some(link) = self.links.outbox(id.slot) {
                    encode::pingresp(&mut link.out);
                }
            }
            Packet::Disconnect(disconnect) => self.disconnected(now, id, disconnect),
            // No method was accepted at CONNECT, so `admit` has refused it [MQTT-4.12.0-6] [MQTT-4.12.1-2].
            Packet::Auth(_) => self.violated(now, id, Violation::AuthUnexpected),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => {}
        }
    }

    /// Keeps a frame until the link goes on.
    fn hold(&mut self, now: Now, id: LinkId, frame: &Frame<'_>) {
        let bound = self.limits.held_bytes_max as usize;
        let prelogin = self.limits.prelogin_bytes_max as usize;
        let Some(link) = self.links.get_mut(id) else { return };
        let pending = matches!(link.state, LinkState::Pending(_));
        let extras = link.extras();
        extras.held.extend_from_slice(frame.bytes);
        // Bytes before log-in are bounded; after it the peer is made to wait.
        if pending && extras.held.len() > prelogin {
            return self.violated(now, id, Violation::PacketTooLarge);
        }
        if extras.held.len() >= bound && !extras.stopped {
            extras.stopped = true;
            self.effect(Effect::StopReading { link: id });
        }
    }

    /// PUBLISH, SUBSCRIBE and UNSUBSCRIBE of the link wait from now on.
    pub(crate) fn pause(&mut self, id: LinkId, why: Pause) {
        if let Some(link) = self.links.get_mut(id) {
            link.paused |= why as u8;
        }
    }

    /// One reason to wait is gone; if it was the last, what was held is handled.
    pub(crate) fn resume(&mut self, now: Now, id: LinkId, why: Pause) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.paused & why as u8 == 0 {
            return;
        }
        link.paused &= !(why as u8);
        link.seen_ms = now.monotonic_ms;
        if link.paused != 0 {
            return;
        }
        let Some(extras) = link.extras.as_mut() else { return };
        let mut held = std::mem::take(&mut extras.held);
        let stopped = std::mem::take(&mut extras.stopped);
        if !held.is_empty() {
            // A frame that arrived in part goes behind what was held.
            let part = std::mem::take(&mut link.part);
            if why == Pause::Opening {
                // Whatever came before CONNACK; of that, some does not wait.
                self.frames(now, id, &held);
                held.clear();
            } else {
                held.drain(..self.held_frames(now, id, &held));
            }
            if let Some(link) = self.links.get_mut(id) {
                link.part = part;
            }
        }
        self.hold_again(id, held, stopped);
    }

    /// Handles what was held until the link has to wait again; how many bytes that was. The rest is not even looked at, or many small
    /// frames that go on one by one would cost their number squared.
    fn held_frames(&mut self, now: Now, id: LinkId, held: &[u8]) -> usize {
        self.route.forget_topic();
        let mut done = 0;
        loop {
            match self.links.get(id) {
                Some(link) if matches!(link.state, LinkState::Live) => {
                    if link.paused != 0 {
                        return done;
                    }
                }
                _ => return held.len(),
            }
            let Ok(Some(frame)) = split_frame(held.get(done..).unwrap_or_default(), u32::MAX) else {
                return held.len();
            };
            done += frame.total;
            self.frame(now, id, &frame);
        }
    }

    /// What still waits goes before what was held meanwhile; with room again, the link is read on.
    fn hold_again(&mut self, id: LinkId, mut held: Vec<u8>, stopped: bool) {
        let bound = self.limits.held_bytes_max as usize;
        let Some(link) = self.links.get_mut(id).filter(|l| matches!(l.state, LinkState::Live)) else {
            return;
        };
        if held.is_empty() && !stopped {
            return;
        }
        let extras = link.extras();
        held.append(&mut extras.held);
        extras.held = held;
        if stopped && extras.held.len() < bound && !extras.stopped {
            self.effect(Effect::StartReading { link: id });
        } else {
            extras.stopped |= stopped;
        }
    }

    /// The peer broke the protocol: it is told so in the way of its version, and closed [MQTT-4.13.1-1].
    pub(crate) fn violated(&mut self, now: Now, id: LinkId, violation: Violation) {
        self.counters.violate(violation);
        let Some(link) = self.links.get(id) else { return };
        if matches!(link.state, LinkState::Opening | LinkState::Pending(_)) {
            self.refuse_unread(now, id, violation);
        } else {
            self.close_link(now, id, Some(violation.reason_code()));
        }
    }

    /// The driver lost the connection.
    pub(crate) fn transport_closed(&mut self, now: Now, id: LinkId) {
        if self.links.get(id).is_none() {
            return;
        }
        self.link_ends(now, id, false);
        self.free_link(id);
    }

    /// Closes a link; v5 clients with a session get `reason` in a DISCONNECT first. The will is sent if there is one.
    pub(crate) fn close_link(&mut self, now: Now, id: LinkId, reason: Option<ReasonCode>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if matches!(link.state, LinkState::Closing) {
            return;
        }
        if link.version == Version::V5
            && matches!(link.state, LinkState::Live)
            && let Some(reason) = reason
            && let Some(link) = self.links.outbox(id.slot)
        {
            // [MQTT-3.14.0-1]: only after a CONNACK with a reason code below 0x80, which a live link had.
            let peer = encode::Peer { version: link.version, packet_max: link.packet_max };
            let _ = encode::disconnect(peer, &Disconnect::new(reason), &mut link.out);
        }
        self.link_ends(now, id, reason == Some(ReasonCode::ServerShuttingDown));
        // Whoever sends DISCONNECT closes, and whatever the reason, said or not, it is the end [MQTT-3.14.4-2] [MQTT-4.13.2-1].
        self.finish_link(id);
    }

    /// Lets the driver send what is left and close.
    pub(crate) fn finish_link(&mut self, id: LinkId) {
        self.cancel_link_timer(id);
        // Once is enough: what closes a link may be called from what was closing it already.
        if let Some(link) = self.links.get_mut(id).filter(|l| !matches!(l.state, LinkState::Closing)) {
            link.state = LinkState::Closing;
            // Nothing that still comes is processed [MQTT-3.1.4-6].
            link.connection = Connection::Closed;
            (link.part, link.extras, link.session) = (Vec::new(), None, NONE);
            self.links.live = self.links.live.saturating_sub(1);
            self.effect(Effect::Close { link: id });
        }
    }

    /// The slot of a link is free: the driver closed it, or lost it.
    fn free_link(&mut self, id: LinkId) {
        self.cancel_link_timer(id);
        if let Some(link) = self.links.get_mut(id) {
            if !matches!(link.state, LinkState::Closing) {
                self.links.live = self.links.live.saturating_sub(1);
            }
            if let Some(link) = self.links.get_mut(id) {
                link.state = LinkState::Free;
                (link.part, link.out, link.extras, link.session) = (Vec::new(), Vec::new(), None, NONE);
                link.connection = Connection::Closed;
            }
        }
    }

    /// Shuts down: everybody is told and closed; wills are not sent, since it is the broker that leaves.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        let ids: Vec<LinkId> = self.links.iter().filter_map(|(slot, _)| self.links.id(slot)).collect();
        for id in ids {
            self.close_link(Now::default(), id, Some(ReasonCode::ServerShuttingDown));
        }
        self.commit_cursors(Now::default());
    }
}

/// Length of the frame that begins with `part`, once it is known.
fn whole_length(part: &[u8], packet_max: u32) -> Result<Option<usize>, Violation> {
    let mut length = 0usize;
    for (at, byte) in part.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let total = length + at + 2;
            return if total > packet_max as usize {
                Err(Violation::PacketTooLarge)
            } else {
                Ok(Some(total))
            };
        }
    }
    if part.len() >= 5 { Err(Violation::LengthMalformed) } else { Ok(None) }
}
