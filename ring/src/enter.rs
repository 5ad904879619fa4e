//! The submission side of the ring: entries in, `io_uring_enter`, completions out.
//!
//! Lives on the ring's thread. Entries that find the queue full are submitted at once, and if the kernel takes none
//! they wait in a backlog (bounded by the operations slots can have outstanding). The ring's descriptor is registered
//! with the kernel for the thread, so an `enter` looks up no file. Knows nothing of slots.
#![expect(unsafe_code, reason = "io_uring_enter, and entries that point at memory")]

use crate::buffers::BufferPool;
use crate::counters::RingCounters;
use crate::error::{Errno, RingError};
use io_uring::{IoUring, cqueue, squeue};
use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::Duration;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_REGISTERED_RING: u32 = 16;
const REGISTER_RING_FDS: libc::c_long = 20;
const UNREGISTER_RING_FDS: libc::c_long = 21;

/// One completion, as taken from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// How a wait ends early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) timeout: Option<Duration>,
    /// Completions to wait for, for as long as `min_wait_us`; after that one is enough.
    pub(crate) completions: u32,
    pub(crate) min_wait_us: u32,
}

pub(crate) struct Enter {
    io: IoUring,
    backlog: VecDeque<squeue::Entry>,
    /// Number of the registered ring, or -1.
    registered: i32,
    failed: Option<RingError>,
}

impl Enter {
    pub(crate) fn new(sq_entries: u32, cq_entries: u32) -> Result<Self, RingError> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(cq_entries)
            .build(sq_entries)
            .map_err(|e| RingError::Setup(Errno::of(&e)))?;
        let mut enter = Self { io, backlog: VecDeque::new(), registered: -1, failed: None };
        enter.register_ring()?;
        Ok(enter)
    }

    /// Shares the pool with the kernel, as buffer group 0.
    pub(crate) fn register_buffers(&self, pool: &BufferPool) -> Result<(), RingError> {
        // SAFETY: the entries are mapped for `count` entries, and the ring lets go of the pool only after it drained
        // (see `Ring::drop`).
        unsafe {
            self.io.submitter().register_buf_ring_with_flags(pool.entries_address(), pool.count(), 0, 0)
        }
        .map_err(|e| RingError::Register(Errno::of(&e)))
    }

    pub(crate) fn has_min_wait(&self) -> bool {
        self.io.params().is_feature_min_timeout()
    }

    pub(crate) fn io(&self) -> &IoUring {
        &self.io
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// Memory the entry points at must stay valid, and unused but by the kernel, until its last completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry, counters: &mut RingCounters) {
        if self.backlog.is_empty() {
            // SAFETY: passed on to the caller.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                return;
            }
            self.enter(0, 0, None, counters);
            // SAFETY: passed on to the caller.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry.clone());
    }

    /// Whether an `enter` has something to do.
    #[inline]
    pub(crate) fn has_work(&mut self) -> bool {
        let queue = self.io.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow() || !self.backlog.is_empty()
    }

    /// Whether completions are there, or would be after an `enter`.
    #[inline]
    pub(crate) fn has_completions(&mut self) -> bool {
        let queue = self.io.submission();
        let pending = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        pending || !self.io.completion().is_empty()
    }

    /// Moves up to `budget` completions to `into`.
    pub(crate) fn take(&mut self, budget: usize, into: &mut Vec<Completion>) {
        let queue = self.io.completion();
        into.extend(queue.take(budget).map(|entry: cqueue::Entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Submits everything and runs the kernel's task work, without waiting.
    pub(crate) fn submit(&mut self, counters: &mut RingCounters) -> Result<(), RingError> {
        self.refill(counters);
        if self.io.submission().cq_overflow() {
            counters.overflows += 1;
        }
        self.enter(ENTER_GETEVENTS, 0, None, counters);
        self.outcome()
    }

    /// Submits everything and waits.
    pub(crate) fn wait(&mut self, wait: Wait, counters: &mut RingCounters) -> Result<(), RingError> {
        self.refill(counters);
        counters.sleeps += 1;
        let timeout = wait.timeout.map(|t| libc::timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX).min(1 << 32),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_bytes: 0,
            min_wait_us: wait.min_wait_us,
            timeout: timeout.as_ref().map_or(0, |t| std::ptr::from_ref(t) as u64),
        };
        self.enter(ENTER_GETEVENTS | ENTER_EXT_ARG, wait.completions.max(1), Some(&argument), counters);
        self.outcome()
    }

    fn outcome(&self) -> Result<(), RingError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn refill(&mut self, counters: &mut RingCounters) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the memory behind a queued entry is kept until its completion, by the contract of `push`.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                self.backlog.pop_front();
                continue;
            }
            let before = self.io.submission().len();
            self.enter(0, 0, None, counters);
            if self.io.submission().len() >= before {
                return;
            }
        }
    }

    fn enter(&mut self, flags: u32, want: u32, wait: Option<&WaitArgument>, counters: &mut RingCounters) {
        counters.enters += 1;
        let submit = self.io.submission().len();
        let (descriptor, flags) = match self.registered {
            -1 => (self.io.as_raw_fd(), flags),
            index => (index, flags | ENTER_REGISTERED_RING),
        };
        let (argument, bytes) =
            wait.map_or((std::ptr::null(), 0), |w| (std::ptr::from_ref(w), size_of::<WaitArgument>()));
        // SAFETY: the ring is ours and mapped; `argument`, and the time it points at, outlive the call.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, descriptor, submit, want, flags, argument, bytes)
        };
        if result >= 0 {
            return;
        }
        match Errno::last() {
            // EBUSY and EAGAIN: completions must be taken first, or memory is short; both pass.
            Errno(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => {}
            fatal => self.failed = Some(RingError::Enter(fatal)),
        }
    }

    fn register_ring(&mut self) -> Result<(), RingError> {
        #[expect(clippy::cast_sign_loss, reason = "an open descriptor is not negative")]
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: self.io.as_raw_fd() as u64 };
        self.register(REGISTER_RING_FDS, &mut update).map_err(RingError::Register)?;
        self.registered = i32::try_from(update.offset).unwrap_or(-1);
        Ok(())
    }

    fn register(&self, operation: libc::c_long, update: &mut RingUpdate) -> Result<(), Errno> {
        let update = std::ptr::from_mut(update);
        // SAFETY: both operations read and write one `io_uring_rsrc_update`, which `update` is.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_register, self.io.as_raw_fd(), operation, update, 1) };
        if result < 0 { Err(Errno::last()) } else { Ok(()) }
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        // The registration holds a reference to the ring until its thread ends.
        if let Ok(offset) = u32::try_from(self.registered) {
            let mut update = RingUpdate { offset, reserved: 0, data: 0 };
            let released = self.register(UNREGISTER_RING_FDS, &mut update);
            debug_assert!(released.is_ok(), "a ring must be dropped by the thread that made it");
        }
    }
}
