//! What a store promises to the shards, beyond the shapes of the requests (`bitsim_engine::store`).
//!
//! A shard hands over a request and goes on; it collects answers in its own loop. A store is shared by all shards and
//! may have threads of its own, but it never blocks the shard that calls it.
//!
//! Order. The requests of one shard take effect in the order they were submitted, a refused one leaving no trace: a
//! read sees every commit that the same shard submitted before it, and none that it submitted later. What was answered
//! is seen by every request of any shard that is submitted after that answer. Between shards nothing else is promised.
//!
//! Judgement of a commit, first match wins: `Invalid` if the batch breaks the contract by itself or against the heads;
//! `Conflict` with the index of the first condition that does not hold; `Full`; else all of it is written. Conditions
//! are judged against the state before the batch, heads against the state that the batch's earlier writes lead to.

use std::sync::Arc;

use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, Offset, Request, StoreToken, Write};

/// Most bytes in one record of a log.
pub const RECORD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most bytes in the value of one row.
pub const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most bytes in a key (a topic name of 65,535 bytes and what stands before it). An empty key is invalid.
pub const KEY_BYTES_MAX: usize = 65_600;

/// A page of a scan ends with the row that passes this many bytes of keys and values, though fewer rows than asked for
/// are in it.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Wakes a waiting shard. Cheap, callable from any thread, and harmless when there is nothing to collect.
pub type Bell = Arc<dyn Fn() + Send + Sync>;

/// A back end.
///
/// - Every submitted request is answered exactly once, to the shard that submitted it, under its token.
/// - A record or row that was committed reads back byte for byte until it is trimmed, dropped, deleted, replaced or
///   expired. `Damaged` is answered where it cannot; never other bytes.
/// - A log exists from its first append to its `Drop`; afterwards it may begin again at any offset above 0. `Trim` and
///   `Drop` of a log that does not exist do nothing. `Trim` never moves the trim point back, nor past the offset after
///   the head.
/// - A row with `expires_at_ms` is absent for every request whose `wall_ms` is that moment or later; it may stay
///   absent should the clock step back. `PutIfAbsent` and `CompareAndSet` write rows that never expire.
/// - A page of a scan that says `more` holds at least one row; one that does not say it was the last.
/// - `Full` is answered only to commits that append a record or put a retained row: what frees space, and what lets
///   clients come back and read, is taken while the store is alive.
pub trait Store: Send + Sync + 'static {
    /// Takes a request. `wall_ms` is the shard's wall clock, in milliseconds UTC: expiry is judged by it.
    fn submit(&self, shard: ShardId, token: StoreToken, request: Request, wall_ms: u64);

    /// Adds the answers that are ready for this shard to `answers`.
    fn poll(&self, shard: ShardId, answers: &mut Vec<(StoreToken, Answer)>);

    /// Sets the bell of a shard. It is rung after an answer became ready outside of that shard's `submit`; several
    /// answers may share one ring. A store that answers within `submit` never rings.
    fn on_answer(&self, shard: ShardId, bell: Bell);

    /// One line for the operator, said at start: which back end, and what a commit promises.
    fn describe(&self) -> String;

    /// Bytes in use: records, keys, values and what it takes to find them.
    fn bytes(&self) -> u64;

    /// Returns when every commit submitted before is as durable as this back end makes it. For the end of the process;
    /// it may block.
    fn flush(&self);
}

/// Whether an append at `offset` may follow `head`, the head of a log that exists.
pub const fn may_follow(head: Offset, offset: Offset) -> bool {
    offset > head && (offset - head == 1 || epoch(offset) > epoch(head))
}

/// Whether a request is within its bounds, whatever the store holds.
pub fn is_within_bounds(request: &Request) -> bool {
    match request {
        Request::Commit(writes) => writes.iter().all(is_write_within_bounds),
        Request::Read { records_max, .. } => *records_max > 0,
        Request::Head(_) => true,
        Request::Get { key, .. } => is_key(key),
        Request::Scan { prefix, after, rows_max, .. } => {
            *rows_max > 0 && prefix.len() <= KEY_BYTES_MAX && after.as_ref().is_none_or(|after| is_key(after))
        }
    }
}

fn is_write_within_bounds(write: &Write) -> bool {
    match write {
        Write::Append { offset, record, .. } => *offset > 0 && record.len() <= RECORD_BYTES_MAX,
        Write::Trim { .. } | Write::Drop { .. } => true,
        Write::Put { key, value, .. } | Write::PutIfAbsent { key, value, .. } => {
            is_key(key) && value.len() <= VALUE_BYTES_MAX
        }
        Write::CompareAndSet { key, expected, value, .. } => {
            let fits =
                |value: &Option<_>| value.as_ref().is_none_or(|v: &bytes::Bytes| v.len() <= VALUE_BYTES_MAX);
            is_key(key) && fits(expected) && fits(value)
        }
        Write::Delete { key, .. } => is_key(key),
        Write::DeletePrefix { prefix, .. } => is_key(prefix),
    }
}

fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES_MAX
}

/// Bits of an offset below the owner's epoch.
const NUMBER_BITS: u32 = 40;

const fn epoch(offset: Offset) -> u64 {
    offset >> NUMBER_BITS
}
