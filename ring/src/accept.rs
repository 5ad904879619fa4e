//! Listeners of a ring: multishot accept, paused when descriptors run out.
//!
//! An accept that failed for want of descriptors or memory is not armed again by itself: the connection stays in the
//! backlog and would fail again at once. The owner resumes when something was closed, or after a while.
#![expect(unsafe_code, reason = "submission of accepts, and descriptors they bring")]

use crate::enter::Completion;
use crate::error::Errno;
use crate::event::Event;
use crate::key::{GENERATION_MASK, Key, Operation};
use crate::ring::Ring;
use crate::socket;
use io_uring::{cqueue, opcode, types};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Names one listener of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId {
    index: u32,
    generation: u32,
}

/// Why a listener accepts no more until it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptEnd {
    /// `pause_accept` took effect.
    Paused,
    /// The process or the system is out of descriptors.
    OutOfDescriptors,
    /// The kernel is out of memory.
    OutOfMemory,
    /// The listener itself failed.
    Failed(Errno),
}

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    generation: u32,
    wanted: bool,
    armed: bool,
    cancelling: bool,
    removed: bool,
}

/// The listeners of a ring, a handful.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    listeners: Vec<Option<Listener>>,
    generation: u32,
}

impl Listeners {
    pub(crate) fn len(&self) -> usize {
        self.listeners.iter().flatten().count()
    }

    /// Marks all as removed; those the kernel holds no accept of are gone at once.
    pub(crate) fn stop(&mut self) {
        for place in &mut self.listeners {
            if let Some(listener) = place {
                listener.wanted = false;
                listener.removed = true;
                if !listener.armed {
                    *place = None;
                }
            }
        }
    }

    fn insert(&mut self, socket: OwnedFd) -> Option<ListenerId> {
        self.generation = (self.generation + 1) & GENERATION_MASK;
        let generation = self.generation;
        let place = self.listeners.iter().position(Option::is_none).unwrap_or(self.listeners.len());
        let index = u32::try_from(place).ok()?;
        let listener =
            Listener { socket, generation, wanted: true, armed: false, cancelling: false, removed: false };
        match self.listeners.get_mut(place) {
            Some(free) => *free = Some(listener),
            None => self.listeners.push(Some(listener)),
        }
        Some(ListenerId { index, generation })
    }

    fn get(&mut self, id: ListenerId) -> Option<&mut Listener> {
        let listener = self.listeners.get_mut(id.index as usize)?.as_mut()?;
        (listener.generation == id.generation).then_some(listener)
    }

    fn remove(&mut self, id: ListenerId) {
        if let Some(place) = self.listeners.get_mut(id.index as usize) {
            *place = None;
        }
    }
}

impl Ring {
    /// Accepts from a listening socket from now on.
    ///
    /// # Panics
    /// Beyond 2^32 listeners.
    #[expect(clippy::expect_used, reason = "the bound is documented")]
    pub fn add_listener(&mut self, socket: OwnedFd) -> ListenerId {
        let id = self.listeners.insert(socket).expect("fewer than 2^32 listeners");
        self.arm_accept(id);
        id
    }

    /// Stops accepting; connections wait in the backlog. `AcceptEnded` with `Paused` when it took effect.
    pub fn pause_accept(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(id) else { return };
        listener.wanted = false;
        self.cancel_accept(id);
    }

    /// Accepts again.
    pub fn resume_accept(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(id) else { return };
        if listener.removed {
            return;
        }
        listener.wanted = true;
        if !listener.armed {
            self.arm_accept(id);
        }
    }

    /// Closes a listener: connections in its backlog are refused. Those accepted already still come as events.
    pub fn remove_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(id) else { return };
        listener.wanted = false;
        listener.removed = true;
        if listener.armed {
            socket::shutdown(&listener.socket, libc::SHUT_RDWR);
            self.cancel_accept(id);
        } else {
            self.listeners.remove(id);
        }
    }

    pub(crate) fn on_accept(&mut self, key: Key, completion: Completion) -> Option<Event> {
        let Completion { result, flags, .. } = completion;
        // SAFETY: the kernel opened this descriptor for us, and each completion is handled once.
        let connection = (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) });
        let id = ListenerId { index: key.slot, generation: key.generation };
        let end = if cqueue::more(flags) { None } else { self.accept_ended(id, result) };
        let Some(connection) = connection else {
            return end.map(|end| Event::AcceptEnded { listener: id, end });
        };
        self.counters.accepted += 1;
        self.queued.extend(end.map(|end| Event::AcceptEnded { listener: id, end }));
        Some(Event::Accepted { listener: id, connection })
    }

    pub(crate) fn on_cancel_accept_failed(&mut self, key: Key) -> Option<Event> {
        let id = ListenerId { index: key.slot, generation: key.generation };
        let listener = self.listeners.get(id)?;
        listener.cancelling = false;
        if !listener.wanted {
            self.cancel_accept(id);
        }
        None
    }

    /// The multishot is over: armed again, or the reason why not. Errors of the connection that was to be accepted
    /// concern nobody else.
    fn accept_ended(&mut self, id: ListenerId, result: i32) -> Option<AcceptEnd> {
        let listener = self.listeners.get(id)?;
        listener.armed = false;
        listener.cancelling = false;
        if listener.removed {
            self.listeners.remove(id);
            return None;
        }
        let end = match -result {
            libc::EMFILE | libc::ENFILE => AcceptEnd::OutOfDescriptors,
            libc::ENOMEM | libc::ENOBUFS => AcceptEnd::OutOfMemory,
            error @ (libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => {
                AcceptEnd::Failed(Errno(error))
            }
            _ if listener.wanted => {
                self.counters.rearms += 1;
                self.arm_accept(id);
                return None;
            }
            _ => AcceptEnd::Paused,
        };
        listener.wanted = false;
        Some(end)
    }

    fn arm_accept(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(id) else { return };
        listener.armed = true;
        listener.cancelling = false;
        let entry = opcode::AcceptMulti::new(types::Fd(listener.socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        // SAFETY: a multishot accept without address points at no memory.
        unsafe { self.push(entry, Key::new(Operation::Accept, id.generation, id.index).pack()) };
    }

    fn cancel_accept(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(id) else { return };
        if !listener.armed || std::mem::replace(&mut listener.cancelling, true) {
            return;
        }
        let target = Key::new(Operation::Accept, id.generation, id.index).pack();
        self.cancel(target, Key::new(Operation::CancelAccept, id.generation, id.index).pack());
    }
}
