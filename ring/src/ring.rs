//! The socket ring: one `io_uring` and everything its operations need to stay alive.
//!
//! Lives on, and never leaves, the thread that made it. A turn of the owner: `reap`, `next_event` until `None` (any
//! operation may be started meanwhile), `submit`; when a turn found nothing, `wait`.
//! Invariants: a slot, its descriptor and its send memory are freed only after the last completion of each of its
//! operations; a completion of an earlier generation still returns its buffer; no call blocks but `wait`.
//! It parses nothing, keeps no received byte, and knows no time but the one `wait` is given.
#![expect(unsafe_code, reason = "entries that point at memory the ring keeps")]

use crate::accept::Listeners;
use crate::buffers::BufferPool;
use crate::counters::RingCounters;
use crate::doorbell::Doorbell;
use crate::enter::{Completion, Enter, Wait};
use crate::error::RingError;
use crate::event::Event;
use crate::key::{Key, Operation};
use crate::slots::{Phase, SlotId, Slots};
use crate::socket;
use io_uring::{opcode, squeue, types};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Submission entries, a power of two. A fuller turn submits more than once.
    pub sq_entries: u32,
    /// Completion entries, a power of two. Beyond it the kernel keeps completions in a list of its own.
    pub cq_entries: u32,
    /// Receive buffers, a power of two up to 32,768.
    pub buffers: u16,
    /// Bytes of each receive buffer.
    pub buffer_bytes: u32,
    /// Connections at once.
    pub slots_max: u32,
    /// How long a wait that could end tries for `min_wait_completions`; 0 ends it at once. Needs kernel 6.12, and is
    /// ignored before.
    pub min_wait_us: u32,
    /// See `min_wait_us`.
    pub min_wait_completions: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            sq_entries: 4096,
            cq_entries: 32_768,
            buffers: 128,
            buffer_bytes: 16 * 1024,
            slots_max: 1 << 20,
            min_wait_us: 0,
            min_wait_completions: 16,
        }
    }
}

impl RingConfig {
    fn check(&self) -> Result<(), RingError> {
        let power = |n: u32, max: u32| n.is_power_of_two() && n <= max;
        let checks = [
            (power(self.sq_entries, 1 << 15), "sq_entries is a power of two up to 32768"),
            (power(self.cq_entries, 1 << 16), "cq_entries is a power of two up to 65536"),
            (self.cq_entries >= self.sq_entries, "cq_entries is at least sq_entries"),
            (power(u32::from(self.buffers), 1 << 15), "buffers is a power of two up to 32768"),
            ((64..=1 << 24).contains(&self.buffer_bytes), "buffer_bytes is 64 to 16 MiB"),
            (self.slots_max >= 1, "slots_max is at least 1"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(RingError::Config(what)))
    }
}

/// What a ring holds now; all zero when every connection and listener is gone and every lease is back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingUsage {
    /// Slots in use.
    pub slots: usize,
    /// Receives, sends and connects the kernel holds.
    pub operations: usize,
    /// Bytes in memory of sends.
    pub send_bytes: usize,
    /// Buffers in leases.
    pub leases: usize,
    /// Listeners.
    pub listeners: usize,
}

/// A thread's socket ring.
pub struct Ring {
    pub(crate) slots: Slots,
    pub(crate) listeners: Listeners,
    pub(crate) starved: VecDeque<SlotId>,
    /// Events that did not come from the completion now handled.
    pub(crate) queued: VecDeque<Event>,
    pub(crate) counters: RingCounters,
    pub(crate) pool: Rc<BufferPool>,
    enter: Enter,
    reaped: Vec<Completion>,
    next: usize,
    doorbell: Doorbell,
    /// Where the kernel puts the eventfd's value.
    bell_value: Box<AtomicU64>,
    bell_armed: bool,
    dropping: bool,
    config: RingConfig,
    /// Single issuer: the kernel refuses other threads.
    _thread: PhantomData<*const ()>,
}

