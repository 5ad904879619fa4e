//! Where things live: the home slot of a topic, a filter, a shared subscription and a session, and the shard of a slot.
//!
//! A slot is a disk format: rows in the store are keyed by it, and it must come out the same on every machine and in every
//! version. The hash is therefore fixed: XXH64 over the UTF-8 bytes, with the store's slot key as seed, and its top ten
//! bits are the slot. Changing anything here needs a new store format. Pure functions, called on any thread.
//!
//! Invariant: if a filter matches a topic, then the filter's home is `Everywhere` or the topic's slot. The caller strips
//! `$share/<group>/` and `$replay/<since>/` first, and passes only valid topics and filters. The hash is no defence against
//! clients that choose topics of one slot: they may just as well use one topic.
#![expect(clippy::cast_possible_truncation, reason = "slots and shards are below 1,025")]

/// Number of slots of a store.
pub const SLOTS: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 10;

/// Where a filter is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterHome {
    /// Every topic it can match has this home slot.
    Slot(u16),
    /// Its topics are spread over all slots, so every shard must know it.
    Everywhere,
}

/// How the slots are dealt to the shards of this process: in contiguous, equally long runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMap {
    shards: u16,
}

/// The home slot of a topic name: the hash of its first `home_levels` levels, or of all if it has fewer.
pub fn slot_of(topic: &str, home_levels: u8, key: u64) -> u16 {
    slot_of_hash(xxh64(first_levels(topic.as_bytes(), home_levels), key))
}

/// The home of a filter. A filter is at one slot if everything before its first wildcard covers `home_levels` levels.
pub fn home_of_filter(filter: &str, home_levels: u8, key: u64) -> FilterHome {
    let home = first_levels(filter.as_bytes(), home_levels);
    // Also right for `a/b/#` with two home levels: it matches `a/b` and what is below, all at the home of `a/b`.
    if home.split(|&byte| byte == b'/').any(|level| level == b"+" || level == b"#") {
        return FilterHome::Everywhere;
    }
    FilterHome::Slot(slot_of_hash(xxh64(home, key)))
}

/// The slot of a shared subscription, from its group name and its filter.
pub fn slot_of_group(group: &str, filter: &str, key: u64) -> u16 {
    // A group name contains no `/` [MQTT-4.8.2-1], so hashing the parts one after the other is unambiguous.
    slot_of_hash(xxh64(filter.as_bytes(), xxh64(group.as_bytes(), key)))
}

/// The slot of a session, from the namespace of its listener and its client id.
pub fn slot_of_session(namespace: u8, client_id: &[u8], key: u64) -> u16 {
    slot_of_hash(xxh64(client_id, xxh64(&[namespace], key)))
}

/// The shard that owns a session, of `shards` shards.
pub fn session_shard(namespace: u8, client_id: &[u8], shards: u16, key: u64) -> u16 {
    SlotMap::new(shards).shard(slot_of_session(namespace, client_id, key))
}

impl SlotMap {
    /// Deals the slots to `shards` shards, 1 to 1,024.
    pub fn new(shards: u16) -> Self {
        assert!((1..=SLOTS).contains(&usize::from(shards)), "1 to 1024 shards, not {shards}");
        SlotMap { shards }
    }

    /// The shard of a slot.
    pub fn shard(self, slot: u16) -> u16 {
        assert!(usize::from(slot) < SLOTS, "slot {slot} is out of range");
        ((u32::from(slot) * u32::from(self.shards)) >> SLOT_BITS) as u16
    }

    /// The slots of a shard, ascending.
    pub fn slots(self, shard: u16) -> std::ops::Range<u16> {
        assert!(shard < self.shards, "shard {shard} of {}", self.shards);
        let first = |shard: u16| (u32::from(shard) << SLOT_BITS).div_ceil(u32::from(self.shards)) as u16;
        first(shard)..first(shard + 1)
    }

    /// Number of shards.
    pub fn shards(self) -> u16 {
        self.shards
    }
}

fn slot_of_hash(hash: u64) -> u16 {
    (hash >> (u64::BITS - SLOT_BITS)) as u16
}

/// The first `levels` levels with the separators between them.
fn first_levels(topic: &[u8], levels: u8) -> &[u8] {
    if levels == 0 {
        return b"";
    }
    let mut separators = 0;
    for (at, &byte) in topic.iter().enumerate() {
        if byte == b'/' {
            separators += 1;
            if separators == levels {
                return topic.split_at(at).0;
            }
        }
    }
    topic
}

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64 as published (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), little endian.
fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let (stripes, tail) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { seed.wrapping_add(PRIME_5) } else { stripe_hash(stripes, seed) };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, mut tail) = tail.as_chunks::<8>();
    for &word in words {
        hash = (hash ^ round(0, u64::from_le_bytes(word))).rotate_left(27);
        hash = hash.wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    if let Some((&word, rest)) = tail.split_first_chunk::<4>() {
        hash = (hash ^ u64::from(u32::from_le_bytes(word)).wrapping_mul(PRIME_1)).rotate_left(23);
        hash = hash.wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
        tail = rest;
    }
    for &byte in tail {
        hash = (hash ^ u64::from(byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

fn stripe_hash(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let mut lanes = [
        seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
        seed.wrapping_add(PRIME_2),
        seed,
        seed.wrapping_sub(PRIME_1),
    ];
    for stripe in stripes {
        for (lane, &word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(word));
        }
    }
    let [a, b, c, d] = lanes;
    let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
    let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
    lanes.iter().fold(sum, |hash, &lane| (hash ^ round(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

#[cfg(test)]
mod tests {
    use super::xxh64;

    /// Published vectors, one for each path: empty, bytes, words, stripes.
    #[test]
    fn hash_is_xxh64() {
        assert_eq!(xxh64(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }
}
