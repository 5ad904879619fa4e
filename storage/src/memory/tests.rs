//! What the memory back end promises beyond the contract: its bound, its accounts, its snapshots.

use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, LogId, LogKind, Request, StoreFailure, StoreToken, Table, Write};
use bytes::Bytes;

use super::{Counts, Memory, MemoryStore, SWEEP_ROWS_MAX};
use crate::contract::Store;

const LOG: LogId = LogId { slot: 1, kind: LogKind::Topic, number: 1 };
const NOW: u64 = 1_800_000_000_000;

#[test]
fn it_passes_the_suite() {
    crate::suite::run(|| Box::new(MemoryStore::new(1 << 30)));
}

#[test]
fn it_says_that_nothing_survives() {
    assert_eq!(MemoryStore::new(0).describe(), "memory: nothing survives a restart");
}

#[test]
fn it_answers_within_submit_and_once() {
    let store = MemoryStore::new(1 << 20);
    store.submit(ShardId(3), StoreToken(9), Request::Head(LOG), NOW);
    let mut answers = Vec::new();
    store.poll(ShardId(2), &mut answers);
    assert_eq!(answers, []);
    store.poll(ShardId(3), &mut answers);
    store.poll(ShardId(3), &mut answers);
    assert_eq!(answers, [(StoreToken(9), Answer::Head { head: 0, trimmed_to: 0 })]);
}

#[test]
fn full_refuses_records_and_retained_rows_alone() {
    let mut memory = Memory::new(10_000);
    let full = Answer::Failed(StoreFailure::Full);
    let append = |offset, len| Write::Append { log: LOG, offset, record: vec![0; len].into() };
    assert_eq!(commit(&mut memory, append(1, 9_000)), Answer::Committed);
    assert_eq!(commit(&mut memory, append(2, 1_000)), full);
    assert_eq!(commit(&mut memory, put(Table::Retained, 1, 1_000)), full);
    for table in [Table::Sessions, Table::Cursors, Table::Received, Table::Meta, Table::Topics, Table::Groups]
    {
        assert_eq!(commit(&mut memory, put(table, 1, 1_000)), Answer::Committed, "{table:?}");
    }
    // Twice over its bound by now; what frees space still goes.
    assert_eq!(commit(&mut memory, Write::Trim { log: LOG, to: 2 }), Answer::Committed);
    assert_eq!(commit(&mut memory, append(2, 1_000)), Answer::Committed);
}

#[test]
fn a_full_batch_writes_nothing() {
    let mut memory = Memory::new(1_000);
    let record = Bytes::from(vec![0; 2_000]);
    let batch = vec![put(Table::Meta, 1, 1), Write::Append { log: LOG, offset: 1, record }];
    assert_eq!(memory.execute(Request::Commit(batch), NOW), Answer::Failed(StoreFailure::Full));
    assert_eq!((memory.bytes(), memory.counts()), (0, Counts::default()));
}

#[test]
fn bytes_and_counts_return_to_zero() {
    let mut memory = Memory::new(1 << 20);
    for n in 1..=100 {
        let expires_at_ms = (n % 2 == 0).then_some(NOW + u64::from(n));
        let key = vec![n; 3].into();
        commit(&mut memory, Write::Put { table: Table::Sessions, key, value: "v".into(), expires_at_ms });
        commit(&mut memory, put(Table::Cursors, n, usize::from(n)));
        commit(&mut memory, put(Table::Cursors, n, 1));
        commit(&mut memory, Write::Append { log: LOG, offset: n.into(), record: vec![n; 9].into() });
    }
    assert_eq!(memory.counts(), Counts { logs: 1, records: 100, rows: 200 });
    for n in 1..=100_u8 {
        commit(&mut memory, Write::Trim { log: LOG, to: n.into() });
        commit(&mut memory, Write::Delete { table: Table::Sessions, key: vec![n; 3].into() });
        commit(&mut memory, Write::DeletePrefix { table: Table::Cursors, prefix: vec![n].into() });
    }
    commit(&mut memory, Write::Drop { log: LOG });
    assert_eq!((memory.bytes(), memory.counts()), (0, Counts::default()));
    assert!(memory.expiries.is_empty());
}

#[test]
fn expired_rows_go_in_bounded_sweeps() {
    let mut memory = Memory::new(1 << 20);
    let rows = SWEEP_ROWS_MAX * 2 + 1;
    for n in 0..rows {
        let key = Bytes::copy_from_slice(&n.to_be_bytes());
        let write =
            Write::Put { table: Table::Sessions, key, value: "v".into(), expires_at_ms: Some(NOW + 1) };
        commit(&mut memory, write);
    }
    for left in [rows - SWEEP_ROWS_MAX, 1, 0, 0] {
        assert_eq!(memory.execute(Request::Commit(Vec::new()), NOW + 1), Answer::Committed);
        assert_eq!(memory.counts().rows, left);
    }
    assert_eq!(memory.bytes(), 0);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let mut memory = Memory::new(1 << 20);
    commit(&mut memory, put(Table::Meta, 1, 10));
    commit(&mut memory, Write::Append { log: LOG, offset: 1, record: "a".into() });
    let mut snapshot = memory.clone();
    commit(&mut memory, Write::DeletePrefix { table: Table::Meta, prefix: vec![1].into() });
    commit(&mut memory, Write::Drop { log: LOG });
    assert_eq!(snapshot.counts(), Counts { logs: 1, records: 1, rows: 1 });
    let get = Request::Get { table: Table::Meta, key: vec![1].into() };
    assert_eq!(snapshot.execute(get, NOW), Answer::Value(Some(vec![1; 10].into())));
}

#[test]
fn a_trimmed_log_gives_its_room_back() {
    let mut log = super::Log::default();
    for offset in 1..=10_000 {
        log.append(offset, Bytes::new());
    }
    log.trim(9_999);
    assert!(log.capacity() < 100, "{} places for 2 records", log.capacity());
}

fn put(table: Table, key: u8, len: usize) -> Write {
    Write::Put { table, key: vec![key].into(), value: vec![key; len].into(), expires_at_ms: None }
}

fn commit(memory: &mut Memory, write: Write) -> Answer {
    memory.execute(Request::Commit(vec![write]), NOW)
}
