//! Statements about SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).

use crate::broker::{self, Broker};
use crate::packet::{self, Publish, field, frame, prop_byte, prop_user, prop_varint};
use crate::peer::{Peer, forget};
use crate::refusal::{self, MALFORMED};

/// [MQTT-3.8.1-1] [MQTT-3.8.1-1@3.1.1] [MQTT-3.10.1-1] [MQTT-3.10.1-1@3.1.1] [MQTT-2.1.3-1] [MQTT-2.2.2-1@3.1.1]
/// [MQTT-2.2.2-2@3.1.1]
#[test]
fn reserved_header_bits_close() {
    for version in [4, 5] {
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut subscribe = packet::subscribe(version, 1, &[("a", 0)]);
            subscribe[0] = 0x80 | flags;
            refusal::connected(version, &subscribe, MALFORMED);
            let mut unsubscribe = packet::unsubscribe(version, 1, &["a"]);
            unsubscribe[0] = 0xA0 | flags;
            refusal::connected(version, &unsubscribe, MALFORMED);
        }
    }
}

/// [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-3.8.3-1@3.1.1] [MQTT-3.10.3-1@3.1.1] [MQTT-4.7.3-2] [MQTT-4.7.3-2@3.1.1]
#[test]
fn filter_that_is_no_utf8_closes() {
    for version in [4, 5] {
        let head: &[u8] = if version == 5 { &[0, 1, 0] } else { &[0, 1] };
        for bad in [&b"a/\xFF"[..], b"\xED\xA0\x80", b"a\x00b", b"\xC3"] {
            let subscribe = frame(packet::SUBSCRIBE, &[head, &field(bad), &[0]].concat());
            refusal::connected(version, &subscribe, &[0x81, 0x82, 0x8F]);
            let unsubscribe = frame(packet::UNSUBSCRIBE, &[head, &field(bad)].concat());
            refusal::connected(version, &unsubscribe, &[0x81, 0x82, 0x8F]);
        }
    }
}

/// [MQTT-3.8.3-2] [MQTT-3.8.3-3@3.1.1] [MQTT-3.10.3-2] [MQTT-3.10.3-2@3.1.1]
#[test]
fn no_filter_at_all_closes() {
    for version in [4, 5] {
        refusal::connected(version, &packet::subscribe(version, 1, &[]), MALFORMED);
        refusal::connected(version, &packet::unsubscribe(version, 1, &[]), MALFORMED);
    }
}

/// [MQTT-3.8.3-5] [MQTT-3-8.3-4@3.1.1] [MQTT-3.8.3-2]
#[test]
fn reserved_subscription_options_and_qos_3_close() {
    for options in [0x03, 0x07, 0x30, 0x40, 0x80, 0xC0] {
        refusal::connected(5, &packet::subscribe(5, 1, &[("a", options)]), MALFORMED);
    }
    for options in [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
        refusal::connected(4, &packet::subscribe(4, 1, &[("a", options)]), MALFORMED);
    }
    // The second of two is wrong: nothing of the packet takes effect.
    refusal::connected(5, &packet::subscribe(5, 1, &[("a", 0), ("b", 3)]), MALFORMED);
    // Options cut off.
    let cut = frame(packet::SUBSCRIBE, &[&[0, 1, 0][..], &field("a")].concat());
    refusal::connected(5, &cut, MALFORMED);
}

