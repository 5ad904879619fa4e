//! PUBLISH, once for many receivers: the bytes are the same but for the packet identifier, whose place is reported.

use super::{TooLarge, length_len};
use crate::frame::PACKET_BYTES_MAX;
use crate::packet::PacketKind;
use crate::property::{id, put};
use crate::qos::Qos;
use crate::version::Version;

/// A PUBLISH to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishOut<'a> {
    /// What the receiver speaks; before 5 nothing of the properties is written.
    pub version: Version,
    /// Sent before [MQTT-3.3.1-1]; not written at QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// The retain flag.
    pub retain: bool,
    /// Empty only with a topic alias that the receiver knows.
    pub topic: &'a str,
    /// Never 0.
    pub topic_alias: Option<u16>,
    /// Not written at QoS 0; 0 if it is patched in later.
    pub packet_id: u16,
    /// What is left of the lifetime, in seconds [MQTT-3.3.2-6].
    pub message_expiry: Option<u32>,
    /// Of all matching subscriptions that have one [MQTT-3.3.4-3] [MQTT-3.3.4-4].
    pub subscription_ids: &'a [u32],
    /// Other properties as on the wire: [`crate::forwardable_properties`].
    pub properties: &'a [u8],
    /// The message.
    pub payload: &'a [u8],
}

impl<'a> PublishOut<'a> {
    /// A QoS 0 message without properties.
    #[must_use]
    pub const fn new(version: Version, topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            version,
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            topic_alias: None,
            packet_id: 0,
            message_expiry: None,
            subscription_ids: &[],
            properties: &[],
            payload,
        }
    }
}

/// Where a PUBLISH was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the whole packet, payload included.
    pub total: usize,
    /// Bytes from the packet's first to its packet identifier; `None` at QoS 0. The first byte is at 0, so DUP can be
    /// patched there (`|= 0x08`).
    pub packet_id_at: Option<usize>,
}

/// Bytes of the whole packet.
#[must_use]
pub fn publish_len(publish: &PublishOut<'_>) -> usize {
    let remaining = Lengths::of(publish).remaining;
    1 + length_len(remaining) + remaining
}

/// Appends a PUBLISH.
///
/// # Errors
/// [`TooLarge`] over `packet_max` bytes [MQTT-3.1.2-24], or over what MQTT can frame.
#[inline]
pub fn publish(publish: &PublishOut<'_>, packet_max: u32, out: &mut Vec<u8>) -> Result<Written, TooLarge> {
    let written = publish_head(publish, packet_max, out)?;
    out.extend_from_slice(publish.payload);
    Ok(written)
}

/// Appends a PUBLISH without its payload, which the caller sends right after it from where it is.
///
/// # Errors
/// As [`publish`]: the payload counts.
pub fn publish_head(
    publish: &PublishOut<'_>,
    packet_max: u32,
    out: &mut Vec<u8>,
) -> Result<Written, TooLarge> {
    let lengths = Lengths::of(publish);
    let total = 1 + length_len(lengths.remaining) + lengths.remaining;
    if total > packet_max.min(PACKET_BYTES_MAX) as usize {
        return Err(TooLarge);
    }
    let start = out.len();
    out.reserve(total);
    out.push(first_byte(publish));
    put::varint(out, u32::try_from(lengths.remaining).map_err(|_| TooLarge)?);
    put::string(out, publish.topic);
    let mut packet_id_at = None;
    if publish.qos != Qos::AtMostOnce {
        packet_id_at = Some(out.len() - start);
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if publish.version.is_v5() {
        put::varint(out, u32::try_from(lengths.properties).map_err(|_| TooLarge)?);
        put_properties(publish, out);
    }
    Ok(Written { total, packet_id_at })
}

fn first_byte(publish: &PublishOut<'_>) -> u8 {
    // [MQTT-3.3.1-2] [MQTT-4.3.1-1]
    let dup = publish.dup && publish.qos != Qos::AtMostOnce;
    PacketKind::Publish.first_byte()
        | u8::from(dup) << 3
        | (publish.qos as u8) << 1
        | u8::from(publish.retain)
}

fn put_properties(publish: &PublishOut<'_>, out: &mut Vec<u8>) {
    if let Some(alias) = publish.topic_alias {
        put::property_u16(out, id::TOPIC_ALIAS, alias);
    }
    if let Some(secs) = publish.message_expiry {
        put::property_u32(out, id::MESSAGE_EXPIRY, secs);
    }
    for &subscription_id in publish.subscription_ids {
        out.push(id::SUBSCRIPTION_ID);
        put::varint(out, subscription_id);
    }
    out.extend_from_slice(publish.properties);
}

/// The lengths in a PUBLISH.
struct Lengths {
    /// Of the properties, without their own length; 0 before MQTT 5.
    properties: usize,
    /// Of everything behind the fixed header.
    remaining: usize,
}

impl Lengths {
    #[inline]
    fn of(publish: &PublishOut<'_>) -> Self {
        let id_len = if publish.qos == Qos::AtMostOnce { 0 } else { 2 };
        let topic_len = 2 + publish.topic.len().min(usize::from(u16::MAX));
        let plain = topic_len + id_len + publish.payload.len();
        if !publish.version.is_v5() {
            return Self { properties: 0, remaining: plain };
        }
        let ids: usize = publish.subscription_ids.iter().map(|&number| 1 + put::varint_len(number)).sum();
        let alias = if publish.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if publish.message_expiry.is_some() { 5 } else { 0 };
        let properties = alias + expiry + ids + publish.properties.len();
        Self { properties, remaining: plain + length_len(properties) + properties }
    }
}
