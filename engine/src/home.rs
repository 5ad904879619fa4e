//! What a shard keeps as the home of its slots: which shards want what, the logs of topics with durable readers, references for
//! durable wildcard subscribers, and retained messages.
//!
//! A topic is in log mode while it has a durable reader, unread references, or an append under way. A log that nobody needs any
//! more is dropped; the next one of that topic gets a new number, so an old cursor can never be mistaken for a new one. What
//! references hold is counted per 1,024 offsets, so a long backlog costs the home next to nothing.

use crate::filters::{FilterTable, InterestTable, Seeds};
use crate::identity::{SessionUid, ShardId};
use crate::mail::{Interest, Origin};
use crate::message::Message;
use crate::retained::RetainedTable;
use crate::store::{LogId, LogKind, Offset, Table, Write};
use bitsim_protocol::Qos;
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Offsets per counter of held references.
const SEGMENT_BITS: u32 = 10;

/// Passed records before a log is trimmed.
const TRIM_EVERY: u64 = 64;

/// Bits of an offset below the epoch.
pub(crate) const NUMBER_BITS: u32 = 40;

/// A retained message and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    pub(crate) arrival: u64,
}

/// An append that the store has not answered, or that waits for one before it.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub(crate) offset: Offset,
    pub(crate) message: Arc<Message>,
    pub(crate) origin: Origin,
    pub(crate) references: Vec<(ShardId, SessionUid, LogId, Offset)>,
    /// `Some(false)`: the store refused it.
    pub(crate) outcome: Option<bool>,
}

/// A durable reader of one topic.
#[derive(Clone, Copy, Debug)]
struct ExactReader {
    interest: Interest,
    committed: Offset,
    /// Unsubscribed: holds records, wants no new ones.
    ending: bool,
}

/// The log of one topic.
#[derive(Debug)]
pub(crate) struct TopicLog {
    pub(crate) id: LogId,
    name: Box<str>,
    next: Offset,
    pub(crate) committed: Offset,
    trimmed_to: Offset,
    pub(crate) pending: VecDeque<PendingAppend>,
    readers: HashMap<u64, ExactReader, foldhash::fast::FixedState>,
    holds: BTreeMap<u64, u32>,
    /// The row that names it is written.
    named: bool,
}

/// A subscription of a durable wildcard subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WildSub {
    qos: Qos,
    no_local: bool,
}

/// A durable subscriber with wildcard filters.
#[derive(Debug)]
struct WildReader {
    subscriber: SessionUid,
    shard: ShardId,
    filters: u32,
    /// By slot: next offset, committed head, cursor.
    references: BTreeMap<u16, (Offset, Offset, Offset)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Home {
    epoch_base: Offset,
    hasher: foldhash::fast::FixedState,
    pub(crate) remote: InterestTable,
    pub(crate) remote_filters: usize,
    logs: HashMap<u64, TopicLog, foldhash::fast::FixedState>,
    by_name: HashMap<Box<str>, u64, foldhash::fast::FixedState>,
    next_number: u64,
    number_step: u64,
    wild: FilterTable<WildSub>,
    wild_readers: Vec<Option<WildReader>>,
    wild_by_uid: HashMap<u64, u32, foldhash::fast::FixedState>,
    pub(crate) retained: RetainedTable<Retained>,
    pub(crate) arrival: u64,
}

/// What an append decided.
pub(crate) struct Appended {
    pub(crate) log: LogId,
    pub(crate) offset: Offset,
}

/// Where things stand in a log after its cursors moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reclaim {
    Nothing,
    Trim(LogId, Offset),
    Drop(LogId, Box<str>),
}

impl Home {
    /// The home part of shard `shard` of `shards`, in its `epoch`.
    pub(crate) fn new(seeds: Seeds, seed: u64, epoch: u32, shard: ShardId, shards: u16) -> Home {
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        let epoch_base = u64::from(epoch) << NUMBER_BITS;
        Home {
            epoch_base,
            hasher: hasher.clone(),
            remote: InterestTable::new(seeds),
            remote_filters: 0,
            logs: HashMap::with_hasher(hasher.clone()),
            by_name: HashMap::with_hasher(hasher.clone()),
            next_number: epoch_base + u64::from(shard.0) + 1,
            number_step: u64::from(shards.max(1)),
            wild: FilterTable::new(seeds),
            wild_readers: Vec::new(),
            wild_by_uid: HashMap::with_hasher(hasher),
            retained: RetainedTable::new(),
            arrival: epoch_base,
        }
    }

    /// Whether any topic of this home may need a log.
    pub(crate) fn has_durable(&self) -> bool {
        !self.logs.is_empty() || !self.wild.is_empty()
    }

