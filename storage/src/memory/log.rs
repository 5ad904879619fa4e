//! One log in memory: records in a deque, in the order of their offsets.
//!
//! The head survives a trim to empty. Finding a record is a division where offsets have no gap, else a binary search;
//! a trim costs what it removes, and gives room back once three quarters of it are unused.

use std::collections::VecDeque;

use bitsim_engine::store::Offset;
use bytes::Bytes;

/// What a record takes beside its bytes: its place in the deque and its allocation.
pub(super) const RECORD_OVERHEAD: u64 = 64;

/// Room for so many records is kept when a log is emptied.
const KEPT_CAPACITY: usize = 8;

/// Its fields are offsets as the contract means them: `head` is 0 only in a log that was never appended to.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    records: VecDeque<(Offset, Bytes)>,
    head: Offset,
    trimmed_to: Offset,
}

impl Log {
    pub(super) fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn trimmed_to(&self) -> Offset {
        self.trimmed_to
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// The caller has checked that the offset may follow the head. Returns the bytes added.
    pub(super) fn append(&mut self, offset: Offset, record: Bytes) -> u64 {
        debug_assert!(offset > self.head, "a log's offsets rise");
        let added = cost(&record);
        self.records.push_back((offset, record));
        self.head = offset;
        added
    }

    /// Removes what is below `to`. Returns the bytes removed.
    pub(super) fn trim(&mut self, to: Offset) -> u64 {
        let mut removed = 0;
        while let Some((offset, record)) = self.records.front() {
            if *offset >= to {
                break;
            }
            removed += cost(record);
            self.records.pop_front();
        }
        self.trimmed_to = self.trimmed_to.max(to.min(self.head.saturating_add(1)));
        self.give_room_back();
        removed
    }

    /// Bytes that go when the log goes.
    pub(super) fn bytes(&self) -> u64 {
        self.records.iter().map(|(_, record)| cost(record)).sum()
    }

    /// A page from `from` on: at most `records_max`, and none after the record that passes `bytes_max`.
    pub(super) fn read(&self, from: Offset, records_max: u32, bytes_max: u32) -> Vec<(Offset, Bytes)> {
        let start = self.position(from);
        let left = self.records.len().saturating_sub(start);
        let mut page = Vec::with_capacity(left.min(records_max as usize).min(1024));
        let mut bytes = 0;
        for (offset, record) in self.records.range(start..).take(records_max as usize) {
            bytes += record.len();
            page.push((*offset, record.clone()));
            if bytes >= bytes_max as usize {
                break;
            }
        }
        page
    }

    /// Index of the first record at or above `from`.
    fn position(&self, from: Offset) -> usize {
        let Some((first, _)) = self.records.front() else { return 0 };
        let guess = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
        match self.records.get(guess) {
            Some((offset, _)) if *offset == from => guess,
            _ => self.records.partition_point(|(offset, _)| *offset < from),
        }
    }

    fn give_room_back(&mut self) {
        let capacity = self.records.capacity();
        if capacity > KEPT_CAPACITY && self.records.len() < capacity / 4 {
            self.records.shrink_to((self.records.len() * 2).max(KEPT_CAPACITY));
        }
    }
}

fn cost(record: &Bytes) -> u64 {
    RECORD_OVERHEAD + record.len() as u64
}
