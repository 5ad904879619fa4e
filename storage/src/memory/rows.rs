//! The rows of one table in memory, ordered by key.
//!
//! An expired row reads as absent at once; it is removed by the sweep that `Memory` runs with each commit, or when it
//! is written over. What removes a row also says when it would have expired, so that the caller's index stays exact.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use bytes::Bytes;

use crate::contract::SCAN_BYTES_MAX;

/// What a row takes beside its key and value: its place in the tree and two allocations.
const ROW_OVERHEAD: u64 = 144;

/// A value and the moment from which it is absent.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) value: Bytes,
    /// Milliseconds UTC.
    pub(super) expires_at_ms: Option<u64>,
}

impl Row {
    fn is_live(&self, wall_ms: u64) -> bool {
        self.expires_at_ms.is_none_or(|at| wall_ms < at)
    }
}

/// Rows by key; `bytes` counts keys, values and overhead of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<Bytes, Row>,
    bytes: u64,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, key: &[u8], wall_ms: u64) -> Option<&Bytes> {
        self.rows.get(key).filter(|row| row.is_live(wall_ms)).map(|row| &row.value)
    }

    /// Returns the row that was there.
    pub(super) fn put(&mut self, key: Bytes, row: Row) -> Option<Row> {
        self.bytes += cost(&key, &row);
        match self.rows.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(row);
                None
            }
            Entry::Occupied(mut entry) => {
                let old = entry.insert(row);
                self.bytes -= cost(entry.key(), &old);
                Some(old)
            }
        }
    }

    /// Returns the row that was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Row> {
        let old = self.rows.remove(key)?;
        self.bytes -= cost(key, &old);
        Some(old)
    }

    /// Removes all rows below a prefix and returns them; costs what it removes.
    pub(super) fn remove_prefix(&mut self, prefix: &[u8]) -> Vec<(Bytes, Row)> {
        let mut removed = Vec::new();
        while let Some(key) = self.first_key(prefix) {
            if let Some(row) = self.remove(&key) {
                removed.push((key, row));
            }
        }
        removed
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Bytes> {
        let (key, _) = self.rows.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded)).next()?;
        key.starts_with(prefix).then(|| key.clone())
    }

    /// Live rows below `prefix` and after `after`, and whether more follow.
    pub(super) fn scan(&self, page: &Page<'_>) -> (Vec<(Bytes, Bytes)>, bool) {
        let start = match page.after {
            Some(after) if after >= page.prefix => Bound::Excluded(after),
            _ => Bound::Included(page.prefix),
        };
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, row) in self.rows.range::<[u8], _>((start, Bound::Unbounded)) {
            if !key.starts_with(page.prefix) {
                break;
            }
            if !row.is_live(page.wall_ms) {
                continue;
            }
            if rows.len() == page.rows_max as usize || bytes >= SCAN_BYTES_MAX {
                return (rows, true);
            }
            bytes += key.len() + row.value.len();
            rows.push((key.clone(), row.value.clone()));
        }
        (rows, false)
    }
}

/// Which page of a scan is wanted.
pub(super) struct Page<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) after: Option<&'a [u8]>,
    pub(super) rows_max: u32,
    pub(super) wall_ms: u64,
}

/// Bytes that a row counts for.
pub(super) fn cost(key: &[u8], row: &Row) -> u64 {
    ROW_OVERHEAD + (key.len() + row.value.len()) as u64
}
