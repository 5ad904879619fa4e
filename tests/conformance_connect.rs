//! Statements about CONNECT and CONNACK (sections 3.1 and 3.2), but for sessions and wills, which have files of their own.

use std::time::{Duration, Instant};

use crate::broker;
use crate::packet::{self, Connect, Publish, Will, field, frame, prop_byte, prop_field, prop_u16, prop_u32};
use crate::peer::Peer;
use crate::refusal::{self, MALFORMED, VERSIONS};

/// [MQTT-3.1.0-1] [MQTT-3.1.0-1@3.1.1]
#[test]
fn first_packet_must_be_connect() {
    for version in VERSIONS {
        for bytes in [
            packet::PINGREQ.to_vec(),
            Publish::new(version, "a", "b").bytes(),
            packet::subscribe(version, 1, &[("a", 0)]),
            packet::disconnect(),
        ] {
            let closed = refusal::first(version, &bytes, &[]);
            assert!(closed.packets.is_empty(), "nothing is said to what is not MQTT: {closed:?}");
        }
    }
}

/// [MQTT-3.1.0-2] [MQTT-3.1.0-2@3.1.1] [MQTT-3.2.0-2]
#[test]
fn second_connect_closes() {
    for version in VERSIONS {
        let connect = Connect::new(version, "connect-twice");
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        peer.send(&connect.bytes());
        refusal::check(version, &mut peer, &[0x82]);
        // A DISCONNECT cannot say what is wrong with a CONNECT: that it is a second one is what it says.
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        peer.send(&Connect::new(version, "connect-twice").protocol("MQQT", version).bytes());
        refusal::check(version, &mut peer, &[0x82]);
    }
}

/// [MQTT-3.1.2-1] [MQTT-3.1.2-1@3.1.1]
#[test]
fn wrong_protocol_name_closes() {
    for version in [4, 5] {
        for name in ["MQTX", "mqtt", "MQT", "MQTTT", ""] {
            let connect = Connect::new(version, "connect-name").protocol(name, version);
            refusal::connect(&connect, &[0x01, 0x81, 0x82, 0x84]);
        }
    }
}

/// [MQTT-3.1.2-2]
#[test]
fn unknown_protocol_version_closes() {
    for level in [0, 1, 2, 6, 7, 0x7F, 0xFF] {
        let connect = Connect::new(5, "connect-level").protocol("MQTT", level);
        refusal::connect(&connect, &[0x01, 0x84]);
    }
}

/// [MQTT-3.1.2-2@3.1.1] [MQTT-3.2.2-5@3.1.1] [MQTT-3.2.2-4@3.1.1]
#[test]
fn unknown_protocol_level_is_answered() {
    let connect = Connect::new(4, "connect-level").protocol("MQTT", 3);
    let closed = refusal::connect(&connect, &[0x01]);
    let connack = closed.packets[0].connack(4);
    assert_eq!((connack.flags, connack.reason), (0, 0x01));
}

/// [MQTT-3.1.2-3] [MQTT-3.1.2-3@3.1.1] [MQTT-3.2.2-6@3.1.1]
#[test]
fn reserved_connect_flag_closes() {
    for version in [4, 5] {
        let closed = refusal::connect(&Connect::new(version, "connect-reserved").flags(0x01), MALFORMED);
        assert!(version == 5 || closed.packets.is_empty(), "3.1.1 closes without CONNACK: {closed:?}");
    }
}

/// [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-11@3.1.1] [MQTT-3.1.2-13@3.1.1] [MQTT-3.1.2-14@3.1.1]
/// [MQTT-3.1.2-15@3.1.1]
#[test]
fn will_flags_without_will_or_with_a_third_qos_close() {
    for version in [4, 5] {
        for flags in [0x08, 0x10, 0x18, 0x20, 0x28] {
            refusal::connect(&Connect::new(version, "connect-will-flags").flags(flags), MALFORMED);
        }
        refusal::connect(
            &Connect::new(version, "connect-will-3").will(Will::new("w", "w").qos(3)),
            MALFORMED,
        );
    }
}

/// Flags that announce fields which are not there, and fields no flag announces.
///
/// [MQTT-3.1.2-9] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.4-1] [MQTT-3.1.2-9@3.1.1]
/// [MQTT-3.1.2-18@3.1.1] [MQTT-3.1.2-19@3.1.1] [MQTT-3.1.2-20@3.1.1] [MQTT-3.1.2-21@3.1.1] [MQTT-3.1.4-1@3.1.1]
#[test]
fn payload_that_does_not_fit_the_flags_closes() {
    for version in [4, 5] {
        let plain = Connect::new(version, "connect-fields");
        for connect in [
            plain.clone().flags(0x04),
            plain.clone().flags(0x80),
            plain.clone().flags(0xC0),
            plain.clone().user("u").flags(0x40),
        ] {
            refusal::connect(&connect, MALFORMED);
        }
        for extra in [&b"\x00\x01u"[..], b"\x00\x01u\x00\x01p", b"\x00"] {
            refusal::first(version, &frame(packet::CONNECT, &[&plain.body(), extra].concat()), MALFORMED);
        }
    }
}

