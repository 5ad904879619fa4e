//! Sending and connecting: one outgoing operation per slot, with its memory.
//!
//! The ring owns a send's memory until the kernel has taken all of it or failed; short sends go on by themselves.
#![expect(unsafe_code, reason = "submission of sends, whose memory the slot keeps")]

use crate::error::{Errno, SlotError};
use crate::event::Event;
use crate::key::{Key, Operation};
use crate::ring::Ring;
use crate::slots::{Outgoing, Phase, SlotId};
use crate::socket;
use io_uring::{opcode, types};
use std::net::SocketAddr;

/// The most one submission sends; longer buffers take several. A completion's result is an i32.
const SEND_BYTES_MAX: usize = 1 << 30;

/// A send that was not started, with its memory.
#[derive(Debug)]
pub struct SendRefused {
    /// Why.
    pub error: SlotError,
    /// The memory that was to be sent.
    pub buffer: Vec<u8>,
}

impl Ring {
    /// Sends all of `buffer`; `Sent` or `SendFailed` gives the memory back. One send per slot at a time: else `Busy`.
    pub fn send(&mut self, id: SlotId, buffer: Vec<u8>) -> Result<(), SendRefused> {
        let error = match self.slots.get(id) {
            None => SlotError::Stale,
            Some(slot) if slot.phase != Phase::Open => SlotError::Closing,
            Some(slot) if slot.outgoing != Outgoing::Nothing => SlotError::Busy,
            Some(_) if buffer.is_empty() || u32::try_from(buffer.len()).is_err() => {
                assert!(buffer.is_empty(), "a send of 4 GiB or more");
                self.queued.push_back(Event::Sent { slot: id, buffer });
                return Ok(());
            }
            Some(slot) => {
                slot.outgoing = Outgoing::Send;
                slot.sent = 0;
                slot.memory = buffer;
                self.push_send(id);
                return Ok(());
            }
        };
        Err(SendRefused { error, buffer })
    }

    /// Connects an attached, fresh socket (see [`crate::stream_socket`]); `Connected` tells the outcome.
    pub fn connect(&mut self, id: SlotId, to: SocketAddr) -> Result<(), SlotError> {
        let slot = self.slots.get(id).ok_or(SlotError::Stale)?;
        if slot.phase != Phase::Open {
            return Err(SlotError::Closing);
        }
        if slot.outgoing != Outgoing::Nothing {
            return Err(SlotError::Busy);
        }
        slot.memory = socket::address_bytes(to);
        slot.outgoing = Outgoing::Connect;
        let length = libc::socklen_t::try_from(slot.memory.len()).unwrap_or(0);
        let entry = opcode::Connect::new(types::Fd(slot.raw()), slot.memory.as_ptr().cast(), length).build();
        let key = slot.key(id.slot, Operation::Connect);
        // SAFETY: the slot keeps the address until the connect's completion.
        unsafe { self.push(entry, key) };
        Ok(())
    }

    pub(crate) fn on_send(&mut self, key: Key, result: i32) -> Option<Event> {
        let id = SlotId { slot: key.slot, generation: key.generation };
        let Some(slot) = self.slots.get(id) else {
            self.counters.stale_completions += 1;
            return None;
        };
        self.counters.sends += 1;
        let mut error = None;
        match u32::try_from(result) {
            Ok(bytes @ 1..) => {
                slot.sent = slot.sent.saturating_add(bytes);
                self.counters.sent_bytes += u64::from(bytes);
            }
            Ok(0) => error = Some(Errno(libc::EPIPE)),
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {}
            Err(_) => error = Some(Errno(-result)),
        }
        if error.is_none() && (slot.sent as usize) < slot.memory.len() && slot.phase != Phase::Closing {
            self.counters.short_sends += 1;
            self.push_send(id);
            return None;
        }
        slot.outgoing = Outgoing::Nothing;
        if slot.phase != Phase::Open {
            if error.is_some() && slot.phase == Phase::Finishing {
                let _ = self.close(id);
                return None;
            }
            return self.settle(id);
        }
        let buffer = std::mem::take(&mut slot.memory);
        Some(match error {
            None => Event::Sent { slot: id, buffer },
            Some(error) => Event::SendFailed { slot: id, error, sent_bytes: slot.sent as usize, buffer },
        })
    }

    pub(crate) fn on_connect(&mut self, key: Key, result: i32) -> Option<Event> {
        let id = SlotId { slot: key.slot, generation: key.generation };
        let slot = self.slots.get(id)?;
        slot.outgoing = Outgoing::Nothing;
        slot.memory = Vec::new();
        if slot.phase != Phase::Open {
            return self.settle(id);
        }
        Some(Event::Connected { slot: id, result: if result < 0 { Err(Errno(-result)) } else { Ok(()) } })
    }

    fn push_send(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id) else { return };
        let rest = slot.memory.get(slot.sent as usize..).unwrap_or_default();
        let bytes = u32::try_from(rest.len().min(SEND_BYTES_MAX)).unwrap_or(0);
        let entry = opcode::Send::new(types::Fd(slot.raw()), rest.as_ptr(), bytes)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        let key = slot.key(id.slot, Operation::Send);
        // SAFETY: the slot keeps `memory`, unmoved and unchanged, until the send's completion.
        unsafe { self.push(entry, key) };
    }
}
