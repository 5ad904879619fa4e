//! What a client asks: SUBSCRIBE, UNSUBSCRIBE and PINGREQ; and PINGRESP.

use super::{Peer, TooLarge, packet, properties};
use crate::packet::PacketKind;
use crate::property::{id, put};
use crate::subscribe::SubscribeOptions;
use crate::user_properties::UserProperties;

/// A SUBSCRIBE to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOut<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// 1 to 268,435,455; MQTT 5.
    pub subscription_id: Option<u32>,
    /// At least one; before MQTT 5 only the QoS of the options is written.
    pub filters: &'a [(&'a str, SubscribeOptions)],
    /// MQTT 5.
    pub user: UserProperties<'a>,
}

/// An UNSUBSCRIBE to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeOut<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// At least one.
    pub filters: &'a [&'a str],
    /// MQTT 5.
    pub user: UserProperties<'a>,
}

/// Appends a SUBSCRIBE.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it.
pub fn subscribe(peer: Peer, subscribe: &SubscribeOut<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let v5 = peer.version.is_v5();
    packet(out, PacketKind::Subscribe.first_byte(), peer.packet_max, |out| {
        out.extend_from_slice(&subscribe.packet_id.to_be_bytes());
        if v5 {
            properties(out, |out| {
                if let Some(number) = subscribe.subscription_id {
                    out.push(id::SUBSCRIPTION_ID);
                    put::varint(out, number);
                }
                put_user(&subscribe.user, out);
            });
        }
        for (filter, options) in subscribe.filters {
            put::string(out, filter);
            out.push(if v5 { options.to_byte() } else { options.qos as u8 });
        }
    })
}

/// Appends an UNSUBSCRIBE.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it.
pub fn unsubscribe(peer: Peer, unsubscribe: &UnsubscribeOut<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    packet(out, PacketKind::Unsubscribe.first_byte(), peer.packet_max, |out| {
        out.extend_from_slice(&unsubscribe.packet_id.to_be_bytes());
        if peer.version.is_v5() {
            properties(out, |out| put_user(&unsubscribe.user, out));
        }
        for filter in unsubscribe.filters {
            put::string(out, filter);
        }
    })
}

/// Appends a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketKind::PingReq.first_byte(), 0]);
}

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketKind::PingResp.first_byte(), 0]);
}

fn put_user(user: &UserProperties<'_>, out: &mut Vec<u8>) {
    for (name, value) in user.iter() {
        put::user(out, name, value);
    }
}
