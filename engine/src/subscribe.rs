//! SUBSCRIBE and UNSUBSCRIBE: the session's list, the shard's table, and the homes that must know.
//!
//! SUBACK leaves when every shard that must know has answered and, for a durable session, the row is committed. Then the retained
//! messages are fetched, as each subscription's Retain Handling says.

use crate::access::Action;
use crate::commit::Release;
use crate::engine::Engine;
use crate::home::Reclaim;
use crate::identity::{LinkId, SessionUid, ShardId};
use crate::link::NONE;
use crate::mail::{Interest, Mail, ShareMember};
use crate::probe::Refusal;
use crate::session::{FilterRef, Options, Sub, Subscription};
use crate::slots::{FilterHome, home_of_filter};
use crate::store::{LogId, LogKind, Offset, Request, Table, Write};
use crate::time::Now;
use bitsim_protocol::encode::{self, Peer};
use bitsim_protocol::{
    Filter, Qos, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions, Unsubscribe,
    validate_filter,
};
use std::sync::Arc;

/// A filter of a SUBSCRIBE under way.
#[derive(Debug)]
struct Item {
    filter: Box<str>,
    code: u8,
    /// Retained messages are wanted.
    fetch: bool,
    homes: Vec<(ShardId, u64)>,
}

/// A SUBSCRIBE under way.
#[derive(Debug)]
struct PendingSubscribe {
    link: LinkId,
    session: u32,
    uid: SessionUid,
    packet_id: u16,
    items: Vec<Item>,
    /// Answers of homes that are awaited.
    awaited: u32,
}

/// All SUBSCRIBEs under way.
#[derive(Debug, Default)]
pub(crate) struct PendingSubscribes {
    slots: Vec<Option<PendingSubscribe>>,
}

impl PendingSubscribes {
    fn insert(&mut self, pending: PendingSubscribe) -> u32 {
        let at = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(pending);
        }
        u32::try_from(at).unwrap_or(NONE)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut PendingSubscribe> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    fn take(&mut self, at: u32) -> Option<PendingSubscribe> {
        self.slots.get_mut(at as usize)?.take()
    }
}

