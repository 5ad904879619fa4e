//! CONNACK. Only what differs from the default of its property is written.

use super::answer::Said;
use super::{Peer, TooLarge, packet, properties};
use crate::connack::{ConnAck, ConnAckProperties};
use crate::packet::PacketKind;
use crate::property::{id, put};
use crate::qos::Qos;
use crate::reason::ReasonCode;
use crate::version::Version;

/// Appends a CONNACK. For 3.x the reason becomes the return code nearest to it, and 3.1 has no Session Present.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without reason string and user properties ([MQTT-3.2.2-19],
/// [MQTT-3.2.2-20]).
pub fn connack(peer: Peer, connack: &ConnAck<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let first = PacketKind::ConnAck.first_byte();
    // [MQTT-3.2.2-1] [MQTT-3.2.2-6]
    let present = connack.session_present && connack.reason == ReasonCode::Success;
    if !peer.version.is_v5() {
        let flags = u8::from(present && peer.version == Version::V311);
        let code = return_code(connack.reason);
        return packet(out, first, peer.packet_max, |out| out.extend_from_slice(&[flags, code]));
    }
    let said = Said { reason_string: connack.properties.reason_string, user: connack.properties.user };
    said.or_less(out, |out, said| {
        packet(out, first, peer.packet_max, |out| {
            out.extend_from_slice(&[u8::from(present), connack.reason as u8]);
            properties(out, |out| {
                put_numbers(&connack.properties, out);
                put_strings(&connack.properties, out);
                said.put(out);
            });
        })
    })
}

fn put_numbers(properties: &ConnAckProperties<'_>, out: &mut Vec<u8>) {
    if let Some(secs) = properties.session_expiry_secs {
        put::property_u32(out, id::SESSION_EXPIRY, secs);
    }
    if properties.receive_max != u16::MAX {
        put::property_u16(out, id::RECEIVE_MAX, properties.receive_max);
    }
    // Section 3.2.2.3.4: Maximum QoS 2 is said by leaving it out.
    if properties.qos_max != Qos::ExactlyOnce {
        put::property_u8(out, id::QOS_MAX, properties.qos_max as u8);
    }
    if let Some(bytes) = properties.packet_max {
        put::property_u32(out, id::PACKET_MAX, bytes);
    }
    if properties.topic_alias_max != 0 {
        put::property_u16(out, id::TOPIC_ALIAS_MAX, properties.topic_alias_max);
    }
    if let Some(secs) = properties.server_keep_alive_secs {
        put::property_u16(out, id::SERVER_KEEP_ALIVE, secs);
    }
    let available = [
        (id::RETAIN_AVAILABLE, properties.retain_available),
        (id::WILDCARD_AVAILABLE, properties.wildcard_available),
        (id::SUBSCRIPTION_IDS_AVAILABLE, properties.subscription_ids_available),
        (id::SHARED_AVAILABLE, properties.shared_available),
    ];
    for (id, available) in available {
        if !available {
            put::property_u8(out, id, 0);
        }
    }
}

fn put_strings(properties: &ConnAckProperties<'_>, out: &mut Vec<u8>) {
    put::property_string(out, id::ASSIGNED_CLIENT_ID, properties.assigned_client_id);
    put::property_string(out, id::RESPONSE_INFO, properties.response_info);
    put::property_string(out, id::SERVER_REFERENCE, properties.server_reference);
    put::property_string(out, id::AUTH_METHOD, properties.auth_method);
    put::property_binary(out, id::AUTH_DATA, properties.auth_data);
}

/// The return code of 3.x for a reason code.
const fn return_code(reason: ReasonCode) -> u8 {
    match reason {
        ReasonCode::Success => 0,
        ReasonCode::UnsupportedProtocolVersion => 1,
        ReasonCode::ClientIdentifierNotValid => 2,
        ReasonCode::BadUserNameOrPassword | ReasonCode::BadAuthenticationMethod => 4,
        ReasonCode::NotAuthorized | ReasonCode::Banned => 5,
        _ => 3,
    }
}