/// [MQTT-2.3.1-1@3.1.1] [MQTT-2.2.1-3]
#[test]
fn packet_identifier_zero_closes() {
    for version in [4, 5] {
        refusal::connected(version, &packet::subscribe(version, 0, &[("a", 0)]), MALFORMED);
        refusal::connected(version, &packet::unsubscribe(version, 0, &["a"]), MALFORMED);
        for qos in [1, 2] {
            refusal::connected(version, &Publish::new(version, "a", "b").qos(qos, 0).bytes(), MALFORMED);
        }
    }
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_holds_back_what_the_client_published_itself() {
    let topic = "subscribe/no-local";
    let mut peer = Peer::clean(broker::at(), 5, "no-local");
    peer.subscribe(topic, 0x05);
    peer.publish(topic, 1, "own");
    Peer::clean(broker::at(), 5, "no-local-other").publish(topic, 1, "of another");
    assert_eq!(peer.delivery_acknowledged().text(), "of another");
    // The client identifier decides, not the connection.
    let mut again = Peer::clean(broker::at(), 5, "no-local");
    again.subscribe(topic, 0x05);
    again.publish(topic, 1, "own");
    again.quiet();
    again.subscribe(topic, 0x01);
    again.publish(topic, 1, "now wanted");
    assert_eq!(again.delivery_acknowledged().text(), "now wanted");
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_closes() {
    refusal::connected(5, &packet::subscribe(5, 1, &[("$share/g/a", 0x04)]), MALFORMED);
}

/// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
/// [MQTT-2.2.1-6] [MQTT-3.8.4-1@3.1.1] [MQTT-3.8.4-2@3.1.1] [MQTT-3.8.4-4@3.1.1] [MQTT-3.8.4-5@3.1.1]
/// [MQTT-3.9.3-1@3.1.1] [MQTT-3.9.3-2@3.1.1] [MQTT-2.3.1-7@3.1.1]
#[test]
fn suback_has_a_code_for_each_filter_in_order() {
    for version in [3, 4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("suback-{version}"));
        let filters =
            [("suback/a", 2), ("suback/+/b", 0), ("suback/#", 1), ("suback/a", 1), ("/", 0), ("+/+/+/+", 2)];
        for id in [1, 0x0102, 0xFFFF] {
            peer.send(&packet::subscribe(version, id, &filters));
            let suback = peer.expect(packet::SUBACK);
            assert_eq!(suback.id(), id);
            assert_eq!(suback.reasons(version), [2, 0, 1, 1, 0, 2]);
        }
    }
}

/// One filter refused does not take the others with it.
///
/// [MQTT-3.8.4-5] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-3.8.4-5@3.1.1] [MQTT-3.9.3-2@3.1.1]
#[test]
fn denied_filter_is_refused_alone() {
    if broker::is_foreign() {
        return;
    }
    for version in [4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("denied-{version}"));
        let filters = [("denied/before", 1), ("test/nosubscribe", 1), ("denied/after", 2)];
        peer.send(&packet::subscribe(version, 1, &filters));
        let reasons = peer.expect(packet::SUBACK).reasons(version);
        assert_eq!((reasons[0], reasons[2], reasons.len()), (1, 2, 3));
        assert!(reasons[1] == 0x80 || version == 5 && reasons[1] == 0x87, "{reasons:#04x?}");
        peer.publish("denied/after", 0, "m");
        assert_eq!(peer.delivery().text(), "m");
        peer.publish("test/nosubscribe", 0, "m");
        peer.quiet();
    }
}

/// `access.refused_filter` decides on what MQTT 5 clients are told; 3.1.1 has one failure code.
///
/// [MQTT-3.9.3-2] [MQTT-3.9.3-2@3.1.1]
#[test]
fn refused_filter_is_told_as_the_setting_says() {
    for (said, code) in [("not-authorized", 0x87), ("unspecified", 0x80)] {
        let broker = Broker::start(&["--set", &format!("access.refused_filter={said}")]);
        for (version, code) in [(4, 0x80), (5, code)] {
            let mut peer = Peer::clean(broker.mqtt, version, "told");
            peer.send(&packet::subscribe(version, 1, &[("test/nosubscribe", 2)]));
            assert_eq!(peer.expect(packet::SUBACK).reasons(version), [code], "{said}, version {version}");
        }
    }
}