impl Engine {
    /// A SUBSCRIBE of a live link.
    pub(crate) fn subscribe(&mut self, now: Now, id: LinkId, subscribe: &Subscribe<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let Some(uid) = self.sessions.get(at).map(|s| s.uid) else { return };
        // A filter that breaks the rules closes the link before anything was subscribed.
        for (text, _) in subscribe.filters() {
            if let Err(violation) = validate_filter(text, &self.limits.topic) {
                return self.violated(now, id, violation);
            }
        }
        let pending = PendingSubscribe {
            link: id,
            session: at,
            uid,
            packet_id: subscribe.packet_id,
            items: Vec::new(),
            awaited: 1,
        };
        let request = self.subscribes.insert(pending);
        let ident = subscribe.subscription_id.unwrap_or(0);
        for (text, options) in subscribe.filters() {
            // [MQTT-3.8.4-5]
            let Ok(filter) = validate_filter(text, &self.limits.topic) else { continue };
            self.subscribe_one(at, request, text, &filter, options, ident);
        }
        self.subscribe_progress(now, request);
        if !self.moved_cursors.is_empty() {
            self.cursors_soon(now);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn subscribe_one(
        &mut self,
        at: u32,
        request: u32,
        text: &str,
        filter: &Filter<'_>,
        options: SubscribeOptions,
        id: u32,
    ) {
        // [MQTT-3.2.2-10] [MQTT-3.8.4-7]
        let granted = options.qos.min(Qos::try_from(self.limits.qos_max).unwrap_or(Qos::ExactlyOnce));
        let mut item =
            Item { filter: filter.filter.into(), code: granted as u8, fetch: false, homes: Vec::new() };
        let refused = self.subscribe_policy(at, text, filter);
        let Some(pending) = self.subscribes.get_mut(request) else { return };
        let index = u16::try_from(pending.items.len()).ok();
        // Homes answer by number, and one packet must not make more work than the numbers there are.
        let refused = refused.or(index.is_none().then_some(Refusal::Quota));
        let index = index.unwrap_or(u16::MAX);
        if let Some(refusal) = refused {
            let reason = match refusal {
                Refusal::Access => self.limits.refused_filter,
                _ => ReasonCode::QuotaExceeded,
            };
            item.code = reason as u8;
            pending.items.push(item);
            return self.counters.refuse(refusal);
        }
        let sub = Sub { options: Options::pack(options, granted), id };
        if let Some(share) = filter.share {
            pending.items.push(item);
            return self.subscribe_shared(at, request, index, &format!("{share}/{}", filter.filter), sub);
        }
        let known = self.filters.find(filter.filter).and_then(|f| self.filters.get_by_id(f, at)).is_some();
        // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
        item.fetch = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !known,
            RetainHandling::DoNotSend => false,
        };
        if let Some(pending) = self.subscribes.get_mut(request) {
            pending.items.push(item);
        }
        let first = self.filters.find(filter.filter).is_none();
        let (filter_id, _) = self.filters.insert(filter.filter, at, sub);
        self.filters_version += 1;
        let Some(session) = self.sessions.get_mut(at) else { return };
        let own = FilterRef::Own(filter_id);
        // [MQTT-3.8.4-3]: the same filter again replaces the subscription.
        match session.subscriptions.iter_mut().find(|s| s.filter == own) {
            Some(old) => {
                old.sub = sub;
                // At QoS 0 nothing waits in a log any more.
                let log = if granted == Qos::AtMostOnce { old.log.take() } else { None };
                if let Some(log) = log {
                    self.end_reader(at, log.0);
                }
            }
            None => {
                session.subscriptions.reserve_exact(1);
                session.subscriptions.push(Subscription { filter: own, sub, log: None });
            }
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        let interest = Interest {
            subscriber: session.uid,
            durable: session.stored,
            qos: granted,
            no_local: options.no_local,
        };
        session.references |= filter.has_wildcard && session.stored;
        self.tell_homes(filter.filter, request, index, interest, first);
    }

    fn subscribe_policy(&mut self, at: u32, text: &str, filter: &Filter<'_>) -> Option<Refusal> {
        if !self.may(at, Action::Subscribe, filter.filter) {
            return Some(Refusal::Access);
        }
        let session = self.sessions.get(at)?;
        let known = match filter.share {
            None => self.filters.find(filter.filter).is_some_and(|f| self.filters.get_by_id(f, at).is_some()),
            Some(_) => session.subscriptions.iter().any(
                |s| matches!(&s.filter, FilterRef::Shared(n) if text.strip_prefix("$share/") == Some(&**n)),
            ),
        };
        if !known && session.subscriptions.len() >= self.limits.subscriptions_max as usize {
            return Some(Refusal::Quota);
        }
        let short = filter.has_wildcard
            && home_of_filter(filter.filter, self.home_levels, self.slot_key) == FilterHome::Everywhere;
        if short && !known && self.filters.wildcard_filters() >= self.limits.short_wildcards_max as usize {
            return Some(Refusal::Quota);
        }
        None
    }

    /// Registers the interest where the filter's topics have their home.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn tell_homes(&mut self, filter: &str, request: u32, index: u16, interest: Interest, first: bool) {
        let homes = self.homes_of(filter);
        for shard in homes {
            let mut link = None;
            if let Some(pending) = self.subscribes.get_mut(request) {
                pending.awaited += 1;
                link = Some(pending.link);
            }
            let item =
                Mail::Subscribe { request, index, filter: filter.into(), interest, first, resume: None };
            self.post_first(shard, link, item);
        }
    }

    /// The shards that are home to topics of a filter.
    fn homes_of(&self, filter: &str) -> Vec<ShardId> {
        match home_of_filter(filter, self.home_levels, self.slot_key) {
            FilterHome::Slot(slot) => vec![self.shard_of(slot)],
            FilterHome::Everywhere => (0..self.slots.shards()).map(ShardId).collect(),
        }
    }

    /// At the home: remembers the interest, and answers where a durable reader starts.
    #[expect(clippy::too_many_arguments, reason = "the fields of one mail item")]
    pub(crate) fn home_subscribe(
        &mut self,
        from: ShardId,
        request: u32,
        index: u16,
        filter: &str,
        interest: Interest,
        first: bool,
        resume: Option<(LogId, Offset)>,
    ) {
        if from != self.shard && first {
            self.home.remote.add(filter, from.0);
            self.home.remote_filters += 1;
        }
        let mut start = None;
        let wild = is_wild(filter);
        match (interest.durable, interest.qos, wild) {
            (false, _, _) => {}
            // It may have been one of a higher QoS.
            (true, Qos::AtMostOnce, _) => self.end_durable(filter, wild, interest.subscriber, false),
            (true, _, true) => self.home.add_wild(filter, from, interest),
            (true, _, false) => {
                let slot = self.slot_of(filter);
                start = Some(self.home.add_exact(filter, slot, interest, resume, &mut self.batch));
            }
        }
        let arrival = self.home.arrival;
        self.post_second(from, Mail::SubscribeAnswer { request, index, start, arrival, refused: false });
    }

    /// A home has answered.
    #[expect(clippy::too_many_arguments, reason = "the fields of one mail item")]
    pub(crate) fn subscribe_answered(
        &mut self,
        now: Now,
        from: ShardId,
        request: u32,
        index: u16,
        start: Option<(LogId, Offset)>,
        arrival: u64,
        refused: bool,
    ) {
        let Some(pending) = self.subscribes.get_mut(request) else { return };
        let (at, uid) = (pending.session, pending.uid);
        let mut text = None;
        if let Some(item) = pending.items.get_mut(usize::from(index)) {
            item.homes.push((from, arrival));
            if refused {
                item.code = ReasonCode::QuotaExceeded as u8;
            }
            text = Some((item.filter.clone(), item.code));
        }
        if let (Some(start), Some((filter, code))) = (start, text) {
            let qos = Qos::try_from(code).unwrap_or(Qos::AtLeastOnce);
            self.reader_starts(from, (at, uid), filter, qos, start);
        }
        self.subscribe_progress(now, request);
    }

    /// A durable reader begins, unless its subscription ended while the home's answer was on its way.
    #[expect(clippy::too_many_arguments, reason = "the fields of one mail item, and whose it is")]
    fn reader_starts(
        &mut self,
        from: ShardId,
        (at, uid): (u32, SessionUid),
        filter: Box<str>,
        qos: Qos,
        (log, offset): (LogId, Offset),
    ) {
        let id = self.filters.find(&filter).map(FilterRef::Own);
        if let Some(session) = self.sessions.get_mut(at).filter(|s| s.uid == uid) {
            if let Some(subscription) =
                session.subscriptions.iter_mut().find(|s| Some(&s.filter) == id.as_ref())
            {
                subscription.log = Some(Box::new((log, offset)));
                let reader = session.readers().get_or_insert(log, offset, qos);
                reader.reopen(offset);
                reader.qos = qos;
                return;
            }
            // One from before still has deliveries to end, and tells the home when it has.
            if session.readers.as_mut().is_some_and(|readers| readers.get_mut(log).is_some()) {
                return;
            }
        }
        // Nothing was handed out, so nobody else would tell the home to forget the reader and its log.
        let interest = Interest { subscriber: uid, durable: true, qos, no_local: false };
        self.post_first(from, None, Mail::Unsubscribe { filter, interest, last: false, discard: true });
    }

    /// One answer less is awaited; with the last one the row is written and SUBACK prepared.
    fn subscribe_progress(&mut self, now: Now, request: u32) {
        let Some(pending) = self.subscribes.get_mut(request) else { return };
        pending.awaited = pending.awaited.saturating_sub(1);
        if pending.awaited > 0 {
            return;
        }
        let (at, uid) = (pending.session, pending.uid);
        if self.sessions.get(at).is_some_and(|s| s.uid == uid && s.stored) {
            self.save_session(at);
        }
        if self.batch.is_empty() {
            self.subscribed(now, request);
        } else {
            self.release(Release::Subscribed { request });
        }
    }

    /// SUBACK [MQTT-3.8.4-1], [MQTT-3.8.4-2], then the retained messages.
    pub(crate) fn subscribed(&mut self, now: Now, request: u32) {
        let Some(pending) = self.subscribes.take(request) else { return };
        // [MQTT-3.8.4-6], [MQTT-3.9.3-1]: one code per filter, in order.
        let codes: Vec<u8> = pending.items.iter().map(|i| i.code).collect();
        if self.links.get(pending.link).is_none_or(|l| l.session != pending.session) {
            return;
        }
        if let Some(link) = self.links.outbox(pending.link.slot) {
            let peer = Peer { version: link.version, packet_max: link.packet_max };
            let _ = encode::suback(peer, &SubAck::new(pending.packet_id, &codes), &mut link.out);
        }
        for item in pending.items {
            if item.code < 0x80 && item.fetch {
                self.fetch_retained(now, pending.session, &item.filter, item.homes);
            }
        }
    }

    /// The store did not take the subscription: the client is told to try elsewhere or later.
    pub(crate) fn subscribe_failed(&mut self, now: Now, request: u32) {
        if let Some(pending) = self.subscribes.take(request) {
            self.counters.refuse(Refusal::Store);
            self.close_link(now, pending.link, Some(ReasonCode::UnspecifiedError));
        }
    }

    /// UNSUBSCRIBE [MQTT-3.10.4-4].
    pub(crate) fn unsubscribe(&mut self, now: Now, id: LinkId, unsubscribe: &Unsubscribe<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        let mut codes = Vec::with_capacity(unsubscribe.filter_count);
        for text in unsubscribe.filters() {
            if let Err(violation) = validate_filter(text, &self.limits.topic) {
                return self.violated(now, id, violation);
            }
            // [MQTT-3.10.4-6]
            let found = match text.strip_prefix("$share/") {
                Some(name) => Some(FilterRef::Shared(name.into())),
                None => self.filters.find(text).map(FilterRef::Own),
            };
            let taken = found.and_then(|filter| {
                let session = self.sessions.get_mut(at)?;
                let i = session.subscriptions.iter().position(|s| s.filter == filter)?;
                // [MQTT-3.10.4-2]
                Some(session.subscriptions.remove(i))
            });
            codes
                .push(if taken.is_some() { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }
                    as u8);
            if let Some(subscription) = taken {
                self.drop_subscription(at, &subscription, false);
            }
        }
        if self.sessions.get(at).is_some_and(|s| s.stored) {
            self.save_session(at);
        }
        if self.batch.is_empty() {
            self.send_unsuback(id, unsubscribe.packet_id, &codes);
        } else {
            self.release(Release::Unsubscribed { link: id, packet_id: unsubscribe.packet_id, codes });
        }
        self.cursors_soon(now);
    }

    /// UNSUBACK [MQTT-3.11.3-1], also if nothing was deleted [MQTT-3.10.4-5].
    pub(crate) fn send_unsuback(&mut self, id: LinkId, packet_id: u16, codes: &[u8]) {
        if self.links.get(id).is_none() {
            return;
        }
        if let Some(link) = self.links.outbox(id.slot) {
            let peer = Peer { version: link.version, packet_max: link.packet_max };
            let _ = encode::unsuback(peer, &SubAck::new(packet_id, codes), &mut link.out);
        }
    }

    /// Takes one subscription out of the tables, here and at its homes. It is out of the session's list already.
    pub(crate) fn drop_subscription(&mut self, at: u32, subscription: &Subscription, discard: bool) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (uid, durable) = (session.uid, session.stored);
        let filter = match &subscription.filter {
            FilterRef::Shared(name) => {
                let shard = self.group_shard(name);
                let item = Mail::ShareLeave { group: (**name).into(), session: uid, ended: discard };
                return self.post_first(shard, None, item);
            }
            FilterRef::Own(id) => *id,
        };
        if let Some(log) = &subscription.log
            && !discard
        {
            self.end_reader(at, log.0);
        }
        let text: Box<str> = self.filters.filter(filter).into();
        self.filters.remove_by_id(filter, at);
        self.filters_version += 1;
        let last = self.filters.find(&text).is_none();
        let interest =
            Interest { subscriber: uid, durable, qos: subscription.sub.options.qos(), no_local: false };
        let logged = durable && interest.qos != Qos::AtMostOnce;
        for shard in self.homes_of(&text) {
            if logged || shard != self.shard && last {
                let item = Mail::Unsubscribe { filter: text.clone(), interest, last, discard };
                self.post_first(shard, None, item);
            }
        }
    }

