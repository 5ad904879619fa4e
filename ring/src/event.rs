//! What the ring tells its owner.

use crate::accept::{AcceptEnd, ListenerId};
use crate::buffers::BufferLease;
use crate::error::Errno;
use crate::slots::SlotId;
use std::os::fd::OwnedFd;

/// Why no more data will be delivered for a slot until it is armed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer closed its sending side.
    Eof,
    /// The connection failed.
    Failed(Errno),
    /// A pause took effect: nothing more arrives before the next `receive`.
    Paused,
}

/// One thing that happened. Buffers of sends come back with their contents, for reuse.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted; its peer is [`crate::peer_address`].
    Accepted {
        /// The listener it came through.
        listener: ListenerId,
        /// The new connection, not yet attached.
        connection: OwnedFd,
    },
    /// A listener accepts no more until `resume_accept`.
    AcceptEnded {
        /// The listener.
        listener: ListenerId,
        /// Why.
        end: AcceptEnd,
    },
    /// Bytes arrived, never zero of them.
    Received {
        /// The connection.
        slot: SlotId,
        /// The bytes, in the ring's buffer.
        data: BufferLease,
    },
    /// Receiving stopped.
    ReceiveEnded {
        /// The connection.
        slot: SlotId,
        /// How.
        end: ReceiveEnd,
    },
    /// A send is complete: the kernel has all of it.
    Sent {
        /// The connection.
        slot: SlotId,
        /// The memory of the send.
        buffer: Vec<u8>,
    },
    /// A send failed; the link is of no use any more: close it.
    SendFailed {
        /// The connection.
        slot: SlotId,
        /// Why.
        error: Errno,
        /// How many bytes of the buffer the kernel had taken before.
        sent_bytes: usize,
        /// The memory of the send.
        buffer: Vec<u8>,
    },
    /// A connection attempt ended.
    Connected {
        /// The slot `connect` gave.
        slot: SlotId,
        /// Whether it is connected.
        result: Result<(), Errno>,
    },
    /// A closed slot is free: the last event of this `SlotId`.
    Closed {
        /// The slot that was.
        slot: SlotId,
        /// The memory of a send that was cut off by the close; empty if there was none.
        buffer: Vec<u8>,
    },
    /// The doorbell rang at least once since the last such event.
    Doorbell,
}
