//! What a shard's loop knows of the executor it runs on.
//!
//! Lives on the shard's thread. The loop yields to glommio only while [`Host::wants_turn`]: some task is alive that is
//! not in [`Host::idle_until`], or an idle one was woken. Around each yield the loop publishes that it is with glommio,
//! for the watch. glommio tasks are for set-up and files: one task per connection would defeat the ring.
//! A yield runs what is runnable; glommio looks at its own rings, and at wakers of other threads, only when its
//! preempt timer fired since. So idle tasks are woken here, on their own thread ([`Woken`]), not through glommio.

use super::edge::Edge;
use super::watch::{Place, Watch};
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::ring::Ring;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// The longest wait in the ring while glommio has an operation outstanding.
const WAIT_WITH_TASKS_MAX: Duration = Duration::from_millis(1);

/// Which idle tasks were woken, from whatever thread; each at most once until it is polled again.
#[derive(Default)]
struct Woken {
    any: AtomicBool,
    tasks: Mutex<Vec<u64>>,
    doorbell: OnceLock<Doorbell>,
}

impl Woken {
    fn add(&self, task: u64) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        self.any.store(true, Ordering::Release);
        if let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }

    fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<u64> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct State {
    /// Tasks alive and not idle: they may have an operation outstanding with glommio.
    active: Cell<usize>,
    /// Tasks alive.
    alive: Cell<usize>,
    /// glommio's wakers of idle tasks; `None` from its wake to its next poll, when the task counts as active.
    idle: RefCell<HashMap<u64, Option<Waker>>>,
    next_idle: Cell<u64>,
    woken: Arc<Woken>,
    place: Arc<Place>,
    watch: &'static Watch,
}

/// The executor's side of a shard.
#[derive(Clone)]
pub struct Host(Rc<State>);

impl Host {
    pub(super) fn new(watch: &'static Watch) -> Self {
        let place = Arc::new(Place::default());
        watch.add(&place);
        Self(Rc::new(State {
            active: Cell::new(0),
            alive: Cell::new(0),
            idle: RefCell::default(),
            next_idle: Cell::new(0),
            woken: Arc::default(),
            place,
            watch,
        }))
    }

    /// The doorbell of the shard's ring, so that a task woken from another thread ends the shard's sleep. Set once.
    pub fn set_doorbell(&self, doorbell: Doorbell) {
        let first = self.0.woken.doorbell.set(doorbell);
        debug_assert!(first.is_ok(), "a shard has one ring");
    }

    /// Runs a task beside the loop; its first steps perhaps at once. Its panic ends the process.
    pub fn spawn_task(&self, name: &str, task: impl Future<Output = ()> + 'static) {
        let alive = Alive::new(self.clone());
        let guarded = async move {
            task.await;
            drop(alive);
        };
        glommio::spawn_local(Edge::new(name.to_owned(), Box::pin(guarded))).detach();
    }

    /// Tasks alive.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.0.alive.get()
    }

    /// Whether some task can run or waits for glommio.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        self.0.active.get() > 0 || self.0.woken.is_any()
    }

    /// Inside a task: waits for something that is not an operation of glommio (a queue, a bell of another thread).
    /// Meanwhile the task asks for no turns.
    pub async fn idle_until<F: Future>(&self, what: F) -> F::Output {
        let id = self.0.next_idle.get();
        self.0.next_idle.set(id + 1);
        Idle { host: self.clone(), inner: Box::pin(what), id }.await
    }

    /// Lends glommio one turn: runnable tasks run, and its rings are looked at if that was a millisecond ago.
    pub async fn yield_now(&self) {
        for task in self.0.woken.take() {
            // Absent if it ended meanwhile.
            let waker = self.0.idle.borrow_mut().get_mut(&task).and_then(Option::take);
            if let Some(waker) = waker {
                self.add_active(1);
                waker.wake();
            }
        }
        self.0.watch.entered(&self.0.place);
        glommio::executor().yield_task_queue_now().await;
        self.0.place.left();
    }

    /// What a loop does when a turn found nothing: waits in `ring`, for at most `timeout`, and lends glommio a turn
    /// if it wants one.
    pub async fn rest(&self, ring: &mut Ring, timeout: Option<Duration>) -> Result<(), RingError> {
        if !self.wants_turn() {
            return ring.wait(timeout);
        }
        if self.0.woken.is_any() {
            ring.submit()?;
        } else {
            ring.wait(Some(timeout.map_or(WAIT_WITH_TASKS_MAX, |t| t.min(WAIT_WITH_TASKS_MAX))))?;
        }
        self.yield_now().await;
        Ok(())
    }

    /// Leaves a waker with the watch by which it can make the executor look at its tasks. The task behind it lives as
    /// long as the executor and does nothing; its waker is cloned once.
    pub(super) fn expose_waker(&self) {
        let place = Arc::clone(&self.0.place);
        let mut exposed = false;
        glommio::spawn_local(std::future::poll_fn(move |cx| {
            if !std::mem::replace(&mut exposed, true) {
                place.set_waker(cx.waker().clone());
            }
            Poll::<()>::Pending
        }))
        .detach();
    }

    fn add_active(&self, by: isize) {
        self.0.active.set(self.0.active.get().checked_add_signed(by).unwrap_or(0));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.watch.remove(&self.place);
    }
}

/// Counts a task, however it ends.
struct Alive(Host);

impl Alive {
    fn new(host: Host) -> Self {
        host.add_active(1);
        host.0.alive.set(host.0.alive.get() + 1);
        Self(host)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.add_active(-1);
        self.0.0.alive.set(self.0.0.alive.get() - 1);
    }
}

/// See [`Host::idle_until`].
struct Idle<F> {
    host: Host,
    inner: Pin<Box<F>>,
    id: u64,
}

impl<F> Idle<F> {
    fn park(&self, waker: Waker) {
        if !matches!(self.host.0.idle.borrow_mut().insert(self.id, Some(waker)), Some(Some(_))) {
            self.host.add_active(-1);
        }
    }

    fn unpark(&self) {
        if matches!(self.host.0.idle.borrow_mut().remove(&self.id), Some(Some(_))) {
            self.host.add_active(1);
        }
    }
}

impl<F: Future> Future for Idle<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let waker =
            IdleWaker { task: self.id, woken: Arc::clone(&self.host.0.woken), done: AtomicBool::new(false) };
        // Before the inner poll: a wake during it must find the waker.
        self.park(cx.waker().clone());
        let poll = self.inner.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(waker))));
        if poll.is_ready() {
            self.unpark();
        }
        poll
    }
}

impl<F> Drop for Idle<F> {
    fn drop(&mut self) {
        self.unpark();
    }
}

/// Names the task to be woken; each poll makes a new one, which works once.
struct IdleWaker {
    task: u64,
    woken: Arc<Woken>,
    done: AtomicBool,
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.done.swap(true, Ordering::AcqRel) {
            self.woken.add(self.task);
        }
    }
}
