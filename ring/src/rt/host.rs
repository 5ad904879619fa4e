//! What a shard's loop knows of the executor it runs on.
//!
//! Lives on the shard's thread. The loop yields to glommio only while [`Host::wants_turn`]: some task is alive that is
//! not in [`Host::idle_until`], or an idle one was woken. Around each yield the loop publishes that it is with glommio,
//! for the watch. glommio tasks are for set-up and files: one task per connection would defeat the ring.

use super::edge::Edge;
use super::watch::{Place, Watch};
use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::ring::Ring;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// The longest wait in the ring while glommio has an operation outstanding.
const WAIT_WITH_TASKS_MAX: Duration = Duration::from_millis(1);

struct State {
    /// Tasks alive and not idle: they may have an operation outstanding with glommio.
    active: Cell<usize>,
    /// Tasks alive.
    alive: Cell<usize>,
    /// An idle task was woken, from whatever thread.
    runnable: Arc<AtomicBool>,
    doorbell: RefCell<Option<Doorbell>>,
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
            runnable: Arc::new(AtomicBool::new(false)),
            doorbell: RefCell::new(None),
            place,
            watch,
        }))
    }

    /// The doorbell of the shard's ring, so that a task woken from another thread ends the shard's sleep.
    pub fn set_doorbell(&self, doorbell: Doorbell) {
        *self.0.doorbell.borrow_mut() = Some(doorbell);
    }

    /// Runs a task beside the loop. Its panic ends the process.
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
        self.0.active.get() > 0 || self.is_runnable()
    }

    /// Inside a task: waits for something that is not an operation of glommio (a queue, a bell of another thread).
    /// Meanwhile the task asks for no turns.
    pub async fn idle_until<F: Future>(&self, what: F) -> F::Output {
        Idle { host: self.clone(), inner: Box::pin(what), is_idle: false }.await
    }

    /// Lends glommio one turn: its rings are looked at and every runnable task runs once or more.
    pub async fn yield_now(&self) {
        self.0.runnable.store(false, Ordering::SeqCst);
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
        if self.is_runnable() {
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

    fn is_runnable(&self) -> bool {
        self.0.runnable.load(Ordering::Acquire)
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
    is_idle: bool,
}

impl<F> Idle<F> {
    fn set_idle(&mut self, idle: bool) {
        if self.is_idle != idle {
            self.is_idle = idle;
            self.host.add_active(if idle { -1 } else { 1 });
        }
    }
}

impl<F: Future> Future for Idle<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.set_idle(false);
        let state = &self.host.0;
        let waker = Waker::from(Arc::new(IdleWaker {
            inner: cx.waker().clone(),
            runnable: Arc::clone(&state.runnable),
            doorbell: state.doorbell.borrow().clone(),
        }));
        let poll = self.inner.as_mut().poll(&mut Context::from_waker(&waker));
        self.set_idle(poll.is_pending());
        poll
    }
}

impl<F> Drop for Idle<F> {
    fn drop(&mut self) {
        self.set_idle(false);
    }
}

/// Marks the shard as wanting a turn before it wakes the task.
struct IdleWaker {
    inner: Waker,
    runnable: Arc<AtomicBool>,
    doorbell: Option<Doorbell>,
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inner.wake_by_ref();
        self.runnable.store(true, Ordering::Release);
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
    }
}
