//! Durable subscribers and their logs: live forwards in step, pages when behind, cursors committed in batches.

use crate::access::Action;
use crate::commit::{Release, Then};
use crate::deliver::Out;
use crate::engine::Engine;
use crate::home::NUMBER_BITS;
use crate::identity::{SessionUid, ShardId};
use crate::mail::{Mail, Place};
use crate::message::{Incoming, MessageRef, NEVER};
use crate::outbound::{Again, Entry, SPAN_MAX, Source, Stage};
use crate::probe::Drop;
use crate::publish::record;
use crate::readers::Fetched;
use crate::record::{InflightRecord, MessageRecord, ReferenceRecord};
use crate::session::{FilterRef, Session};
use crate::store::{Answer, LogId, LogKind, Offset, Request, Table, Write};
use crate::time::Now;
use bitsim_protocol::{Qos, filter_matches};
use bytes::Bytes;

/// Records and bytes of one page.
const PAGE_RECORDS: u32 = 128;
const PAGE_BYTES: u32 = 256 << 10;

/// What a session gets of a record.
struct Grant {
    qos: Qos,
    retain: bool,
    ids: Vec<u32>,
}

impl Engine {
    /// A logged message whose exact topic a durable session reads.
    pub(crate) fn exact_arrived(&mut self, now: Now, at: u32, message: &mut Incoming<'_>, place: &Place) {
        let uid = self.sessions.get(at).map(|session| session.uid);
        // As in its record: whoever gets it by a reference, at a higher QoS, passes over it here.
        let skip = place.references.iter().map(|reference| reference.0).filter(|by| Some(*by) == uid);
        let skip = skip.map(|by| by.0).collect();
        self.arrived(now, at, place.log, place.offset, None, skip, message);
    }

    /// A logged message to which references were written.
    pub(crate) fn deliver_references(&mut self, now: Now, message: &mut Incoming<'_>, place: &Place) {
        for (subscriber, offset) in &place.references {
            let Some(at) = self.sessions.by_uid(*subscriber) else { continue };
            let log = LogId { slot: place.log.slot, kind: LogKind::References, number: subscriber.0 };
            if let Some(session) = self.sessions.get_mut(at) {
                // From the first of this process: an earlier reference may be committed, and so forwarded, later.
                let start = (offset >> NUMBER_BITS << NUMBER_BITS) + 1;
                session.readers().get_or_insert(log, start, Qos::ExactlyOnce);
            }
            self.arrived(now, at, log, *offset, Some((place.log, place.offset)), Vec::new(), message);
        }
    }

