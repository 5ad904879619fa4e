//! The watch: one thread of the process that knocks at shards which stay with glommio too long.
//!
//! glommio can park an executor although a task is runnable; a wake-up from outside sets it going again, and costs a
//! system call, so only suspects get one. A shard with glommio shows an odd visit number; one that shows the same odd
//! number in two looks, `LOOK_EVERY` apart, is a suspect. While no shard is with glommio the thread is parked and
//! costs nothing: the shard that enters next unparks it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Looks without any shard with glommio before the thread parks: entering is common while a task lives, and an unpark
/// costs a system call.
const QUIET_LOOKS_MAX: u32 = 20;

/// Where one shard is, published by it.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Odd while the shard is with glommio.
    visit: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Place {
    pub(super) fn set_waker(&self, waker: Waker) {
        *lock(&self.waker) = Some(waker);
    }

    /// The shard is back in its loop.
    pub(super) fn left(&self) {
        self.visit.fetch_add(1, Ordering::Release);
    }

    fn knock(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }
}

/// The watch of this process.
#[derive(Debug)]
pub(super) struct Watch {
    /// Each shard's place, and the visit of the last look.
    places: Mutex<Vec<(Arc<Place>, u64)>>,
    awake: AtomicBool,
    thread: OnceLock<Thread>,
}

static WATCH: Watch =
    Watch { places: Mutex::new(Vec::new()), awake: AtomicBool::new(true), thread: OnceLock::new() };
static STARTED: Mutex<bool> = Mutex::new(false);

/// The watch, its thread running; `None` if the thread cannot be started.
pub(super) fn shared() -> Option<&'static Watch> {
    let mut started = lock(&STARTED);
    if !*started {
        let handle = std::thread::Builder::new().name("shard-watch".into()).spawn(|| WATCH.run()).ok()?;
        let _ = WATCH.thread.set(handle.thread().clone());
        *started = true;
    }
    Some(&WATCH)
}

impl Watch {
    pub(super) fn add(&self, place: &Arc<Place>) {
        lock(&self.places).push((Arc::clone(place), 0));
    }

    pub(super) fn remove(&self, place: &Arc<Place>) {
        lock(&self.places).retain(|(other, _)| !Arc::ptr_eq(other, place));
    }

    /// A shard goes to glommio.
    pub(super) fn entered(&self, place: &Place) {
        // SeqCst on both sides: either this shard sees the watch parked, or the watch sees the visit before it parks.
        place.visit.fetch_add(1, Ordering::SeqCst);
        if !self.awake.load(Ordering::SeqCst) {
            self.awake.store(true, Ordering::SeqCst);
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    fn run(&self) {
        let mut quiet_looks = 0;
        loop {
            std::thread::sleep(LOOK_EVERY);
            quiet_looks = if self.look() { 0 } else { quiet_looks + 1 };
            if quiet_looks < QUIET_LOOKS_MAX {
                continue;
            }
            quiet_looks = 0;
            self.awake.store(false, Ordering::SeqCst);
            if self.someone_is_with_glommio() {
                self.awake.store(true, Ordering::SeqCst);
                continue;
            }
            while !self.awake.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
    }

    /// Knocks at suspects; whether a shard visited glommio since the last look.
    fn look(&self) -> bool {
        let mut visited = false;
        for (place, seen) in lock(&self.places).iter_mut() {
            let visit = place.visit.load(Ordering::SeqCst);
            if visit % 2 == 1 && visit == *seen {
                place.knock();
            }
            visited |= visit != *seen || visit % 2 == 1;
            *seen = visit;
        }
        visited
    }

    fn someone_is_with_glommio(&self) -> bool {
        lock(&self.places).iter().any(|(place, _)| place.visit.load(Ordering::SeqCst) % 2 == 1)
    }
}

/// No code panics while it holds these locks; a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
