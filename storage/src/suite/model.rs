//! Seeded random requests against the simplest store that could be right.
//!
//! The model keeps lists, looks at all of them for everything, judges a batch by writing it to a copy, and shares no
//! code with any back end. Requests are submitted in bursts, so that a back end which commits in groups has groups to
//! commit; the next burst may come from the other shard once all of this one is answered.

use bitsim_engine::store::{Answer, LogId, LogKind, Offset, Request, StoreFailure, Table, Write};
use bytes::Bytes;

use super::desk::Outcome;
use super::{Check, Desks};

pub(super) const CHECKS: &[Check] =
    &[Check { name: "random requests agree with a naive model", run: random }];

const SEEDS: u64 = 12;
const BURSTS: usize = 250;

fn random(desks: &mut Desks<'_>) -> Outcome {
    // One store serves all seeds: each has logs and keys of its own.
    (1..=SEEDS).try_for_each(|seed| run_seed(desks, seed).map_err(|reason| format!("seed {seed}: {reason}")))
}

fn run_seed(desks: &mut Desks<'_>, seed: u64) -> Outcome {
    let mut dice = Dice { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, seed };
    let mut model = Model::default();
    for _ in 0..BURSTS {
        desks.one.wall_ms += dice.below(3) * dice.below(20);
        desks.other.wall_ms = desks.one.wall_ms;
        let desk = if dice.below(2) == 0 { &mut desks.one } else { &mut desks.other };
        let mut burst = Vec::new();
        for _ in 0..=dice.below(8) {
            let request = dice.request(&model, desk.wall_ms);
            let wanted = model.execute(&request, desk.wall_ms);
            burst.push((desk.submit(request.clone()), request, wanted));
        }
        for (token, request, wanted) in burst {
            let answer = desk.answer(token)?;
            if !agrees(&request, &answer, &wanted) {
                return Err(format!("{request:?}: {answer:?} instead of {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Equal, but for what a back end is free in: where a page of bytes ends, and saying `more` where nothing follows.
fn agrees(request: &Request, answer: &Answer, wanted: &Answer) -> bool {
    match (request, answer, wanted) {
        (
            Request::Read { records_max, bytes_max, .. },
            Answer::Records { records, head },
            Answer::Records { records: all, head: wanted_head },
        ) => {
            let sizes = |count: usize| records.iter().take(count).map(|(_, r)| r.len()).sum::<usize>();
            let ended = records.len() == all.len()
                || records.len() == *records_max as usize
                || (!records.is_empty() && sizes(records.len()) >= *bytes_max as usize);
            let in_bounds = records.len() <= *records_max as usize
                && (records.len() <= 1 || sizes(records.len() - 1) <= *bytes_max as usize);
            head == wanted_head && all.starts_with(records) && ended && in_bounds
        }
        (
            Request::Scan { .. },
            Answer::Rows { rows, more },
            Answer::Rows { rows: wanted, more: wanted_more },
        ) => rows == wanted && (*more || !wanted_more) && (!rows.is_empty() || !more),
        _ => answer == wanted,
    }
}

#[derive(Clone, Default)]
struct Model {
    logs: Vec<(LogId, NaiveLog)>,
    rows: Vec<NaiveRow>,
}

#[derive(Clone, Default)]
struct NaiveLog {
    records: Vec<(Offset, Bytes)>,
    head: Offset,
    trimmed_to: Offset,
}

#[derive(Clone)]
struct NaiveRow {
    table: Table,
    key: Bytes,
    value: Bytes,
    expires_at_ms: Option<u64>,
}

impl Model {
    fn execute(&mut self, request: &Request, wall_ms: u64) -> Answer {
        self.rows.retain(|row| row.expires_at_ms.is_none_or(|at| at > wall_ms));
        match request {
            Request::Commit(writes) => self.commit(writes),
            Request::Read { log, from, .. } => {
                let log = self.log(*log).cloned().unwrap_or_default();
                let records = log.records.into_iter().filter(|(offset, _)| offset >= from).collect();
                Answer::Records { records, head: log.head }
            }
            Request::Head(log) => {
                let log = self.log(*log).cloned().unwrap_or_default();
                Answer::Head { head: log.head, trimmed_to: log.trimmed_to }
            }
            Request::Get { table, key } => Answer::Value(self.get(*table, key)),
            Request::Scan { table, prefix, after, rows_max } => {
                let is_in = |row: &&NaiveRow| {
                    row.table == *table
                        && row.key.starts_with(prefix)
                        && after.as_ref().is_none_or(|after| row.key > after)
                };
                let mut rows: Vec<(Bytes, Bytes)> =
                    self.rows.iter().filter(is_in).map(|row| (row.key.clone(), row.value.clone())).collect();
                rows.sort();
                let more = rows.len() > *rows_max as usize;
                rows.truncate(*rows_max as usize);
                Answer::Rows { rows, more }
            }
        }
    }

    fn commit(&mut self, writes: &[Write]) -> Answer {
        let mut after = self.clone();
        if !writes.iter().all(|write| after.apply(write)) {
            return Answer::Failed(StoreFailure::Invalid);
        }
        if let Some(index) = writes.iter().position(|write| !self.holds(write)) {
            return Answer::Conflict(index);
        }
        *self = after;
        Answer::Committed
    }

    fn holds(&self, write: &Write) -> bool {
        match write {
            Write::PutIfAbsent { table, key, .. } => self.get(*table, key).is_none(),
            Write::CompareAndSet { table, key, expected, .. } => self.get(*table, key) == *expected,
            _ => true,
        }
    }

    /// Whether it is valid.
    fn apply(&mut self, write: &Write) -> bool {
        match write {
            Write::Append { log, offset, record } => return self.append(*log, *offset, record),
            Write::Trim { log, to } => {
                if let Some((_, log)) = self.logs.iter_mut().find(|(id, _)| id == log) {
                    log.records.retain(|(offset, _)| offset >= to);
                    log.trimmed_to = log.trimmed_to.max((*to).min(log.head + 1));
                }
            }
            Write::Drop { log } => self.logs.retain(|(id, _)| id != log),
            Write::Put { table, key, value, expires_at_ms } => {
                self.put(NaiveRow {
                    table: *table,
                    key: key.clone(),
                    value: value.clone(),
                    expires_at_ms: *expires_at_ms,
                });
            }
            Write::PutIfAbsent { table, key, value }
            | Write::CompareAndSet { table, key, value: Some(value), .. } => {
                self.put(NaiveRow {
                    table: *table,
                    key: key.clone(),
                    value: value.clone(),
                    expires_at_ms: None,
                });
            }
            Write::Delete { table, key } | Write::CompareAndSet { table, key, value: None, .. } => {
                self.rows.retain(|row| row.table != *table || row.key != *key);
            }
            Write::DeletePrefix { table, prefix } => {
                self.rows.retain(|row| row.table != *table || !row.key.starts_with(prefix));
            }
        }
        true
    }

    fn append(&mut self, id: LogId, offset: Offset, record: &Bytes) -> bool {
        if offset == 0 {
            return false;
        }
        if self.log(id).is_none() {
            let log = NaiveLog { records: vec![(offset, record.clone())], head: offset, trimmed_to: 0 };
            self.logs.push((id, log));
            return true;
        }
        let Some((_, log)) = self.logs.iter_mut().find(|(other, _)| *other == id) else { return false };
        if offset <= log.head || (offset != log.head + 1 && offset >> 40 == log.head >> 40) {
            return false;
        }
        log.records.push((offset, record.clone()));
        log.head = offset;
        true
    }

    fn put(&mut self, new: NaiveRow) {
        self.rows.retain(|row| row.table != new.table || row.key != new.key);
        self.rows.push(new);
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.rows.iter().find(|row| row.table == table && row.key == key).map(|row| row.value.clone())
    }

    fn log(&self, id: LogId) -> Option<&NaiveLog> {
        self.logs.iter().find(|(other, _)| *other == id).map(|(_, log)| log)
    }
}

/// A seeded source of requests: few logs and keys, so that they meet; mostly valid, sometimes not.
struct Dice {
    state: u64,
    seed: u64,
}

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    fn request(&mut self, model: &Model, wall_ms: u64) -> Request {
        match self.below(9) {
            0..=4 => {
                let mut after = model.clone();
                let count = self.below(5);
                Request::Commit((0..count).map(|_| self.write(&mut after, wall_ms)).collect())
            }
            5 => Request::Read {
                log: self.log(),
                from: self.below(3) << 40 | self.below(60),
                records_max: 1 + u32::try_from(self.below(10)).unwrap_or(0),
                bytes_max: u32::try_from(self.below(200)).unwrap_or(0),
            },
            6 => Request::Head(self.log()),
            7 => Request::Get { table: self.table(), key: self.key() },
            _ => {
                let whole = self.key();
                let prefix = whole.slice(..self.prefix_len(whole.len()));
                let after = (self.below(2) == 0).then(|| self.key());
                let rows_max = 1 + u32::try_from(self.below(6)).unwrap_or(0);
                Request::Scan { table: self.table(), prefix, after, rows_max }
            }
        }
    }

    fn write(&mut self, after: &mut Model, wall_ms: u64) -> Write {
        let (table, key) = (self.table(), self.key());
        let write = match self.below(16) {
            0..=5 => {
                let log = self.log();
                let head = after.log(log).map_or(0, |log| log.head);
                let offset = match self.below(30) {
                    0 => head,
                    1 => head + 2,
                    2..=4 => ((head >> 40) + 1) << 40 | self.below(5),
                    _ => head + 1,
                };
                Write::Append { log, offset, record: self.value() }
            }
            6 => {
                let log = self.log();
                let head = after.log(log).map_or(0, |log| log.head);
                Write::Trim { log, to: (head + 3).saturating_sub(self.below(8)) }
            }
            7 => match self.below(4) {
                0 => Write::Drop { log: self.log() },
                _ => Write::Delete { table, key },
            },
            8..=10 => {
                let expires_at_ms = (self.below(2) == 0).then(|| wall_ms + self.below(100));
                Write::Put { table, key, value: self.value(), expires_at_ms }
            }
            11 => Write::PutIfAbsent { table, key, value: self.value() },
            12..=13 => {
                let expected = match self.below(4) {
                    0 => Some(self.value()),
                    _ => after.get(table, &key),
                };
                let value = (self.below(3) > 0).then(|| self.value());
                Write::CompareAndSet { table, key, expected, value }
            }
            14 => Write::DeletePrefix { table, prefix: key },
            _ => Write::Delete { table, key },
        };
        after.apply(&write);
        write
    }

    fn log(&mut self) -> LogId {
        let kind = if self.below(2) == 0 { LogKind::Topic } else { LogKind::References };
        LogId { slot: 500, kind, number: self.seed << 32 | self.below(3) }
    }

    fn table(&mut self) -> Table {
        if self.below(2) == 0 { Table::Cursors } else { Table::Retained }
    }

    /// The seed's byte, then up to three letters of two: prefixes of each other are common.
    fn key(&mut self) -> Bytes {
        let mut key = vec![self.seed.to_le_bytes().first().copied().unwrap_or(0)];
        for _ in 0..self.below(4) {
            key.push(if self.below(2) == 0 { b'a' } else { 0xFF });
        }
        key.into()
    }

    /// At least the seed's byte, so that a scan stays within the seed's rows.
    fn prefix_len(&mut self, key_len: usize) -> usize {
        1 + usize::try_from(self.below(key_len as u64)).unwrap_or(0)
    }

    fn value(&mut self) -> Bytes {
        let byte = u8::try_from(self.below(4)).unwrap_or(0);
        let len = usize::try_from(self.below(60)).unwrap_or(0);
        vec![byte; if self.below(3) == 0 { 1 } else { len }].into()
    }
}
