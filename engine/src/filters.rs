//! The subscription table of one shard: topic filter -> subscribers, and the filters that match a topic.
//!
//! It lives on the shard's thread. Every filter, exact or not, is one record in a slab and one entry of a hash index, so a topic
//! without wildcard filters costs one look-up. Filters with wildcards are also in a trie (`trie`), walked without recursion:
//! a match visits a trie node at most once, so it costs at most the nodes whose path agrees with the topic. A filter with one
//! subscriber owns nothing but its text; long subscriber lists are indexed (`subscribers`), so that removal is O(1).
//!
//! Invariants: a filter is in the table exactly while it has a subscriber; a `FilterId` is valid as long, and may name
//! another filter later. Filters and topics are taken as valid MQTT: the codec checked them. `$share` is stripped by the caller.
//! The order of matches and of subscribers is not promised, but depends on the calls made alone, not on the seeds. Records, nodes
//! and index keep their size for reuse when filters go; texts and subscriber lists are given back. Nothing is bounded here: the
//! engine compares `len`, `filters` and `bytes` with its limits before it inserts.

mod hash;
mod interest;
mod subscribers;
mod trie;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

pub use hash::Seeds;
pub use interest::{InterestTable, SHARDS_MAX};
pub use subscribers::Entry;
use subscribers::Subscribers;
use trie::Trie;

/// Names a filter of a table while it has a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(u32);

/// Topic filters and their subscribers. `V` is what is kept per subscription, a few bytes.
#[derive(Debug)]
pub struct FilterTable<V> {
    seeds: Seeds,
    filters: Vec<Filter<V>>,
    /// First free record, or `NIL`.
    free: u32,
    index: HashTable<Indexed>,
    trie: Trie,
    subscribers: usize,
    /// Heap bytes of all filter texts and subscriber lists.
    owned_bytes: usize,
}

#[derive(Debug)]
struct Filter<V> {
    text: Box<str>,
    subscribers: Subscribers<V>,
}

/// An entry of the index: the hash beside the record's number lets the index grow without reading a single text.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    hash: u32,
    filter: u32,
}

const NIL: u32 = u32::MAX;

impl<V: Copy + Eq> FilterTable<V> {
    /// An empty table. The seeds should be secret and differ per process, so that nobody can choose colliding filters.
    pub fn new(seeds: Seeds) -> Self {
        FilterTable {
            seeds,
            filters: Vec::new(),
            free: NIL,
            index: HashTable::new(),
            trie: Trie::new(seeds),
            subscribers: 0,
            owned_bytes: 0,
        }
    }

    /// Adds a subscriber, or replaces its value: one key has one subscription to a filter [MQTT-3.8.4-3]. Gives the replaced value.
    pub fn insert(&mut self, filter: &str, key: u32, value: V) -> (FilterId, Option<V>) {
        let entry = Entry { key, value };
        if let Some(id) = self.find(filter) {
            let subscribers = &mut record_mut(&mut self.filters, id.0).subscribers;
            let before = subscribers.bytes();
            let replaced = subscribers.insert(entry);
            self.owned_bytes = self.owned_bytes + subscribers.bytes() - before;
            self.subscribers += usize::from(replaced.is_none());
            return (id, replaced);
        }
        (self.create(filter, entry), None)
    }

    /// Removes a subscriber. The last one takes the filter with it.
    pub fn remove(&mut self, filter: &str, key: u32) -> Option<V> {
        self.remove_by_id(self.find(filter)?, key)
    }

    /// As `remove`, for a filter known by its id.
    pub fn remove_by_id(&mut self, id: FilterId, key: u32) -> Option<V> {
        let subscribers = &mut self.filters.get_mut(id.0 as usize)?.subscribers;
        let before = subscribers.bytes();
        let removed = subscribers.remove(key)?;
        self.owned_bytes = self.owned_bytes + subscribers.bytes() - before;
        self.subscribers -= 1;
        if subscribers.as_slice().is_empty() {
            self.destroy(id);
        }
        Some(removed)
    }

    /// Calls `f` with every filter that matches `topic`, each once, with its subscribers.
    pub fn for_each_match(&self, topic: &str, f: &mut impl FnMut(FilterId, &[Entry<V>])) {
        if let Some(id) = self.find(topic) {
            f(id, self.entries(id));
        }
        if self.has_wildcards() {
            self.trie
                .for_each_match(topic, &mut |filter| f(FilterId(filter), self.entries(FilterId(filter))));
        }
    }

