//! Statements about PINGREQ, DISCONNECT and AUTH (3.12 to 3.15), enhanced authentication (4.12), errors (4.13), and the
//! fixed header that all packets share (2.1, 1.5.5).

use crate::broker;
use crate::packet::{self, Connect, Publish, field, frame, prop_field, prop_u32};
use crate::peer::Peer;
use crate::refusal::{self, MALFORMED};

/// [MQTT-3.12.4-1] [MQTT-3.12.4-1@3.1.1]
#[test]
fn pingreq_gets_one_pingresp_each() {
    for version in [3, 4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("ping-{version}"));
        peer.send(&packet::PINGREQ.repeat(10));
        for _ in 0..10 {
            assert!(peer.expect(packet::PINGRESP).body.is_empty());
        }
        peer.quiet();
    }
}

/// [MQTT-3.14.0-1] [MQTT-3.1.0-1]
#[test]
fn no_disconnect_before_connack() {
    for bytes in
        [packet::disconnect(), packet::PINGREQ.to_vec(), vec![0xF0, 0x00], vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF]]
    {
        let closed = refusal::first(5, &bytes, MALFORMED);
        assert!(closed.packets.iter().all(|packet| packet.first != packet::DISCONNECT), "{closed:?}");
    }
    let closed = refusal::connect(&Connect::new(5, "").flags(0x01), MALFORMED);
    assert!(closed.packets.iter().all(|packet| packet.first != packet::DISCONNECT), "{closed:?}");
}

/// [MQTT-3.14.1-1] [MQTT-3.14.1-1@3.1.1] [MQTT-2.1.3-1] [MQTT-2.2.2-1@3.1.1]
#[test]
fn reserved_bits_of_disconnect_and_pingreq_close() {
    for version in [4, 5] {
        for first in (0xC1..=0xCF).chain(0xE1..=0xEF) {
            let topic = format!("end/reserved/{version}");
            let mut watcher = Peer::clean(broker::at(), version, &format!("reserved-watch-{version}"));
            watcher.subscribe(&topic, 0);
            let will = packet::Will::new(&topic, "closed for the error");
            let mut peer = Peer::connect(broker::at(), &Connect::new(version, "reserved-bits").will(will)).0;
            peer.send(&[first, 0x00]);
            refusal::check(version, &mut peer, &[0x81]);
            assert_eq!(watcher.delivery().text(), "closed for the error", "{first:#04x} is no DISCONNECT");
        }
    }
}

/// [MQTT-3.14.4-1@3.1.1] [MQTT-3.14.4-2@3.1.1] [MQTT-3.14.4-3]
#[test]
fn disconnect_ends_the_connection_and_what_follows_is_ignored() {
    for version in [3, 4, 5] {
        let topic = format!("end/after/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("after-watch-{version}"));
        watcher.subscribe(&topic, 0);
        let mut peer = Peer::clean(broker::at(), version, &format!("after-{version}"));
        peer.send(&[packet::disconnect(), Publish::new(version, &topic, "never").bytes()].concat());
        assert!(peer.closed().packets.is_empty());
        watcher.quiet();
    }
}

/// The server says a DISCONNECT code of the table, without a session expiry, and nothing after it.
///
/// [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.1-1] [MQTT-4.13.2-1]
#[test]
fn servers_disconnect_is_the_last_word() {
    const FROM_SERVER: [u8; 26] = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0,
    ];
    for bytes in
        [vec![0x00, 0x00], Publish::new(5, "a/#", "m").bytes(), packet::subscribe(5, 1, &[("a", 0x03)])]
    {
        let mut peer =
            Peer::connect(broker::at(), &Connect::new(5, "last-word").property(prop_u32(0x11, 9))).0;
        peer.send_lossy(&[bytes, packet::PINGREQ.to_vec()].concat());
        let closed = peer.closed();
        assert!(closed.packets.len() <= 1, "{closed:?}");
        if let Some(last) = closed.packets.last() {
            assert!(FROM_SERVER.contains(&last.disconnect_reason()), "{last:?}");
            if last.body.len() > 1 {
                assert_eq!(packet::read_properties(&last.body[1..]).0.get(0x11), None);
            }
        }
    }
}

/// DISCONNECT with a code only servers send, a code of nobody, or broken properties.
///
/// [MQTT-4.13.1-1] [MQTT-3.14.2-1]
#[test]
fn malformed_disconnect_closes_with_the_will() {
    for (number, body) in
        [&[0x01][..], &[0xFF], &[0x00, 5], &[0x00, 2, 0x01, 1], &[0x00, 0, 0]].into_iter().enumerate()
    {
        let topic = format!("end/malformed/{number}");
        let mut watcher = Peer::clean(broker::at(), 5, &format!("malformed-watch-{number}"));
        watcher.subscribe(&topic, 0);
        let connect =
            Connect::new(5, &format!("malformed-{number}")).will(packet::Will::new(&topic, "error"));
        let mut peer = Peer::connect(broker::at(), &connect).0;
        peer.send(&frame(packet::DISCONNECT, body));
        refusal::check(5, &mut peer, MALFORMED);
        assert_eq!(watcher.delivery().text(), "error");
    }
    refusal::connected(4, &frame(packet::DISCONNECT, &[0x00]), &[]);
}

