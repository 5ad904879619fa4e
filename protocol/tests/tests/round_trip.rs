//! Decoding what was encoded gives the same packet, for every packet with every property and without any.

use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut, UnsubscribeOut};
use bitsim_protocol::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketKind,
    Publish, Qos, ReasonCode, RetainHandling, SubAck, SubscribeOptions, UserProperties, Version, Will,
    WillProperties,
};

use crate::notation::read;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const TOPICS: [&str; 3] = ["a/b", "sport/tennis/player1/ranking", "€/日本/💬"];

/// User properties for packets that have them: order and repetition matter.
fn user_raw() -> Vec<u8> {
    let mut raw = Vec::new();
    for (name, value) in [("k", "v"), ("", ""), ("k", "v"), ("zwölf", "💬"), ("a", "b")] {
        UserProperties::append(&mut raw, name, value);
    }
    raw
}

fn encoded(write: impl FnOnce(&mut Vec<u8>) -> Result<(), encode::TooLarge>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).expect("small enough");
    out
}

fn connects<'a>(version: Version, user: UserProperties<'a>) -> Vec<Connect<'a>> {
    let bare = Connect {
        version,
        clean_start: true,
        keep_alive_secs: 0,
        client_id: "",
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let will = Will {
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: "w/t",
        payload: &[0, 255],
        properties: WillProperties::default(),
    };
    let full = Connect {
        clean_start: false,
        keep_alive_secs: 65_535,
        client_id: "client €",
        will: Some(will),
        username: Some(""),
        password: Some(&[0, 1, 255]),
        ..bare
    };
    let mut connects = vec![bare, full, Connect { username: Some("u"), ..bare }];
    if version.is_v5() {
        let properties = ConnectProperties {
            session_expiry_secs: u32::MAX,
            receive_max: 1,
            packet_max: Some(1),
            topic_alias_max: 65_535,
            request_response_info: true,
            request_problem_info: false,
            auth_method: Some("SCRAM"),
            auth_data: Some(&[1, 0]),
            user,
        };
        let will_properties = WillProperties {
            raw: &[],
            delay_secs: 3,
            message_expiry: Some(0),
            payload_is_utf8: true,
            content_type: Some("text/plain"),
            response_topic: Some("r"),
            correlation_data: Some(&[9]),
            user,
        };
        let will = Some(Will { qos: Qos::ExactlyOnce, properties: will_properties, ..will });
        connects.push(Connect { properties, will, ..full });
        connects.push(Connect { password: Some(b"alone"), ..bare });
    }
    connects
}

/// The raw bytes of will properties are those of the wire, so they differ from what was encoded from fields.
fn without_raw(mut packet: Packet<'_>) -> Packet<'_> {
    if let Packet::Connect(Connect { will: Some(will), .. }) = &mut packet {
        will.properties.raw = &[];
    }
    packet
}

fn connacks<'a>(version: Version, user: UserProperties<'a>) -> Vec<ConnAck<'a>> {
    let accepted = ConnAck { session_present: version != Version::V31, ..ConnAck::default() };
    let mut connacks = vec![accepted, ConnAck::refusal(ReasonCode::NotAuthorized)];
    if version.is_v5() {
        let properties = ConnAckProperties {
            session_expiry_secs: Some(0),
            receive_max: 20,
            qos_max: Qos::AtLeastOnce,
            retain_available: false,
            packet_max: Some(1000),
            assigned_client_id: Some("id"),
            topic_alias_max: 10,
            reason_string: Some("why"),
            wildcard_available: false,
            subscription_ids_available: false,
            shared_available: false,
            server_keep_alive_secs: Some(0),
            response_info: Some("resp"),
            server_reference: Some("other:1883"),
            auth_method: Some("m"),
            auth_data: Some(&[]),
            user,
        };
        connacks.push(ConnAck { session_present: false, reason: ReasonCode::ServerMoved, properties });
        for &reason in ReasonCode::ALL.iter().filter(|code| code.allowed_in(PacketKind::ConnAck)) {
            connacks.push(ConnAck::refusal(reason));
        }
    }
    connacks
}

