//! Bad PUBLISH packets, and floods of good ones.

use crate::broker::{self, Broker};
use crate::family::{self, Case, Outcome};
use crate::packet::{
    self, Connect, Publish, field, frame, prop_byte, prop_field, prop_u16, prop_u32, prop_varint,
};
use crate::peer::Peer;

const CLOSES: Outcome = Outcome::Closes(&[0x81, 0x82, 0x90, 0x94, 0x95, 0x97, 0x99]);

fn case(name: &str, version: u8, publish: &Publish) -> Case {
    Case::connected(format!("{name} (version {version})"), version, publish.bytes(), CLOSES)
}

fn topics(version: u8) -> Vec<Case> {
    let mut cases = Vec::new();
    for topic in ["", "#", "+", "a/#", "a/+/b", "a\0b"] {
        cases.push(case(&format!("topic {topic:?}"), version, &Publish::new(version, topic, "x")));
    }
    for topic in [&b"\xFF"[..], b"\xED\xA0\x80", b"\xC0\xAF", b"a/\xE2\x82"] {
        cases.push(case(
            &format!("topic {topic:02x?}"),
            version,
            &Publish::new(version, "", "x").raw_topic(topic),
        ));
    }
    // Right in form, but not served: refused or taken without effect, as policy has it.
    for topic in ["/".repeat(32_767), "$SYS/x".to_owned(), "$share/g/t".to_owned(), "x".repeat(65_535)] {
        let name = format!("topic of {} bytes", topic.len());
        let bytes = Publish::new(version, &topic, "x").bytes();
        cases.push(Case::connected(name, version, bytes, Outcome::Either));
    }
    cases
}

fn flags_and_identifiers(version: u8) -> Vec<Case> {
    vec![
        case("QoS 3", version, &Publish::new(version, "a", "x").qos(3, 1)),
        case("QoS 1, identifier 0", version, &Publish::new(version, "a", "x").qos(1, 0)),
        case("QoS 2, identifier 0", version, &Publish::new(version, "a", "x").qos(2, 0)),
        // MQTT 3.1 has no such rule.
        Case::connected(
            "DUP with QoS 0",
            version,
            Publish::new(version, "a", "x").dup().bytes(),
            if version == 3 { Outcome::Stays } else { CLOSES },
        ),
    ]
}

fn cut_everywhere(version: u8) -> Vec<Case> {
    let mut publish = Publish::new(version, "topic", "").qos(1, 1);
    if version == 5 {
        publish = publish.property(prop_field(0x03, "type"));
    }
    let body = publish.body();
    (0..body.len())
        .map(|len| Case::connected(format!("cut at {len}"), version, frame(0x32, &body[..len]), CLOSES))
        .collect()
}

fn properties() -> Vec<Case> {
    let twice = |one: Vec<u8>| [one.clone(), one].concat();
    [
        ("alias 0", prop_u16(0x23, 0)),
        ("alias too large", prop_u16(0x23, 65_535)),
        ("alias twice", twice(prop_u16(0x23, 1))),
        ("subscription identifier", prop_varint(0x0B, 1)),
        ("response topic with wildcard", prop_field(0x08, "a/+")),
        ("response topic of no UTF-8", prop_field(0x08, b"\xFF")),
        ("content type of no UTF-8", prop_field(0x03, b"\xFF")),
        ("format 2", prop_byte(0x01, 2)),
        ("format twice", twice(prop_byte(0x01, 1))),
        ("expiry twice", twice(prop_u32(0x02, 1))),
        ("property of CONNECT", prop_u32(0x11, 1)),
        ("unknown property", vec![0x7F, 0]),
        ("cut property", vec![0x02, 0, 0]),
    ]
    .into_iter()
    .map(|(name, bytes)| case(name, 5, &Publish::new(5, "a", "x").property(bytes)))
    .chain([
        case("unset alias", 5, &Publish::new(5, "", "x").property(prop_u16(0x23, 1))),
        Case::connected(
            "properties past the end",
            5,
            frame(0x30, &[field("a"), vec![0x50]].concat()),
            CLOSES,
        ),
        Case::connected(
            "format 1 with bad UTF-8",
            5,
            Publish::new(5, "a", b"\xFF\xFE".to_vec()).property(prop_byte(0x01, 1)).bytes(),
            Outcome::Either,
        ),
    ])
    .collect()
}

