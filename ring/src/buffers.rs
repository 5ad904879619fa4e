//! The receive buffers: one mapping shared with the kernel, and the leases on its parts.
//!
//! The kernel takes a buffer when data arrives; its completion becomes a [`BufferLease`], and dropping the lease gives
//! the buffer back. Returned buffers become visible to the kernel at the next `enter` ([`BufferPool::publish`]).
//! Lives on the ring's thread. Invariant: a buffer is either with the kernel (its entry lies between head and tail) or
//! in exactly one lease, never both. The mapping outlives the kernel's use of it: the ring drains every operation
//! before it lets go of the pool, and leaks the pool if it cannot. Never blocks, never allocates after set-up.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use crate::error::{Errno, RingError};
use io_uring::types::BufRingEntry;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// An anonymous mapping, unmapped on drop.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> Result<Self, RingError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(RingError::Map(Errno::last()));
        }
        let start = NonNull::new(start.cast()).ok_or(RingError::Map(Errno(libc::ENOMEM)))?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; the owner ends with it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// All receive buffers of one ring.
pub(crate) struct BufferPool {
    entries: Mapping,
    memory: Mapping,
    /// A power of two, at most 32,768.
    count: u16,
    buffer_bytes: u32,
    tail: Cell<u16>,
    published: Cell<u16>,
    leased: Cell<u16>,
}

impl BufferPool {
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Result<Rc<Self>, RingError> {
        debug_assert!(count.is_power_of_two() && count <= 1 << 15);
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let (tail, published, leased) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let pool = Self { entries, memory, count, buffer_bytes, tail, published, leased };
        for buffer in 0..count {
            pool.put(buffer);
        }
        pool.publish();
        Ok(Rc::new(pool))
    }

    /// The address of the entries, for registration.
    pub(crate) fn entries_address(&self) -> u64 {
        self.entries.start.as_ptr() as u64
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers in leases.
    pub(crate) fn leased(&self) -> u16 {
        self.leased.get()
    }

    /// The first `bytes` of a buffer the kernel just handed over. `None` if the kernel named no such buffer.
    ///
    /// # Safety
    /// `buffer` must come from a completion that has not been taken before: the kernel no longer writes to it.
    pub(crate) unsafe fn take(self: &Rc<Self>, buffer: u16, bytes: u32) -> Option<BufferLease> {
        if buffer >= self.count || bytes > self.buffer_bytes {
            return None;
        }
        self.leased.set(self.leased.get() + 1);
        Some(BufferLease { pool: Rc::clone(self), buffer, bytes })
    }

    /// Lets the kernel see the buffers that came back.
    pub(crate) fn publish(&self) {
        let tail = self.tail.get();
        if self.published.replace(tail) == tail {
            return;
        }
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the tail lies inside the first entry, is aligned for u16, and the kernel reads it atomically.
        unsafe { (*BufRingEntry::tail(entries).cast::<AtomicU16>()).store(tail, Ordering::Release) };
    }

    fn put(&self, buffer: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        // SAFETY: `index` is below `count`, the length of the entries; the kernel reads an entry only after `publish`
        // moved the tail past it, and at most `count` buffers exist, so this entry is not one it still reads.
        let entry = unsafe { &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(index) };
        entry.set_addr(self.address(buffer) as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail.set(tail.wrapping_add(1));
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        // SAFETY: `buffer` is below `count` (checked in `take`, or our own loop), so this stays inside the mapping.
        unsafe { self.memory.start.as_ptr().add(usize::from(buffer) * self.buffer_bytes as usize) }
    }
}

/// Received bytes, in place in the ring's buffer; dropping it gives the buffer back.
///
/// Holding a lease holds `buffer_bytes` of the ring's receive memory: copy what must live longer than the turn.
pub struct BufferLease {
    pool: Rc<BufferPool>,
    buffer: u16,
    bytes: u32,
}

impl Deref for BufferLease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the lease owns the buffer (see the module's invariant), `bytes` is at most its length, and anonymous
        // memory is always initialised.
        unsafe { std::slice::from_raw_parts(self.pool.address(self.buffer), self.bytes as usize) }
    }
}

impl Drop for BufferLease {
    fn drop(&mut self) {
        self.pool.leased.set(self.pool.leased.get() - 1);
        self.pool.put(self.buffer);
    }
}

impl fmt::Debug for BufferLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferLease({} bytes)", self.bytes)
    }
}