#[test]
fn connect() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for version in VERSIONS {
        for connect in connects(version, user) {
            let bytes = encoded(|out| encode::connect(&connect, u32::MAX, out));
            let read = read(version, &bytes).map(without_raw);
            assert_eq!(read, Ok(Packet::Connect(connect)));
        }
    }
}

#[test]
fn connack() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for version in VERSIONS {
        for connack in connacks(version, user) {
            let bytes = encoded(|out| encode::connack(Peer::new(version), &connack, out));
            assert_eq!(read(version, &bytes), Ok(Packet::ConnAck(connack)));
        }
    }
}

/// Every PUBLISH of `version`, encoded.
fn publishes(version: Version) -> Vec<Vec<u8>> {
    let raw = user_raw();
    let mut all = Vec::new();
    for topic in TOPICS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for payload in [&[][..], &[0, 1, 2, 255], &[7; 300]] {
                let plain = PublishOut { qos, packet_id: 0x1234, ..PublishOut::new(version, topic, payload) };
                let full = PublishOut {
                    dup: true,
                    retain: true,
                    topic_alias: Some(65_535),
                    message_expiry: Some(77),
                    subscription_ids: &[1, 128, 268_435_455],
                    properties: &raw,
                    ..plain
                };
                for publish in [plain, full] {
                    let mut out = Vec::new();
                    let written = encode::publish(&publish, u32::MAX, &mut out).unwrap();
                    assert_eq!(written.total, out.len());
                    assert_eq!(encode::publish_len(&publish), out.len());
                    compare(&publish, &out);
                    all.push(out);
                }
            }
        }
    }
    all
}

fn compare(sent: &PublishOut<'_>, bytes: &[u8]) {
    let Ok(Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload })) =
        read(sent.version, bytes)
    else {
        panic!("no PUBLISH: {bytes:?}");
    };
    let acknowledged = qos != Qos::AtMostOnce;
    assert_eq!((qos, retain, topic, payload), (sent.qos, sent.retain, sent.topic, sent.payload));
    // [MQTT-3.3.1-2] [MQTT-2.2.1-2]
    assert_eq!(dup, sent.dup && acknowledged);
    assert_eq!(packet_id, if acknowledged { sent.packet_id } else { 0 });
    if !sent.version.is_v5() {
        assert_eq!(properties.raw, []);
        return;
    }
    assert_eq!(properties.topic_alias, sent.topic_alias);
    assert_eq!(properties.message_expiry, sent.message_expiry);
    assert_eq!(properties.subscription_ids().collect::<Vec<_>>(), sent.subscription_ids);
    assert_eq!(properties.user, UserProperties::from_raw(sent.properties).unwrap());
    let mut passed_on = Vec::new();
    bitsim_protocol::forwardable_properties(properties.raw, &mut passed_on);
    assert_eq!(passed_on, sent.properties);
}

#[test]
fn publish() {
    for version in VERSIONS {
        assert_eq!(publishes(version).len(), 54);
    }
}