/// [MQTT-3.15.1-1] [MQTT-4.12.0-6] [MQTT-4.12.0-7] [MQTT-4.12.1-2] [MQTT-3.15.2-1]
#[test]
fn auth_without_method_closes() {
    let method = prop_field(0x15, "METHOD");
    let block = [packet::varint(method.len()), method].concat();
    for body in [
        vec![],
        [&[0x18][..], &block].concat(),
        [&[0x19][..], &block].concat(),
        [&[0x42][..], &block].concat(),
    ] {
        let closed = refusal::connected(5, &frame(packet::AUTH, &body), &[0x81, 0x82, 0x8C]);
        assert!(closed.packets.iter().all(|packet| packet.first != packet::AUTH));
    }
    for flags in 1..16 {
        refusal::connected(5, &[0xF0 | flags, 0x00], MALFORMED);
    }
    for version in [3, 4] {
        refusal::connected(version, &[0xF0, 0x00], &[]);
    }
}

/// No method is supported, so each is refused in the CONNACK, and no AUTH is ever sent.
///
/// [MQTT-4.12.0-1] [MQTT-4.12.0-2] [MQTT-4.12.0-4] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
#[test]
fn unknown_authentication_method_is_refused() {
    for method in ["SCRAM-SHA-1", "PLAIN", "x"] {
        let connect =
            Connect::new(5, "method").property(prop_field(0x15, method)).property(prop_field(0x16, "data"));
        let closed = refusal::connect(&connect, &[0x8C]);
        assert_eq!(closed.reason(), Some(0x8C));
        assert_eq!(closed.packets.len(), 1, "{closed:?}");
    }
}

/// [MQTT-4.12.0-6]
#[test]
fn connack_has_no_method_when_connect_had_none() {
    let (_, connack) = Peer::connect(broker::at(), &Connect::new(5, "no-method"));
    assert_eq!((connack.properties.get(0x15), connack.properties.get(0x16)), (None, None));
}

/// Lengths must be in their shortest form in MQTT 5, and have four bytes at most in each version.
///
/// [MQTT-1.5.5-1] [MQTT-4.13.1-1] [MQTT-4.8.0-1@3.1.1]
#[test]
fn lengths_of_a_wrong_form_close() {
    for version in [4, 5] {
        refusal::connected(version, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[0x81, 0x82, 0x95]);
        refusal::connected(version, &[0xC0, 0x80, 0x80, 0x80, 0x80, 0x00], &[0x81, 0x82, 0x95]);
    }
    refusal::connected(5, &[0xC0, 0x80, 0x00], MALFORMED);
    refusal::connected(5, &[0xC0, 0x80, 0x80, 0x00], MALFORMED);
    // The property length of a PUBLISH in two bytes where one is enough.
    refusal::connected(5, &frame(0x30, &[&field("a")[..], &[0x80, 0x00]].concat()), MALFORMED);
}

/// The identifiers of properties are such integers too.
///
/// [MQTT-1.5.5-1]
#[test]
fn property_identifier_in_a_long_form_closes() {
    refusal::connected(5, &frame(0x30, &[&field("a")[..], &[3, 0x81, 0x00, 1]].concat()), MALFORMED);
}

/// Each length of a packet that is written in one, two and three bytes is understood.
///
/// [MQTT-1.5.5-1]
#[test]
fn packets_of_each_length_form_pass() {
    for version in [4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("lengths-{version}"));
        let topic = format!("end/lengths/{version}");
        peer.subscribe(&topic, 0);
        let head = frame(0x30, &Publish::new(version, &topic, "").body()).len() - 2;
        for total in [head, 127, 128, 16_383, 16_384, 100_000] {
            peer.publish(&topic, 0, &"x".repeat(total - head));
            assert_eq!(peer.delivery().payload.len(), total - head);
        }
    }
}

/// MQTT over one ordered stream of bytes, however it is cut.
///
/// [MQTT-4.2.0-1] [MQTT-7.1.1-1@3.1.1] [MQTT-7.0.0-2@3.1.1]
#[test]
fn packets_may_be_cut_anywhere() {
    for version in [3, 4, 5] {
        let mut peer = Peer::open(broker::at(), version);
        let id = format!("cut-{version}");
        let topic = format!("end/cut/{version}");
        let bytes = [
            Connect::new(version, &id).bytes(),
            packet::subscribe(version, 1, &[(&topic, 2)]),
            Publish::new(version, &topic, "whole").qos(1, 2).bytes(),
            packet::PINGREQ.to_vec(),
        ]
        .concat();
        for byte in bytes {
            peer.send(&[byte]);
        }
        assert_eq!(peer.packet().connack(version).reason, 0);
        peer.pick(packet::SUBACK);
        peer.pick(packet::PUBACK);
        peer.pick(packet::PINGRESP);
        assert_eq!(peer.delivery().text(), "whole");
    }
}
