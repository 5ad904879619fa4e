//! The subscribers of one filter: one inline, more in a list, many in a list with an index from key to place.
//!
//! Invariants: a key occurs once. `One` holds one entry, a list at least two. A list longer than `INDEXED_ABOVE` has an index;
//! it is given up only well below that, so that a list at the edge does not build it again and again.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

/// One subscriber of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<V> {
    /// Who subscribes: unique within a filter.
    pub key: u32,
    /// What the subscription says.
    pub value: V,
}

#[derive(Debug)]
pub(super) enum Subscribers<V> {
    /// The record is on the free list.
    Free {
        next: u32,
    },
    One(Entry<V>),
    List(Box<List<V>>),
}

#[derive(Debug)]
pub(super) struct List<V> {
    entries: Vec<Entry<V>>,
    /// Places in `entries` by key. Empty, without memory, while the list is short.
    places: HashTable<u32>,
}

const INDEXED_ABOVE: usize = 64;
const INDEX_DROPPED_BELOW: usize = 24;

impl<V: Copy + Eq> Subscribers<V> {
    /// Adds or replaces; gives the replaced value.
    pub(super) fn insert(&mut self, entry: Entry<V>) -> Option<V> {
        match self {
            Subscribers::Free { .. } => {
                *self = Subscribers::One(entry);
                None
            }
            Subscribers::One(only) if only.key == entry.key => Some(std::mem::replace(only, entry).value),
            Subscribers::One(only) => {
                let entries = vec![*only, entry];
                *self = Subscribers::List(Box::new(List { entries, places: HashTable::new() }));
                None
            }
            Subscribers::List(list) => list.insert(entry),
        }
    }

    /// Removes; a caller that finds no entry left frees the record.
    pub(super) fn remove(&mut self, key: u32) -> Option<V> {
        match self {
            Subscribers::Free { .. } => None,
            Subscribers::One(only) => {
                let value = (only.key == key).then_some(only.value)?;
                *self = Subscribers::Free { next: u32::MAX };
                Some(value)
            }
            Subscribers::List(list) => {
                let value = list.remove(key)?;
                if let [only] = *list.entries {
                    *self = Subscribers::One(only);
                }
                Some(value)
            }
        }
    }

    pub(super) fn get(&self, key: u32) -> Option<V> {
        match self {
            Subscribers::Free { .. } => None,
            Subscribers::One(only) => (only.key == key).then_some(only.value),
            Subscribers::List(list) => list.entries.get(list.place(key)?).map(|entry| entry.value),
        }
    }

    pub(super) fn as_slice(&self) -> &[Entry<V>] {
        match self {
            Subscribers::Free { .. } => &[],
            Subscribers::One(only) => std::slice::from_ref(only),
            Subscribers::List(list) => &list.entries,
        }
    }

    pub(super) fn next_free(&self) -> Option<u32> {
        match self {
            Subscribers::Free { next } => Some(*next),
            _ => None,
        }
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Subscribers::List(list) => {
                size_of::<List<V>>()
                    + list.entries.capacity() * size_of::<Entry<V>>()
                    + list.places.allocation_size()
            }
            _ => 0,
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "the index holds places inside the list, and nothing else")]
impl<V: Copy + Eq> List<V> {
    fn insert(&mut self, entry: Entry<V>) -> Option<V> {
        if let Some(place) = self.place(entry.key) {
            return Some(std::mem::replace(&mut self.entries[place], entry).value);
        }
        let place = u32::try_from(self.entries.len()).expect("fewer than 2^32 subscribers");
        self.entries.push(entry);
        if !self.places.is_empty() {
            let entries = &self.entries;
            self.places.insert_unique(hash(entry.key), place, |&place| hash(entries[place as usize].key));
        } else if self.entries.len() > INDEXED_ABOVE {
            let entries = &self.entries;
            for (place, entry) in (0u32..).zip(entries) {
                self.places.insert_unique(hash(entry.key), place, |&place| hash(entries[place as usize].key));
            }
        }
        None
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let place = self.place(key)?;
        if !self.places.is_empty() {
            self.unindex(place);
        }
        let removed = self.entries.swap_remove(place);
        let half = self.entries.capacity() / 2;
        if self.entries.len() < INDEX_DROPPED_BELOW {
            self.places = HashTable::new();
        }
        if self.entries.len() < half / 2 {
            let entries = &self.entries;
            self.places.shrink_to(0, |&place| hash(entries[place as usize].key));
            self.entries.shrink_to(half);
        }
        Some(removed.value)
    }

    /// Takes `place` out of the index and lets the last entry, which moves there, be found there.
    fn unindex(&mut self, place: usize) {
        let last = self.entries.len() - 1;
        let (key, moved) = (self.entries[place].key, self.entries[last].key);
        let slot = self.places.entry(hash(key), |&at| at as usize == place, |_| 0);
        let Slot::Occupied(slot) = slot else { unreachable!("every entry is in the index") };
        let (kept, _) = slot.remove();
        if last != place {
            let at = self.places.find_mut(hash(moved), |&at| at as usize == last);
            *at.expect("the last entry is in the index") = kept;
        }
    }

    fn place(&self, key: u32) -> Option<usize> {
        if self.places.is_empty() {
            return self.entries.iter().position(|entry| entry.key == key);
        }
        self.places
            .find(hash(key), |&place| self.entries[place as usize].key == key)
            .map(|&place| place as usize)
    }
}

/// Keys are numbers that the broker gave out, so nobody can choose colliding ones and no seed is needed.
fn hash(key: u32) -> u64 {
    let product = u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}