/// [MQTT-3.1.2-22@3.1.1]
#[test]
fn password_without_user_name_closes_in_v311() {
    refusal::connect(&Connect::new(4, "connect-password").password("p"), MALFORMED);
}

/// MQTT 5 has no such rule: a password may stand alone (section 3.1.2.9).
///
/// [MQTT-3.1.2-19]
#[test]
fn password_without_user_name_is_well_formed_in_v5() {
    let mut peer = Peer::open(broker::at(), 5);
    peer.send(&Connect::new(5, "connect-password").password("p").bytes());
    let connack = peer.packet().connack(5);
    assert!([0x00, 0x86, 0x87].contains(&connack.reason), "{connack:?}");
}

/// All fields at once arrive where they belong: the will shows topic and payload.
///
/// [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-3.1.3-1@3.1.1]
/// [MQTT-3.1.3-3@3.1.1] [MQTT-3.1.2-9@3.1.1]
#[test]
fn payload_fields_are_taken_in_order() {
    for version in [4, 5] {
        let topic = format!("connect/fields/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("fields-watcher-{version}"));
        watcher.subscribe(&topic, 0);
        let connect = Connect::new(version, &format!("fields-{version}"));
        let connect = connect.will(Will::new(&topic, "payload")).user("name").password("secret");
        Peer::connect(broker::at(), &connect).0.vanish();
        assert_eq!(watcher.delivery().text(), "payload");
    }
}

/// [MQTT-3.1.2-22] [MQTT-3.2.2-22] [MQTT-3.1.2-24@3.1.1]
#[test]
fn silence_beyond_one_and_a_half_keep_alives_closes() {
    for version in VERSIONS {
        let connect = Connect::new(version, &format!("keep-alive-{version}")).keep_alive(1);
        let (mut peer, connack) = Peer::connect(broker::at(), &connect);
        assert_eq!(
            connack.properties.number(0x13).unwrap_or(1),
            1,
            "a shorter keep-alive is the client's right"
        );
        let start = Instant::now();
        refusal::check(version, &mut peer, &[0x8D]);
        let silence = start.elapsed();
        assert!(silence >= Duration::from_millis(1400), "closed early, after {silence:?}");
        assert!(silence <= Duration::from_millis(4500), "closed late, after {silence:?}");
    }
}

/// [MQTT-3.1.2-22] [MQTT-3.1.2-24@3.1.1]
#[test]
fn packets_within_the_keep_alive_keep_the_connection() {
    for version in [4, 5] {
        let connect = Connect::new(version, &format!("alive-{version}")).keep_alive(1);
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2500) {
            assert_eq!(peer.packet_within(Duration::from_millis(700)), None);
            peer.ping();
        }
    }
}

/// [MQTT-3.1.2-28]
#[test]
fn response_information_only_on_request() {
    for request in [None, Some(0)] {
        let mut connect = Connect::new(5, "response-information");
        if let Some(value) = request {
            connect = connect.property(prop_byte(0x19, value));
        }
        let (_, connack) = Peer::connect(broker::at(), &connect);
        assert_eq!(connack.properties.get(0x1A), None);
    }
}

/// [MQTT-3.1.2-29]
#[test]
fn no_problem_information_when_not_wanted() {
    let connect = Connect::new(5, "problem-information").property(prop_byte(0x17, 0));
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    peer.send(&packet::subscribe(5, 1, &[("test/nosubscribe", 0), ("problem/#/x", 0)]));
    let Some(answer) = peer.packet_within(crate::peer::PATIENCE) else { return };
    if answer.first == packet::SUBACK {
        let (properties, _) = packet::read_properties(&answer.body[2..]);
        assert_eq!(properties.get(0x1F), None);
        assert!(properties.user().is_empty());
    }
    let mut peer = Peer::connect(broker::at(), &connect).0;
    peer.send(&Publish::new(5, "problem/nobody", "x").qos(1, 1).bytes());
    let puback = peer.expect(packet::PUBACK);
    assert!(puback.body.len() <= 3 || puback.body[3] == 0, "properties in {puback:?}");
}