type AckEncoder = fn(Peer, &Ack<'_>, &mut Vec<u8>) -> Result<(), encode::TooLarge>;
const ACKS: [(PacketKind, AckEncoder); 4] = [
    (PacketKind::PubAck, encode::puback),
    (PacketKind::PubRec, encode::pubrec),
    (PacketKind::PubRel, encode::pubrel),
    (PacketKind::PubComp, encode::pubcomp),
];

fn wrap(kind: PacketKind, ack: Ack<'_>) -> Packet<'_> {
    match kind {
        PacketKind::PubAck => Packet::PubAck(ack),
        PacketKind::PubRec => Packet::PubRec(ack),
        PacketKind::PubRel => Packet::PubRel(ack),
        _ => Packet::PubComp(ack),
    }
}

#[test]
fn acknowledgements() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for (kind, encoder) in ACKS {
        for version in VERSIONS {
            let short = encoded(|out| encoder(Peer::new(version), &Ack::success(515), out));
            assert_eq!(short, [short[0], 2, 2, 3]);
            assert_eq!(read(version, &short), Ok(wrap(kind, Ack::success(515))));
        }
        let peer = Peer::new(Version::V5);
        for &reason in ReasonCode::ALL.iter().filter(|code| code.allowed_in(kind)) {
            let full = Ack { reason_string: Some("why"), user, ..Ack::new(65_535, reason) };
            for ack in [Ack::new(1, reason), full] {
                let bytes = encoded(|out| encoder(peer, &ack, out));
                assert_eq!(read(Version::V5, &bytes), Ok(wrap(kind, ack)));
            }
        }
    }
}

fn options() -> Vec<SubscribeOptions> {
    let mut all = Vec::new();
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for retain_handling in [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend] {
            for (no_local, retain_as_published) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                all.push(SubscribeOptions { qos, no_local, retain_as_published, retain_handling });
            }
        }
    }
    all
}

#[test]
fn subscribe() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for version in VERSIONS {
        let v5 = version.is_v5();
        let filters: Vec<_> = options()
            .into_iter()
            .zip(["a", "+/b/#", "#", "$SYS/#", "€"].into_iter().cycle())
            .map(|(options, filter)| (filter, if v5 { options } else { SubscribeOptions::at(options.qos) }))
            .collect();
        for id in [None, Some(1), Some(268_435_455)] {
            let subscribe = SubscribeOut { packet_id: 9, subscription_id: id, filters: &filters, user };
            let bytes = encoded(|out| encode::subscribe(Peer::new(version), &subscribe, out));
            let Ok(Packet::Subscribe(read)) = read(version, &bytes) else { panic!("{bytes:?}") };
            assert_eq!(read.packet_id, 9);
            assert_eq!(read.subscription_id, if v5 { id } else { None });
            assert_eq!(read.user, if v5 { user } else { UserProperties::default() });
            assert_eq!(read.filters().collect::<Vec<_>>(), filters);
            assert_eq!(read.filter_count, filters.len());
        }
    }
}

#[test]
fn unsubscribe() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for version in VERSIONS {
        let filters = ["a", "+/b/#", "#", "€"];
        let unsubscribe = UnsubscribeOut { packet_id: 9, filters: &filters, user };
        let bytes = encoded(|out| encode::unsubscribe(Peer::new(version), &unsubscribe, out));
        let Ok(Packet::Unsubscribe(read)) = read(version, &bytes) else { panic!("{bytes:?}") };
        assert_eq!((read.packet_id, read.filter_count), (9, 4));
        assert_eq!(read.user.count(), if version.is_v5() { 5 } else { 0 });
        assert_eq!(read.filters().collect::<Vec<_>>(), filters);
    }
}

#[test]
fn suback_and_unsuback() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    for version in [Version::V31, Version::V311] {
        let bytes = encoded(|out| encode::suback(Peer::new(version), &SubAck::new(3, &[0, 1, 2, 0x80]), out));
        assert_eq!(read(version, &bytes), Ok(Packet::SubAck(SubAck::new(3, &[0, 1, 2, 0x80]))));
        let bytes = encoded(|out| encode::unsuback(Peer::new(version), &SubAck::new(3, &[0]), out));
        assert_eq!(read(version, &bytes), Ok(Packet::UnsubAck(SubAck::new(3, &[]))));
    }
    let of = |kind| -> Vec<u8> {
        let codes = ReasonCode::ALL.iter().filter(|code| code.allowed_in(kind));
        codes.map(|&code| u8::from(code)).collect()
    };
    let peer = Peer::new(Version::V5);
    let codes = of(PacketKind::SubAck);
    for answer in
        [SubAck::new(3, &codes), SubAck { reason_string: Some("r"), user, ..SubAck::new(3, &codes) }]
    {
        let bytes = encoded(|out| encode::suback(peer, &answer, out));
        assert_eq!(read(Version::V5, &bytes), Ok(Packet::SubAck(answer)));
        assert!(answer.reasons().map(u8::from).eq(codes.iter().copied()));
    }
    let codes = of(PacketKind::UnsubAck);
    let answer = SubAck { reason_string: Some("r"), user, ..SubAck::new(3, &codes) };
    let bytes = encoded(|out| encode::unsuback(peer, &answer, out));
    assert_eq!(read(Version::V5, &bytes), Ok(Packet::UnsubAck(answer)));
}