/// [MQTT-3.8.4-3] [MQTT-3.8.4-3@3.1.1]
#[test]
fn same_filter_again_replaces_the_subscription() {
    for version in [4, 5] {
        let topic = format!("subscribe/replace/{version}");
        let mut peer = Peer::clean(broker::at(), version, &format!("replace-{version}"));
        peer.subscribe(&topic, 2);
        peer.subscribe(&topic, 0);
        let mut publisher = Peer::clean(broker::at(), version, &format!("replace-pub-{version}"));
        publisher.publish(&topic, 2, "once");
        assert_eq!((peer.delivery().qos, peer.packet_within(crate::peer::QUIET)), (0, None));
        // The subscription identifier is replaced too, here by none.
        if version == 5 {
            let id = peer.fresh_id();
            peer.send(&packet::subscribe_with(5, id, &prop_varint(0x0B, 9), &[(&topic, 1)]));
            peer.pick(packet::SUBACK);
            publisher.publish(&topic, 1, "with");
            assert_eq!(peer.delivery_acknowledged().properties.subscription_ids(), [9]);
            peer.subscribe(&topic, 1);
            publisher.publish(&topic, 1, "without");
            assert!(peer.delivery_acknowledged().properties.subscription_ids().is_empty());
        }
    }
}

/// [MQTT-3.8.4-4] [MQTT-3.3.1-9] [MQTT-3.8.4-3@3.1.1] [MQTT-3.3.1-6@3.1.1] [MQTT-3.3.1-8@3.1.1]
#[test]
fn same_filter_again_sends_retained_messages_again() {
    for version in [4, 5] {
        let topic = format!("subscribe/again/{version}");
        Peer::clean(broker::at(), version, &format!("again-pub-{version}"))
            .publish_as(Publish::new(version, &topic, "kept").retain(), 1);
        let mut peer = Peer::clean(broker::at(), version, &format!("again-{version}"));
        for _ in 0..3 {
            peer.subscribe(&topic, 0);
            let got = peer.delivery();
            assert_eq!((got.text().as_str(), got.retain), ("kept", true));
        }
        forget(broker::at(), &topic);
    }
}

/// Replacing a subscription while messages flow loses none of them.
///
/// [MQTT-3.8.4-4] [MQTT-3.8.4-3@3.1.1]
#[test]
fn replacing_a_subscription_loses_nothing() {
    let topic = "subscribe/flowing";
    let mut peer = Peer::clean(broker::at(), 5, "flowing");
    peer.subscribe(topic, 1);
    let publisher = std::thread::spawn(move || {
        let mut publisher = Peer::clean(broker::at(), 5, "flowing-pub");
        (0..200).for_each(|number| publisher.publish(topic, 1, &number.to_string()));
    });
    let mut next = 0;
    while next < 200 {
        if next % 10 == 0 {
            peer.subscribe(topic, 1);
        }
        let got: u32 = peer.delivery_acknowledged().text().parse().unwrap();
        assert!(got <= next, "{next} was lost, {got} came");
        next = next.max(got + 1);
    }
    publisher.join().unwrap();
}

/// [MQTT-3.8.4-8] [MQTT-3.8.4-6@3.1.1] [MQTT-3.3.4-2]
#[test]
fn delivery_has_the_lower_of_published_and_granted_qos() {
    for version in [4, 5] {
        let mut publisher = Peer::clean(broker::at(), version, &format!("lower-pub-{version}"));
        for granted in 0..=2 {
            let topic = format!("subscribe/lower/{version}/{granted}");
            let mut peer = Peer::clean(broker::at(), version, &format!("lower-{version}-{granted}"));
            peer.subscribe(&topic, granted);
            for published in 0..=2 {
                publisher.publish(&topic, published, "m");
                assert_eq!(peer.delivery_acknowledged().qos, granted.min(published));
            }
        }
    }
}

