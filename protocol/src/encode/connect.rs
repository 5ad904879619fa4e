//! CONNECT, for the client's side.

use super::{TooLarge, packet, properties};
use crate::connect::{Connect, ConnectProperties, Will, flag};
use crate::packet::PacketKind;
use crate::property::{id, put};

/// Appends a CONNECT in the form of its version.
///
/// # Errors
/// [`TooLarge`] over `packet_max` bytes.
pub fn connect(connect: &Connect<'_>, packet_max: u32, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let v5 = connect.version.is_v5();
    packet(out, PacketKind::Connect.first_byte(), packet_max, |out| {
        put::string(out, connect.version.protocol_name());
        out.extend_from_slice(&[connect.version as u8, flags(connect)]);
        out.extend_from_slice(&connect.keep_alive_secs.to_be_bytes());
        if v5 {
            properties(out, |out| put_properties(&connect.properties, out));
        }
        put::string(out, connect.client_id);
        if let Some(will) = &connect.will {
            if v5 {
                properties(out, |out| put_will_properties(will, out));
            }
            put::string(out, will.topic);
            put::binary(out, will.payload);
        }
        if let Some(username) = connect.username {
            put::string(out, username);
        }
        if let Some(password) = connect.password {
            put::binary(out, password);
        }
    })
}

fn flags(connect: &Connect<'_>) -> u8 {
    let mut flags = 0;
    if connect.clean_start {
        flags |= flag::CLEAN_START;
    }
    if let Some(will) = &connect.will {
        flags |= flag::WILL | (will.qos as u8) << 3;
        if will.retain {
            flags |= flag::WILL_RETAIN;
        }
    }
    if connect.username.is_some() {
        flags |= flag::USERNAME;
    }
    if connect.password.is_some() {
        flags |= flag::PASSWORD;
    }
    flags
}

fn put_properties(properties: &ConnectProperties<'_>, out: &mut Vec<u8>) {
    if properties.session_expiry_secs != 0 {
        put::property_u32(out, id::SESSION_EXPIRY, properties.session_expiry_secs);
    }
    if properties.receive_max != u16::MAX {
        put::property_u16(out, id::RECEIVE_MAX, properties.receive_max);
    }
    if let Some(bytes) = properties.packet_max {
        put::property_u32(out, id::PACKET_MAX, bytes);
    }
    if properties.topic_alias_max != 0 {
        put::property_u16(out, id::TOPIC_ALIAS_MAX, properties.topic_alias_max);
    }
    if properties.request_response_info {
        put::property_u8(out, id::REQUEST_RESPONSE_INFO, 1);
    }
    if !properties.request_problem_info {
        put::property_u8(out, id::REQUEST_PROBLEM_INFO, 0);
    }
    put::property_string(out, id::AUTH_METHOD, properties.auth_method);
    put::property_binary(out, id::AUTH_DATA, properties.auth_data);
    for (name, value) in properties.user.iter() {
        put::user(out, name, value);
    }
}

fn put_will_properties(will: &Will<'_>, out: &mut Vec<u8>) {
    let properties = &will.properties;
    if properties.delay_secs != 0 {
        put::property_u32(out, id::WILL_DELAY, properties.delay_secs);
    }
    if properties.payload_is_utf8 {
        put::property_u8(out, id::PAYLOAD_FORMAT, 1);
    }
    if let Some(secs) = properties.message_expiry {
        put::property_u32(out, id::MESSAGE_EXPIRY, secs);
    }
    put::property_string(out, id::CONTENT_TYPE, properties.content_type);
    put::property_string(out, id::RESPONSE_TOPIC, properties.response_topic);
    put::property_binary(out, id::CORRELATION_DATA, properties.correlation_data);
    for (name, value) in properties.user.iter() {
        put::user(out, name, value);
    }
}
