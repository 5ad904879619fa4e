//! What encoders promise beyond the bytes of a round trip: limits, what is left out, and places to patch.

use bitsim_protocol::encode::{self, Peer, PublishOut, TooLarge};
use bitsim_protocol::{
    Ack, ConnAck, ConnAckProperties, Disconnect, Packet, Qos, ReasonCode, SubAck, UserProperties, Version,
};

use crate::notation::{bytes, read};

fn peer(packet_max: u32) -> Peer {
    Peer { version: Version::V5, packet_max }
}

/// [MQTT-3.1.2-24]: the last byte that fits, and one less.
#[test]
fn a_publish_over_the_maximum_is_not_written() {
    for version in [Version::V311, Version::V5] {
        let publish = PublishOut::new(version, "a/b", &[7; 200]);
        let total = u32::try_from(encode::publish_len(&publish)).unwrap();
        let mut out = vec![1, 2, 3];
        assert_eq!(encode::publish(&publish, total - 1, &mut out), Err(TooLarge));
        assert_eq!(encode::publish_head(&publish, total - 1, &mut out), Err(TooLarge));
        assert_eq!(out, [1, 2, 3]);
        encode::publish(&publish, total, &mut out).unwrap();
        assert_eq!(out.len(), 3 + total as usize);
    }
}

/// A fan-out copies the bytes and gives each receiver its own identifier.
#[test]
fn the_packet_identifier_can_be_patched() {
    for (version, topic, payload) in
        [(Version::V311, "a", 1), (Version::V5, "sport/tennis", 200), (Version::V5, "t", 20_000)]
    {
        let payload = vec![7; payload];
        let publish =
            PublishOut { qos: Qos::AtLeastOnce, packet_id: 0, ..PublishOut::new(version, topic, &payload) };
        let mut out = vec![9; 5];
        let written = encode::publish(&publish, u32::MAX, &mut out).unwrap();
        let at = 5 + written.packet_id_at.unwrap();
        out[at..at + 2].copy_from_slice(&0xABCD_u16.to_be_bytes());
        out[5] |= 0x08;
        let Ok(Packet::Publish(read)) = read(version, &out[5..]) else { panic!("{out:?}") };
        assert_eq!((read.packet_id, read.dup, read.topic, read.payload), (0xABCD, true, topic, &payload[..]));
    }
    let written =
        encode::publish(&PublishOut::new(Version::V5, "a", b""), u32::MAX, &mut Vec::new()).unwrap();
    assert_eq!(written.packet_id_at, None);
}

#[test]
fn a_head_and_its_payload_are_the_packet() {
    let publish = PublishOut { message_expiry: Some(5), ..PublishOut::new(Version::V5, "a/b", &[7; 300]) };
    let (mut whole, mut head) = (Vec::new(), Vec::new());
    let written = encode::publish(&publish, u32::MAX, &mut whole).unwrap();
    assert_eq!(encode::publish_head(&publish, u32::MAX, &mut head), Ok(written));
    head.extend_from_slice(publish.payload);
    assert_eq!(head, whole);
}

/// [MQTT-3.4.2-2] [MQTT-3.4.2-3]: first the user properties go, then the reason string; the answer stays.
#[test]
fn an_answer_says_less_where_it_must() {
    let mut raw = Vec::new();
    UserProperties::append(&mut raw, "key", "value");
    let user = UserProperties::from_raw(&raw).unwrap();
    let ack = Ack { reason_string: Some("reason"), user, ..Ack::new(1, ReasonCode::QuotaExceeded) };
    let full = bytes("40 [ 0001 97 [ 1F \"reason\" 26 \"key\" \"value\" ] ]");
    let less = bytes("40 [ 0001 97 [ 1F \"reason\" ] ]");
    let least = bytes("40 [ 0001 97 ]");
    let sent = |packet_max: usize| {
        let mut out = Vec::new();
        encode::puback(peer(u32::try_from(packet_max).unwrap()), &ack, &mut out).map(|()| out)
    };
    assert_eq!(sent(full.len()).as_ref(), Ok(&full));
    assert_eq!(sent(full.len() - 1).as_ref(), Ok(&less));
    assert_eq!(sent(less.len()).as_ref(), Ok(&less));
    assert_eq!(sent(less.len() - 1).as_ref(), Ok(&least));
    assert_eq!(sent(least.len()).as_ref(), Ok(&least));
    assert_eq!(sent(least.len() - 1), Err(TooLarge));
}