    /// The id of a filter that has subscribers.
    pub fn find(&self, filter: &str) -> Option<FilterId> {
        let hash = self.seeds.hash(filter.as_bytes());
        let found = self
            .index
            .find(hash::spread(hash), |entry| entry.hash == hash && self.text(entry.filter) == filter)?;
        Some(FilterId(found.filter))
    }

    /// The value of one subscriber.
    pub fn get(&self, filter: &str, key: u32) -> Option<V> {
        self.get_by_id(self.find(filter)?, key)
    }

    /// As `get`, for a filter known by its id.
    pub fn get_by_id(&self, id: FilterId, key: u32) -> Option<V> {
        self.filters.get(id.0 as usize)?.subscribers.get(key)
    }

    /// The text of a filter. Empty if the id is not valid.
    pub fn filter(&self, id: FilterId) -> &str {
        self.text(id.0)
    }

    /// The subscribers of a filter. Empty if the id is not valid.
    pub fn entries(&self, id: FilterId) -> &[Entry<V>] {
        self.filters.get(id.0 as usize).map_or(&[], |filter| filter.subscribers.as_slice())
    }

    /// Every filter with its subscribers, in an order that stays the same while nothing is inserted or removed.
    pub fn iter(&self) -> impl Iterator<Item = (FilterId, &str, &[Entry<V>])> {
        (0u32..).zip(&self.filters).filter_map(|(number, filter)| {
            let entries = filter.subscribers.as_slice();
            (!entries.is_empty()).then_some((FilterId(number), &*filter.text, entries))
        })
    }

    /// True if a filter contains a wildcard.
    pub fn has_wildcards(&self) -> bool {
        self.trie.filters() > 0
    }

    /// Number of subscriptions: pairs of filter and subscriber.
    pub fn len(&self) -> usize {
        self.subscribers
    }

    /// True if there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.subscribers == 0
    }

    /// Number of distinct filters.
    pub fn filters(&self) -> usize {
        self.index.len()
    }

    /// Number of distinct filters with a wildcard.
    pub fn wildcard_filters(&self) -> usize {
        self.trie.filters()
    }

    /// Heap memory held, in bytes, without the allocator's own overhead.
    pub fn bytes(&self) -> usize {
        self.filters.capacity() * size_of::<Filter<V>>()
            + self.index.allocation_size()
            + self.trie.bytes()
            + self.owned_bytes
    }

    fn create(&mut self, text: &str, first: Entry<V>) -> FilterId {
        let record = Filter { text: text.into(), subscribers: Subscribers::One(first) };
        self.owned_bytes += text.len();
        self.subscribers += 1;
        let number = self.allocate(record);
        let hash = self.seeds.hash(text.as_bytes());
        self.index.insert_unique(hash::spread(hash), Indexed { hash, filter: number }, |entry| {
            hash::spread(entry.hash)
        });
        if is_wildcard(text) {
            self.trie.insert(text, number);
        }
        FilterId(number)
    }

    fn allocate(&mut self, record: Filter<V>) -> u32 {
        if self.free == NIL {
            let number = u32::try_from(self.filters.len()).ok().filter(|&number| number != NIL);
            self.filters.push(record);
            return number.expect("fewer than 2^32 filters");
        }
        let number = self.free;
        let vacant = record_mut(&mut self.filters, number);
        self.free = vacant.subscribers.next_free().expect("a record on the free list is free");
        *vacant = record;
        number
    }

    fn destroy(&mut self, id: FilterId) {
        let next = self.free;
        let record = record_mut(&mut self.filters, id.0);
        let text = std::mem::take(&mut record.text);
        record.subscribers = Subscribers::Free { next };
        self.free = id.0;
        self.owned_bytes -= text.len();
        let hash = self.seeds.hash(text.as_bytes());
        let slot = self.index.entry(
            hash::spread(hash),
            |entry| entry.filter == id.0,
            |entry| hash::spread(entry.hash),
        );
        let Slot::Occupied(slot) = slot else { unreachable!("every filter is in the index") };
        slot.remove();
        if is_wildcard(&text) {
            self.trie.remove(&text);
        }
    }

    fn text(&self, number: u32) -> &str {
        self.filters.get(number as usize).map_or("", |filter| &filter.text)
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "numbers come from the index or the free list, which hold only valid ones"
)]
fn record_mut<V>(filters: &mut [Filter<V>], number: u32) -> &mut Filter<V> {
    &mut filters[number as usize]
}

/// In a valid filter a wildcard fills its level [MQTT-4.7.1-1, MQTT-4.7.1-2], so either character is enough.
fn is_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}