#[test]
fn disconnect_auth_and_pings() {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    let peer = Peer::new(Version::V5);
    for &reason in ReasonCode::ALL.iter().filter(|code| code.allowed_in(PacketKind::Disconnect)) {
        let full = Disconnect {
            reason,
            session_expiry_secs: Some(0),
            reason_string: Some("r"),
            server_reference: Some("s"),
            user,
        };
        for disconnect in [Disconnect::new(reason), full] {
            let bytes = encoded(|out| encode::disconnect(peer, &disconnect, out));
            assert_eq!(read(Version::V5, &bytes), Ok(Packet::Disconnect(disconnect)));
        }
    }
    for reason in [ReasonCode::Success, ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate] {
        let full = Auth { reason, method: Some("m"), data: Some(&[1]), reason_string: Some("r"), user };
        for auth in [Auth { reason, ..Auth::default() }, full] {
            let bytes = encoded(|out| encode::auth(peer, &auth, out));
            assert_eq!(read(Version::V5, &bytes), Ok(Packet::Auth(auth)));
        }
    }
    let mut out = Vec::new();
    encode::pingreq(&mut out);
    assert_eq!(read(Version::V311, &out), Ok(Packet::PingReq));
    out.clear();
    encode::pingresp(&mut out);
    assert_eq!(read(Version::V311, &out), Ok(Packet::PingResp));
}

/// Encoded packets of every kind and version, for the tests that damage them.
pub(crate) fn samples() -> Vec<(Version, Vec<u8>)> {
    let raw = user_raw();
    let user = UserProperties::from_raw(&raw).unwrap();
    let mut all = Vec::new();
    for version in VERSIONS {
        let peer = Peer::new(version);
        let mut add = |bytes: Vec<u8>| all.push((version, bytes));
        for connect in connects(version, user) {
            add(encoded(|out| encode::connect(&connect, u32::MAX, out)));
        }
        for connack in connacks(version, user).into_iter().take(3) {
            add(encoded(|out| encode::connack(peer, &connack, out)));
        }
        publishes(version).into_iter().take(4).for_each(&mut add);
        let ack = Ack { reason_string: Some("r"), user, ..Ack::success(7) };
        for (_, encoder) in ACKS {
            add(encoded(|out| encoder(peer, &ack, out)));
        }
        let filters =
            [("a/+", SubscribeOptions::default()), ("$share/g/#", SubscribeOptions::at(Qos::ExactlyOnce))];
        let subscribe = SubscribeOut { packet_id: 5, subscription_id: Some(200), filters: &filters, user };
        add(encoded(|out| encode::subscribe(peer, &subscribe, out)));
        let unsubscribe = UnsubscribeOut { packet_id: 5, filters: &["a/+", "b"], user };
        add(encoded(|out| encode::unsubscribe(peer, &unsubscribe, out)));
        let answer = SubAck { reason_string: Some("r"), user, ..SubAck::new(3, &[0, 0x80]) };
        add(encoded(|out| encode::suback(peer, &answer, out)));
        add(encoded(|out| encode::unsuback(peer, &answer, out)));
        let disconnect =
            Disconnect { session_expiry_secs: Some(1), reason_string: Some("r"), ..Disconnect::default() };
        add(encoded(|out| encode::disconnect(peer, &disconnect, out)));
    }
    let auth = Auth { method: Some("m"), data: Some(&[1]), user, ..Auth::default() };
    all.push((Version::V5, encoded(|out| encode::auth(Peer::new(Version::V5), &auth, out))));
    all
}
