//! A hierarchical timing wheel: the timers of one shard (keep-alive, connection deadlines, will delay, expiry).
//!
//! It lives on the shard's thread and holds one 32-byte entry per timer (for an 8-byte `T`) in a slab with generations. Ten levels of
//! 64 buckets cover every u64 of milliseconds. A timer lies on the level of the highest bit in which its tick differs
//! from the wheel's position, so it moves down at most nine times before it fires, and the earliest bucket is found
//! from two bitmaps: inserting, cancelling and looking for the next deadline are O(1), and empty time costs nothing.
//!
//! Invariants: a timer never fires before its deadline; it fires in the first `advance` whose `now_ms` is at least the deadline
//! rounded up to a whole tick. Timers of one tick fire in an order that depends only on the calls made, not on the
//! deadlines. The wheel reads no clock and never gives slab memory back; in steady state nothing is allocated.
#![expect(clippy::cast_possible_truncation, reason = "bucket numbers are below 640")]
#![expect(
    clippy::indexing_slicing,
    reason = "links and buckets are indices into the slab and bucket array, proven by the invariants above"
)]

use std::num::NonZeroU32;

/// Milliseconds in one tick: how late a timer may be at most.
pub const TICK_MS: u64 = 1 << TICK_BITS;

const TICK_BITS: u32 = 6;
const LEVEL_BITS: u32 = 6;
const BUCKETS_PER_LEVEL: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 10;
/// End of a list, and of the free list.
const NIL: u32 = u32::MAX;
/// The bucket of an entry that is on the free list.
const FREE: u16 = u16::MAX;

// Every tick of a u64 of milliseconds has a level.
const _: () = assert!(LEVELS as u32 * LEVEL_BITS + TICK_BITS >= u64::BITS);

/// Names one timer. An id whose timer fired or was cancelled is stale for ever and harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: NonZeroU32,
}

/// The wheel; `T` is what a timer stands for, usually an id.
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// The position: every tick before it has been handled.
    tick: u64,
    /// Bit `l`: level `l` holds a timer.
    levels: u16,
    /// Bit `b` of `occupied[l]`: bucket `b` of level `l` holds a timer.
    occupied: [u64; LEVELS],
    /// First entry of each bucket.
    heads: Box<[u32]>,
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    value: T,
    next: u32,
    previous: u32,
    generation: NonZeroU32,
    bucket: u16,
}

const _: () = assert!(size_of::<Entry<u64>>() == 32);

impl<T: Copy> Wheel<T> {
    /// An empty wheel that stands at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Wheel {
            entries: Vec::new(),
            free: NIL,
            len: 0,
            tick: now_ms >> TICK_BITS,
            levels: 0,
            occupied: [0; LEVELS],
            heads: vec![NIL; LEVELS * BUCKETS_PER_LEVEL].into_boxed_slice(),
        }
    }

    /// Starts a timer. A deadline that has passed fires in the next `advance`.
    pub fn insert(&mut self, deadline_ms: u64, value: T) -> TimerId {
        let tick = deadline_ms.div_ceil(TICK_MS);
        let index = self.allocate(tick, value);
        self.link(index);
        self.len += 1;
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    /// Stops a timer and gives its value back; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let value = self.get(id)?;
        self.unlink(id.index);
        self.release(id.index);
        Some(value)
    }

    /// Moves a running timer to another deadline, under the same id. False if it is not running.
    pub fn reschedule(&mut self, id: TimerId, deadline_ms: u64) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        self.unlink(id.index);
        self.entries[id.index as usize].tick = deadline_ms.div_ceil(TICK_MS);
        self.link(id.index);
        true
    }

    /// The value of a running timer.
    pub fn get(&self, id: TimerId) -> Option<T> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation && entry.bucket != FREE).then_some(entry.value)
    }

    /// Moves the wheel to `now_ms` and hands every due timer to `fire`. A time that runs backwards changes nothing.
    pub fn advance(&mut self, now_ms: u64, fire: &mut impl FnMut(T)) {
        let now = now_ms >> TICK_BITS;
        while let Some((level, bucket, start)) = self.first_bucket() {
            if start > now {
                break;
            }
            self.tick = self.tick.max(start);
            self.drain_bucket(level, bucket, fire);
        }
        self.tick = self.tick.max(now);
    }

    /// The earliest time at which `advance` has something to do: no timer fires before it. A timer that is still far away may
    /// be announced early, when it has to move down a level; that happens at most nine times in its life.
    pub fn next_deadline(&self) -> Option<u64> {
        // A tick above the u64 range of milliseconds exists only for a deadline within the very last tick.
        self.first_bucket().map(|(_, _, start)| start.saturating_mul(TICK_MS))
    }

    /// Running timers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no timer runs.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heap memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<T>>() + size_of_val(&*self.heads)
    }

    /// Level, bucket and first tick of the earliest occupied bucket. Timers of a lower level are all before those of a
    /// higher one, because they share more leading bits with the position.
    fn first_bucket(&self) -> Option<(usize, usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let bucket = self.occupied[level as usize].trailing_zeros();
        let shift = level * LEVEL_BITS;
        let lap = self.tick >> shift >> LEVEL_BITS << LEVEL_BITS;
        Some((level as usize, bucket as usize, (lap | u64::from(bucket)) << shift))
    }

    fn drain_bucket(&mut self, level: usize, bucket: usize, fire: &mut impl FnMut(T)) {
        let flat = level * BUCKETS_PER_LEVEL + bucket;
        let mut index = std::mem::replace(&mut self.heads[flat], NIL);
        self.mark_empty(level, bucket);
        while index != NIL {
            let entry = &self.entries[index as usize];
            let (next, value) = (entry.next, entry.value);
            if entry.tick <= self.tick {
                self.release(index);
                fire(value);
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    /// Puts an entry into the bucket of its tick, seen from the wheel's position.
    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick.max(self.tick);
        let level = ((tick ^ self.tick) | 1).ilog2() / LEVEL_BITS;
        let bucket = (tick >> (level * LEVEL_BITS)) & (BUCKETS_PER_LEVEL as u64 - 1);
        let flat = level as usize * BUCKETS_PER_LEVEL + bucket as usize;
        let head = std::mem::replace(&mut self.heads[flat], index);
        if head != NIL {
            self.entries[head as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.next = head;
        entry.previous = NIL;
        entry.bucket = flat as u16;
        self.occupied[level as usize] |= 1 << bucket;
        self.levels |= 1 << level;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, bucket, .. } = self.entries[index as usize];
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        if previous != NIL {
            self.entries[previous as usize].next = next;
            return;
        }
        let flat = usize::from(bucket);
        self.heads[flat] = next;
        if next == NIL {
            self.mark_empty(flat / BUCKETS_PER_LEVEL, flat % BUCKETS_PER_LEVEL);
        }
    }

    fn mark_empty(&mut self, level: usize, bucket: usize) {
        self.occupied[level] &= !(1 << bucket);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn allocate(&mut self, tick: u64, value: T) -> u32 {
        if self.free != NIL {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.tick = tick;
            entry.value = value;
            return index;
        }
        let index = u32::try_from(self.entries.len())
            .ok()
            .filter(|&index| index != NIL)
            .expect("fewer than 2^32 timers");
        let generation = NonZeroU32::MIN;
        self.entries.push(Entry { tick, value, next: NIL, previous: NIL, generation, bucket: FREE });
        index
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.bucket = FREE;
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}