impl Ring {
    /// Makes a ring for the calling thread.
    pub fn new(config: RingConfig) -> Result<Self, RingError> {
        config.check()?;
        let enter = Enter::new(config.sq_entries, config.cq_entries)?;
        let pool = BufferPool::new(config.buffers, config.buffer_bytes)?;
        enter.register_buffers(&pool)?;
        let doorbell = Doorbell::new(socket::eventfd().map_err(RingError::Doorbell)?);
        let min_wait_us = if enter.has_min_wait() { config.min_wait_us } else { 0 };
        let mut ring = Self {
            slots: Slots::new(config.slots_max),
            listeners: Listeners::default(),
            starved: VecDeque::new(),
            queued: VecDeque::new(),
            counters: RingCounters::default(),
            pool,
            enter,
            reaped: Vec::with_capacity(1024),
            next: 0,
            doorbell,
            bell_value: Box::new(AtomicU64::new(0)),
            bell_armed: false,
            dropping: false,
            config: RingConfig { min_wait_us, ..config },
            _thread: PhantomData,
        };
        ring.arm_bell();
        Ok(ring)
    }

    /// The handle by which other threads wake this ring's owner.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Totals since the ring was made.
    #[must_use]
    pub fn counters(&self) -> &RingCounters {
        &self.counters
    }

    /// What the ring holds now. Walks all slots: for tests and reports.
    #[must_use]
    pub fn usage(&mut self) -> RingUsage {
        let mut usage = RingUsage {
            slots: self.slots.len(),
            leases: usize::from(self.pool.leased()),
            listeners: self.listeners.len(),
            ..RingUsage::default()
        };
        for id in self.slots.ids() {
            if let Some(slot) = self.slots.get(id) {
                usage.operations += usize::from(slot.armed.is_some());
                usage.operations += usize::from(slot.outgoing != crate::slots::Outgoing::Nothing);
                usage.send_bytes += slot.memory.capacity();
            }
        }
        usage
    }

    /// Gives a connected stream socket a slot, or the socket back when `slots_max` are taken.
    pub fn attach(&mut self, socket: OwnedFd) -> Result<SlotId, OwnedFd> {
        self.slots.insert(socket)
    }

    /// Takes up to `budget` completions from the kernel; answers how many events may come of them, 0 for none.
    pub fn reap(&mut self, budget: usize) -> usize {
        if self.next >= self.reaped.len() {
            self.reaped.clear();
            self.next = 0;
        }
        let before = self.reaped.len();
        self.enter.take(budget, &mut self.reaped);
        self.counters.completions += (self.reaped.len() - before) as u64;
        if self.doorbell.take() {
            self.counters.doorbells += 1;
            self.queued.push_back(Event::Doorbell);
        }
        self.reaped.len() - self.next + self.queued.len()
    }

