//! The home's view of subscriptions: which shards want a filter, each counted.
//!
//! It lives on the shard that is home to the topics; the shards that hold the subscribers report the first and the last of a
//! filter, or every one: the count makes both right. A match gives each shard once, however many of its filters match.

use super::{FilterTable, Seeds};

/// The highest number of shards.
pub const SHARDS_MAX: usize = 1024;

/// Filters and the shards interested in them.
#[derive(Debug)]
pub struct InterestTable {
    table: FilterTable<u32>,
}

impl InterestTable {
    /// An empty table.
    pub fn new(seeds: Seeds) -> Self {
        InterestTable { table: FilterTable::new(seeds) }
    }

    /// Counts one more subscription of a shard. True if it is the shard's first to this filter.
    pub fn add(&mut self, filter: &str, shard: u16) -> bool {
        assert!(usize::from(shard) < SHARDS_MAX, "shard {shard} is out of range");
        let count = self.table.get(filter, shard.into()).unwrap_or(0);
        self.table.insert(filter, shard.into(), count.checked_add(1).expect("fewer than 2^32 subscriptions"));
        count == 0
    }

    /// Counts one less. True if it was the shard's last to this filter. A subscription that was never added changes nothing.
    pub fn remove(&mut self, filter: &str, shard: u16) -> bool {
        match self.table.get(filter, shard.into()) {
            None => false,
            Some(1) => self.table.remove(filter, shard.into()).is_some(),
            Some(count) => {
                self.table.insert(filter, shard.into(), count - 1);
                false
            }
        }
    }

    /// Calls `f` with every shard that has a filter matching `topic`, each once, ascending.
    pub fn for_each_shard(&self, topic: &str, f: &mut impl FnMut(u16)) {
        let mut shards = [0u64; SHARDS_MAX / 64];
        self.table.for_each_match(topic, &mut |_, entries| {
            for entry in entries {
                if let Some(word) = shards.get_mut(entry.key as usize / 64) {
                    *word |= 1 << (entry.key % 64);
                }
            }
        });
        for (base, mut word) in (0u16..).step_by(64).zip(shards) {
            while let Some(bit) = lowest_one(word) {
                f(base + bit);
                word &= word - 1;
            }
        }
    }

    /// The table, with the shard as key and its count as value.
    pub fn table(&self) -> &FilterTable<u32> {
        &self.table
    }
}

fn lowest_one(word: u64) -> Option<u16> {
    u16::try_from(word.trailing_zeros()).ok().filter(|&bit| bit < 64)
}
