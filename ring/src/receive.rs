//! Receiving: arming, pausing, and what a receive's completion means.
//!
//! `wanted` is what the owner asked for, `armed` what the kernel has; wherever a receive ends, it is armed again while
//! it is wanted. A receive that found no buffer waits in `starved`, oldest first, until buffers came back.
#![expect(unsafe_code, reason = "submission of receives")]

use crate::buffers::BufferLease;
use crate::enter::Completion;
use crate::error::{Errno, SlotError};
use crate::event::{Event, ReceiveEnd};
use crate::key::{Key, Operation};
use crate::ring::Ring;
use crate::slots::{Phase, Receive, SlotId};
use io_uring::{cqueue, opcode, squeue, types};

impl Ring {
    /// Receives from now on, or once. Asking again for what is armed does nothing; changing the kind while it is armed
    /// is `Busy`.
    pub fn receive(&mut self, id: SlotId, kind: Receive) -> Result<(), SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase != Phase::Open {
            return Err(SlotError::Closing);
        }
        if slot.armed.is_some_and(|armed| armed != kind) && !slot.cancelling {
            return Err(SlotError::Busy);
        }
        slot.wanted = Some(kind);
        if slot.armed.is_none() && !slot.starved {
            self.arm(id);
        }
        Ok(())
    }

    /// Stops receiving. What the kernel had taken already still arrives (at most all buffers of the ring), then
    /// `ReceiveEnded` with `Paused`, unless the connection ended or `receive` was called meanwhile.
    pub fn pause(&mut self, id: SlotId) -> Result<(), SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase != Phase::Open {
            return Err(SlotError::Closing);
        }
        slot.wanted = None;
        if slot.armed.is_some() {
            if !slot.cancelling {
                self.cancel_receive(id);
            }
        } else if std::mem::take(&mut slot.starved) {
            self.queued.push_back(Event::ReceiveEnded { slot: id, end: ReceiveEnd::Paused });
        }
        Ok(())
    }

    /// Submits the receive that is wanted.
    pub(crate) fn arm(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        let Some(kind) = slot.wanted else { return };
        slot.armed = Some(kind);
        slot.cancelling = false;
        let (descriptor, key) = (types::Fd(slot.raw()), slot.key(id.slot, Operation::Receive));
        let entry = match kind {
            Receive::Multishot => opcode::RecvMulti::new(descriptor, 0).build(),
            Receive::Once => opcode::Recv::new(descriptor, std::ptr::null_mut(), 0)
                .buf_group(0)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        // SAFETY: the kernel writes only to buffers of the pool, which outlives the operation.
        unsafe { self.push(entry, key) };
    }

    /// Arms those that found no buffer, as many as there are buffers, oldest first.
    pub(crate) fn feed_starved(&mut self) {
        let mut room = self.pool.count() - self.pool.leased();
        while room > 0 {
            let Some(id) = self.starved.pop_front() else { return };
            // An entry may be left from before a pause or a close.
            if self.slots.get(id).is_some_and(|slot| std::mem::take(&mut slot.starved)) {
                self.counters.rearms += 1;
                self.arm(id);
                room -= 1;
            }
        }
    }

    #[expect(clippy::cast_sign_loss, reason = "the result is clamped to be positive")]
    pub(crate) fn on_receive(&mut self, key: Key, completion: Completion) -> Option<Event> {
        let Completion { result, flags, .. } = completion;
        let lease = cqueue::buffer_select(flags).and_then(|buffer| {
            // SAFETY: each completion is handled once, and hands its buffer over.
            unsafe { self.pool.take(buffer, result.max(0) as u32) }
        });
        let id = SlotId { slot: key.slot, generation: key.generation };
        let Some(slot) = self.slots.get(id) else {
            self.counters.stale_completions += 1;
            return None;
        };
        let mut was_cancelled = false;
        let ended = !cqueue::more(flags);
        let kind = slot.armed;
        if ended {
            slot.armed = None;
            was_cancelled = std::mem::take(&mut slot.cancelling);
        }
        if slot.phase != Phase::Open {
            drop(lease);
            return self.discard(id, ended, result);
        }
        match (result, lease) {
            (1.., Some(data)) => {
                if kind == Some(Receive::Once) && slot.wanted == kind {
                    // Asked for again after a pause, and this is the answer: the pause is undone.
                    slot.wanted = None;
                    was_cancelled = false;
                }
                self.received(id, data, ended.then_some(was_cancelled))
            }
            (0.., _) => self.receive_ended(id, ReceiveEnd::Eof),
            (error, _) => self.receive_failed(id, Errno(-error)),
        }
    }

    fn received(&mut self, id: SlotId, data: BufferLease, ended: Option<bool>) -> Option<Event> {
        self.counters.receives += 1;
        self.counters.received_bytes += data.len() as u64;
        if let Some(was_cancelled) = ended {
            self.rearm(id, was_cancelled);
        }
        Some(Event::Received { slot: id, data })
    }

    /// After a receive ended without ending the connection.
    fn rearm(&mut self, id: SlotId, was_cancelled: bool) {
        let Some(slot) = self.slots.get(id) else { return };
        if slot.wanted.is_some() {
            self.counters.rearms += 1;
            self.arm(id);
        } else if was_cancelled {
            self.queued.push_back(Event::ReceiveEnded { slot: id, end: ReceiveEnd::Paused });
        }
    }

    fn receive_ended(&mut self, id: SlotId, end: ReceiveEnd) -> Option<Event> {
        let slot = self.slots.get(id)?;
        slot.wanted = None;
        Some(Event::ReceiveEnded { slot: id, end })
    }

    fn receive_failed(&mut self, id: SlotId, error: Errno) -> Option<Event> {
        match error.0 {
            libc::ENOBUFS => {
                self.counters.no_buffers += 1;
                if !self.starve(id) {
                    self.rearm(id, true);
                }
                None
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                self.rearm(id, true);
                None
            }
            _ => self.receive_ended(id, ReceiveEnd::Failed(error)),
        }
    }

    /// Puts a slot that still wants data in the queue for buffers.
    fn starve(&mut self, id: SlotId) -> bool {
        let Some(slot) = self.slots.get(id) else { return false };
        if slot.wanted.is_none() {
            return false;
        }
        slot.starved = true;
        self.starved.push_back(id);
        true
    }

    /// A receive of a slot that is finishing or closing: its bytes are of no interest, only its end is.
    fn discard(&mut self, id: SlotId, ended: bool, result: i32) -> Option<Event> {
        if result > 0 {
            self.counters.stale_completions += 1;
        }
        if !ended {
            return None;
        }
        let slot = self.slots.get(id)?;
        if slot.phase == Phase::Closing {
            return self.settle(id);
        }
        match -result {
            libc::ENOBUFS => {
                self.counters.no_buffers += 1;
                self.starve(id);
                None
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN | i32::MIN..0 => {
                self.rearm(id, false);
                None
            }
            0 => {
                slot.wanted = None;
                self.settle(id)
            }
            _ => {
                let _ = self.close(id);
                None
            }
        }
    }

    /// Asks the kernel to end the armed receive.
    pub(crate) fn cancel_receive(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        slot.cancelling = true;
        let target = slot.key(id.slot, Operation::Receive);
        let answer = slot.key(id.slot, Operation::CancelReceive);
        self.cancel(target, answer);
    }

    /// A cancel did not find its receive: it was between two of its steps, so that it is tried again, or is over.
    pub(crate) fn on_cancel_receive_failed(&mut self, key: Key) -> Option<Event> {
        let id = SlotId { slot: key.slot, generation: key.generation };
        let slot = self.slots.get(id)?;
        if slot.armed.is_some() && slot.cancelling {
            if slot.wanted.is_some() {
                slot.cancelling = false;
            } else {
                self.cancel_receive(id);
            }
        }
        None
    }
}