#[test]
fn bad_publish_closes() {
    let mut cases = properties();
    for version in [3, 4, 5] {
        cases.extend(topics(version));
        cases.extend(flags_and_identifiers(version));
        cases.extend(cut_everywhere(version));
    }
    family::run(&cases);
}

/// A packet of exactly the server's Maximum Packet Size passes; one byte more closes, before its body arrives.
///
/// [MQTT-3.2.2-15]
#[test]
fn bad_publish_beyond_maximum_packet_size_closes() {
    if broker::is_foreign() {
        return;
    }
    let (mut peer, connack) = Peer::connect(broker::at(), &Connect::new(5, "packet-size"));
    let most = usize::try_from(connack.properties.number(0x27).expect("Maximum Packet Size")).unwrap();
    peer.subscribe("bad/size", 0);
    let head = frame(0x30, &vec![0; most - 10]).len() - (most - 10);
    let empty = Publish::new(5, "bad/size", "").body().len();
    peer.publish("bad/size", 0, &"x".repeat(most - head - empty));
    assert_eq!(peer.delivery().payload.len(), most - head - empty);
    peer.send(&[&[0x30][..], &packet::varint(most - head + 1)].concat());
    assert!([None, Some(0x95)].contains(&peer.closed().reason()));
}

/// One identifier 100,000 times without PUBREL: one delivery, no growth.
#[test]
fn bad_publish_qos_2_without_release_is_delivered_once() {
    let broker = Broker::for_family(&[]);
    let mut watcher = Peer::clean(broker.mqtt, 5, "once-watch");
    watcher.subscribe("bad/once", 0);
    let mut peer = Peer::clean(broker.mqtt, 5, "once");
    let bytes = Publish::new(5, "bad/once", "m").qos(2, 1).dup().bytes().repeat(100);
    let round = |peer: &mut Peer| {
        peer.send(&bytes);
        (0..100).for_each(|_| assert_eq!(peer.expect(packet::PUBREC).id(), 1));
    };
    (0..100).for_each(|_| round(&mut peer));
    let before = broker.resident_kib();
    (0..900).for_each(|_| round(&mut peer));
    assert_eq!(watcher.delivery().text(), "m");
    watcher.quiet();
    family::await_memory(&broker, before);
}

/// More retained topics than the quota: those beyond it are refused, and the memory stays.
#[test]
fn bad_publish_retained_topics_stay_within_their_quota() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&["--set", "retained.max=5000"]);
    let mut peer = Peer::clean(broker.mqtt, 5, "retained-flood");
    let mut send = |from: u32, to: u32| {
        let mut refused = 0;
        for start in (from..to).step_by(500) {
            let one =
                |number: u32| Publish::new(5, &format!("bad/retained/{number}"), "x".repeat(100)).retain();
            let burst: Vec<u8> =
                (start..start + 500).flat_map(|number| one(number).qos(1, 1).bytes()).collect();
            // The same identifier for each is allowed once its PUBACK came, so each burst is one window of one.
            for packet in burst.chunks(burst.len() / 500) {
                peer.send(packet);
                refused += u32::from(peer.expect(packet::PUBACK).ack_reason() == 0x97);
            }
        }
        refused
    };
    // The broker's own $SYS topics take a few places.
    assert!(send(10_000, 15_000) < 50, "up to the quota all are kept");
    let before = broker.resident_kib();
    assert_eq!(send(20_000, 40_000), 20_000, "each beyond the quota is refused with 0x97");
    family::await_memory(&broker, before);
}
