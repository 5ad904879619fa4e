//! PUBLISH from a client, and a message's way through its home.
//!
//! Publisher's shard, home, interested shards. What must be durable goes into the turn's batch, and is forwarded and acknowledged when
//! the store has answered. Acknowledgements of one link leave in the order of its publishes.

use crate::access::Action;
use crate::commit::Release;
use crate::engine::Engine;
use crate::home::{Retained, slot_key};
use crate::identity::{LinkId, SessionUid, ShardId};
use crate::link::{Pause, PendingAck};
use crate::mail::{Mail, Origin, Place, PublishOutcome};
use crate::message::{Incoming, Message, MessageRef, NEVER};
use crate::probe::{Drop, Refusal};
use crate::record::MessageRecord;
use crate::store::{Table, Write};
use crate::time::Now;
use crate::timers::TimerKind;
use bitsim_protocol::encode::{self, Peer};
use bitsim_protocol::{
    Ack, Admission, Frame, Publish, Qos, ReasonCode, Version, Violation, decode_publish, filter_matches,
    forwardable_properties, payload_is_valid_utf8,
};
use std::sync::Arc;

/// What a publish came to, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// The acknowledgement can leave.
    Now(ReasonCode),
    /// It waits for a home or the store.
    Later,
}

/// What became of the retained message of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// A row was written.
    Row,
    /// Nothing that the store would have to know of.
    InMemory,
    /// It would be one more than the quota.
    Refused,
}

impl Engine {
    /// A PUBLISH of a live link that is not paused.
    #[inline]
    pub(crate) fn publish_frame(&mut self, now: Now, id: LinkId, version: Version, frame: &Frame<'_>) {
        let publish = match decode_publish(version, frame, &self.limits.topic) {
            Ok(publish) => publish,
            Err(violation) => return self.violated(now, id, violation),
        };
        let qos = publish.qos as usize;
        if let (Some(n), Some(b)) =
            (self.counters.publishes_in.get_mut(qos), self.counters.publish_bytes_in.get_mut(qos))
        {
            *n += 1;
            *b += frame.total as u64;
        }
        let Some(link) = self.links.get_mut(id) else { return };
        link.messages_in = link.messages_in.wrapping_add(1);
        let Some(connected) = link.connection.connected() else { return };
        match connected.admit_publish(&publish) {
            Ok(Admission::Go) => {}
            Ok(Admission::Pause) => link.paused |= Pause::Window as u8,
            Err(violation) => return self.violated(now, id, violation),
        }
        if let Err(violation) = self.check_content(&publish) {
            return self.violated(now, id, violation);
        }
        if publish.properties.topic_alias.is_none() {
            return self.publish_named(now, id, &publish, publish.topic);
        }
        // The topic of an alias is copied, since its table belongs to the link.
        let mut topic = std::mem::take(&mut self.topic_scratch);
        topic.clear();
        let resolved = self
            .links
            .get_mut(id)
            .and_then(|l| l.connection.connected())
            .map(|c| c.resolve_topic(&publish).map(|t| topic.push_str(t)));
        match resolved {
            Some(Ok(())) => self.publish_named(now, id, &publish, &topic),
            Some(Err(violation)) => self.violated(now, id, violation),
            None => {}
        }
        self.topic_scratch = topic;
    }

    fn check_content(&mut self, publish: &Publish<'_>) -> Result<(), Violation> {
        // [MQTT-3.2.2-11]
        if publish.qos as u8 > self.limits.qos_max {
            return Err(Violation::QosAboveMaximum);
        }
        Ok(())
    }

