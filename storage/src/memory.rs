//! The memory back end: nothing survives a restart, and it says so.
//!
//! [`Memory`] is the data alone: deterministic, single-threaded, cheap to snapshot by `Clone` (records and values are
//! shared), and therefore what the simulator runs on. [`MemoryStore`] puts it under one lock for all shards and
//! answers within `submit`; a shard holds the lock only for its own request, and none to find that it has no answers.
//! Expired rows are removed by a bounded sweep with each commit, oldest first.
//! Bound: `bytes_max`. At it, appends and retained rows are answered `Full`, everything else is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, LogId, Offset, Request, StoreFailure, StoreToken, Table, Write};
use bytes::Bytes;
use hashbrown::HashMap;

use crate::contract::{Bell, Store, is_within_bounds};
use batch::{Refused, judge};
use log::Log;
use rows::{Page, Row, Rows};

mod batch;
mod log;
mod rows;
#[cfg(test)]
mod tests;

/// Most expired rows that one commit removes, so that no commit pays for a million of them.
const SWEEP_ROWS_MAX: usize = 64;

/// What a log takes beside its records.
const LOG_OVERHEAD: u64 = 96;

/// Logs and tables.
#[derive(Clone, Debug)]
pub struct Memory {
    logs: HashMap<LogId, Log>,
    /// By the table's number.
    tables: [Rows; Table::ALL.len()],
    /// When, which table, which key: exactly the rows that have an expiry.
    expiries: BTreeSet<(u64, u8, Bytes)>,
    log_bytes: u64,
    bytes_max: u64,
}

/// How much a [`Memory`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Logs, also those without records.
    pub logs: usize,
    /// Records in all logs.
    pub records: usize,
    /// Rows in all tables, with the expired ones that are not yet swept.
    pub rows: usize,
}

impl Memory {
    /// An empty store that refuses appends and retained rows which would take it over `bytes_max`.
    pub fn new(bytes_max: u64) -> Memory {
        Memory {
            logs: HashMap::new(),
            tables: Default::default(),
            expiries: BTreeSet::new(),
            log_bytes: 0,
            bytes_max,
        }
    }

    /// Does a request at once. `wall_ms`: the asking shard's wall clock, milliseconds UTC.
    pub fn execute(&mut self, request: Request, wall_ms: u64) -> Answer {
        if !is_within_bounds(&request) {
            return Answer::Failed(StoreFailure::Invalid);
        }
        match request {
            Request::Commit(writes) => self.commit(writes, wall_ms),
            Request::Read { log, from, records_max, bytes_max } => self.logs.get(&log).map_or_else(
                || Answer::Records { records: Vec::new(), head: 0 },
                |log| Answer::Records { records: log.read(from, records_max, bytes_max), head: log.head() },
            ),
            Request::Head(log) => {
                self.logs.get(&log).map_or(Answer::Head { head: 0, trimmed_to: 0 }, |log| Answer::Head {
                    head: log.head(),
                    trimmed_to: log.trimmed_to(),
                })
            }
            Request::Get { table, key } => Answer::Value(self.rows(table).get(&key, wall_ms).cloned()),
            Request::Scan { table, prefix, after, rows_max } => {
                let page = Page { prefix: &prefix, after: after.as_deref(), rows_max, wall_ms };
                let (rows, more) = self.rows(table).scan(&page);
                Answer::Rows { rows, more }
            }
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.log_bytes + self.tables.iter().map(Rows::bytes).sum::<u64>()
    }

    /// How much it holds. Walks all logs.
    pub fn counts(&self) -> Counts {
        Counts {
            logs: self.logs.len(),
            records: self.logs.values().map(Log::len).sum(),
            rows: self.tables.iter().map(Rows::len).sum(),
        }
    }

    fn commit(&mut self, writes: Vec<Write>, wall_ms: u64) -> Answer {
        self.sweep(wall_ms);
        match judge(self, &writes, wall_ms) {
            Ok(()) => {}
            Err(Refused::Conflict(index)) => return Answer::Conflict(index),
            Err(Refused::Failed(failure)) => return Answer::Failed(failure),
        }
        for write in writes {
            self.apply(write);
        }
        Answer::Committed
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Append { log, offset, record } => self.append(log, offset, record),
            Write::Trim { log, to } => {
                if let Some(log) = self.logs.get_mut(&log) {
                    self.log_bytes -= log.trim(to);
                }
            }
            Write::Drop { log } => {
                if let Some(log) = self.logs.remove(&log) {
                    self.log_bytes -= log.bytes() + LOG_OVERHEAD;
                }
            }
            Write::Put { table, key, value, expires_at_ms } => {
                self.put(table, key, Row { value, expires_at_ms })
            }
            Write::PutIfAbsent { table, key, value }
            | Write::CompareAndSet { table, key, value: Some(value), .. } => {
                self.put(table, key, Row { value, expires_at_ms: None });
            }
            Write::Delete { table, key } | Write::CompareAndSet { table, key, value: None, .. } => {
                let old = self.rows_mut(table).remove(&key);
                self.forget_expiry(table, key, old);
            }
            Write::DeletePrefix { table, prefix } => {
                for (key, row) in self.rows_mut(table).remove_prefix(&prefix) {
                    self.forget_expiry(table, key, Some(row));
                }
            }
        }
    }

