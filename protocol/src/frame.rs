//! One packet cut from a stream of bytes by its fixed header.
//!
//! Nothing is copied and nothing is kept between calls: the caller holds the bytes and asks again when more came. The
//! whole packet counts against `packet_max`, which is checked as soon as its length is known, so a peer cannot make
//! anybody wait for (or hold) bytes that will be refused.

use crate::violation::Violation;

/// The largest packet MQTT can frame, in bytes: a remaining length of 268,435,455 with its fixed header.
pub const PACKET_BYTES_MAX: u32 = 268_435_455 + 5;

/// A whole packet, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: packet type in the upper half, flags in the lower.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub total: usize,
    /// The whole packet.
    pub bytes: &'a [u8],
}

/// Cuts the first packet from `bytes`. `Ok(None)`: more bytes are needed.
///
/// # Errors
/// [`Violation::PacketTypeReserved`] for type 0, [`Violation::LengthMalformed`] for a length of more than four bytes,
/// [`Violation::LengthNotMinimal`] for one longer than its value needs, [`Violation::PacketTooLarge`] for a packet of
/// more than `packet_max` bytes.
#[inline]
pub fn split_frame(bytes: &[u8], packet_max: u32) -> Result<Option<Frame<'_>>, Violation> {
    let Some((&first, after)) = bytes.split_first() else { return Ok(None) };
    if first < 0x10 {
        return Err(Violation::PacketTypeReserved);
    }
    let Some((remaining, header)) = remaining_length(after)? else { return Ok(None) };
    // [MQTT-3.2.2-15]
    if remaining as usize + header > packet_max as usize {
        return Err(Violation::PacketTooLarge);
    }
    let total = remaining as usize + header;
    let Some(packet) = bytes.get(..total) else { return Ok(None) };
    let body = packet.get(header..).unwrap_or_default();
    Ok(Some(Frame { first, body, total, bytes: packet }))
}

/// Whether a connection may start with this byte: only CONNECT, with its flags zero [MQTT-3.1.0-1] [MQTT-2.1.3-1].
#[inline]
#[must_use]
pub const fn first_byte_ok(first: u8) -> bool {
    first == 0x10
}

/// The remaining length and the bytes of the fixed header; `None` while the length is not complete.
#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0_u32;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1]: as few bytes as the value needs.
            if byte == 0 && at > 0 {
                return Err(Violation::LengthNotMinimal);
            }
            return Ok(Some((value, at + 2)));
        }
    }
    if bytes.len() >= 4 { Err(Violation::LengthMalformed) } else { Ok(None) }
}