/// [MQTT-3.1.3-4] [MQTT-3.1.3-4@3.1.1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.3-1@3.1.1] [MQTT-1.5.3-2@3.1.1]
#[test]
fn client_identifier_that_is_no_utf8_closes() {
    for version in [4, 5] {
        for id in [&b"a\xFFb"[..], b"\xC3", b"\xED\xA0\x80", b"\xC0\x80", b"a\x00b", b"\xF4\x90\x80\x80"] {
            refusal::connect(&Connect::new(version, "").raw_id(id), &[0x02, 0x81, 0x82, 0x85]);
        }
    }
}

/// [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.1.3-10@3.1.1] [MQTT-3.1.3-11@3.1.1]
#[test]
fn will_topic_and_user_name_that_are_no_utf8_close() {
    for version in [4, 5] {
        for bad in [&b"\xFF"[..], b"\xED\xBF\xBF", b"a\x00"] {
            let mut will = Will::new("w", "w");
            will.topic = bad.to_vec();
            refusal::connect(&Connect::new(version, "bad-will-topic").will(will), &[0x81, 0x82, 0x90]);
            refusal::connect(&Connect::new(version, "bad-user").user(bad).password("p"), MALFORMED);
        }
    }
}

/// [MQTT-3.1.3-5] [MQTT-3.1.3-5@3.1.1] [MQTT-3.1.4-5] [MQTT-3.1.4-4@3.1.1]
#[test]
fn client_identifiers_of_the_basic_alphabet_are_taken() {
    const ALPHABET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        for start in [0, 23, 39] {
            Peer::clean(broker::at(), version, &ALPHABET[start..start + 23]).leave();
        }
        Peer::clean(broker::at(), version, "Z").leave();
    }
}

/// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[test]
fn empty_client_identifier_gets_an_unused_one_that_is_valid() {
    let assigned =
        |peer: &packet::Connack| String::from_utf8(peer.properties.get(0x12).unwrap().to_vec()).unwrap();
    let (mut first, connack) = Peer::connect(broker::at(), &Connect::new(5, "").durable());
    assert_eq!(connack.flags, 0);
    let name = assigned(&connack);
    let (_second, connack) = Peer::connect(broker::at(), &Connect::new(5, ""));
    assert_ne!(assigned(&connack), name);
    // The name stands for the session: whoever uses it takes it over.
    let (third, connack) = Peer::connect(broker::at(), &Connect::new(5, &name).resume());
    assert_eq!((connack.flags, connack.properties.get(0x12)), (1, None));
    assert_eq!(first.closed().reason(), Some(0x8E));
    third.leave();
}

/// [MQTT-3.1.3-6@3.1.1] [MQTT-3.1.3-7@3.1.1] [MQTT-3.1.3-8@3.1.1] [MQTT-3.1.3-9@3.1.1]
#[test]
fn empty_client_identifier_in_v311_needs_a_clean_session() {
    Peer::clean(broker::at(), 4, "").leave();
    let closed = refusal::connect(&Connect::new(4, "").resume(), &[0x02]);
    assert_eq!(closed.reason(), Some(0x02));
}

/// MQTT 3.1 knows no empty client identifier at all.
#[test]
fn empty_client_identifier_in_v31_is_refused() {
    let closed = refusal::connect(&Connect::new(3, ""), &[0x02]);
    assert_eq!(closed.reason(), Some(0x02));
}

/// A client identifier that cannot be served is refused, not cut; one that is long but right may be accepted.
///
/// [MQTT-3.1.3-8] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-3.2.2-6]
#[test]
fn longest_client_identifier_is_accepted_or_refused_in_order() {
    let mut peer = Peer::open(broker::at(), 5);
    peer.send(&Connect::new(5, &"x".repeat(65_535)).bytes());
    let connack = peer.packet().connack(5);
    if connack.reason != 0 {
        assert_eq!((connack.flags, connack.reason), (0, 0x85));
        peer.closed();
    }
}

/// [MQTT-3.1.4-3] [MQTT-3.1.4-2@3.1.1] [MQTT-3.1.3-2] [MQTT-3.1.3-2@3.1.1]
#[test]
fn same_client_identifier_takes_over() {
    for version in VERSIONS {
        let id = format!("takeover-{version}");
        let mut old = Peer::clean(broker::at(), version, &id);
        let mut new = Peer::clean(broker::at(), version, &id);
        let closed = refusal::check(version, &mut old, &[0x8E]);
        assert_eq!(closed.reason(), (version == 5).then_some(0x8E));
        new.ping();
    }
}

