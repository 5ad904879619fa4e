//! The doorbell: how other threads wake a ring's owner.
//!
//! One atomic says whether the owner is awake, asleep or was rung. Ringing an awake owner is one swap and no system
//! call; only the ring that finds it asleep writes the eventfd, which the owner's ring reads. Whoever rings first hands
//! over its work (a queue), then rings; the owner looks at its queues after [`crate::Event::Doorbell`].

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const RUNG: u32 = 2;

#[derive(Debug)]
struct Bell {
    eventfd: File,
    state: AtomicU32,
}

/// Wakes the owner of one ring, from any thread.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Bell>);

impl Doorbell {
    pub(crate) fn new(eventfd: OwnedFd) -> Self {
        Self(Arc::new(Bell { eventfd: File::from(eventfd), state: AtomicU32::new(AWAKE) }))
    }

    /// Makes the owner see a [`crate::Event::Doorbell`]; wakes it if it sleeps. Never blocks.
    pub fn ring(&self) {
        // Release: what was handed over before is seen by the owner that takes the ring. Acquire: see `is_asleep`.
        if self.0.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // Cannot fail while the counter is far below 2^64: one write per sleep, each read by the ring.
            let written = (&self.0.eventfd).write(&1u64.to_ne_bytes());
            debug_assert!(written.is_ok());
        }
    }

    /// Whether the owner waits in its ring now; a hint for statistics and tests.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == ASLEEP
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.eventfd.as_raw_fd()
    }

    /// The owner is about to wait. False if it was rung: then it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.0.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner is back; a ring meanwhile stays to be taken.
    pub(crate) fn wake_up(&self) {
        // A failure means it was rung: that state is kept for `take`.
        let _ = self.0.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == RUNG
    }

    /// Takes the ring, if there was one.
    pub(crate) fn take(&self) -> bool {
        self.is_rung() && self.0.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}