/// [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
/// [MQTT-2.2.1-6] [MQTT-3.10.4-1@3.1.1] [MQTT-3.10.4-2@3.1.1] [MQTT-3.10.4-4@3.1.1] [MQTT-3.10.4-5@3.1.1]
/// [MQTT-3.10.4-6@3.1.1] [MQTT-2.3.1-7@3.1.1]
#[test]
fn unsubscribe_ends_exactly_the_named_filters() {
    for version in [4, 5] {
        let root = format!("unsubscribe/{version}");
        let filters = ["a", "A", "+", "#"].map(|last| format!("{root}/{last}"));
        let mut peer = Peer::clean(broker::at(), version, &format!("unsubscribe-{version}"));
        let none = format!("{root}/none");
        for filter in &filters {
            peer.subscribe(filter, 0);
        }
        peer.send(&packet::unsubscribe(version, 700, &[&filters[3], &none, &filters[2], &filters[1]]));
        let unsuback = peer.expect(packet::UNSUBACK);
        assert_eq!(unsuback.id(), 700);
        let expected: &[u8] = if version == 5 { &[0x00, 0x11, 0x00, 0x00] } else { &[] };
        assert_eq!(unsuback.reasons(version), expected);
        let mut publisher = Peer::clean(broker::at(), version, &format!("unsubscribe-pub-{version}"));
        for last in ["A", "b", "a"] {
            publisher.publish(&format!("{root}/{last}"), 0, last);
        }
        assert_eq!(peer.delivery().text(), "a");
        peer.quiet();
        peer.send(&packet::unsubscribe(version, 701, &[&none]));
        assert_eq!(peer.expect(packet::UNSUBACK).id(), 701);
    }
}

/// What was sent before UNSUBSCRIBE is brought to its end.
///
/// [MQTT-3.10.4-3] [MQTT-3.10.4-3@3.1.1]
#[test]
fn unsubscribe_lets_started_deliveries_end() {
    for version in [4, 5] {
        let topic = format!("unsubscribe/started/{version}");
        let mut peer = Peer::clean(broker::at(), version, &format!("started-{version}"));
        peer.subscribe(&topic, 2);
        Peer::clean(broker::at(), version, &format!("started-pub-{version}")).publish(&topic, 2, "m");
        let started = peer.delivery();
        peer.send(&packet::unsubscribe(version, 900, &[&topic]));
        peer.expect(packet::UNSUBACK);
        peer.send(&packet::ack(packet::PUBREC, started.id));
        assert_eq!(peer.expect(packet::PUBREL).id(), started.id);
        peer.send(&packet::ack(packet::PUBCOMP, started.id));
        peer.ping();
    }
}

/// Properties SUBSCRIBE and UNSUBSCRIBE must not have, and values they must not take.
///
/// [MQTT-2.2.2-1] [MQTT-4.13.1-1] [MQTT-1.5.5-1]
#[test]
fn wrong_subscribe_properties_close() {
    let double = [prop_varint(0x0B, 1), prop_varint(0x0B, 2)].concat();
    for bad in [prop_varint(0x0B, 0), double, prop_byte(0x01, 1), vec![0x0B, 0x80, 0x80, 0x80, 0x80, 0x01]] {
        refusal::connected(5, &packet::subscribe_with(5, 1, &bad, &[("a", 0)]), MALFORMED);
    }
    let body = [&[0, 1][..], &[2], &prop_byte(0x01, 1), &field("a")].concat();
    refusal::connected(5, &frame(packet::UNSUBSCRIBE, &body), MALFORMED);
    // The property length passes the end.
    refusal::connected(5, &frame(packet::SUBSCRIBE, &[0, 1, 100, 0, 1, b'a', 0]), MALFORMED);
    // User properties are welcome on both.
    let mut peer = Peer::clean(broker::at(), 5, "subscribe-user-properties");
    let user = [prop_user("k", "v"), prop_user("k", "v")].concat();
    peer.send(&packet::subscribe_with(5, 1, &user, &[("a", 0)]));
    assert_eq!(peer.expect(packet::SUBACK).reasons(5), [0]);
}