    /// The same, with its topic known.
    fn publish_named(&mut self, now: Now, id: LinkId, publish: &Publish<'_>, topic: &str) {
        let Some(link) = self.links.get(id) else { return };
        let at = link.session;
        let Some(session) = self.sessions.get(at) else { return };
        let (uid, durable, v5) = (session.uid, session.stored, link.version.is_v5());
        // Identifiers of QoS 1 are not remembered: after PUBACK they name a new message [MQTT-4.3.2-5].
        if publish.qos == Qos::ExactlyOnce
            && let Some(acknowledged) = session.received.as_ref().and_then(|r| r.state(publish.packet_id))
        {
            return self.publish_again(id, publish.packet_id, acknowledged);
        }
        if let Err(reason) = self.policy(at, publish, topic) {
            self.counters.refuse(if reason == ReasonCode::NotAuthorized {
                Refusal::Access
            } else {
                Refusal::Quota
            });
            return self.refuse_publish(now, id, publish, reason);
        }
        let mut properties = std::mem::take(&mut self.scratch);
        let raw = publish.properties.raw;
        let forwardable = if raw.is_empty() || publish.properties.is_forwardable() {
            raw
        } else {
            properties.clear();
            forwardable_properties(raw, &mut properties);
            &properties
        };
        let view = MessageRef {
            topic,
            properties: forwardable,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_at: publish
                .properties
                .message_expiry
                .map_or(NEVER, |secs| now.monotonic_ms + u64::from(secs) * 1000),
            publisher: uid,
        };
        let origin = Origin {
            shard: self.shard,
            link: id,
            session: uid,
            packet_id: publish.packet_id,
            qos: publish.qos,
            durable: durable && publish.qos == Qos::ExactlyOnce,
            told: v5 && publish.qos != Qos::AtMostOnce,
        };
        if publish.qos == Qos::ExactlyOnce
            && let Some(session) = self.sessions.get_mut(at)
        {
            session.received.get_or_insert_default().set(publish.packet_id, false);
        }
        let routed = self.publish(now, &origin, &mut Incoming::borrowed(view));
        // What this shard forwards waits in a bounded lane; whoever fills it waits too.
        if self.slots.shards() > 1 && self.lanes.wait_for_second(id) {
            self.pause(id, Pause::Lane);
        }
        self.scratch = properties;
        if publish.qos != Qos::AtMostOnce {
            self.answer(now, &origin, routed);
        }
        self.count_rate(now, id);
    }

    /// A QoS 2 message again whose PUBREL has not come [MQTT-4.3.3-10]: answered, never routed.
    fn publish_again(&mut self, id: LinkId, packet_id: u16, acknowledged: bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        if let Some(connected) = link.connection.connected() {
            // Its place was counted when it came first.
            connected.acknowledged();
        }
        let waiting = link.extras.as_mut().and_then(|extras| {
            extras.acks.iter_mut().find(|a| a.packet_id == packet_id && a.qos == Qos::ExactlyOnce)
        });
        if let Some(first) = waiting {
            first.repeats = first.repeats.saturating_add(1);
            return;
        }
        let ready = acknowledged.then_some(ReasonCode::Success);
        link.extras().acks.push_back(PendingAck { packet_id, qos: Qos::ExactlyOnce, ready, repeats: 0 });
        self.send_acks(id);
    }

