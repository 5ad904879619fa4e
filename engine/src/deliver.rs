//! A message to the subscribers of this shard: matching, and what each of them gets.
//!
//! One delivery per session however many of its filters match, at the highest granted QoS, with all identifiers. QoS 0 and sessions
//! without a log get it live; a durable session gets a logged message through its reader. The look-up of a topic is kept for the
//! equal neighbours of a receive buffer, and a frame that several receivers share is encoded once.

use crate::access::Action;
use crate::engine::Engine;
use crate::link::{LinkState, NONE};
use crate::mail::Place;
use crate::message::{Incoming, Message, MessageRef, NEVER};
use crate::outbound::{Entry, Queued, SPAN_MAX, Source, Stage};
use crate::probe::{Drop, Refusal};
use crate::session::Sub;
use crate::time::Now;
use bitsim_protocol::encode::{self, PublishOut};
use bitsim_protocol::{Qos, ReasonCode, Version};
use std::sync::Arc;

/// Keys of the filter table from here on are shared groups.
pub(crate) const GROUP: u32 = 1 << 31;

/// The last topic looked up, and who matched.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    topic: String,
    version: u64,
    valid: bool,
    /// Subscriber and options, sorted by subscriber where several filters matched.
    entries: Vec<(u32, Sub)>,
}

impl RouteCache {
    /// Kept between frames of one buffer only, so that it cannot outlive what it describes unnoticed.
    pub(crate) fn forget_topic(&mut self) {
        self.valid = false;
    }
}

/// Frames encoded for one message, by what distinguishes them.
#[derive(Debug, Default)]
pub(crate) struct EncodeCache {
    kinds: Vec<(Version, Qos, bool, usize, usize)>,
    bytes: Vec<u8>,
}

/// How one session gets a message.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<u32>,
    /// From a shared group: its name and the handle.
    pub(crate) shared: Option<(Arc<str>, u64)>,
}

/// One packet to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out<'a> {
    pub(crate) qos: Qos,
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) ids: &'a [u32],
}

impl Engine {
    /// A message forwarded by its home.
    pub(crate) fn forwarded(&mut self, now: Now, message: &Arc<Message>, place: Option<&Place>) {
        self.route.forget_topic();
        self.deliver_matches(now, &mut Incoming::shared(message), place);
    }

    /// To everybody on this shard who wants it. True: somebody does.
    pub(crate) fn deliver_matches(
        &mut self,
        now: Now,
        message: &mut Incoming<'_>,
        place: Option<&Place>,
    ) -> bool {
        self.look_up(message.view().topic);
        let mut route = std::mem::take(&mut self.route);
        self.cache.kinds.clear();
        self.cache.bytes.clear();
        let alone = route.entries.len() == 1;
        // [MQTT-4.5.0-1]
        for group in route.entries.chunk_by(|a, b| a.0 == b.0) {
            let Some((subscriber, _)) = group.first() else { continue };
            if subscriber & GROUP != 0 {
                for _ in group {
                    self.group_message(now, subscriber & !GROUP, message);
                }
            } else {
                self.deliver_merged(now, *subscriber, group, message, place, alone);
            }
        }
        if let Some(place) = place {
            self.deliver_references(now, message, place);
        }
        let any = !route.entries.is_empty();
        std::mem::swap(&mut self.route, &mut route);
        any
    }

    fn look_up(&mut self, topic: &str) {
        let route = &mut self.route;
        if route.valid && route.version == self.filters_version && route.topic == topic {
            return;
        }
        route.entries.clear();
        let mut filters = 0;
        // [MQTT-3.3.2-3]
        self.filters.for_each_match(topic, &mut |_, entries| {
            filters += 1;
            route.entries.extend(entries.iter().map(|e| (e.key, e.value)));
        });
        if filters > 1 {
            route.entries.sort_by_key(|e| e.0);
        }
        route.topic.clear();
        route.topic.push_str(topic);
        (route.version, route.valid) = (self.filters_version, true);
    }

