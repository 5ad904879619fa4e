//! Deliberately wrong stores: the suite catches each, so it is not the suite that is asleep.
//!
//! [`Planted`] wraps the memory back end and bends requests on their way in, or answers on their way out, by one
//! [`Fault`]. [`Late`] is right but answers from a thread of its own, as back ends with drivers do; it passes, and
//! fails once it forgets its bell.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, LogId, LogKind, Request, StoreFailure, StoreToken, Table, Write};
use bytes::Bytes;

use crate::contract::{Bell, Store};
use crate::memory::Memory;
use crate::suite::{failing, failures, run};

const BYTES_MAX: u64 = 1 << 30;
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_right_store_passes_from_a_thread_of_its_own() {
    run(|| Box::new(Late::new(true)));
}

#[test]
fn a_store_that_never_rings_is_caught() {
    let failed = failures(|| Box::new(Late::new(false)), Duration::from_millis(50));
    assert!(failed.iter().any(|failure| failure.reason.contains("no ring")), "{failed:?}");
}

#[test]
fn each_planted_fault_is_caught() {
    for fault in Fault::ALL {
        let caught = failing(|| Box::new(Planted::new(*fault)), SHORT).next();
        assert!(caught.is_some(), "{fault:?} passes the suite");
    }
}

#[test]
fn the_random_model_alone_catches_what_changes_data() {
    use Fault::*;
    for fault in [BatchNotAtomic, ExpiryIgnored, ExpiryLate, TrimTooFar, HeadLost, DropKeepsHead, TablesMixed]
    {
        let failed = failures(|| Box::new(Planted::new(fault)), SHORT);
        let by_model = failed.iter().any(|failure| failure.check.contains("naive model"));
        assert!(by_model, "{fault:?} passes the model: {failed:?}");
    }
}

macro_rules! faults {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Fault { $($name),* }
        impl Fault {
            const ALL: &'static [Fault] = &[$(Fault::$name),*];
        }
    };
}

faults! {
    // The batch.
    BatchNotAtomic, ConflictIndexIsZero, ConflictIsInvalid, ConditionsIgnored, AbsentIgnored, ExpectedNoneIsAny,
    InvalidIsCommitted, InvalidIsConflict,
    // Logs.
    TrimTooFar, TrimTooLittle, HeadLost, DropKeepsHead, KindsMixed, SlotsMixed, RecordsShift, RecordsUnbounded,
    BytesUnbounded, ReadMayBeEmpty, OneRecordPages, RecordBytesFlipped,
    // Rows.
    ExpiryIgnored, ExpiryLate, ExpiryEarly, TablesMixed, PrefixTooShort, PrefixIsKey, DeleteKeeps,
    // Scans.
    ScanBackwards, ScanNeverEnds, ScanEndsEarly, AfterIgnored, AfterIncluded, PrefixIgnored,
    // Answers.
    AnswersTwice, AnswerLost, WrongShard, WrongToken, PollClears, OrderReversed, EveryTenthCommitLost,
    CountsNoBytes, SaysNothing,
}

/// The memory back end with one fault.
struct Planted {
    inner: Mutex<Inner>,
    fault: Fault,
}

struct Inner {
    memory: Memory,
    commits: u64,
    held: Vec<(ShardId, StoreToken, Request, u64)>,
    ready: Vec<(ShardId, StoreToken, Answer)>,
}

impl Planted {
    fn new(fault: Fault) -> Planted {
        let memory = Memory::new(BYTES_MAX);
        Planted {
            inner: Mutex::new(Inner { memory, commits: 0, held: Vec::new(), ready: Vec::new() }),
            fault,
        }
    }

    fn now(&self, wall_ms: u64) -> u64 {
        match self.fault {
            Fault::ExpiryLate => wall_ms - 1,
            Fault::ExpiryEarly => wall_ms + 1,
            _ => wall_ms,
        }
    }

    fn execute(&self, inner: &mut Inner, request: Request, wall_ms: u64) -> Answer {
        let wall_ms = self.now(wall_ms);
        let asked = request.clone();
        let request = self.bend(request);
        inner.commits += u64::from(matches!(request, Request::Commit(_)));
        if self.fault == Fault::EveryTenthCommitLost && inner.commits.is_multiple_of(10) {
            inner.commits += 1;
            return Answer::Committed;
        }
        let answer = inner.memory.execute(request.clone(), wall_ms);
        if let (Fault::BatchNotAtomic, Answer::Conflict(_), Request::Commit(writes)) =
            (self.fault, &answer, request)
        {
            for write in writes {
                inner.memory.execute(Request::Commit(vec![write]), wall_ms);
            }
        }
        self.bend_answer(&asked, answer)
    }