    /// Access, quotas, and what v5 lets a client say.
    fn policy(&mut self, at: u32, publish: &Publish<'_>, topic: &str) -> Result<(), ReasonCode> {
        // `$SYS` and the like are the broker's own.
        if topic.starts_with('$') || !self.may(at, Action::Write, topic) {
            return Err(ReasonCode::NotAuthorized);
        }
        if publish.retain && !self.limits.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        let user = &publish.properties.user;
        if user.count() > u32::from(self.limits.user_properties_max)
            || user.bytes() > self.limits.user_property_bytes_max
        {
            return Err(ReasonCode::QuotaExceeded);
        }
        if publish.properties.payload_is_utf8 && !payload_is_valid_utf8(publish.payload) {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Policy says no. v5 is told in the acknowledgement; before 5 there is no way to say it, so the message is
    /// acknowledged and dropped [MQTT-3.3.5-2@3.1.1].
    fn refuse_publish(&mut self, now: Now, id: LinkId, publish: &Publish<'_>, reason: ReasonCode) {
        let v5 = self.links.get(id).is_some_and(|l| l.version.is_v5());
        // [MQTT-3.2.2-14]: retained where it is not supported.
        if v5 && reason == ReasonCode::RetainNotSupported {
            return self.close_link(now, id, Some(reason));
        }
        if publish.qos == Qos::AtMostOnce {
            return;
        }
        let ready = Some(if v5 { reason } else { ReasonCode::Success });
        if publish.qos == Qos::ExactlyOnce && !v5 {
            let at = self.links.get(id).map_or(u32::MAX, |l| l.session);
            if let Some(session) = self.sessions.get_mut(at) {
                session.received.get_or_insert_default().set(publish.packet_id, true);
            }
        }
        if let Some(link) = self.links.get_mut(id) {
            link.extras().acks.push_back(PendingAck {
                packet_id: publish.packet_id,
                qos: publish.qos,
                ready,
                repeats: 0,
            });
            self.send_acks(id);
        }
    }

    /// Takes a message to its home, which may be this shard.
    pub(crate) fn publish(&mut self, now: Now, origin: &Origin, message: &mut Incoming<'_>) -> Routed {
        if self.slots.shards() > 1 {
            // One shard orders all messages of a topic [MQTT-4.6.0-6].
            let home = self.shard_of(self.slot_of(message.view().topic));
            if home != self.shard {
                let link = (origin.packet_id != 0 || origin.session.0 != 0).then_some(origin.link);
                let message = message.share();
                self.post_first(home, link, Mail::Publish { origin: *origin, message });
                return Routed::Later;
            }
        }
        self.home_publish(now, origin, message)
    }

    /// A message from another shard whose home is here.
    pub(crate) fn homed_publish(&mut self, now: Now, origin: &Origin, message: &Arc<Message>) {
        if let Routed::Now(reason) = self.home_publish(now, origin, &mut Incoming::shared(message))
            && origin.packet_id != 0
        {
            let outcome = PublishOutcome::Answered(reason);
            self.post_second(origin.shard, Mail::PublishAnswer { origin: *origin, outcome });
        }
    }

    fn home_publish(&mut self, now: Now, origin: &Origin, message: &mut Incoming<'_>) -> Routed {
        self.counters.homed += 1;
        let qos = message.view().qos;
        let kept = if message.view().retain { self.retain(now, message) } else { Kept::InMemory };
        // Whoever can be told is refused. A message of anybody else still reaches its subscribers: acknowledged is delivered.
        if kept == Kept::Refused && origin.told {
            return Routed::Now(ReasonCode::QuotaExceeded);
        }
        if qos != Qos::AtMostOnce && self.home.has_durable() && self.append(now, origin, message) {
            return Routed::Later;
        }
        let reached = self.fan_out(now, message, None);
        // Section 3.4.2.1 of MQTT 5: a client may be told that nobody wanted it.
        let reason = if reached { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        if kept == Kept::Row && qos != Qos::AtMostOnce && origin.packet_id != 0 {
            self.release(Release::Publish { origin: *origin, reason });
            return Routed::Later;
        }
        Routed::Now(reason)
    }

    /// Keeps or clears the topic's retained message [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7].
    fn retain(&mut self, now: Now, message: &mut Incoming<'_>) -> Kept {
        let (topic, slot) = (message.view().topic, self.slot_of(message.view().topic));
        // `$SYS` values are made anew at each interval; they are not worth a row.
        let stored = !topic.starts_with('$');
        let key = slot_key(slot, topic);
        if message.view().payload.is_empty() {
            if self.home.retained.clear(topic).is_some() && stored {
                self.write(Write::Delete { table: Table::Retained, key });
                return Kept::Row;
            }
            return Kept::InMemory;
        }
        self.home.arrival += 1;
        let arrival = self.home.arrival;
        let shared = message.share();
        let bytes = shared.bytes();
        let full = stored
            && self.home.retained.get(topic).is_none()
            && (self.home.retained.len() as u64 >= self.limits.retained_messages_max
                || self.home.retained.bytes() as u64 + u64::from(bytes) > self.limits.retained_bytes_max);
        if full {
            self.counters.drop(Drop::RetainedFull);
            return Kept::Refused;
        }
        let value = record(now, &shared, Vec::new(), arrival).encode();
        self.home.retained.set(topic, Retained { message: shared, arrival }, bytes);
        if !stored {
            return Kept::InMemory;
        }
        self.write(Write::Put { table: Table::Retained, key, value, expires_at_ms: None });
        Kept::Row
    }

    /// Puts the message into its topic's log if a durable subscriber wants it. True: forwarded and acknowledged when committed.
    fn append(&mut self, now: Now, origin: &Origin, message: &mut Incoming<'_>) -> bool {
        let topic = message.view().topic;
        let mut wanted = std::mem::take(&mut self.wanted);
        let wants = self.home.wants_log(topic, message.view().publisher, &mut wanted)
            && !self.limits.never_durable.iter().any(|f| filter_matches(f, topic));
        if wants {
            let slot = self.slot_of(topic);
            let shared = message.share();
            let appended = self.home.append(slot, &shared, *origin, &wanted, &mut self.batch, |skip| {
                record(now, &shared, skip, 0).encode()
            });
            if origin.durable {
                // QoS 2: the identifier and the message are one commit.
                let key = received_key(origin.session, origin.packet_id);
                self.write(Write::Put {
                    table: Table::Received,
                    key,
                    value: bytes::Bytes::new(),
                    expires_at_ms: None,
                });
            }
            self.counters.appends += 1;
            self.release(Release::Append { log: appended.log, offset: appended.offset });
        }
        self.wanted = wanted;
        wants
    }

    /// The store has answered an append: what is in order now is forwarded and acknowledged.
    pub(crate) fn appended(&mut self, now: Now, log: crate::store::LogId, offset: u64, stored: bool) {
        self.home.settled(log, offset, stored);
        while let Some(done) = self.home.take_released(log) {
            let outcome = if done.outcome == Some(true) {
                let references = done.references.iter().map(|r| (r.0, (r.1, r.3))).collect::<Vec<_>>();
                self.fan_out_logged(now, &done.message, log, done.offset, &references);
                PublishOutcome::Answered(ReasonCode::Success)
            } else {
                PublishOutcome::NotStored
            };
            if done.origin.packet_id != 0 {
                self.post_second(done.origin.shard, Mail::PublishAnswer { origin: done.origin, outcome });
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn fan_out_logged(
        &mut self,
        now: Now,
        message: &Arc<Message>,
        log: crate::store::LogId,
        offset: u64,
        references: &[(ShardId, (SessionUid, u64))],
    ) {
        let of = |shard: ShardId| Place {
            log,
            offset,
            references: references.iter().filter(|r| r.0 == shard).map(|r| r.1).collect(),
        };
        let mut shards = Vec::new();
        self.remote_shards(message.topic(), &mut shards);
        for shard in shards {
            self.post_second(shard, Mail::Forward { message: message.clone(), place: Some(of(shard)) });
        }
        let place = of(self.shard);
        self.deliver_matches(now, &mut Incoming::shared(message), Some(&place));
    }

    /// To every shard that wants it. True: somebody did.
    fn fan_out(&mut self, now: Now, message: &mut Incoming<'_>, place: Option<&Place>) -> bool {
        let mut reached = false;
        if self.home.remote_filters > 0 {
            let mut shards = Vec::new();
            self.remote_shards(message.view().topic, &mut shards);
            for shard in shards {
                reached = true;
                let message = message.share();
                if self.lanes.post_second(shard, Mail::Forward { message, place: place.cloned() })
                    == crate::lanes::Posted::Dropped
                {
                    self.counters.drop(Drop::LaneFull);
                }
            }
        }
        self.deliver_matches(now, message, place) || reached
    }

    fn remote_shards(&self, topic: &str, out: &mut Vec<ShardId>) {
        if self.home.remote_filters > 0 {
            self.home.remote.for_each_shard(topic, &mut |shard| out.push(ShardId(shard)));
        }
    }

    /// Sends PUBACK or PUBREC now if nothing before it waits, else keeps its place.
    fn answer(&mut self, now: Now, origin: &Origin, routed: Routed) {
        let ready = match routed {
            Routed::Now(reason) => Some(reason),
            Routed::Later => None,
        };
        if let Some(reason) = ready {
            self.settle_received(origin, reason);
        }
        let Some(link) = self.links.get_mut(origin.link) else { return };
        let in_order = link.extras.as_ref().is_none_or(|e| e.acks.is_empty());
        if in_order && let Some(reason) = ready {
            return self.send_ack(
                now,
                origin.link,
                PendingAck { packet_id: origin.packet_id, qos: origin.qos, ready: Some(reason), repeats: 0 },
            );
        }
        link.extras().acks.push_back(PendingAck {
            packet_id: origin.packet_id,
            qos: origin.qos,
            ready,
            repeats: 0,
        });
    }

    /// The home has answered a publish of this shard.
    pub(crate) fn publish_answered(&mut self, now: Now, origin: &Origin, outcome: PublishOutcome) {
        let reason = match outcome {
            PublishOutcome::Answered(reason) => reason,
            PublishOutcome::NotStored => return self.not_stored(now, origin),
        };
        self.settle_received(origin, reason);
        let Some(at) = self.session_of(origin) else {
            // The home wrote the identifier of a session that has ended since.
            if origin.durable {
                let key = received_key(origin.session, origin.packet_id);
                self.write(Write::Delete { table: Table::Received, key });
            }
            return;
        };
        let Some(link) = self.sessions.get(at).and_then(|s| self.links.id(s.link)) else { return };
        if let Some(extras) = self.links.get_mut(link).and_then(|l| l.extras.as_mut())
            && let Some(ack) = extras
                .acks
                .iter_mut()
                .find(|a| a.packet_id == origin.packet_id && a.qos == origin.qos && a.ready.is_none())
        {
            ack.ready = Some(reason);
        }
        self.send_acks(link);
    }

    /// The session that published. One that came back on another link waits for the same answer there.
    fn session_of(&self, origin: &Origin) -> Option<u32> {
        let on_link = self.links.get(origin.link).map(|l| l.session);
        on_link
            .filter(|at| self.sessions.get(*at).is_some_and(|s| s.uid == origin.session))
            .or_else(|| self.sessions.by_uid(origin.session))
    }

    /// What became of an identifier of QoS 2. Settled when it is known, not when PUBREC leaves: that may wait behind another answer
    /// on a link that ends before, and the next link would wait for an answer that has come.
    fn settle_received(&mut self, origin: &Origin, reason: ReasonCode) {
        if origin.qos == Qos::ExactlyOnce
            && let Some(session) = self.session_of(origin).and_then(|at| self.sessions.get_mut(at))
        {
            let received = session.received.get_or_insert_default();
            // The identifier may name a new message [MQTT-4.3.3-9].
            if reason as u8 >= 0x80 {
                received.remove(origin.packet_id);
            } else {
                received.set(origin.packet_id, true);
            }
        }
    }

    /// The store would not take it: no acknowledgement, so that the client tries again; the link waits, then is closed.
    fn not_stored(&mut self, now: Now, origin: &Origin) {
        if let Some(session) = self.sessions.by_uid(origin.session).and_then(|at| self.sessions.get_mut(at))
            && let Some(received) = session.received.as_mut()
        {
            received.remove(origin.packet_id);
        }
        if self.links.get(origin.link).is_some() {
            self.pause(origin.link, Pause::Store);
            self.timer(now.monotonic_ms + self.limits.store_refusal_ms, TimerKind::Refused, origin.link.slot);
        }
    }

    /// Sends the acknowledgements that are ready and in order.
    fn send_acks(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(id)
            && let Some(extras) = link.extras.as_mut()
            && extras.acks.front().is_some_and(|a| a.ready.is_some())
            && let Some(ack) = extras.acks.pop_front()
        {
            self.send_ack(Now::default(), id, ack);
        }
    }

    fn send_ack(&mut self, now: Now, id: LinkId, ack: PendingAck) {
        let Some(link) = self.links.outbox(id.slot) else { return };
        let reason = ack.ready.unwrap_or(ReasonCode::Success);
        let peer = Peer { version: link.version, packet_max: link.packet_max };
        // No reason string and no user properties, wanted or not [MQTT-3.1.2-29].
        let answer = Ack::new(ack.packet_id, reason);
        let refused = reason as u8 >= 0x80;
        // [MQTT-3.3.4-1]
        if ack.qos == Qos::AtLeastOnce {
            // [MQTT-4.3.2-4]
            let _ = encode::puback(peer, &answer, &mut link.out);
        } else {
            // [MQTT-4.3.3-8] [MQTT-4.3.3-10]
            for _ in 0..=ack.repeats {
                let _ = encode::pubrec(peer, &answer, &mut link.out);
            }
        }
        let mut room = false;
        if (ack.qos == Qos::AtLeastOnce || refused)
            && let Some(connected) = link.connection.connected()
        {
            connected.acknowledged();
            room = link.paused & Pause::Window as u8 != 0 && connected.has_room();
        }
        if room {
            self.resume(now, id, Pause::Window);
        }
    }

    /// Publishes per second of one link; above the limit it waits.
    fn count_rate(&mut self, now: Now, id: LinkId) {
        let max = self.limits.publish_rate_max;
        if max == 0 {
            return;
        }
        let Some(link) = self.links.get_mut(id) else { return };
        let rate = &mut link.extras().rate;
        if now.monotonic_ms >= rate.1 + 1000 {
            *rate = (0, now.monotonic_ms);
        }
        rate.0 += 1;
        if rate.0 >= max {
            let until = rate.1 + 1000;
            self.pause(id, Pause::Rate);
            self.timer(until, TimerKind::Rate, id.slot);
        }
    }

    /// Publishes the broker's own figures.
    pub(crate) fn publish_totals(&mut self, now: Now, totals: &crate::sys::Totals) {
        for (topic, value) in totals.topics() {
            let view = MessageRef {
                topic,
                properties: &[],
                payload: value.as_bytes(),
                qos: Qos::AtMostOnce,
                retain: true,
                expires_at: NEVER,
                publisher: SessionUid(0),
            };
            let origin = Origin::nobody(self.shard, SessionUid(0), Qos::AtMostOnce);
            self.publish(now, &origin, &mut Incoming::borrowed(view));
        }
    }
}

/// A message as a record.
pub(crate) fn record(now: Now, message: &Message, skip: Vec<u64>, arrival: u64) -> MessageRecord {
    let view = message.view();
    MessageRecord {
        topic: view.topic.to_owned(),
        properties: view.properties.to_vec(),
        payload: view.payload.to_vec(),
        qos: view.qos as u8,
        retain: view.retain,
        expires_at_ms: if view.expires_at == NEVER {
            u64::MAX
        } else {
            now.wall_ms + view.expires_at.saturating_sub(now.monotonic_ms)
        },
        publisher: view.publisher.0,
        skip,
        arrival,
    }
}

/// Key of an inbound QoS 2 identifier.
pub(crate) fn received_key(session: SessionUid, packet_id: u16) -> bytes::Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend_from_slice(&session.0.to_be_bytes());
    key.extend_from_slice(&packet_id.to_be_bytes());
    key.into()
}
