//! The keyed hash of the in-memory tables: folded 64x64 -> 128 bit multiplications, fast for the short strings that topic levels are.
//!
//! Seeds come in as values, so that a run can be repeated. With secret seeds nobody can choose many keys that collide. Never
//! write such a hash to disk; slots have a hash of their own. The hash has 32 bits, which are kept beside each entry.
#![expect(clippy::cast_possible_truncation, reason = "halves of wide numbers are taken on purpose")]

/// The key of the hash. Two tables may share it.
#[derive(Clone, Copy)]
pub struct Seeds {
    first: u64,
    second: u64,
}

const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

impl Seeds {
    /// Seeds from two random numbers.
    pub fn new(first: u64, second: u64) -> Self {
        // An odd multiplier keeps an all-zero pair from hashing everything to zero.
        Seeds { first: first ^ MIX, second: (second ^ MIX.rotate_left(32)) | 1 }
    }

    pub(super) fn hash(self, bytes: &[u8]) -> u32 {
        let mut state = self.first ^ bytes.len() as u64;
        let (blocks, tail) = bytes.as_chunks::<16>();
        for block in blocks {
            let (low, high) = halves(block);
            state = fold(low ^ state, high ^ self.second);
        }
        let (low, high) = short(tail);
        mix_down(fold(fold(low ^ state, high ^ self.second), MIX ^ self.first))
    }

    /// The hash of a number and a hash.
    pub(super) fn join(self, number: u32, hash: u32) -> u32 {
        mix_down(fold((u64::from(number) << 32 | u64::from(hash)) ^ self.first, self.second))
    }
}

impl std::fmt::Debug for Seeds {
    // The seeds are a secret: they must not get into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeds")
    }
}

/// What a hash table wants: its lowest bits choose the bucket, its highest seven are kept as a tag.
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

/// Fewer than 16 bytes as two words. The length is in the state already, so overlapping reads lose nothing.
fn short(tail: &[u8]) -> (u64, u64) {
    if let (Some((&first, _)), Some((_, &last))) = (tail.split_first_chunk(), tail.split_last_chunk()) {
        return (u64::from_le_bytes(first), u64::from_le_bytes(last));
    }
    if let (Some((&first, _)), Some((_, &last))) = (tail.split_first_chunk(), tail.split_last_chunk()) {
        return (u64::from(u32::from_le_bytes(first)), u64::from(u32::from_le_bytes(last)));
    }
    match *tail {
        [a, b, c] => (u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16, 0),
        [a, b] => (u64::from(a) | u64::from(b) << 8, 0),
        [a] => (u64::from(a), 0),
        _ => (0, 0),
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn mix_down(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}
