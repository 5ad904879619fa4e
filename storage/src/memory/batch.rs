//! Judges a batch before anything of it is written, in the order that the contract gives.
//!
//! Heads are followed through the batch in a small list (a batch mostly touches one or two logs), so that a batch may
//! append to one log several times, drop it and begin it again.

use bitsim_engine::store::{LogId, Offset, StoreFailure, Table, Write};
use bytes::Bytes;
use hashbrown::HashMap;

use super::Memory;
use super::log::RECORD_OVERHEAD;
use crate::contract::may_follow;

/// Why a batch is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Conflict(usize),
    Failed(StoreFailure),
}

/// Whether the batch can be written as it stands.
pub(super) fn judge(memory: &Memory, writes: &[Write], wall_ms: u64) -> Result<(), Refused> {
    if !offsets_rise(memory, writes) {
        return Err(Refused::Failed(StoreFailure::Invalid));
    }
    if let Some(index) = writes.iter().position(|write| !holds(memory, write, wall_ms)) {
        return Err(Refused::Conflict(index));
    }
    let wanted = writes.iter().map(growth).sum::<u64>();
    if wanted > 0 && memory.bytes().saturating_add(wanted) > memory.bytes_max {
        return Err(Refused::Failed(StoreFailure::Full));
    }
    Ok(())
}

fn offsets_rise(memory: &Memory, writes: &[Write]) -> bool {
    // A lone append, the common case, needs no list.
    if let [Write::Append { log, offset, .. }] = writes {
        return follows(memory.head_of(*log), *offset);
    }
    let mut heads: HashMap<LogId, Option<Offset>> = HashMap::new();
    writes.iter().all(|write| match write {
        Write::Append { log, offset, .. } => {
            let head = heads.entry(*log).or_insert_with(|| memory.head_of(*log));
            follows(head.replace(*offset), *offset)
        }
        Write::Drop { log } => {
            heads.insert(*log, None);
            true
        }
        _ => true,
    })
}

fn follows(head: Option<Offset>, offset: Offset) -> bool {
    head.map_or(offset > 0, |head| may_follow(head, offset))
}

/// Whether a write's condition holds. A write without one always does.
fn holds(memory: &Memory, write: &Write, wall_ms: u64) -> bool {
    match write {
        Write::PutIfAbsent { table, key, .. } => memory.rows(*table).get(key, wall_ms).is_none(),
        Write::CompareAndSet { table, key, expected, .. } => {
            memory.rows(*table).get(key, wall_ms) == expected.as_ref()
        }
        _ => true,
    }
}

/// Bytes that a write may add, of those writes that a full store refuses.
fn growth(write: &Write) -> u64 {
    let bytes = |bytes: &Bytes| bytes.len() as u64;
    match write {
        Write::Append { record, .. } => RECORD_OVERHEAD + bytes(record),
        Write::Put { table: Table::Retained, key, value, .. } => bytes(key) + bytes(value),
        _ => 0,
    }
}