    /// A forward is taken only at the read position; a smaller one was handed out, a larger one means "read the log".
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn arrived(
        &mut self,
        now: Now,
        at: u32,
        log: LogId,
        offset: Offset,
        target: Option<(LogId, Offset)>,
        skip: Vec<u64>,
        message: &mut Incoming<'_>,
    ) {
        let room = self.room(at);
        let Some(reader) =
            self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()).and_then(|r| r.get_mut(log))
        else {
            return;
        };
        let in_step = reader.position == offset && reader.reading.is_none() && reader.fetched.is_empty();
        reader.forwarded = reader.forwarded.max(offset);
        if reader.end.is_some_and(|end| offset > end) || offset < reader.position {
            return;
        }
        if in_step && room {
            let record = record(now, &message.share(), skip, 0);
            self.hand(now, at, log, offset, target, &record);
        } else if room {
            self.catch_up(now, at);
        }
    }

    /// The session's window and outbox take one more.
    fn room(&self, at: u32) -> bool {
        let Some(session) = self.sessions.get(at) else { return false };
        let Some(link) = self.links.at(session.link) else { return false };
        let (unfinished, span, queue) =
            session.outbound.as_ref().map_or((0, 0, 0), |o| (o.unfinished(), o.span(), o.queue.len()));
        link.is_live()
            && queue == 0
            && session.outbound.as_ref().is_none_or(|o| o.again.is_empty())
            && unfinished < link.receive_max
            && span < SPAN_MAX
            && link.queued() < self.limits.outbox_bytes_max as usize
    }

    /// Hands one record to a session, or passes over it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn hand(
        &mut self,
        now: Now,
        at: u32,
        log: LogId,
        offset: Offset,
        target: Option<(LogId, Offset)>,
        record: &MessageRecord,
    ) {
        let grant = self.grant(at, log, target.is_some(), record);
        let expires_at = expires_at(now, record.expires_at_ms);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (slot, subscriber) = (session.link, session.uid);
        let Some(reader) = session.readers.as_mut().and_then(|r| r.get_mut(log)) else { return };
        let fresh = !reader.skip.contains(&offset) && expires_at > now.monotonic_ms;
        let Some(grant) = grant.filter(|_| fresh) else {
            reader.hand(offset, target, true);
            return self.cursor_changed(now, at);
        };
        reader.hand(offset, target, grant.qos == Qos::AtMostOnce);
        if grant.qos == Qos::AtMostOnce {
            let out =
                Out { qos: Qos::AtMostOnce, packet_id: 0, dup: false, retain: grant.retain, ids: &grant.ids };
            self.write_publish(now, slot, &view(record, expires_at), out);
            return self.cursor_changed(now, at);
        }
        let outbound = session.outbound();
        let packet_id = outbound.allot();
        let stage = if grant.qos == Qos::AtLeastOnce { Stage::Puback } else { Stage::Committing };
        outbound.push(Entry { packet_id, stage, source: Source::Log(log, offset), retain: grant.retain });
        if grant.qos == Qos::ExactlyOnce {
            outbound.commits(packet_id);
            // Identifier and state are committed before the packet that depends on them.
            self.write_cursor(at, log);
            return self.release(Release::Publish2 {
                subscriber,
                packet_id,
                record: Box::new(record.clone()),
            });
        }
        let out = Out { qos: grant.qos, packet_id, dup: false, retain: grant.retain, ids: &grant.ids };
        if !self.write_publish(now, slot, &view(record, expires_at), out) {
            self.finish_entry(now, at, packet_id);
        }
    }

    /// What the session's subscriptions give it of a record; `None`: nothing.
    fn grant(&mut self, at: u32, log: LogId, reference: bool, record: &MessageRecord) -> Option<Grant> {
        let session = self.sessions.get(at)?;
        if !reference && record.skip.contains(&session.uid.0) {
            return None;
        }
        let own = record.publisher == session.uid.0;
        let mut grant = Grant { qos: Qos::AtMostOnce, retain: false, ids: Vec::new() };
        let (mut matched, mut excluded) = (false, false);
        for subscription in &session.subscriptions {
            let FilterRef::Own(id) = &subscription.filter else { continue };
            if !filter_matches(self.filters.filter(*id), &record.topic) {
                continue;
            }
            let options = subscription.sub.options;
            if own && options.no_local() {
                excluded = true;
                continue;
            }
            matched = true;
            grant.qos = grant.qos.max(options.qos());
            grant.retain |= options.retain_as_published() && record.retain;
            if subscription.sub.id != 0 {
                grant.ids.push(subscription.sub.id);
            }
        }
        if !matched {
            if excluded {
                return None;
            }
            // Unsubscribed since: what lies before is still delivered.
            grant.qos = session.readers.as_ref()?.iter().find(|r| r.log == log)?.qos;
        }
        grant.qos = grant.qos.min(Qos::try_from(record.qos).ok()?);
        if !self.may(at, Action::Read, &record.topic) {
            self.counters.drop(Drop::NotAllowed);
            return None;
        }
        Some(grant)
    }

    /// QoS 2 state is committed, or was refused: what is in order now leaves, if the session is still there to get it.
    pub(crate) fn publish2_committed(
        &mut self,
        now: Now,
        subscriber: SessionUid,
        packet_id: u16,
        record: Option<Box<MessageRecord>>,
    ) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        if let Some(outbound) = self.sessions.get_mut(at).and_then(|s| s.outbound.as_mut()) {
            outbound.committed(packet_id, record);
        }
        while let Some(outbound) = self.sessions.get_mut(at).and_then(|s| s.outbound.as_mut())
            && let Some((packet_id, record)) = outbound.take_committed()
        {
            self.publish2(now, at, packet_id, &record);
        }
    }

    fn publish2(&mut self, now: Now, at: u32, packet_id: u16, record: &MessageRecord) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let slot = session.link;
        let Some(entry) =
            session.outbound.as_mut().and_then(|o| o.find(packet_id).and_then(|i| o.get_mut(i)))
        else {
            return;
        };
        if entry.stage != Stage::Committing {
            return;
        }
        entry.stage = Stage::Pubrec;
        let source = entry.source.clone();
        let (retain, log) =
            (entry.retain, if let Source::Log(log, _) = entry.source { Some(log) } else { None });
        // Before CONNACK nothing is sent; what was not sent by then is sent with what is sent again.
        if self.links.live(slot).is_none() {
            return;
        }
        if let (Some(outbound), Source::Log(log, offset)) = (session.outbound.as_mut(), source)
            && !outbound.again.is_empty()
        {
            return outbound.again.push_back(Again { place: Some((log, offset)), packet_id, dup: false });
        }
        let ids = log
            .and_then(|log| self.grant(at, log, log.kind == LogKind::References, record))
            .map(|g| g.ids)
            .unwrap_or_default();
        let out = Out { qos: Qos::ExactlyOnce, packet_id, dup: false, retain, ids: &ids };
        if !self.write_publish(now, slot, &view(record, expires_at(now, record.expires_at_ms)), out) {
            self.finish_entry(now, at, packet_id);
        }
    }

    /// Reads on where the session is behind and has room.
    pub(crate) fn catch_up(&mut self, now: Now, at: u32) {
        self.drain_fetched(now, at);
        if !self.room(at) {
            return;
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        let subscriber = session.uid;
        let Some(readers) = session.readers.as_mut() else { return };
        let mut asks = Vec::new();
        for reader in readers.iter_mut() {
            if reader.behind() && reader.reading.is_none() && reader.fetched.is_empty() {
                reader.reading = Some(reader.forwarded);
                asks.push((reader.log, reader.position));
            }
        }
        for (log, from) in asks {
            self.counters.log_reads += 1;
            self.ask(
                Request::Read { log, from, records_max: PAGE_RECORDS, bytes_max: PAGE_BYTES },
                Then::Page { subscriber, log },
            );
        }
    }

    /// A session is back: its homes say where its logs stand.
    pub(crate) fn wake_readers(&mut self, at: u32) {
        let Some(session) = self.sessions.get(at) else { return };
        let subscriber = session.uid;
        for (shard, logs) in self.homes_read(session) {
            self.post_first(shard, None, Mail::Wake { subscriber, logs });
        }
    }

    /// The homes that keep something for a session, with the topic logs that it reads there.
    pub(crate) fn homes_read(&self, session: &Session) -> Vec<(ShardId, Vec<LogId>)> {
        let logs: Vec<LogId> = session.readers.iter().flat_map(|r| r.iter()).map(|r| r.log).collect();
        let here = |shard| move |log: &LogId| log.kind == LogKind::Topic && self.shard_of(log.slot) == shard;
        (0..self.slots.shards())
            .map(ShardId)
            .map(|shard| (shard, logs.iter().copied().filter(here(shard)).collect::<Vec<_>>()))
            .filter(|(_, logs)| session.references || !logs.is_empty())
            .collect()
    }

    /// Where the logs of a woken session stand.
    pub(crate) fn heads_came(&mut self, now: Now, subscriber: SessionUid, heads: &[(LogId, Offset, Offset)]) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        for (log, cursor, head) in heads {
            let reader = session.readers().get_or_insert(*log, *cursor, Qos::ExactlyOnce);
            reader.forwarded = reader.forwarded.max(*head);
        }
        self.catch_up(now, at);
    }

    /// A read of the store.
    pub(crate) fn read_came(&mut self, now: Now, then: Then, answer: Answer) {
        let records = match answer {
            Answer::Records { records, .. } => records,
            _ => Vec::new(),
        };
        match then {
            Then::Page { subscriber, log } => self.page_read(now, subscriber, log, records),
            Then::Target { subscriber, log, offset, target } => {
                let found = records.into_iter().find(|r| r.0 == target.1).map(|r| r.1);
                self.target_read(now, subscriber, log, offset, found);
            }
            Then::Again { subscriber, packet_id, reference } => {
                self.again_read(now, subscriber, packet_id, reference, records.into_iter().next());
            }
            Then::Discard { log, from } => self.discarded_page(log, from, &records),
        }
    }

    fn page_read(&mut self, now: Now, subscriber: SessionUid, log: LogId, records: Vec<(Offset, Bytes)>) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        let Some(reader) =
            self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()).and_then(|r| r.get_mut(log))
        else {
            return;
        };
        let known = reader.reading.take().unwrap_or(reader.forwarded);
        if records.is_empty() {
            // Everything up to what was known when it was asked was trimmed or never written: pass over it.
            reader.position = reader.position.max(known + 1);
            reader.dirty = true;
            self.cursor_changed(now, at);
            return self.catch_up(now, at);
        }
        if log.kind == LogKind::References {
            let targets: Vec<(Offset, (LogId, Offset))> = records
                .iter()
                .filter_map(|(offset, bytes)| {
                    let record = ReferenceRecord::decode(bytes)?;
                    Some((*offset, (LogId::decode(&record.log)?, record.offset)))
                })
                .collect();
            for (offset, target) in &targets {
                reader.fetched.push_back(Fetched { offset: *offset, target: *target, record: None });
            }
            for (offset, target) in targets {
                let request =
                    Request::Read { log: target.0, from: target.1, records_max: 1, bytes_max: PAGE_BYTES };
                self.ask(request, Then::Target { subscriber, log, offset, target });
            }
            return;
        }
        for (offset, bytes) in records {
            if !self.room(at) || !self.wants_next(at, log, offset) {
                break;
            }
            self.hand_bytes(now, at, log, offset, None, Some(&bytes));
        }
        self.catch_up(now, at);
    }

    /// The reader has not passed this offset, and its end is not before it.
    fn wants_next(&mut self, at: u32, log: LogId, offset: Offset) -> bool {
        self.sessions
            .get_mut(at)
            .and_then(|s| s.readers.as_mut())
            .and_then(|r| r.get_mut(log))
            .is_some_and(|r| offset >= r.position && r.end.is_none_or(|end| offset <= end))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn hand_bytes(
        &mut self,
        now: Now,
        at: u32,
        log: LogId,
        offset: Offset,
        target: Option<(LogId, Offset)>,
        bytes: Option<&Bytes>,
    ) {
        match bytes.and_then(|b| MessageRecord::decode(b)) {
            Some(record) => self.hand(now, at, log, offset, target, &record),
            None => {
                if let Some(reader) =
                    self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()).and_then(|r| r.get_mut(log))
                {
                    reader.hand(offset, target, true);
                }
                self.cursor_changed(now, at);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn target_read(
        &mut self,
        now: Now,
        subscriber: SessionUid,
        log: LogId,
        offset: Offset,
        found: Option<Bytes>,
    ) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        if let Some(reader) =
            self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()).and_then(|r| r.get_mut(log))
            && let Some(fetched) = reader.fetched.iter_mut().find(|f| f.offset == offset)
        {
            fetched.record = Some(found);
        }
        self.catch_up(now, at);
    }

    /// Hands out what references led to, in order.
    fn drain_fetched(&mut self, now: Now, at: u32) {
        while self.room(at) {
            let Some(readers) = self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()) else { return };
            let next = readers.iter_mut().find_map(|reader| {
                reader.fetched.front()?.record.as_ref()?;
                reader.fetched.pop_front().map(|f| (reader.log, f))
            });
            let Some((log, fetched)) = next else { return };
            let bytes = fetched.record.flatten();
            self.hand_bytes(now, at, log, fetched.offset, Some(fetched.target), bytes.as_ref());
        }
    }

    /// Sends again what is to be sent again, in order, up to a message out of a log, which is read first.
    pub(crate) fn send_again(&mut self, now: Now, at: u32) {
        while let Some(session) = self.sessions.get_mut(at)
            && let Some(outbound) = session.outbound.as_mut()
            && let Some(next) = outbound.again.front().copied()
        {
            if let Some(place) = next.place {
                return self.read_again(at, next.packet_id, place);
            }
            outbound.again.pop_front();
            let slot = session.link;
            let entry = outbound.find(next.packet_id).and_then(|i| outbound.get_mut(i));
            // The client finished it meanwhile: nothing of it is sent.
            let Some(entry) = entry.filter(|e| matches!(e.stage, Stage::Puback | Stage::Pubrec)) else {
                continue;
            };
            let (Source::Held(message) | Source::Shared(message, _, _)) = &entry.source else { continue };
            let message = message.clone();
            let qos = if entry.stage == Stage::Puback { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            let out = Out { qos, packet_id: next.packet_id, dup: next.dup, retain: entry.retain, ids: &[] };
            // The client takes no packets of that size any more.
            if !self.write_publish(now, slot, &message.view(), out) {
                self.finish_entry(now, at, next.packet_id);
            }
        }
    }

    fn read_again(&mut self, at: u32, packet_id: u16, (log, offset): (LogId, Offset)) {
        let Some(session) = self.sessions.get(at) else { return };
        let subscriber = session.uid;
        let target = session
            .readers
            .as_ref()
            .and_then(|r| r.iter().find(|r| r.log == log))
            .and_then(|r| r.handed.iter().find(|h| h.offset == offset))
            .and_then(|h| h.target)
            .unwrap_or((log, offset));
        let request = Request::Read { log: target.0, from: target.1, records_max: 1, bytes_max: PAGE_BYTES };
        self.ask(request, Then::Again { subscriber, packet_id, reference: log.kind == LogKind::References });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    fn again_read(
        &mut self,
        now: Now,
        subscriber: SessionUid,
        packet_id: u16,
        reference: bool,
        found: Option<(Offset, Bytes)>,
    ) {
        let Some(at) = self.sessions.by_uid(subscriber) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let slot = session.link;
        // An answer to what an earlier link waited for is not the one that is due, and without a link, or before its CONNACK, nothing is.
        let live = self.links.live(slot).is_some();
        let Some(outbound) = session.outbound.as_mut().filter(|_| live) else { return };
        let Some(due) = outbound.again.front().copied().filter(|a| a.packet_id == packet_id) else { return };
        let Some((log, _)) = due.place else { return };
        outbound.again.pop_front();
        let entry = outbound.find(packet_id).and_then(|i| outbound.get_mut(i));
        if let Some((stage, retain)) = entry.map(|e| (e.stage, e.retain)) {
            let record = found.and_then(|(_, bytes)| MessageRecord::decode(&bytes));
            if let Some(record) = record.as_ref().filter(|_| stage == Stage::Committing) {
                outbound.commits(packet_id);
                self.write_cursor(at, log);
                let record = Box::new(record.clone());
                self.release(Release::Publish2 { subscriber, packet_id, record });
                return self.send_again(now, at);
            }
            let written = record.is_some_and(|record| {
                let ids = self.grant(at, log, reference, &record).map(|g| g.ids).unwrap_or_default();
                let qos = if stage == Stage::Puback { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                let out = Out { qos, packet_id, dup: due.dup, retain, ids: &ids };
                // The client finished it meanwhile: nothing of it is sent.
                !matches!(stage, Stage::Puback | Stage::Pubrec)
                    || self.write_publish(
                        now,
                        slot,
                        &view(&record, expires_at(now, record.expires_at_ms)),
                        out,
                    )
            });
            // What is gone, or exceeds the new Maximum Packet Size, counts as done.
            if !written {
                self.finish_entry(now, at, packet_id);
            }
        }
        self.send_again(now, at);
        self.pump(now, at);
    }

    /// A cursor of the session moved: it will be committed with others.
    pub(crate) fn cursor_changed(&mut self, now: Now, at: u32) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let uid = session.uid;
        let readers = session.readers();
        if !readers.listed {
            readers.listed = true;
            self.moved_cursors.push(uid);
        }
        self.cursors_soon(now);
    }

    /// Writes all changed cursors.
    pub(crate) fn commit_cursors(&mut self, _now: Now) {
        for uid in std::mem::take(&mut self.moved_cursors) {
            let Some(at) = self.sessions.by_uid(uid) else { continue };
            let Some(readers) = self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()) else { continue };
            readers.listed = false;
            let logs: Vec<LogId> = readers.iter().filter(|r| r.dirty).map(|r| r.log).collect();
            for log in logs {
                self.write_cursor(at, log);
            }
        }
    }

    /// Writes one cursor with its in-flight list; its home hears of it when that is committed.
    pub(crate) fn write_cursor(&mut self, at: u32, log: LogId) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let uid = session.uid;
        let inflight: Vec<InflightRecord> = session
            .outbound
            .iter()
            .flat_map(|o| o.entries())
            .filter_map(|e| match (&e.source, e.stage) {
                (Source::Log(l, offset), stage) if *l == log && stage != Stage::Done => {
                    let state = match stage {
                        Stage::Puback => 1,
                        Stage::Committing | Stage::Pubrec => 2,
                        _ => 3,
                    };
                    Some(InflightRecord { packet_id: e.packet_id, state, offset: *offset })
                }
                _ => None,
            })
            .collect();
        let Some(reader) = session.readers.as_mut().and_then(|r| r.get_mut(log)) else { return };
        reader.dirty = false;
        let mut row = reader.record();
        row.inflight = inflight;
        let (to, released) = (reader.cursor(), std::mem::take(&mut reader.released));
        reader.committed = to;
        let ended = reader.finished();
        let key = Engine::cursor_key(uid, log);
        if ended {
            self.write(Write::Delete { table: Table::Cursors, key });
            if let Some(readers) = self.sessions.get_mut(at).and_then(|s| s.readers.as_mut()) {
                readers.remove(log);
            }
        } else {
            self.write(Write::Put { table: Table::Cursors, key, value: row.encode(), expires_at_ms: None });
        }
        self.release(Release::Cursor { subscriber: uid, log, to, released, ended });
    }
}

fn expires_at(now: Now, expires_at_ms: u64) -> u64 {
    if expires_at_ms == u64::MAX {
        NEVER
    } else {
        now.monotonic_ms + expires_at_ms.saturating_sub(now.wall_ms)
    }
}

fn view(record: &MessageRecord, expires_at: u64) -> MessageRef<'_> {
    MessageRef {
        topic: &record.topic,
        properties: &record.properties,
        payload: &record.payload,
        qos: Qos::try_from(record.qos).unwrap_or(Qos::AtMostOnce),
        retain: record.retain,
        expires_at,
        publisher: SessionUid(record.publisher),
    }
}
