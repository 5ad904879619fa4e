//! Packets to bytes, for the server's side and the client's.
//!
//! Every encoder appends one whole packet to a buffer of the caller, or nothing: on [`TooLarge`] the buffer is as it
//! was. Reason strings and user properties of answers are left out where the packet would otherwise be over the
//! receiver's Maximum Packet Size ([MQTT-3.4.2-2], [MQTT-3.4.2-3] and their like).
//!
//! A caller gives answers other than PUBLISH, CONNACK and DISCONNECT no reason string and no user property for a client
//! whose Request Problem Information is 0 (MQTT-3.1.2-29).
//!
//! Input is trusted: the caller encodes what it decoded or made by the rules. Strings over 65,535 bytes are cut.

mod answer;
mod connack;
mod connect;
mod publish;
mod request;

pub use answer::{auth, disconnect, puback, pubcomp, pubrec, pubrel, suback, unsuback};
pub use connack::connack;
pub use connect::connect;
pub use publish::{PublishOut, Written, publish, publish_head, publish_len};
pub use request::{SubscribeOut, UnsubscribeOut, pingreq, pingresp, subscribe, unsubscribe};

use crate::frame::PACKET_BYTES_MAX;
use crate::property::put;
use crate::version::Version;

/// For whom a packet is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the connection speaks.
    pub version: Version,
    /// The largest packet the peer takes, in bytes.
    pub packet_max: u32,
}

impl Peer {
    /// A peer without a Maximum Packet Size.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self { version, packet_max: PACKET_BYTES_MAX }
    }
}

/// The packet would be over the Maximum Packet Size of its receiver, or over what MQTT can frame. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the packet is over the receiver's maximum")
    }
}

impl std::error::Error for TooLarge {}

/// Bytes that a fixed header may take.
const HEADER_BYTES_MAX: usize = 5;

/// Appends a packet whose body is written by `body`, with its fixed header.
fn packet(
    out: &mut Vec<u8>,
    first: u8,
    packet_max: u32,
    body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLarge> {
    let start = out.len();
    // Most bodies are short: one length byte is right, and a longer body is moved once.
    out.extend_from_slice(&[first, 0]);
    body(out);
    let len = out.len() - start - 2;
    let header_len = 1 + length_len(len);
    if len + header_len > packet_max.min(PACKET_BYTES_MAX) as usize {
        out.truncate(start);
        return Err(TooLarge);
    }
    set_length(out, start + 1, len);
    Ok(())
}

/// Appends properties written by `body`, with their length, which is 0 where there are none [MQTT-2.2.2-1].
fn properties(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    body(out);
    let len = out.len() - at - 1;
    set_length(out, at, len);
}

/// Replaces the one byte at `at` by the variable byte integer `len`, moving what follows if it needs more.
#[inline]
fn set_length(out: &mut Vec<u8>, at: usize, len: usize) {
    if len < 0x80 {
        if let Some(place) = out.get_mut(at) {
            *place = len.to_le_bytes()[0];
        }
        return;
    }
    let mut encoded = [0_u8; HEADER_BYTES_MAX];
    let mut rest = len;
    let mut used = 0;
    for byte in &mut encoded {
        *byte = rest.to_le_bytes()[0] & 0x7F;
        rest >>= 7;
        used += 1;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    out.splice(at..=at, encoded.into_iter().take(used));
}

/// Bytes that the variable byte integer `len` takes.
const fn length_len(len: usize) -> usize {
    if len > u32::MAX as usize {
        return HEADER_BYTES_MAX;
    }
    #[expect(clippy::cast_possible_truncation, reason = "compared with u32::MAX above")]
    put::varint_len(len as u32)
}
