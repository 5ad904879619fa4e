//! Any packet of any version: the kinds, the one enum over all of them, and the way from a frame to it.
//!
//! The flags of the fixed header are checked here, against one table; each packet's body is read in the file that
//! bears its name.

use crate::ack::{self, Ack};
use crate::auth::Auth;
use crate::connack::ConnAck;
use crate::connect::{Connect, decode_connect};
use crate::disconnect::Disconnect;
use crate::frame::Frame;
use crate::publish::{Publish, decode_publish};
use crate::suback::SubAck;
use crate::subscribe::Subscribe;
use crate::topic::TopicLimits;
use crate::unsubscribe::Unsubscribe;
use crate::version::Version;
use crate::violation::Violation;

/// The type of a packet; the discriminant is the upper half of the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// CONNECT, from a client.
    Connect = 1,
    /// CONNACK, from a server.
    ConnAck = 2,
    /// PUBLISH, both ways.
    Publish = 3,
    /// PUBACK, both ways.
    PubAck = 4,
    /// PUBREC, both ways.
    PubRec = 5,
    /// PUBREL, both ways.
    PubRel = 6,
    /// PUBCOMP, both ways.
    PubComp = 7,
    /// SUBSCRIBE, from a client.
    Subscribe = 8,
    /// SUBACK, from a server.
    SubAck = 9,
    /// UNSUBSCRIBE, from a client.
    Unsubscribe = 10,
    /// UNSUBACK, from a server.
    UnsubAck = 11,
    /// PINGREQ, from a client.
    PingReq = 12,
    /// PINGRESP, from a server.
    PingResp = 13,
    /// DISCONNECT: from a client, in MQTT 5 both ways.
    Disconnect = 14,
    /// AUTH, MQTT 5, both ways.
    Auth = 15,
}

impl PacketKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The kind in the upper half of a packet's first byte; `None` for the reserved type 0.
    #[inline]
    #[must_use]
    pub const fn of_first_byte(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name as the specification prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The first byte of a packet of this kind with the flags that are fixed for it (PUBLISH has its own).
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// Whether `flags` may stand in the fixed header [MQTT-2.1.3-1]; those of PUBLISH are read with it.
    const fn flags_ok(self, flags: u8, version: Version) -> bool {
        match self {
            Self::Publish => true,
            // MQTT 3.1 has a DUP bit in these three.
            Self::PubRel | Self::Subscribe | Self::Unsubscribe if matches!(version, Version::V31) => {
                flags & !0b1000 == 0b0010
            }
            // Among them [MQTT-3.14.1-1] and [MQTT-3.15.1-1].
            _ => flags == self.first_byte() & 0x0F,
        }
    }
}

/// A packet, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    ConnAck(ConnAck<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    UnsubAck(SubAck<'a>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// The type of the packet.
    #[must_use]
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::Connect(_) => PacketKind::Connect,
            Self::ConnAck(_) => PacketKind::ConnAck,
            Self::Publish(_) => PacketKind::Publish,
            Self::PubAck(_) => PacketKind::PubAck,
            Self::PubRec(_) => PacketKind::PubRec,
            Self::PubRel(_) => PacketKind::PubRel,
            Self::PubComp(_) => PacketKind::PubComp,
            Self::Subscribe(_) => PacketKind::Subscribe,
            Self::SubAck(_) => PacketKind::SubAck,
            Self::Unsubscribe(_) => PacketKind::Unsubscribe,
            Self::UnsubAck(_) => PacketKind::UnsubAck,
            Self::PingReq => PacketKind::PingReq,
            Self::PingResp => PacketKind::PingResp,
            Self::Disconnect(_) => PacketKind::Disconnect,
            Self::Auth(_) => PacketKind::Auth,
        }
    }
}

/// Decodes a packet of a connection that speaks `version`, by MQTT's own topic limits. A CONNECT says its version
/// itself.
///
/// # Errors
/// The first rule of the protocol that the packet breaks.
pub fn decode<'a>(version: Version, frame: &Frame<'a>) -> Result<Packet<'a>, Violation> {
    let kind = PacketKind::of_first_byte(frame.first).ok_or(Violation::PacketTypeReserved)?;
    if kind == PacketKind::Auth && !version.is_v5() {
        return Err(Violation::PacketTypeReserved);
    }
    if !kind.flags_ok(frame.first & 0x0F, version) {
        return Err(Violation::FlagsReserved);
    }
    Ok(match kind {
        PacketKind::Connect => Packet::Connect(decode_connect(frame)?),
        PacketKind::ConnAck => Packet::ConnAck(ConnAck::decode(version, frame.body)?),
        PacketKind::Publish => Packet::Publish(decode_publish(version, frame, &TopicLimits::MQTT)?),
        PacketKind::PubAck => Packet::PubAck(ack::decode(kind, version, frame.body)?),
        PacketKind::PubRec => Packet::PubRec(ack::decode(kind, version, frame.body)?),
        PacketKind::PubRel => Packet::PubRel(ack::decode(kind, version, frame.body)?),
        PacketKind::PubComp => Packet::PubComp(ack::decode(kind, version, frame.body)?),
        PacketKind::Subscribe => Packet::Subscribe(Subscribe::decode(version, frame.body)?),
        PacketKind::SubAck => Packet::SubAck(SubAck::decode_suback(version, frame.body)?),
        PacketKind::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, frame.body)?),
        PacketKind::UnsubAck => Packet::UnsubAck(SubAck::decode_unsuback(version, frame.body)?),
        PacketKind::PingReq => empty(frame.body, Packet::PingReq)?,
        PacketKind::PingResp => empty(frame.body, Packet::PingResp)?,
        PacketKind::Disconnect => Packet::Disconnect(Disconnect::decode(version, frame.body)?),
        PacketKind::Auth => Packet::Auth(Auth::decode(frame.body)?),
    })
}

const fn empty<'a>(body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, Violation> {
    if body.is_empty() { Ok(packet) } else { Err(Violation::LeftOver) }
}