/// [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.14.2-3] [MQTT-3.9.2-1]: so do CONNACK, DISCONNECT and SUBACK.
#[test]
fn other_answers_say_less_where_they_must() {
    let reason_string = Some("a long explanation");
    let mut out = Vec::new();
    let properties = ConnAckProperties { topic_alias_max: 3, reason_string, ..ConnAckProperties::default() };
    encode::connack(peer(10), &ConnAck { properties, ..ConnAck::default() }, &mut out).unwrap();
    assert_eq!(out, bytes("20 [ 00 00 [ 22 0003 ] ]"));
    out.clear();
    let disconnect = Disconnect { reason_string, ..Disconnect::new(ReasonCode::ServerBusy) };
    encode::disconnect(peer(10), &disconnect, &mut out).unwrap();
    assert_eq!(out, bytes("E0 [ 89 [ ] ]"));
    out.clear();
    encode::suback(peer(10), &SubAck { reason_string, ..SubAck::new(1, &[0x87]) }, &mut out).unwrap();
    assert_eq!(out, bytes("90 [ 0001 [ ] 87 ]"));
}

/// A peer of 3.x is told what its version can say.
#[test]
fn reasons_become_what_3_x_knows() {
    let connack = |version, reason, session_present| {
        let mut out = Vec::new();
        let connack = ConnAck { session_present, ..ConnAck::refusal(reason) };
        encode::connack(Peer::new(version), &connack, &mut out).unwrap();
        out
    };
    let code = |reason| connack(Version::V311, reason, false)[3];
    assert_eq!(code(ReasonCode::UnsupportedProtocolVersion), 1);
    assert_eq!(code(ReasonCode::ClientIdentifierNotValid), 2);
    assert_eq!(code(ReasonCode::QuotaExceeded), 3);
    assert_eq!(code(ReasonCode::BadUserNameOrPassword), 4);
    assert_eq!(code(ReasonCode::NotAuthorized), 5);
    // 3.1 has no Session Present, and [MQTT-3.2.2-6] no refusal has.
    assert_eq!(connack(Version::V311, ReasonCode::Success, true)[2], 1);
    assert_eq!(connack(Version::V31, ReasonCode::Success, true)[2], 0);
    assert_eq!(connack(Version::V5, ReasonCode::NotAuthorized, true)[2], 0);
    let mut out = Vec::new();
    encode::suback(Peer::new(Version::V311), &SubAck::new(1, &[2, 0x87, 0x97]), &mut out).unwrap();
    assert_eq!(out, bytes("90 [ 0001 02 80 80 ]"));
    out.clear();
    encode::disconnect(Peer::new(Version::V311), &Disconnect::new(ReasonCode::ServerBusy), &mut out).unwrap();
    assert_eq!(out, [0xE0, 0]);
}

/// Lengths of properties and packets that need more than one byte.
#[test]
fn long_properties_are_written_whole() {
    let mut raw = Vec::new();
    for _ in 0..200 {
        UserProperties::append(&mut raw, &"k".repeat(50), &"v".repeat(50));
    }
    let ack = Ack { user: UserProperties::from_raw(&raw).unwrap(), ..Ack::success(1) };
    let mut out = vec![1];
    encode::pubrec(peer(u32::MAX), &ack, &mut out).unwrap();
    assert_eq!(read(Version::V5, &out[1..]), Ok(Packet::PubRec(ack)));
    assert_eq!(ack.user.bytes(), 20_000);
}