    fn bend(&self, request: Request) -> Request {
        match request {
            Request::Commit(writes) => {
                Request::Commit(writes.into_iter().filter_map(|write| self.bend_write(write)).collect())
            }
            Request::Read { log, from, records_max, bytes_max } => {
                let (log, from) =
                    (self.bend_log(log), if self.fault == Fault::RecordsShift { from + 1 } else { from });
                match self.fault {
                    Fault::RecordsUnbounded => Request::Read { log, from, records_max: u32::MAX, bytes_max },
                    Fault::BytesUnbounded => Request::Read { log, from, records_max, bytes_max: u32::MAX },
                    Fault::OneRecordPages => {
                        Request::Read { log, from, records_max: records_max.min(1), bytes_max }
                    }
                    _ => Request::Read { log, from, records_max, bytes_max },
                }
            }
            Request::Head(log) => Request::Head(self.bend_log(log)),
            Request::Get { table, key } => Request::Get { table: self.bend_table(table), key },
            Request::Scan { table, prefix, after, rows_max } => {
                let table = self.bend_table(table);
                let shorter = |after: Bytes| (after.len() > 1).then(|| after.slice(..after.len() - 1));
                match self.fault {
                    Fault::AfterIgnored => Request::Scan { table, prefix, after: None, rows_max },
                    Fault::AfterIncluded => {
                        Request::Scan { table, prefix, after: after.and_then(shorter), rows_max }
                    }
                    Fault::PrefixIgnored => Request::Scan { table, prefix: "".into(), after, rows_max },
                    _ => Request::Scan { table, prefix, after, rows_max },
                }
            }
        }
    }

    fn bend_log(&self, mut log: LogId) -> LogId {
        match self.fault {
            Fault::KindsMixed => log.kind = LogKind::Topic,
            Fault::SlotsMixed => log.slot = 0,
            _ => {}
        }
        log
    }

    fn bend_table(&self, table: Table) -> Table {
        if self.fault == Fault::TablesMixed { Table::Meta } else { table }
    }

    fn bend_write(&self, write: Write) -> Option<Write> {
        Some(match (self.fault, write) {
            (Fault::TrimTooFar, Write::Trim { log, to }) => Write::Trim { log, to: to.saturating_add(1) },
            (Fault::TrimTooLittle, Write::Trim { log, to }) => Write::Trim { log, to: to.saturating_sub(1) },
            (Fault::DropKeepsHead, Write::Drop { log }) => Write::Trim { log, to: u64::MAX },
            (_, Write::Append { log, offset, record }) => {
                Write::Append { log: self.bend_log(log), offset, record }
            }
            (Fault::ExpiryIgnored, Write::Put { table, key, value, .. }) => {
                Write::Put { table, key, value, expires_at_ms: None }
            }
            (Fault::TablesMixed, Write::Put { table, key, value, expires_at_ms }) => {
                Write::Put { table: self.bend_table(table), key, value, expires_at_ms }
            }
            (Fault::AbsentIgnored | Fault::ConditionsIgnored, Write::PutIfAbsent { table, key, value }) => {
                Write::Put { table, key, value, expires_at_ms: None }
            }
            (Fault::ConditionsIgnored, Write::CompareAndSet { table, key, value: Some(value), .. })
            | (
                Fault::ExpectedNoneIsAny,
                Write::CompareAndSet { table, key, expected: None, value: Some(value) },
            ) => Write::Put { table, key, value, expires_at_ms: None },
            (Fault::PrefixTooShort, Write::DeletePrefix { table, prefix }) if prefix.len() > 1 => {
                Write::DeletePrefix { table, prefix: prefix.slice(..prefix.len() - 1) }
            }
            (Fault::PrefixIsKey, Write::DeletePrefix { table, prefix }) => {
                Write::Delete { table, key: prefix }
            }
            (Fault::DeleteKeeps, Write::Delete { key, .. }) if !key.is_empty() && key.len() < 100 => {
                return None;
            }
            (_, write) => write,
        })
    }

    fn bend_answer(&self, request: &Request, answer: Answer) -> Answer {
        let invalid = Answer::Failed(StoreFailure::Invalid);
        match (self.fault, answer) {
            (Fault::ConflictIndexIsZero, Answer::Conflict(_)) => Answer::Conflict(0),
            (Fault::ConflictIsInvalid, Answer::Conflict(_)) => invalid,
            (Fault::InvalidIsCommitted, answer) if answer == invalid => match request {
                Request::Commit(_) => Answer::Committed,
                _ => answer,
            },
            (Fault::InvalidIsConflict, answer) if answer == invalid => Answer::Conflict(0),
            (Fault::HeadLost, Answer::Records { records, .. }) if records.is_empty() => {
                Answer::Records { records, head: 0 }
            }
            (Fault::HeadLost, Answer::Head { head, trimmed_to }) if trimmed_to > head => {
                Answer::Head { head: 0, trimmed_to: 0 }
            }
            (Fault::ReadMayBeEmpty, Answer::Records { mut records, head }) => {
                let Request::Read { bytes_max, .. } = request else { panic!("an answer to {request:?}") };
                records.retain(|(_, record)| record.len() <= *bytes_max as usize);
                Answer::Records { records, head }
            }
            (Fault::RecordBytesFlipped, Answer::Records { records, head }) => {
                let flip = |record: bytes::Bytes| record.iter().map(|byte| byte & 0x7F).collect();
                Answer::Records { records: records.into_iter().map(|(o, r)| (o, flip(r))).collect(), head }
            }
            (Fault::ScanBackwards, Answer::Rows { mut rows, more }) => {
                rows.reverse();
                Answer::Rows { rows, more }
            }
            (Fault::ScanNeverEnds, Answer::Rows { rows, .. }) => Answer::Rows { rows, more: true },
            (Fault::ScanEndsEarly, Answer::Rows { rows, .. }) => Answer::Rows { rows, more: false },
            (_, answer) => answer,
        }
    }
}

