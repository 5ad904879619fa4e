//! A shard as the suite plays it: submits, waits for answers, and minds that each comes once.
//!
//! Waiting is by the bell: the desk polls, and if the answer is not there it waits until the store rings. A store that
//! answers late and does not ring is found out by the desk's patience.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, LogId, LogKind, Offset, Request, StoreFailure, StoreToken, Table, Write};
use bytes::Bytes;

use crate::contract::Store;

/// Whether a check passed, else what was seen.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// One shard's side of the contract.
pub(super) struct Desk<'a> {
    store: &'a dyn Store,
    shard: ShardId,
    rings: Arc<Rings>,
    patience: Duration,
    next_token: u64,
    /// `None` until answered.
    outstanding: BTreeMap<StoreToken, Option<Answer>>,
    /// The shard's wall clock.
    pub(super) wall_ms: u64,
}

#[derive(Default)]
struct Rings {
    count: Mutex<u64>,
    rung: Condvar,
}

impl<'a> Desk<'a> {
    /// All desks begin at the same tokens, as engines do.
    pub(super) fn open(store: &'a dyn Store, shard: u16, patience: Duration) -> Desk<'a> {
        let rings = Arc::new(Rings::default());
        let bell = Arc::clone(&rings);
        store.on_answer(ShardId(shard), Arc::new(move || bell.ring()));
        Desk {
            store,
            shard: ShardId(shard),
            rings,
            patience,
            next_token: 1,
            outstanding: BTreeMap::new(),
            wall_ms: 1_800_000_000_000,
        }
    }

    pub(super) fn store(&self) -> &'a dyn Store {
        self.store
    }

    /// Submits and goes on.
    pub(super) fn submit(&mut self, request: Request) -> StoreToken {
        let token = StoreToken(self.next_token);
        self.next_token += 1;
        self.outstanding.insert(token, None);
        self.store.submit(self.shard, token, request, self.wall_ms);
        token
    }

    /// The answer to a submitted request.
    pub(super) fn answer(&mut self, token: StoreToken) -> Outcome<Answer> {
        let deadline = Instant::now() + self.patience;
        loop {
            // Read before the poll: a ring between the poll and the wait then ends the wait.
            let seen = self.rings.count();
            self.poll()?;
            if let Some(Some(answer)) = self.outstanding.get(&token) {
                let answer = answer.clone();
                self.outstanding.remove(&token);
                return Ok(answer);
            }
            if !self.rings.wait_past(seen, deadline) {
                return Err(format!("no answer to {token:?} within {:?}, or no ring for it", self.patience));
            }
        }
    }

    /// Submits and waits.
    pub(super) fn ask(&mut self, request: Request) -> Outcome<Answer> {
        let token = self.submit(request);
        self.answer(token)
    }

    /// Submits, waits and compares.
    pub(super) fn expect(&mut self, request: Request, wanted: &Answer) -> Outcome {
        let asked = brief(&request);
        let answer = self.ask(request)?;
        if answer == *wanted {
            Ok(())
        } else {
            Err(format!("{asked}: {} instead of {}", brief(&answer), brief(wanted)))
        }
    }

    pub(super) fn commit(&mut self, writes: Vec<Write>) -> Outcome {
        self.expect(Request::Commit(writes), &Answer::Committed)
    }

    pub(super) fn conflict(&mut self, writes: Vec<Write>, index: usize) -> Outcome {
        self.expect(Request::Commit(writes), &Answer::Conflict(index))
    }

    pub(super) fn invalid(&mut self, request: Request) -> Outcome {
        self.expect(request, &Answer::Failed(StoreFailure::Invalid))
    }

    pub(super) fn value(&mut self, table: Table, key: &[u8], wanted: Option<&[u8]>) -> Outcome {
        self.expect(get(table, key), &Answer::Value(wanted.map(Bytes::copy_from_slice)))
    }

    pub(super) fn head(&mut self, log: LogId, head: Offset, trimmed_to: Offset) -> Outcome {
        self.expect(Request::Head(log), &Answer::Head { head, trimmed_to })
    }

    /// The whole log.
    pub(super) fn records(&mut self, log: LogId, wanted: &[(Offset, &[u8])], head: Offset) -> Outcome {
        let records =
            wanted.iter().map(|(offset, record)| (*offset, Bytes::copy_from_slice(record))).collect();
        self.expect(read(log, 0), &Answer::Records { records, head })
    }

    /// Nothing is outstanding and nothing more comes.
    pub(super) fn close(mut self) -> Outcome {
        self.poll()?;
        match self.outstanding.first_key_value() {
            None => Ok(()),
            Some((token, _)) => Err(format!("{token:?} was never asked for")),
        }
    }

    fn poll(&mut self) -> Outcome {
        // A store adds to the list, whatever is in it.
        let mark = (StoreToken(0), Answer::Committed);
        let mut answers = vec![mark.clone()];
        self.store.poll(self.shard, &mut answers);
        if answers.first() != Some(&mark) {
            return Err("poll removed what was in the list".to_owned());
        }
        for (token, answer) in answers.into_iter().skip(1) {
            match self.outstanding.get_mut(&token) {
                Some(place @ None) => *place = Some(answer),
                Some(Some(_)) => return Err(format!("{token:?} was answered twice")),
                None => {
                    return Err(format!(
                        "{token:?} was answered, but is not outstanding on {:?}",
                        self.shard
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Rings {
    fn ring(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.rung.notify_all();
    }

    fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_past(&self, seen: u64, deadline: Instant) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = self.rung.wait_timeout_while(count, left, |count| *count <= seen);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// A message about a 2 MiB record does not print it.
fn brief(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if text.len() > 400 {
        text.truncate(text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 400).last().unwrap_or(0));
        text.push_str("..");
    }
    text
}

pub(super) fn log(number: u64) -> LogId {
    LogId { slot: 7, kind: LogKind::Topic, number }
}

pub(super) fn append(log: LogId, offset: Offset, record: &[u8]) -> Write {
    Write::Append { log, offset, record: Bytes::copy_from_slice(record) }
}

pub(super) fn put(table: Table, key: &[u8], value: &[u8]) -> Write {
    put_until(table, key, value, None)
}

pub(super) fn put_until(table: Table, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> Write {
    Write::Put {
        table,
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        expires_at_ms,
    }
}

pub(super) fn put_if_absent(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write::PutIfAbsent { table, key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

pub(super) fn compare_and_set(
    table: Table,
    key: &[u8],
    expected: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Write {
    let owned = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    Write::CompareAndSet {
        table,
        key: Bytes::copy_from_slice(key),
        expected: owned(expected),
        value: owned(value),
    }
}

pub(super) fn delete(table: Table, key: &[u8]) -> Write {
    Write::Delete { table, key: Bytes::copy_from_slice(key) }
}

pub(super) fn delete_prefix(table: Table, prefix: &[u8]) -> Write {
    Write::DeletePrefix { table, prefix: Bytes::copy_from_slice(prefix) }
}

pub(super) fn get(table: Table, key: &[u8]) -> Request {
    Request::Get { table, key: Bytes::copy_from_slice(key) }
}

pub(super) fn read(log: LogId, from: Offset) -> Request {
    Request::Read { log, from, records_max: u32::MAX, bytes_max: u32::MAX }
}

pub(super) fn scan(table: Table, prefix: &[u8], after: Option<&[u8]>, rows_max: u32) -> Request {
    Request::Scan {
        table,
        prefix: Bytes::copy_from_slice(prefix),
        after: after.map(Bytes::copy_from_slice),
        rows_max,
    }
}