/// A PUBLISH behind a refused CONNECT, in the same segment, goes nowhere.
///
/// [MQTT-3.1.4-6] [MQTT-3.1.4-5@3.1.1] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-3.1.4-2]
#[test]
fn nothing_after_a_refused_connect_is_processed() {
    for version in [4, 5] {
        let topic = format!("refused/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("refused-watcher-{version}"));
        watcher.subscribe(&topic, 0);
        let refused = if version == 4 {
            Connect::new(4, "").resume()
        } else {
            Connect::new(5, "refused").property(prop_field(0x15, "NO-SUCH-METHOD"))
        };
        let bytes = [refused.bytes(), Publish::new(version, &topic, "never").bytes()].concat();
        let closed = refusal::first(version, &bytes, &[0x02, 0x87, 0x8C]);
        assert_eq!(closed.packets.len(), 1, "{closed:?}");
        assert_eq!(closed.packets[0].connack(version).flags, 0);
        watcher.quiet();
    }
}

/// [MQTT-3.2.0-1] [MQTT-3.2.0-1@3.1.1] [MQTT-3.2.0-2]
#[test]
fn connack_comes_before_waiting_messages() {
    for version in [4, 5] {
        let id = broker::unique(&format!("connack-first-{version}"));
        let connect = Connect::new(version, &id).durable();
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        peer.subscribe(&format!("first/{id}"), 1);
        peer.leave();
        Peer::clean(broker::at(), version, &format!("{id}-pub")).publish(&format!("first/{id}"), 1, "waits");
        let mut peer = Peer::open(broker::at(), version);
        peer.send(&connect.bytes());
        assert_eq!(peer.packet().connack(version).flags, 1);
        assert_eq!(peer.delivery().text(), "waits");
        peer.quiet();
    }
}

/// [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-1@3.1.1]
#[test]
fn connack_flags_are_zero_for_a_clean_start() {
    for version in VERSIONS {
        let (_, connack) = Peer::connect(broker::at(), &Connect::new(version, &format!("flags-{version}")));
        assert_eq!(connack.flags, 0);
    }
}

/// All of QoS and retain are supported, and the CONNACK does not say otherwise.
///
/// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-12] [MQTT-3.2.2-13]
#[test]
fn connack_announces_no_restriction_and_wills_of_each_kind_are_taken() {
    for qos in 0..=2 {
        let will = Will::new("capabilities/will", "w").qos(qos).retain();
        let (mut peer, connack) = Peer::connect(broker::at(), &Connect::new(5, "capabilities").will(will));
        assert_eq!(connack.properties.get(0x24), None, "Maximum QoS is not sent when it is 2");
        for available in [0x25, 0x28, 0x29, 0x2A] {
            assert_ne!(connack.properties.number(available), Some(0), "property {available:#04x}");
        }
        peer.subscribe(&format!("capabilities/{qos}"), qos);
        peer.leave();
    }
}

/// [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-24]
#[test]
fn connack_fits_the_clients_maximum_packet_size() {
    for limit in [20, 32, 64] {
        let mut peer = Peer::open(broker::at(), 5);
        peer.send(&Connect::new(5, "connack-size").property(prop_u32(0x27, limit)).bytes());
        let Some(packet) = peer.packet_within(crate::peer::PATIENCE) else { continue };
        let whole = frame(packet.first, &packet.body).len();
        assert!(whole <= limit as usize, "{whole} bytes for a limit of {limit}");
    }
}

/// Values CONNECT properties must not have, doubles, and properties of other packets.
///
/// [MQTT-3.1.4-1] [MQTT-2.2.2-1]
#[test]
fn wrong_connect_properties_close() {
    let double = |one: Vec<u8>| [one.clone(), one].concat();
    for bad in [
        prop_u16(0x21, 0),
        prop_u32(0x27, 0),
        prop_byte(0x17, 2),
        prop_byte(0x19, 2),
        prop_field(0x16, "data without method"),
        double(prop_u32(0x11, 1)),
        double(prop_u16(0x21, 10)),
        double(prop_u32(0x27, 1000)),
        double(prop_u16(0x22, 1)),
        double(prop_byte(0x17, 1)),
        double(prop_byte(0x19, 1)),
        prop_u16(0x13, 10),
        prop_byte(0x01, 1),
        prop_field(0x03, "type"),
        prop_byte(0x7E, 0),
        vec![0x11, 0, 0],
        vec![0x26, 0, 1, b'a'],
    ] {
        refusal::connect(&Connect::new(5, "bad-properties").property(bad), MALFORMED);
    }
    // A property length that is missing, and one that passes the end of the packet.
    let head = [field("MQTT"), vec![5, 2, 0, 60]].concat();
    refusal::first(5, &frame(packet::CONNECT, &head), MALFORMED);
    refusal::first(5, &frame(packet::CONNECT, &[&head[..], &[200, 0, 1, b'x']].concat()), MALFORMED);
}