    /// Messages of this topic must go through its log.
    pub(crate) fn wants_log(
        &mut self,
        topic: &str,
        publisher: SessionUid,
        matches: &mut Vec<Wanted>,
    ) -> bool {
        matches.clear();
        if !self.wild.is_empty() {
            let readers = &self.wild_readers;
            self.wild.for_each_match(topic, &mut |_, entries| {
                for entry in entries {
                    let Some(Some(reader)) = readers.get(entry.key as usize) else { continue };
                    if entry.value.qos == Qos::AtMostOnce
                        || entry.value.no_local && reader.subscriber == publisher
                    {
                        continue;
                    }
                    match matches.iter_mut().find(|m| m.reader == entry.key) {
                        Some(known) => known.qos = known.qos.max(entry.value.qos),
                        None => matches.push(Wanted { reader: entry.key, qos: entry.value.qos }),
                    }
                }
            });
        }
        let exact = self.by_name.get(topic).and_then(|number| self.logs.get(number));
        !matches.is_empty()
            || exact.is_some_and(|log| !log.pending.is_empty() || log.readers.values().any(|r| !r.ending))
    }

    /// Makes sure that the topic has a log.
    pub(crate) fn log_of(&mut self, topic: &str, slot: u16) -> &mut TopicLog {
        let number = match self.by_name.get(topic) {
            Some(number) => *number,
            None => {
                let number = self.next_number;
                self.next_number += self.number_step;
                self.by_name.insert(topic.into(), number);
                number
            }
        };
        let (base, hasher) = (self.epoch_base, self.hasher.clone());
        self.logs.entry(number).or_insert_with(|| TopicLog {
            id: LogId { slot, kind: LogKind::Topic, number },
            name: topic.into(),
            next: base + 1,
            committed: base,
            trimmed_to: 0,
            pending: VecDeque::new(),
            readers: HashMap::with_hasher(hasher),
            holds: BTreeMap::new(),
            named: false,
        })
    }

