//! The ends of a slot: closed, finished politely, or moved to another ring.

use crate::error::SlotError;
use crate::event::Event;
use crate::key::{Key, Operation};
use crate::ring::Ring;
use crate::slots::{Outgoing, Phase, Receive, SlotId};
use crate::socket;
use std::os::fd::OwnedFd;

impl Ring {
    /// Ends the connection now; a send in flight is cut off. `Closed` comes when the kernel let go of everything, and
    /// is the only event of the slot from here on. Also ends what `finish` began.
    pub fn close(&mut self, id: SlotId) -> Result<(), SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase == Phase::Closing {
            return Err(SlotError::Closing);
        }
        slot.phase = Phase::Closing;
        slot.wanted = None;
        slot.starved = false;
        if slot.is_quiet() {
            let closed = self.settle(id);
            self.queued.extend(closed);
            return Ok(());
        }
        let shut = slot.descriptor.as_ref().is_some_and(|d| socket::shutdown(d, libc::SHUT_RDWR));
        // A connect in progress, and an operation on a socket the peer has reset, end only by a cancel.
        if !shut || slot.outgoing == Outgoing::Connect {
            self.cancel_all(id);
        }
        Ok(())
    }

    /// Ends the connection politely: the send in flight is completed, the sending side shut, and what the peer still
    /// sends is thrown away until it closes too, so that no reset destroys the last bytes on their way. `Closed` tells
    /// the end; nothing else is heard of the slot. The time this takes is the peer's choice: `close` at a deadline.
    pub fn finish(&mut self, id: SlotId) -> Result<(), SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase != Phase::Open {
            return Err(SlotError::Closing);
        }
        if slot.outgoing == Outgoing::Connect {
            return self.close(id);
        }
        slot.phase = Phase::Finishing;
        slot.wanted = Some(Receive::Multishot);
        if slot.armed.is_none() && !slot.starved {
            self.arm(id);
        }
        let closed = self.settle(id);
        self.queued.extend(closed);
        Ok(())
    }

    /// Takes the connection out of this ring, for another one. `Busy` while any operation is outstanding.
    pub fn detach(&mut self, id: SlotId) -> Result<OwnedFd, SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase != Phase::Open {
            return Err(SlotError::Closing);
        }
        if !slot.is_quiet() || slot.wanted.is_some() {
            return Err(SlotError::Busy);
        }
        self.slots.remove(id).map(|(descriptor, _)| descriptor).ok_or(SlotError::Stale)
    }

    /// Takes a finishing or closing slot as far as it can go now.
    pub(crate) fn settle(&mut self, id: SlotId) -> Option<Event> {
        let slot = self.slots.get(id)?;
        if slot.outgoing != Outgoing::Nothing {
            return None;
        }
        if slot.phase == Phase::Finishing {
            if !std::mem::replace(&mut slot.write_shut, true) {
                let shut = slot.descriptor.as_ref().is_some_and(|d| socket::shutdown(d, libc::SHUT_WR));
                if !shut {
                    // The peer has reset the connection: there is nothing to be polite to.
                    let _ = self.close(id);
                    return None;
                }
            }
            if slot.wanted.is_some() {
                return None;
            }
        }
        if slot.armed.is_some() {
            return None;
        }
        let (descriptor, mut buffer) = self.slots.remove(id)?;
        drop(descriptor);
        buffer.clear();
        Some(Event::Closed { slot: id, buffer })
    }

    /// Cancels whatever the kernel holds of a closing slot.
    fn cancel_all(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        if slot.armed.is_some() && !slot.cancelling {
            self.cancel_receive(id);
        }
        self.cancel_outgoing(id);
    }

    fn cancel_outgoing(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        let operation = match slot.outgoing {
            Outgoing::Nothing => return,
            Outgoing::Send => Operation::Send,
            Outgoing::Connect => Operation::Connect,
        };
        let (target, answer) = (slot.key(id.slot, operation), slot.key(id.slot, Operation::CancelOutgoing));
        self.cancel(target, answer);
    }

    /// As for receives: tried again as long as the operation is there.
    pub(crate) fn on_cancel_outgoing_failed(&mut self, key: Key) -> Option<Event> {
        self.cancel_outgoing(SlotId { slot: key.slot, generation: key.generation });
        None
    }
}
