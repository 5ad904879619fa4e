//! One packet of each kind and version with every property it may have, as bytes. They seed the corpora, so that a fuzzer
//! begins with whole packets.

use bitsim_protocol::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PublishProperties,
    Qos, ReasonCode, SubAck, SubscribeOptions, UserProperties, Version, Will, WillProperties, encode,
};

use crate::identity::encoded;

/// Of one version.
pub fn all(version: Version) -> Vec<Vec<u8>> {
    let v5 = version == Version::V5;
    let mut user_raw = Vec::new();
    if v5 {
        UserProperties::append(&mut user_raw, "name", "value");
        UserProperties::append(&mut user_raw, "name", "");
    }
    let user = UserProperties::from_raw(&user_raw).unwrap();
    let text = v5.then_some("text");
    let data = v5.then_some(&b"\0data"[..]);
    let mut packets = Vec::new();
    packets.extend(connects(version, user, text, data));
    packets.extend(publishes(version));
    let success = Ack::success(7);
    let refused = if v5 {
        Ack { packet_id: 8, reason: ReasonCode::PacketIdentifierNotFound, reason_string: text, user }
    } else {
        Ack::success(8)
    };
    for ack in [success, refused] {
        packets.push(encoded(version, &Packet::PubRel(ack)));
        packets.push(encoded(version, &Packet::PubComp(ack)));
    }
    packets.push(encoded(version, &Packet::PubAck(success)));
    packets.push(encoded(version, &Packet::PubRec(success)));
    packets.extend(subscriptions(version, user));
    let codes: &[u8] = if v5 { &[0, 1, 2, 0x87, 0x97] } else { &[0, 1, 2, 0x80] };
    packets
        .push(encoded(version, &Packet::SubAck(SubAck { packet_id: 9, codes, reason_string: text, user })));
    let codes: &[u8] = if v5 { &[0, 0x11] } else { &[] };
    packets
        .push(encoded(version, &Packet::UnsubAck(SubAck { packet_id: 9, codes, reason_string: text, user })));
    packets.push(encoded(version, &Packet::PingReq));
    packets.push(encoded(version, &Packet::PingResp));
    let normal = Disconnect::default();
    packets.push(encoded(version, &Packet::Disconnect(normal)));
    if v5 {
        let session_expiry_secs = Some(60);
        packets.push(encoded(
            version,
            &Packet::Disconnect(Disconnect { session_expiry_secs, reason_string: text, user, ..normal }),
        ));
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: text,
            data,
            reason_string: text,
            user,
        };
        packets.push(encoded(version, &Packet::Auth(auth)));
    }
    packets
}

fn connects<'a>(
    version: Version,
    user: UserProperties<'a>,
    text: Option<&'a str>,
    data: Option<&'a [u8]>,
) -> Vec<Vec<u8>> {
    let v5 = version == Version::V5;
    let bare = Connect {
        version,
        clean_start: true,
        keep_alive_secs: 60,
        client_id: "client",
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let will = Will {
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: "will/topic",
        payload: b"gone",
        properties: WillProperties {
            delay_secs: if v5 { 5 } else { 0 },
            message_expiry: v5.then_some(9),
            content_type: text,
            ..Default::default()
        },
    };
    let properties = if v5 {
        ConnectProperties {
            session_expiry_secs: 60,
            receive_max: 3,
            packet_max: Some(1_000),
            topic_alias_max: 4,
            request_response_info: true,
            request_problem_info: false,
            auth_method: text,
            auth_data: data,
            user,
        }
    } else {
        ConnectProperties::default()
    };
    let full =
        Connect { will: Some(will), username: Some("user"), password: Some(b"secret"), properties, ..bare };
    let connack = ConnAck { session_present: version != Version::V31, ..ConnAck::default() };
    let properties = ConnAckProperties {
        session_expiry_secs: Some(9),
        receive_max: 3,
        qos_max: Qos::AtLeastOnce,
        retain_available: false,
        packet_max: Some(100),
        assigned_client_id: text,
        topic_alias_max: 4,
        reason_string: text,
        wildcard_available: false,
        subscription_ids_available: false,
        shared_available: false,
        server_keep_alive_secs: Some(9),
        response_info: text,
        server_reference: text,
        auth_method: text,
        auth_data: data,
        user,
    };
    let told = if v5 { ConnAck { properties, ..connack } } else { connack };
    vec![
        encoded(version, &Packet::Connect(bare)),
        encoded(version, &Packet::Connect(full)),
        encoded(version, &Packet::ConnAck(connack)),
        encoded(version, &Packet::ConnAck(told)),
    ]
}

fn publishes(version: Version) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut properties = PublishProperties::default();
        // Payload format, content type, response topic, correlation data, user property.
        let raw = b"\x01\x01\x03\0\x01t\x08\0\x03r/t\x09\0\x02\0\xFF\x26\0\x01n\0\x01v";
        if version == Version::V5 {
            properties.raw = raw;
            properties.message_expiry = Some(100);
            properties.topic_alias = Some(2);
        }
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { 513 };
        let publish = bitsim_protocol::Publish {
            dup: false,
            qos,
            retain: qos == Qos::AtLeastOnce,
            topic: "a/topic",
            packet_id,
            properties,
            payload: b"payload",
        };
        packets.push(encoded(version, &Packet::Publish(publish)));
        let plain =
            bitsim_protocol::Publish { properties: PublishProperties::default(), topic: "a", ..publish };
        packets.push(encoded(version, &Packet::Publish(plain)));
    }
    packets
}

fn subscriptions(version: Version, user: UserProperties<'_>) -> Vec<Vec<u8>> {
    let peer = encode::Peer::new(version);
    let options =
        SubscribeOptions { no_local: version == Version::V5, ..SubscribeOptions::at(Qos::ExactlyOnce) };
    let mut out = [Vec::new(), Vec::new()];
    let subscribe = encode::SubscribeOut {
        packet_id: 3,
        subscription_id: (version == Version::V5).then_some(300),
        filters: &[
            ("a/+/c", options),
            ("a/#", SubscribeOptions::default()),
            ("$share/g/a", SubscribeOptions::default()),
        ],
        user,
    };
    encode::subscribe(peer, &subscribe, &mut out[0]).unwrap();
    let unsubscribe = encode::UnsubscribeOut { packet_id: 4, filters: &["a/+/c", "$share/g/a"], user };
    encode::unsubscribe(peer, &unsubscribe, &mut out[1]).unwrap();
    out.into()
}