impl Store for Planted {
    fn submit(&self, shard: ShardId, token: StoreToken, request: Request, wall_ms: u64) {
        let mut inner = self.inner.lock().unwrap();
        if self.fault == Fault::OrderReversed {
            inner.held.push((shard, token, request, wall_ms));
            return;
        }
        let answer = self.execute(&mut inner, request, wall_ms);
        let (shard, token) = match self.fault {
            Fault::WrongShard => (ShardId(1 - shard.0), token),
            Fault::WrongToken => (shard, StoreToken(token.0 + 1)),
            Fault::AnswerLost if token == StoreToken(3) => return,
            _ => (shard, token),
        };
        inner.ready.push((shard, token, answer.clone()));
        if self.fault == Fault::AnswersTwice {
            inner.ready.push((shard, token, answer));
        }
    }

    fn poll(&self, shard: ShardId, answers: &mut Vec<(StoreToken, Answer)>) {
        let mut inner = self.inner.lock().unwrap();
        while let Some((of, token, request, wall_ms)) = inner.held.pop() {
            let answer = self.execute(&mut inner, request, wall_ms);
            inner.ready.push((of, token, answer));
        }
        if self.fault == Fault::PollClears {
            answers.clear();
        }
        let mine = inner.ready.extract_if(.., |(of, _, _)| *of == shard);
        answers.extend(mine.map(|(_, token, answer)| (token, answer)));
    }

    fn on_answer(&self, _shard: ShardId, _bell: Bell) {}

    fn describe(&self) -> String {
        if self.fault == Fault::SaysNothing { String::new() } else { "planted".to_owned() }
    }

    fn bytes(&self) -> u64 {
        if self.fault == Fault::CountsNoBytes { 0 } else { self.inner.lock().unwrap().memory.bytes() }
    }

    fn flush(&self) {}
}

/// The memory back end behind a thread.
struct Late {
    requests: Sender<Asked>,
    answered: Arc<Answered>,
}

enum Asked {
    Request(ShardId, StoreToken, Request, u64),
    Bytes(Sender<u64>),
}

#[derive(Default)]
struct Answered {
    ready: Mutex<Vec<(ShardId, StoreToken, Answer)>>,
    bells: Mutex<HashMap<ShardId, Bell>>,
}

impl Late {
    fn new(rings: bool) -> Late {
        let (requests, queue) = channel();
        let answered = Arc::new(Answered::default());
        let to = Arc::clone(&answered);
        // Ends when the store is dropped, and with it the sender.
        std::thread::spawn(move || {
            let mut memory = Memory::new(BYTES_MAX);
            for asked in queue {
                match asked {
                    Asked::Bytes(reply) => reply.send(memory.bytes()).unwrap(),
                    Asked::Request(shard, token, request, wall_ms) => {
                        let answer = memory.execute(request, wall_ms);
                        to.ready.lock().unwrap().push((shard, token, answer));
                        if rings && let Some(bell) = to.bells.lock().unwrap().get(&shard) {
                            bell();
                        }
                    }
                }
            }
        });
        Late { requests, answered }
    }
}

impl Store for Late {
    fn submit(&self, shard: ShardId, token: StoreToken, request: Request, wall_ms: u64) {
        self.requests.send(Asked::Request(shard, token, request, wall_ms)).unwrap();
    }

    fn poll(&self, shard: ShardId, answers: &mut Vec<(StoreToken, Answer)>) {
        let mut ready = self.answered.ready.lock().unwrap();
        let mine = ready.extract_if(.., |(of, _, _)| *of == shard);
        answers.extend(mine.map(|(_, token, answer)| (token, answer)));
    }

    fn on_answer(&self, shard: ShardId, bell: Bell) {
        self.answered.bells.lock().unwrap().insert(shard, bell);
    }

    fn describe(&self) -> String {
        "memory, from a thread".to_owned()
    }

    fn bytes(&self) -> u64 {
        let (reply, bytes) = channel();
        self.requests.send(Asked::Bytes(reply)).unwrap();
        bytes.recv().unwrap()
    }

    fn flush(&self) {
        self.bytes();
    }
}