    /// One session, all its matching subscriptions.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn deliver_merged(
        &mut self,
        now: Now,
        at: u32,
        group: &[(u32, Sub)],
        message: &mut Incoming<'_>,
        place: Option<&Place>,
        alone: bool,
    ) {
        let Some(session) = self.sessions.get(at) else { return };
        let own = message.view().publisher == session.uid && session.uid.0 != 0;
        let durable = session.stored;
        let (mut qos, mut any, mut as_published, mut id) = (Qos::AtMostOnce, false, false, 0);
        for (_, sub) in group {
            // [MQTT-3.8.3-3]
            if own && sub.options.no_local() {
                continue;
            }
            any = true;
            // [MQTT-3.3.4-2]
            qos = qos.max(sub.options.qos());
            as_published |= sub.options.retain_as_published();
            id |= sub.id;
        }
        if !any {
            return;
        }
        // [MQTT-3.8.4-8]
        let qos = qos.min(message.view().qos);
        if qos != Qos::AtMostOnce
            && durable
            && let Some(place) = place
        {
            return self.exact_arrived(now, at, message, place);
        }
        let link = session.link;
        if link == NONE {
            // QoS 1 and 2 on a topic without log (`durable = "never"`): nothing is kept.
            if qos != Qos::AtMostOnce {
                self.counters.drop(Drop::Away);
            }
            return;
        }
        if !self.access.allows_everything() && !self.may(at, Action::Read, message.view().topic) {
            return self.counters.drop(Drop::NotAllowed);
        }
        // [MQTT-3.3.1-12]
        let retain = as_published && message.view().retain;
        if qos == Qos::AtMostOnce && id == 0 {
            return self.send_qos0(now, link, message.view(), retain, alone);
        }
        let ids =
            if id == 0 { Vec::new() } else { group.iter().map(|g| g.1.id).filter(|id| *id != 0).collect() };
        self.deliver_live(now, at, message, How { qos, retain, ids, shared: None });
    }

    /// The frequent case: copied into the outbox, or dropped at its bound.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn send_qos0(&mut self, now: Now, slot: u32, view: &MessageRef<'_>, retain: bool, alone: bool) {
        let bound = self.limits.outbox_bytes_max as usize;
        // Before CONNACK nothing is sent.
        let Some(link) = self.links.at(slot).filter(|l| l.is_live()) else { return };
        if link.queued() + view.payload.len() > bound {
            return self.counters.drop(Drop::OutboxFull);
        }
        let plain = view.expires_at == NEVER && link.alias_out_max == 0;
        let out = Out { qos: Qos::AtMostOnce, packet_id: 0, dup: false, retain, ids: &[] };
        if alone || !plain {
            self.write_publish(now, slot, view, out);
        } else {
            self.write_cached(slot, view, out);
        }
    }

    /// Live to a connected session: at once, or behind its window.
    pub(crate) fn deliver_live(&mut self, now: Now, at: u32, message: &mut Incoming<'_>, how: How) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let slot = session.link;
        let keep = session.stored;
        let Some(link) = self.links.at(slot) else { return };
        if how.qos == Qos::AtMostOnce {
            if !link.is_live() {
                return;
            }
            if link.queued() + message.view().payload.len() > self.limits.outbox_bytes_max as usize {
                return self.counters.drop(Drop::OutboxFull);
            }
            let out =
                Out { qos: Qos::AtMostOnce, packet_id: 0, dup: false, retain: how.retain, ids: &how.ids };
            self.write_publish(now, slot, message.view(), out);
            return self.shared_done(&how);
        }
        let (window, queued) = (link.receive_max, link.queued());
        // A full window holds back PUBLISH above QoS 0 and nothing else [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-2] [MQTT-4.9.0-3]; nobody overtakes the
        // queue [MQTT-4.6.0-5].
        let room = link.is_live() && queued < self.limits.outbox_bytes_max as usize;
        let outbound = session.outbound();
        let room = room && outbound.queue.is_empty() && outbound.again.is_empty();
        if room && outbound.unfinished() < window && outbound.span() < SPAN_MAX {
            let packet_id = outbound.allot();
            // Unacknowledged until this comes [MQTT-4.3.3-3].
            let stage = if how.qos == Qos::AtLeastOnce { Stage::Puback } else { Stage::Pubrec };
            let source = match (&how.shared, keep) {
                (Some((group, handle)), _) => Source::Shared(message.share(), group.clone(), *handle),
                (None, true) => Source::Held(message.share()),
                (None, false) => Source::Gone,
            };
            outbound.push(Entry { packet_id, stage, source, retain: how.retain });
            // Not the publisher's DUP: [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
            let out = Out { qos: how.qos, packet_id, dup: false, retain: how.retain, ids: &how.ids };
            if !self.write_publish(now, slot, message.view(), out) {
                // [MQTT-3.1.2-25]: as if it had been delivered.
                self.finish_entry(now, at, packet_id);
            }
            return;
        }
        let full = outbound.queue.len() >= self.limits.queue_messages_max as usize
            || outbound.queue_bytes >= self.limits.queue_bytes_max;
        let queued = Queued {
            message: message.share(),
            qos: how.qos,
            retain: how.retain,
            ids: how.ids.into(),
            shared: how.shared,
        };
        if !full {
            return outbound.enqueue(queued);
        }
        self.counters.drop(Drop::QueueFull);
        if keep {
            let oldest = outbound.dequeue();
            outbound.enqueue(queued);
            if let Some((group, handle)) = oldest.and_then(|o| o.shared) {
                self.post_share_done(&group, handle);
            }
        } else if let Some(id) = self.links.id(slot) {
            self.counters.refuse(Refusal::SlowConsumer);
            self.close_link(now, id, Some(ReasonCode::QuotaExceeded));
        }
    }

    fn shared_done(&mut self, how: &How) {
        if let Some((group, handle)) = &how.shared {
            self.post_share_done(&group.clone(), *handle);
        }
    }

    /// Sends what waits behind the window, while there is room.
    pub(crate) fn pump(&mut self, now: Now, at: u32) {
        loop {
            let Some(session) = self.sessions.get_mut(at) else { return };
            let slot = session.link;
            let Some(link) = self.links.at(slot) else { return };
            if !link.is_live() || link.queued() >= self.limits.outbox_bytes_max as usize {
                return;
            }
            let window = link.receive_max;
            let keep = session.stored;
            let Some(outbound) = session.outbound.as_mut() else { break };
            if outbound.unfinished() >= window || outbound.span() >= SPAN_MAX || !outbound.again.is_empty() {
                return;
            }
            let Some(next) = outbound.dequeue() else { break };
            if next.message.expires_at <= now.monotonic_ms {
                self.counters.drop(Drop::Expired);
                if let Some((group, handle)) = next.shared {
                    self.post_share_done(&group, handle);
                }
                continue;
            }
            let packet_id = outbound.allot();
            let stage = if next.qos == Qos::AtLeastOnce { Stage::Puback } else { Stage::Pubrec };
            let source = match (next.shared, keep) {
                (Some((group, handle)), _) => Source::Shared(next.message.clone(), group, handle),
                (None, true) => Source::Held(next.message.clone()),
                (None, false) => Source::Gone,
            };
            outbound.push(Entry { packet_id, stage, source, retain: next.retain });
            let out = Out { qos: next.qos, packet_id, dup: false, retain: next.retain, ids: &next.ids };
            if !self.write_publish(now, slot, &next.message.view(), out) {
                self.finish_entry(now, at, packet_id);
            }
        }
        self.catch_up(now, at);
        self.fetch_on(now, at);
    }

    /// Encodes one PUBLISH into a link's outbox. False: the client does not take packets of that size, or the message expired.
    pub(crate) fn write_publish(&mut self, now: Now, slot: u32, view: &MessageRef<'_>, out: Out<'_>) -> bool {
        let message_expiry = if view.expires_at == NEVER {
            None
        // [MQTT-3.3.2-5]
        } else if view.expires_at <= now.monotonic_ms && !out.dup {
            self.counters.drop(Drop::Expired);
            return false;
        } else {
            // What was sent once is not taken back by its expiry [MQTT-4.3.3-7].
            u32::try_from(view.expires_at.saturating_sub(now.monotonic_ms).div_ceil(1000)).ok()
        };
        let Some(link) = self.links.outbox(slot) else { return false };
        let mut publish = PublishOut {
            version: link.version,
            dup: out.dup,
            qos: out.qos,
            retain: out.retain,
            topic: view.topic,
            topic_alias: None,
            packet_id: out.packet_id,
            message_expiry,
            subscription_ids: out.ids,
            properties: view.properties,
            payload: view.payload,
        };
        if link.alias_out_max > 0 {
            let max = link.alias_out_max;
            let aliases = &link.extras().aliases_out;
            match aliases.get(view.topic) {
                Some(alias) => (publish.topic, publish.topic_alias) = ("", Some(*alias)),
                None if aliases.len() < usize::from(max) => {
                    publish.topic_alias = Some(u16::try_from(aliases.len() + 1).unwrap_or(max));
                }
                None => {}
            }
        }
        link.messages_out = link.messages_out.wrapping_add(1);
        let packet_max = link.packet_max;
        match encode::publish(&publish, packet_max, &mut link.out) {
            Ok(written) => {
                // Set only by a packet that leaves: the client knows no alias of one that was too large.
                if let Some(alias) = publish.topic_alias.filter(|_| !publish.topic.is_empty()) {
                    link.extras().aliases_out.insert(view.topic.into(), alias);
                }
                self.sent_one(out.qos, written.total);
                true
            }
            Err(_) => {
                self.counters.drop(Drop::TooLarge);
                false
            }
        }
    }

    /// Copies a frame that was encoded for another receiver of the same message.
    fn write_cached(&mut self, slot: u32, view: &MessageRef<'_>, out: Out<'_>) {
        let Some(link) = self.links.at(slot) else { return };
        let (version, packet_max) = (link.version, link.packet_max as usize);
        let known =
            self.cache.kinds.iter().find(|k| k.0 == version && k.1 == out.qos && k.2 == out.retain).copied();
        let (start, end) = match known {
            Some((_, _, _, start, end)) => (start, end),
            None => {
                let publish = PublishOut {
                    version,
                    dup: false,
                    qos: out.qos,
                    retain: out.retain,
                    topic: view.topic,
                    topic_alias: None,
                    packet_id: 0,
                    message_expiry: None,
                    subscription_ids: &[],
                    properties: view.properties,
                    payload: view.payload,
                };
                let start = self.cache.bytes.len();
                if encode::publish(&publish, u32::MAX, &mut self.cache.bytes).is_err() {
                    return self.counters.drop(Drop::TooLarge);
                }
                let end = self.cache.bytes.len();
                self.cache.kinds.push((version, out.qos, out.retain, start, end));
                (start, end)
            }
        };
        if end - start > packet_max {
            return self.counters.drop(Drop::TooLarge);
        }
        if let (Some(link), Some(bytes)) = (self.links.outbox(slot), self.cache.bytes.get(start..end)) {
            link.out.extend_from_slice(bytes);
            link.messages_out = link.messages_out.wrapping_add(1);
        }
        self.sent_one(out.qos, end - start);
    }

    #[inline]
    fn sent_one(&mut self, qos: Qos, bytes: usize) {
        if let (Some(n), Some(b)) = (
            self.counters.publishes_out.get_mut(qos as usize),
            self.counters.publish_bytes_out.get_mut(qos as usize),
        ) {
            *n += 1;
            *b += bytes as u64;
        }
    }

    /// A send is complete: there is room again.
    pub(crate) fn sent(&mut self, now: Now, id: crate::identity::LinkId, _bytes: usize) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.sending = 0;
        let at = link.session;
        if !link.out.is_empty() {
            self.links.list(id.slot);
        }
        if at != NONE && self.links.get(id).is_some_and(|l| matches!(l.state, LinkState::Live)) {
            let busy = self.sessions.get(at).is_some_and(|s| {
                s.outbound.as_ref().is_some_and(|o| !o.queue.is_empty())
                    || s.readers.as_ref().is_some_and(|r| r.behind())
                    || !s.fetches.is_empty()
            });
            if busy {
                self.pump(now, at);
            }
        }
    }
}