    fn append(&mut self, log: LogId, offset: Offset, record: Bytes) {
        let log = self.logs.entry(log).or_insert_with(|| {
            self.log_bytes += LOG_OVERHEAD;
            Log::default()
        });
        self.log_bytes += log.append(offset, record);
    }

    fn put(&mut self, table: Table, key: Bytes, row: Row) {
        let expires_at_ms = row.expires_at_ms;
        let old = self.rows_mut(table).put(key.clone(), row);
        self.forget_expiry(table, key.clone(), old);
        if let Some(at) = expires_at_ms {
            self.expiries.insert((at, table as u8, key));
        }
    }

    fn forget_expiry(&mut self, table: Table, key: Bytes, old: Option<Row>) {
        if let Some(at) = old.and_then(|row| row.expires_at_ms) {
            self.expiries.remove(&(at, table as u8, key));
        }
    }

    fn sweep(&mut self, wall_ms: u64) {
        for _ in 0..SWEEP_ROWS_MAX {
            match self.expiries.first() {
                Some((at, _, _)) if *at <= wall_ms => {}
                _ => return,
            }
            let Some((_, table, key)) = self.expiries.pop_first() else { return };
            if let Some(rows) = self.tables.get_mut(usize::from(table)) {
                rows.remove(&key);
            }
        }
    }

    fn head_of(&self, log: LogId) -> Option<Offset> {
        self.logs.get(&log).map(Log::head)
    }

    #[expect(clippy::indexing_slicing, reason = "a table's number is below the number of tables")]
    fn rows(&self, table: Table) -> &Rows {
        &self.tables[table as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "a table's number is below the number of tables")]
    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        &mut self.tables[table as usize]
    }
}

/// A [`Memory`] for all shards of a process.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    /// Answers that wait to be polled, of all shards: lets an idle poll go without the lock.
    waiting: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    memory: Memory,
    answers: BTreeMap<ShardId, Vec<(StoreToken, Answer)>>,
}

impl MemoryStore {
    /// An empty store; see [`Memory::new`].
    pub fn new(bytes_max: u64) -> MemoryStore {
        MemoryStore {
            inner: Mutex::new(Inner { memory: Memory::new(bytes_max), answers: BTreeMap::new() }),
            waiting: AtomicU64::new(0),
        }
    }

    /// A request that panicked has ended the process, so a poisoned lock cannot be met with half a commit behind it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn submit(&self, shard: ShardId, token: StoreToken, request: Request, wall_ms: u64) {
        let mut inner = self.lock();
        let answer = inner.memory.execute(request, wall_ms);
        inner.answers.entry(shard).or_default().push((token, answer));
        self.waiting.fetch_add(1, Ordering::Release);
    }

    fn poll(&self, shard: ShardId, answers: &mut Vec<(StoreToken, Answer)>) {
        // A shard submits and polls on one thread, so it always sees its own answers counted here.
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut inner = self.lock();
        if let Some(ready) = inner.answers.get_mut(&shard) {
            self.waiting.fetch_sub(ready.len() as u64, Ordering::Release);
            answers.append(ready);
        }
    }

    fn on_answer(&self, _shard: ShardId, _bell: Bell) {}

    fn describe(&self) -> String {
        "memory: nothing survives a restart".to_owned()
    }

    fn bytes(&self) -> u64 {
        self.lock().memory.bytes()
    }

    fn flush(&self) {}
}