    /// A subscription takes nothing more out of a log; what was forwarded so far is still delivered [MQTT-3.10.4-3].
    fn end_reader(&mut self, at: u32, log: LogId) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let uid = session.uid;
        let readers = session.readers();
        let Some(reader) = readers.get_mut(log) else { return };
        reader.end = Some(reader.forwarded.max(reader.position.saturating_sub(1)));
        reader.dirty = true;
        if !readers.listed {
            readers.listed = true;
            self.moved_cursors.push(uid);
        }
    }

    /// At the home: the interest is gone.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn home_unsubscribe(
        &mut self,
        from: ShardId,
        filter: &str,
        interest: Interest,
        last: bool,
        discard: bool,
    ) {
        if from != self.shard && last {
            self.home.remote.remove(filter, from.0);
            self.home.remote_filters = self.home.remote_filters.saturating_sub(1);
        }
        if !interest.durable || interest.qos == Qos::AtMostOnce {
            return;
        }
        self.end_durable(filter, is_wild(filter), interest.subscriber, discard);
    }

    /// At the home: nothing more of a filter is logged for a subscriber.
    fn end_durable(&mut self, filter: &str, wild: bool, subscriber: SessionUid, discard: bool) {
        if wild {
            self.home.remove_wild(filter, subscriber);
        } else {
            let reclaim = self.home.end_exact(filter, subscriber, discard);
            self.reclaim(reclaim);
        }
    }

    /// At the home: a cursor was committed.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn home_cursor(
        &mut self,
        subscriber: SessionUid,
        log: LogId,
        to: Offset,
        released: &[(LogId, Offset)],
        ended: bool,
    ) {
        if log.kind == LogKind::Topic {
            let reclaim = self.home.moved(log, subscriber, to, ended);
            return self.reclaim(reclaim);
        }
        let mut out = Vec::new();
        self.home.moved_references(log, subscriber, to, released, &mut out);
        for reclaim in out {
            self.reclaim(reclaim);
        }
    }

    /// At the home: a subscriber with references ended.
    pub(crate) fn home_discard(&mut self, subscriber: SessionUid, logs: &[LogId]) {
        for log in logs {
            let reclaim = self.home.discard_exact(*log, subscriber);
            self.reclaim(reclaim);
        }
        // References that are about to be written are to be found by the reads.
        self.flush();
        for (log, from) in self.home.discard(subscriber) {
            self.discard_on(log, from);
        }
    }

    fn discard_on(&mut self, log: LogId, from: Offset) {
        let request = Request::Read { log, from, records_max: 1000, bytes_max: 1 << 20 };
        self.ask(request, crate::commit::Then::Discard { log, from });
    }

    /// A page of a reference log nobody reads any more: what it holds is let go, and at its end the log is dropped.
    pub(crate) fn discarded_page(&mut self, log: LogId, _from: Offset, records: &[(Offset, bytes::Bytes)]) {
        for (_, bytes) in records {
            if let Some(record) = crate::record::ReferenceRecord::decode(bytes)
                && let Some(target) = LogId::decode(&record.log)
            {
                let reclaim = self.home.release(target, record.offset);
                self.reclaim(reclaim);
            }
        }
        match records.last() {
            Some((last, _)) => self.discard_on(log, last + 1),
            None => self.write(Write::Drop { log }),
        }
    }

    fn reclaim(&mut self, reclaim: Reclaim) {
        match reclaim {
            Reclaim::Nothing => {}
            Reclaim::Trim(log, to) => self.write(Write::Trim { log, to }),
            Reclaim::Drop(log, name) => {
                self.write(Write::Drop { log });
                self.write(Write::Delete {
                    table: Table::Topics,
                    key: crate::home::slot_key(log.slot, &name),
                });
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn subscribe_shared(&mut self, at: u32, request: u32, index: u16, name: &str, sub: Sub) {
        let name: Arc<str> = name.into();
        self.sessions.register(at);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let shared = FilterRef::Shared(name.clone());
        match session.subscriptions.iter_mut().find(|s| s.filter == shared) {
            Some(old) => old.sub = sub,
            None => session.subscriptions.push(Subscription { filter: shared, sub, log: None }),
        }
        let room = self.links.at(session.link).map_or(0, |l| l.receive_max);
        let member = ShareMember {
            session: session.uid,
            shard: self.shard,
            qos: sub.options.qos(),
            durable: session.stored,
            room,
        };
        let mut link = None;
        if let Some(pending) = self.subscribes.get_mut(request) {
            pending.awaited += 1;
            link = Some(pending.link);
        }
        let shard = self.group_shard(&name);
        self.post_first(shard, link, Mail::ShareJoin { group: (*name).into(), member, request, index });
    }
}

fn is_wild(filter: &str) -> bool {
    filter.split('/').any(|level| level == "+" || level == "#")
}