    /// The next event of what was reaped. Operations may be started between two calls.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queued.pop_front() {
                if self.is_current(&event) {
                    return Some(event);
                }
                continue;
            }
            let completion = *self.reaped.get(self.next)?;
            self.next += 1;
            if let Some(event) = self.completed(completion) {
                return Some(event);
            }
        }
    }

    /// Whether there is something to reap, so that a wait would return at once.
    pub fn ready(&mut self) -> bool {
        self.has_events() || self.enter.has_completions()
    }

    /// Submits all started operations and runs the kernel's work for this ring, without waiting. Free when there is
    /// nothing to do.
    pub fn submit(&mut self) -> Result<(), RingError> {
        self.feed_starved();
        self.pool.publish();
        if self.enter.has_work() { self.enter.submit(&mut self.counters) } else { Ok(()) }
    }

    /// Submits, and waits until something can be reaped, the doorbell rings, `timeout` passed or a signal came.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        self.feed_starved();
        self.pool.publish();
        if self.ready() || !self.doorbell.fall_asleep() {
            return self.submit();
        }
        let (completions, min_wait_us) = match self.config.min_wait_us {
            0 => (1, 0),
            us => (self.config.min_wait_completions, us),
        };
        let result = self.enter.wait(Wait { timeout, completions, min_wait_us }, &mut self.counters);
        self.doorbell.wake_up();
        result
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// As [`Enter::push`].
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        // SAFETY: passed on to the caller.
        unsafe { self.enter.push(&entry.user_data(user_data), &mut self.counters) };
    }

    /// Cancels the operation with the key `target`; only a failure completes, as `answer`.
    pub(crate) fn cancel(&mut self, target: u64, answer: u64) {
        self.counters.cancels += 1;
        let entry = opcode::AsyncCancel::new(target).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: a cancel points at no memory.
        unsafe { self.push(entry, answer) };
    }

    fn has_events(&self) -> bool {
        !self.queued.is_empty()
            || self.next < self.reaped.len()
            || self.doorbell.is_rung()
            || (!self.starved.is_empty() && self.pool.leased() < self.pool.count())
    }

    /// Whether a queued event still holds: its slot may have been closed, moved or armed again since.
    fn is_current(&mut self, event: &Event) -> bool {
        match event {
            Event::ReceiveEnded { slot, .. } => self.slots.get(*slot).is_some_and(|slot| {
                slot.phase == Phase::Open && slot.wanted.is_none() && slot.armed.is_none()
            }),
            Event::Sent { slot, .. } => self.slots.get(*slot).is_some_and(|slot| slot.phase == Phase::Open),
            _ => true,
        }
    }

    fn completed(&mut self, completion: Completion) -> Option<Event> {
        let Some(key) = Key::unpack(completion.user_data) else {
            debug_assert!(self.dropping, "a completion of no operation of ours");
            return None;
        };
        match key.operation {
            Operation::Receive => self.on_receive(key, completion),
            Operation::Send => self.on_send(key, completion.result),
            Operation::Connect => self.on_connect(key, completion.result),
            Operation::Accept => self.on_accept(key, completion),
            Operation::CancelReceive => self.on_cancel_receive_failed(key),
            Operation::CancelOutgoing => self.on_cancel_outgoing_failed(key),
            Operation::CancelAccept => self.on_cancel_accept_failed(key),
            Operation::Bell => {
                self.bell_armed = false;
                self.arm_bell();
                None
            }
        }
    }

    fn arm_bell(&mut self) {
        if self.dropping {
            return;
        }
        self.bell_armed = true;
        let entry =
            opcode::Read::new(types::Fd(self.doorbell.raw()), self.bell_value.as_ptr().cast(), 8).build();
        // SAFETY: the value's box, and the eventfd, live as long as the ring, which drains before it ends.
        unsafe { self.push(entry, Key::new(Operation::Bell, 0, 0).pack()) };
    }

    /// Ends every operation; whether the kernel let go of all of them.
    fn drain(&mut self) -> bool {
        self.dropping = true;
        for id in self.slots.ids() {
            let _ = self.close(id);
        }
        self.listeners.stop();
        let all = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: a cancel points at no memory.
        unsafe { self.push(all, 0) };
        for _ in 0..1000 {
            self.pool.publish();
            let wait = Wait { timeout: Some(Duration::from_millis(2)), completions: 1, min_wait_us: 0 };
            if self.enter.wait(wait, &mut self.counters).is_err() {
                return false;
            }
            while self.reap(usize::MAX) > 0 {
                while self.next_event().is_some() {}
            }
            if self.slots.len() == 0 && !self.bell_armed && self.listeners.len() == 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.drain() {
            // The kernel may still write to this memory: it must never be used for anything else.
            std::mem::forget(Rc::clone(&self.pool));
            std::mem::forget(std::mem::take(&mut self.bell_value));
            std::mem::forget(std::mem::replace(&mut self.slots, Slots::new(0)));
        }
    }
}
