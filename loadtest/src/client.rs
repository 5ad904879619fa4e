//! One MQTT client: what it still has to say, and what it heard in part.
//!
//! Lives on the generator's thread, in the table of the [`crate::fleet::Fleet`]. At most one send is in the kernel; what
//! is written meanwhile goes with the next. A message that is received at QoS 1 or 2 is acknowledged at once.

use bitsim_protocol::encode::{self, Peer, SubscribeOut};
use bitsim_protocol::{
    Ack, Connect, ConnectProperties, Frame, Packet, Publish, Qos, ReasonCode, SubscribeOptions, TopicLimits,
    Version, decode, decode_publish, split_frame,
};
use bitsim_ring::SlotId;

/// The largest packet a client takes.
const PACKET_MAX: u32 = 2 << 20;
/// The first half of a PUBLISH's first byte.
const PUBLISH: u8 = 3;

/// What every client says at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    pub(crate) version: Version,
    pub(crate) keep_alive_secs: u16,
    /// Of subscriptions.
    pub(crate) qos: Qos,
}

/// What a packet means for the work in hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// Nothing.
    Nothing,
    /// The client is ready.
    Ready,
    /// A message.
    Message(Publish<'a>),
    /// A message of the client's own was acknowledged for good.
    Acknowledged,
}

/// A client of the fleet.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) slot: Option<SlotId>,
    /// Written, but not yet given to the ring.
    pub(crate) out: Vec<u8>,
    pub(crate) sending: bool,
    /// Whether it stands in the list of those with something to send.
    pub(crate) listed: bool,
    /// The start of a packet.
    pub(crate) partial: Vec<u8>,
    filter: Option<Box<str>>,
}

impl Client {
    pub(crate) fn new(filter: Option<Box<str>>) -> Self {
        Self { slot: None, out: Vec::new(), sending: false, listed: false, partial: Vec::new(), filter }
    }

    /// Writes CONNECT.
    pub(crate) fn greet(&mut self, speech: Speech, client_id: &str) {
        let connect = Connect {
            version: speech.version,
            clean_start: true,
            keep_alive_secs: speech.keep_alive_secs,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        let written = encode::connect(&connect, PACKET_MAX, &mut self.out);
        assert!(written.is_ok(), "a CONNECT has a few dozen bytes");
    }

    /// Takes a packet, and writes what MQTT wants as an answer.
    #[inline]
    pub(crate) fn take<'a>(&mut self, speech: Speech, frame: &Frame<'a>) -> Result<Heard<'a>, String> {
        let failed = |violation| format!("the broker broke the protocol: {violation:?}");
        if frame.first >> 4 == PUBLISH {
            let message = decode_publish(speech.version, frame, &TopicLimits::MQTT).map_err(failed)?;
            self.acknowledge(speech.version, message.qos, message.packet_id);
            return Ok(Heard::Message(message));
        }
        let packet = decode(speech.version, frame).map_err(failed)?;
        self.answer(speech, &packet)
    }

    fn answer(&mut self, speech: Speech, packet: &Packet<'_>) -> Result<Heard<'static>, String> {
        let peer = peer(speech.version);
        match *packet {
            Packet::ConnAck(ack) => {
                accepted("CONNECT", ack.reason)?;
                let Some(filter) = &self.filter else {
                    return Ok(Heard::Ready);
                };
                let filters = [(&**filter, SubscribeOptions::at(speech.qos))];
                let subscribe = SubscribeOut { packet_id: 1, filters: &filters, ..SubscribeOut::default() };
                encode::subscribe(peer, &subscribe, &mut self.out).map_err(|_| "the filter is too long")?;
                Ok(Heard::Nothing)
            }
            Packet::SubAck(ack) => {
                ack.reasons().try_for_each(|reason| accepted("SUBSCRIBE", reason))?;
                Ok(Heard::Ready)
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                accepted("PUBLISH", ack.reason)?;
                Ok(Heard::Acknowledged)
            }
            Packet::PubRec(ack) => {
                accepted("PUBLISH", ack.reason)?;
                let written = encode::pubrel(peer, &Ack::success(ack.packet_id), &mut self.out);
                written.map_err(|_| "a PUBREL is too large")?;
                Ok(Heard::Nothing)
            }
            Packet::PubRel(ack) => {
                let written = encode::pubcomp(peer, &Ack::success(ack.packet_id), &mut self.out);
                written.map_err(|_| "a PUBCOMP is too large")?;
                Ok(Heard::Nothing)
            }
            Packet::PingResp => Ok(Heard::Nothing),
            Packet::Disconnect(last) => Err(format!("the broker disconnected a client: {:?}", last.reason)),
            _ => Err(format!("the broker sent {:?} to a client", packet.kind())),
        }
    }

    fn acknowledge(&mut self, version: Version, qos: Qos, packet_id: u16) {
        let ack = Ack::success(packet_id);
        let written = match qos {
            Qos::AtMostOnce => Ok(()),
            Qos::AtLeastOnce => encode::puback(peer(version), &ack, &mut self.out),
            Qos::ExactlyOnce => encode::pubrec(peer(version), &ack, &mut self.out),
        };
        debug_assert!(written.is_ok(), "an acknowledgement has four bytes");
    }
}

/// Cuts the first packet from what was received.
#[inline]
pub(crate) fn cut(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    split_frame(bytes, PACKET_MAX).map_err(|violation| format!("the broker broke the framing: {violation:?}"))
}

fn peer(version: Version) -> Peer {
    Peer { version, packet_max: PACKET_MAX }
}

fn accepted(what: &str, reason: ReasonCode) -> Result<(), String> {
    if (reason as u8) < 0x80 { Ok(()) } else { Err(format!("the broker refused a {what}: {reason:?}")) }
}