    /// Adds a message to its topic's log and references to it for `wanted`. `record` encodes it, given who passes over it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn append(
        &mut self,
        slot: u16,
        message: &Arc<Message>,
        origin: Origin,
        wanted: &[Wanted],
        batch: &mut Vec<Write>,
        record: impl FnOnce(Vec<u64>) -> Bytes,
    ) -> Appended {
        let base = self.epoch_base;
        let log = self.log_of(message.topic(), slot);
        let (id, offset) = (log.id, log.next);
        log.next += 1;
        if !log.named {
            log.named = true;
            batch.push(log.name_row());
        }
        let (mut skip, mut references) = (Vec::new(), Vec::new());
        for want in wanted {
            let Some(Some(reader)) = self.wild_readers.get_mut(want.reader as usize) else { continue };
            let Some(log) = self.logs.get_mut(&id.number) else { continue };
            if let Some(exact) = log.readers.get(&reader.subscriber.0).filter(|r| !r.ending) {
                // The exact cursor surely delivers it at the same or a higher QoS; else the reference does, and the cursor passes.
                if exact.interest.qos >= want.qos.min(message.qos) {
                    continue;
                }
                skip.push(reader.subscriber.0);
            }
            *log.holds.entry(offset >> SEGMENT_BITS).or_insert(0) += 1;
            let place = reader.references.entry(slot).or_insert((base + 1, base, 0));
            let ref_log = LogId { slot, kind: LogKind::References, number: reader.subscriber.0 };
            references.push((reader.shard, reader.subscriber, ref_log, place.0));
            place.0 += 1;
        }
        batch.push(Write::Append { log: id, offset, record: record(skip) });
        for (_, _, ref_log, ref_offset) in &references {
            let record = crate::record::ReferenceRecord { log: id.encode(), offset }.encode();
            batch.push(Write::Append { log: *ref_log, offset: *ref_offset, record });
        }
        if let Some(log) = self.logs.get_mut(&id.number) {
            log.pending.push_back(PendingAppend {
                offset,
                message: message.clone(),
                origin,
                references,
                outcome: None,
            });
        }
        Appended { log: id, offset }
    }

    /// Notes the store's answer to an append; what is now in order may be released by `take_released`.
    pub(crate) fn settled(&mut self, log: LogId, offset: Offset, stored: bool) {
        if let Some(log) = self.logs.get_mut(&log.number)
            && let Some(pending) = log.pending.iter_mut().find(|p| p.offset == offset)
        {
            pending.outcome = Some(stored);
        }
    }

    /// The next append of a log whose outcome is known, in order. Moves the committed heads.
    pub(crate) fn take_released(&mut self, log: LogId) -> Option<PendingAppend> {
        let log = self.logs.get_mut(&log.number)?;
        log.pending.front()?.outcome?;
        let pending = log.pending.pop_front()?;
        if pending.outcome == Some(true) {
            log.committed = pending.offset;
            for (_, subscriber, ref_log, ref_offset) in &pending.references {
                if let Some(reader) = self.wild_by_uid.get(&subscriber.0)
                    && let Some(Some(reader)) = self.wild_readers.get_mut(*reader as usize)
                    && let Some(place) = reader.references.get_mut(&ref_log.slot)
                {
                    place.1 = place.1.max(*ref_offset);
                }
            }
        } else {
            for _ in &pending.references {
                log.release(pending.offset);
            }
        }
        Some(pending)
    }

    /// Adds or changes a durable exact reader. Answers its log and where it starts.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn add_exact(
        &mut self,
        topic: &str,
        slot: u16,
        interest: Interest,
        resume: Option<(LogId, Offset)>,
        batch: &mut Vec<Write>,
    ) -> (LogId, Offset) {
        let log = self.log_of(topic, slot);
        if !log.named {
            log.named = true;
            batch.push(log.name_row());
        }
        let start = resume.filter(|r| r.0 == log.id).map_or(log.committed + 1, |r| r.1);
        let reader = log.readers.entry(interest.subscriber.0).or_insert(ExactReader {
            interest,
            committed: start,
            ending: false,
        });
        // The same filter again changes options, never the cursor [MQTT-3.8.4-4]; after an unsubscribe it begins anew.
        let start = if reader.ending { log.committed + 1 } else { reader.committed };
        (reader.interest, reader.ending) = (interest, false);
        (log.id, start)
    }

    /// An exact reader wants no more; with `discard` it holds nothing either.
    pub(crate) fn end_exact(&mut self, topic: &str, subscriber: SessionUid, discard: bool) -> Reclaim {
        let Some(log) = self.by_name.get(topic).and_then(|number| self.logs.get_mut(number)) else {
            return Reclaim::Nothing;
        };
        let id = log.id;
        if discard {
            log.readers.remove(&subscriber.0);
        } else if let Some(reader) = log.readers.get_mut(&subscriber.0) {
            reader.ending = true;
        }
        self.reclaim(id)
    }

    /// A subscriber ended: whatever it still read of a topic is not needed.
    pub(crate) fn discard_exact(&mut self, log: LogId, subscriber: SessionUid) -> Reclaim {
        if let Some(topic) = self.logs.get_mut(&log.number) {
            topic.readers.remove(&subscriber.0);
        }
        self.reclaim(log)
    }

    /// A cursor of an exact reader was committed.
    pub(crate) fn moved(&mut self, log: LogId, subscriber: SessionUid, to: Offset, ended: bool) -> Reclaim {
        let Some(topic) = self.logs.get_mut(&log.number) else { return Reclaim::Nothing };
        match topic.readers.get_mut(&subscriber.0) {
            Some(reader) if ended && reader.ending => {
                topic.readers.remove(&subscriber.0);
            }
            Some(reader) => reader.committed = reader.committed.max(to),
            None => return Reclaim::Nothing,
        }
        self.reclaim(log)
    }

    /// A cursor in a reference log was committed: trim it, and let go what the passed references held.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn moved_references(
        &mut self,
        log: LogId,
        subscriber: SessionUid,
        to: Offset,
        released: &[(LogId, Offset)],
        out: &mut Vec<Reclaim>,
    ) {
        // Of a subscriber that ended, the reads of its discard let go everything above the cursor that is known here.
        let Some(reader) = self.wild_by_uid.get(&subscriber.0) else { return };
        let Some(Some(reader)) = self.wild_readers.get_mut(*reader as usize) else { return };
        let Some(place) = reader.references.get_mut(&log.slot) else { return };
        if to > place.2 {
            place.2 = to;
            out.push(Reclaim::Trim(log, to));
        }
        for (target, offset) in released {
            if let Some(topic) = self.logs.get_mut(&target.number) {
                topic.release(*offset);
            }
            let reclaim = self.reclaim(*target);
            if reclaim != Reclaim::Nothing {
                out.push(reclaim);
            }
        }
    }

    /// Adds or changes a filter of a durable wildcard subscriber.
    pub(crate) fn add_wild(&mut self, filter: &str, shard: ShardId, interest: Interest) {
        let at = match self.wild_by_uid.get(&interest.subscriber.0) {
            Some(at) => *at,
            None => {
                let reader = WildReader {
                    subscriber: interest.subscriber,
                    shard,
                    filters: 0,
                    references: BTreeMap::new(),
                };
                let at = self.wild_readers.iter().position(Option::is_none).unwrap_or_else(|| {
                    self.wild_readers.push(None);
                    self.wild_readers.len() - 1
                });
                if let Some(slot) = self.wild_readers.get_mut(at) {
                    *slot = Some(reader);
                }
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                self.wild_by_uid.insert(interest.subscriber.0, at);
                at
            }
        };
        let (_, replaced) =
            self.wild.insert(filter, at, WildSub { qos: interest.qos, no_local: interest.no_local });
        if let Some(Some(reader)) = self.wild_readers.get_mut(at as usize) {
            reader.shard = shard;
            reader.filters += u32::from(replaced.is_none());
        }
    }

    /// Removes one.
    pub(crate) fn remove_wild(&mut self, filter: &str, subscriber: SessionUid) {
        let Some(at) = self.wild_by_uid.get(&subscriber.0).copied() else { return };
        if self.wild.remove(filter, at).is_some()
            && let Some(Some(reader)) = self.wild_readers.get_mut(at as usize)
        {
            reader.filters -= 1;
        }
    }

    /// Where the logs of a subscriber stand, those with something new: log, cursor, committed head.
    pub(crate) fn heads(&self, subscriber: SessionUid, logs: &[LogId]) -> Vec<(LogId, Offset, Offset)> {
        let mut out = Vec::new();
        for log in logs {
            if let Some(topic) = self.logs.get(&log.number)
                && let Some(reader) = topic.readers.get(&subscriber.0)
                && topic.committed >= reader.committed
            {
                out.push((*log, reader.committed, topic.committed));
            }
        }
        if let Some(at) = self.wild_by_uid.get(&subscriber.0)
            && let Some(Some(reader)) = self.wild_readers.get(*at as usize)
        {
            for (slot, (_, head, cursor)) in &reader.references {
                if head >= cursor {
                    let log = LogId { slot: *slot, kind: LogKind::References, number: subscriber.0 };
                    out.push((log, *cursor, *head));
                }
            }
        }
        out
    }

    /// A subscriber ended: its reference logs, whose records the caller reads to let go what they hold, then drops.
    pub(crate) fn discard(&mut self, subscriber: SessionUid) -> Vec<(LogId, Offset)> {
        let Some(at) = self.wild_by_uid.remove(&subscriber.0) else { return Vec::new() };
        let Some(reader) = self.wild_readers.get_mut(at as usize).and_then(Option::take) else {
            return Vec::new();
        };
        let filters: Vec<String> = if reader.filters == 0 {
            Vec::new()
        } else {
            self.wild
                .iter()
                .filter(|(id, _, _)| self.wild.get_by_id(*id, at).is_some())
                .map(|(_, text, _)| text.to_owned())
                .collect()
        };
        for filter in filters {
            self.wild.remove(&filter, at);
        }
        reader
            .references
            .iter()
            .map(|(slot, place)| {
                (LogId { slot: *slot, kind: LogKind::References, number: subscriber.0 }, place.2)
            })
            .collect()
    }

    /// Lets go what one reference held.
    pub(crate) fn release(&mut self, target: LogId, offset: Offset) -> Reclaim {
        if let Some(topic) = self.logs.get_mut(&target.number) {
            topic.release(offset);
        }
        self.reclaim(target)
    }

    /// What of a log can go now.
    fn reclaim(&mut self, id: LogId) -> Reclaim {
        let Some(log) = self.logs.get_mut(&id.number) else { return Reclaim::Nothing };
        if !log.pending.is_empty() {
            return Reclaim::Nothing;
        }
        if log.readers.is_empty() && log.holds.is_empty() {
            let Some(log) = self.logs.remove(&id.number) else { return Reclaim::Nothing };
            self.by_name.remove(&log.name);
            return if log.named { Reclaim::Drop(id, log.name) } else { Reclaim::Nothing };
        }
        let held = log.holds.first_key_value().map_or(Offset::MAX, |(segment, _)| segment << SEGMENT_BITS);
        let read = log.readers.values().map(|r| r.committed).min().unwrap_or(Offset::MAX);
        let to = held.min(read).min(log.committed + 1);
        if to >= log.trimmed_to.max(self.epoch_base) + TRIM_EVERY || to > log.committed && to > log.trimmed_to
        {
            log.trimmed_to = to;
            return Reclaim::Trim(id, to);
        }
        Reclaim::Nothing
    }
}

impl TopicLog {
    fn name_row(&self) -> Write {
        Write::Put {
            table: Table::Topics,
            key: slot_key(self.id.slot, &self.name),
            value: Bytes::copy_from_slice(&self.id.number.to_be_bytes()),
            expires_at_ms: None,
        }
    }

    fn release(&mut self, offset: Offset) {
        let segment = offset >> SEGMENT_BITS;
        if let Some(count) = self.holds.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.holds.remove(&segment);
            }
        }
    }
}

/// A durable wildcard subscriber that wants a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    reader: u32,
    qos: Qos,
}

/// Key of a row that belongs to a slot: slot, then name.
pub(crate) fn slot_key(slot: u16, name: &str) -> Bytes {
    let mut key = Vec::with_capacity(2 + name.len());
    key.extend_from_slice(&slot.to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key.into()
}
