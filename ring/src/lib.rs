//! The socket ring, and the executors behind it.
//!
//! [`Ring`] drives the sockets of one thread through an `io_uring` of its own; [`rt`] hosts that thread's loop on a
//! glommio executor. All `unsafe` of the project lives in this crate, behind APIs that cannot be used to break memory:
//! the ring owns descriptors, receive buffers and send memory until the kernel has let go of them.
//! Knows nothing of MQTT.

mod accept;
mod buffers;
mod close;
mod counters;
mod doorbell;
mod enter;
mod error;
mod event;
mod key;
mod listen;
mod probe;
mod receive;
mod ring;
pub mod rt;
mod send;
mod slots;
mod socket;
mod wake_test;

pub use accept::{AcceptEnd, ListenerId};
pub use buffers::BufferLease;
pub use counters::RingCounters;
pub use doorbell::Doorbell;
pub use error::{Errno, RingError, SlotError};
pub use event::{Event, ReceiveEnd};
pub use listen::{AddressClaim, ListenError};
pub use probe::{ProbeError, probe};
pub use ring::{Ring, RingConfig, RingUsage};
pub use send::SendRefused;
pub use slots::{Receive, SlotId};
pub use socket::{local_address, peer_address, stream_socket};
pub use wake_test::{WakeError, WakeReport, WakeSource, wake_self_test};
