//! Statements about PUBLISH (section 3.3): flags, retained messages, properties, aliases, overlapping subscriptions.

use std::collections::HashMap;
use std::time::Duration;

use crate::broker;
use crate::packet::{
    self, Connect, Publish, prop_byte, prop_field, prop_u16, prop_u32, prop_user, prop_varint,
};
use crate::peer::{Peer, forget};
use crate::refusal::{self, MALFORMED};

/// A publisher and a subscriber of one topic, both clean.
fn pair(version: u8, name: &str, options: u8) -> (Peer, Peer, String) {
    let topic = format!("publish/{name}/{version}");
    let mut subscriber = Peer::clean(broker::at(), version, &format!("{name}-sub-{version}"));
    subscriber.subscribe(&topic, options);
    (Peer::clean(broker::at(), version, &format!("{name}-pub-{version}")), subscriber, topic)
}

/// [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT-3.3.1-2@3.1.1] [MQTT-3.3.1-3@3.1.1]
/// [MQTT-4.3.1-1@3.1.1]
#[test]
fn dup_of_the_publisher_is_not_passed_on() {
    for version in [4, 5] {
        let (mut publisher, mut subscriber, topic) = pair(version, "dup", 2);
        for qos in 0..=2 {
            let publish = Publish::new(version, &topic, "m");
            publisher.publish_as(if qos > 0 { publish.dup() } else { publish }, qos);
            let got = subscriber.delivery_acknowledged();
            assert_eq!((got.qos, got.dup, got.retain), (qos, false, false));
        }
    }
}

/// [MQTT-3.3.1-2] [MQTT-3.3.1-2@3.1.1]
#[test]
fn dup_with_qos_0_closes() {
    for version in [4, 5] {
        refusal::connected(version, &Publish::new(version, "a", "b").dup().bytes(), MALFORMED);
    }
}

/// [MQTT-3.3.1-4] [MQTT-3.3.1-4@3.1.1]
#[test]
fn qos_3_closes() {
    for version in [3, 4, 5] {
        refusal::connected(version, &Publish::new(version, "a", "b").qos(3, 1).bytes(), MALFORMED);
    }
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8] [MQTT-3.3.1-5@3.1.1] [MQTT-3.3.1-6@3.1.1]
/// [MQTT-3.3.1-7@3.1.1] [MQTT-3.3.1-8@3.1.1] [MQTT-3.3.1-10@3.1.1] [MQTT-3.3.1-11@3.1.1] [MQTT-3.3.1-12@3.1.1]
#[test]
fn retained_message_is_replaced_kept_and_removed() {
    for version in [3, 4, 5] {
        let topic = format!("publish/retained/{version}");
        let mut publisher = Peer::clean(broker::at(), version, &format!("retained-pub-{version}"));
        let mut late = 0;
        let mut seen_by_new = |expected: Option<(&str, u8)>| {
            late += 1;
            let mut peer = Peer::clean(broker::at(), version, &format!("retained-late-{version}-{late}"));
            peer.subscribe(&topic, 2);
            match expected {
                Some((text, qos)) => {
                    let got = peer.delivery_acknowledged();
                    assert_eq!((got.text().as_str(), got.qos, got.retain, got.dup), (text, qos, true, false));
                }
                None => peer.quiet(),
            }
        };
        seen_by_new(None);
        for qos in 0..=2 {
            let text = format!("at {qos}");
            publisher.publish_as(Publish::new(version, &topic, text.as_str()).retain(), qos);
            publisher.ping();
            seen_by_new(Some((&text, qos)));
        }
        publisher.publish(&topic, 1, "not retained");
        seen_by_new(Some(("at 2", 2)));
        let mut watcher = Peer::clean(broker::at(), version, &format!("retained-watch-{version}"));
        watcher.subscribe(&topic, 0);
        assert!(watcher.delivery().retain);
        publisher.publish_as(Publish::new(version, &topic, "").retain(), 1);
        assert_eq!(watcher.delivery().text(), "", "an empty retained message is delivered like any other");
        seen_by_new(None);
    }
}

/// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]
#[test]
fn retain_handling_decides_what_a_subscription_gets() {
    let topic = "publish/retain-handling";
    Peer::clean(broker::at(), 5, "handling-pub").publish_as(Publish::new(5, topic, "kept").retain(), 1);
    let mut peer = Peer::clean(broker::at(), 5, "handling");
    for (options, expected) in [(0x20, false), (0x10, false), (0x00, true), (0x10, false), (0x00, true)] {
        peer.subscribe(topic, options);
        if expected {
            assert!(peer.delivery().retain);
        } else {
            peer.quiet();
        }
    }
    let mut fresh = Peer::clean(broker::at(), 5, "handling-fresh");
    fresh.subscribe(topic, 0x10);
    assert!(fresh.delivery().retain, "a new subscription with retain handling 1");
    forget(broker::at(), topic);
}

/// [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT-3.3.1-9@3.1.1]
#[test]
fn retain_as_published_decides_on_the_flag() {
    let topic = "publish/as-published";
    let mut publisher = Peer::clean(broker::at(), 5, "as-published-pub");
    for (options, version, kept) in [(0x08, 5, true), (0x00, 5, false), (0x00, 4, false)] {
        let mut subscriber = Peer::clean(broker::at(), version, &format!("as-published-{options}-{version}"));
        subscriber.subscribe(topic, options);
        publisher.publish_as(Publish::new(5, topic, "flag").retain(), 1);
        assert_eq!(subscriber.delivery().retain, kept);
        publisher.publish(topic, 1, "no flag");
        assert!(!subscriber.delivery().retain);
        forget(broker::at(), topic);
        assert_eq!(subscriber.delivery().retain, kept);
    }
}

/// [MQTT-3.3.2-1] [MQTT-3.3.2-1@3.1.1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-2] [MQTT-1.5.3-1@3.1.1]
/// [MQTT-1.5.3-2@3.1.1] [MQTT-4.7.3-2@3.1.1]
#[test]
fn topic_name_that_is_no_utf8_closes() {
    for version in [4, 5] {
        for topic in
            [&b"a/\xFF"[..], b"\xED\xA0\x80", b"a\x00b", b"\xE2\x82", b"\xC0\xAF", b"\xF8\x88\x80\x80\x80"]
        {
            let bytes = Publish::new(version, "", "x").raw_topic(topic).bytes();
            refusal::connected(version, &bytes, &[0x81, 0x82, 0x90]);
        }
    }
}

/// [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-3.3.2-2@3.1.1] [MQTT-4.7.1-1@3.1.1]
#[test]
fn topic_name_with_wildcards_closes() {
    for version in [3, 4, 5] {
        for topic in ["#", "+", "a/#", "a/+/b", "a#", "+a", "a/b+"] {
            refusal::connected(version, &Publish::new(version, topic, "x").bytes(), &[0x81, 0x82, 0x90]);
        }
    }
}

/// [MQTT-3.3.2-3] [MQTT-3.3.2-3@3.1.1]
#[test]
fn subscriber_of_a_wildcard_gets_the_topic_name() {
    for version in [4, 5] {
        let mut subscriber = Peer::clean(broker::at(), version, &format!("names-{version}"));
        subscriber.subscribe(&format!("publish/names-{version}/+/#"), 0);
        let mut publisher = Peer::clean(broker::at(), version, &format!("names-pub-{version}"));
        for topic in ["a", "a/b", "/", "a//c"] {
            let topic = format!("publish/names-{version}/{topic}");
            publisher.publish(&topic, 0, "x");
            assert_eq!(subscriber.delivery().topic, topic);
        }
    }
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-1.5.7-1]
#[test]
fn properties_are_passed_on_unaltered_and_in_order() {
    let (mut publisher, mut subscriber, topic) = pair(5, "properties", 1);
    let pairs = [("b", "1"), ("a", "2"), ("", ""), ("b", "1"), ("\u{FEFF}", "\u{1F600}")];
    let mut publish = Publish::new(5, &topic, "text");
    for (name, value) in pairs {
        publish = publish.property(prop_user(name, value));
    }
    publish = publish.property(prop_byte(0x01, 1)).property(prop_field(0x03, "text/plain"));
    publish = publish.property(prop_field(0x08, "answers/a")).property(prop_field(0x09, [0, 255, 1]));
    publisher.publish_as(publish, 1);
    let got = subscriber.delivery_acknowledged().properties;
    assert_eq!(got.user(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(got.number(0x01), Some(1));
    assert_eq!(got.get(0x03), Some(&b"text/plain"[..]));
    assert_eq!(got.get(0x08), Some(&b"answers/a"[..]));
    assert_eq!(got.get(0x09), Some(&[0, 255, 1][..]));
    // An indicator of 0 is a value too, and one that is absent must not appear.
    publisher.publish_as(Publish::new(5, &topic, "bytes").property(prop_byte(0x01, 0)), 0);
    assert_eq!(subscriber.delivery().properties.number(0x01).unwrap_or(0), 0);
    publisher.publish(&topic, 0, "bare");
    assert_eq!(subscriber.delivery().properties.0.len(), 0);
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
#[test]
fn properties_of_a_retained_message_are_kept() {
    let topic = "publish/retained-properties";
    let mut publisher = Peer::clean(broker::at(), 5, "retained-properties-pub");
    let publish = Publish::new(5, topic, "kept").retain().property(prop_user("k", "v"));
    let publish = publish.property(prop_field(0x03, "text/plain")).property(prop_field(0x08, "answers"));
    publisher.publish_as(publish, 1);
    let mut subscriber = Peer::clean(broker::at(), 5, "retained-properties-sub");
    subscriber.subscribe(topic, 0);
    let got = subscriber.delivery().properties;
    assert_eq!(got.user(), [("k".to_owned(), "v".to_owned())]);
    assert_eq!((got.get(0x03), got.get(0x08)), (Some(&b"text/plain"[..]), Some(&b"answers"[..])));
    forget(broker::at(), topic);
}

/// Older subscribers get the message without properties; newer ones get one of an older publisher with none.
#[test]
fn messages_pass_between_versions() {
    for (from, to) in [(3, 4), (3, 5), (4, 3), (4, 5), (5, 3), (5, 4)] {
        let topic = format!("publish/between/{from}-{to}");
        let mut subscriber = Peer::clean(broker::at(), to, &format!("between-sub-{from}-{to}"));
        subscriber.subscribe(&topic, 2);
        let mut publisher = Peer::clean(broker::at(), from, &format!("between-pub-{from}-{to}"));
        for qos in 0..=2 {
            let mut publish = Publish::new(from, &topic, format!("at {qos}"));
            if from == 5 {
                publish = publish.property(prop_user("k", "v"));
            }
            publisher.publish_as(publish, qos);
            let got = subscriber.delivery_acknowledged();
            assert_eq!((got.text(), got.qos), (format!("at {qos}"), qos));
            assert_eq!(got.properties.0.len(), 0);
        }
    }
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn message_expiry_counts_down_and_drops() {
    let id = broker::unique("expiry-away");
    let topic = format!("publish/{id}");
    let connect = Connect::new(5, &id).durable();
    let mut away = Peer::connect(broker::at(), &connect).0;
    away.subscribe(&topic, 1);
    away.leave();
    let mut publisher = Peer::clean(broker::at(), 5, &format!("{id}-pub"));
    for (text, expiry) in [("short", 1), ("long", 100)] {
        publisher.publish_as(Publish::new(5, &topic, text).property(prop_u32(0x02, expiry)), 1);
    }
    publisher.publish(&topic, 1, "endless");
    // The messages must grow older than the short one's life, and by at least a whole second.
    std::thread::sleep(Duration::from_millis(2100));
    let mut back = Peer::connect(broker::at(), &connect).0;
    let long = back.delivery_acknowledged();
    assert_eq!(long.text(), "long");
    let left = long.properties.number(0x02).unwrap();
    assert!((90..=98).contains(&left), "{left} s left of 100 after 2.1");
    let endless = back.delivery_acknowledged();
    assert_eq!((endless.text().as_str(), endless.properties.get(0x02)), ("endless", None));
    back.quiet();
    back.leave();
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn retained_message_expires() {
    let topic = "publish/retained-expiry";
    let mut publisher = Peer::clean(broker::at(), 5, "retained-expiry-pub");
    publisher.publish_as(Publish::new(5, topic, "short").retain().property(prop_u32(0x02, 1)), 1);
    std::thread::sleep(Duration::from_millis(2100));
    let mut subscriber = Peer::clean(broker::at(), 5, "retained-expiry-sub");
    subscriber.subscribe(topic, 0);
    subscriber.quiet();
}

/// [MQTT-3.3.2-7] [MQTT-3.3.2-12]
#[test]
fn topic_alias_lives_as_long_as_its_connection() {
    let (_, mut subscriber, topic) = pair(5, "alias", 0);
    let (mut publisher, connack) = Peer::connect(broker::at(), &Connect::new(5, "alias-user"));
    let most = u16::try_from(connack.properties.number(0x22).expect("Topic Alias Maximum")).unwrap();
    assert!(most >= 1);
    for alias in [1, most] {
        publisher.send(&Publish::new(5, &topic, "set").property(prop_u16(0x23, alias)).bytes());
        publisher.send(&Publish::new(5, "", "used").property(prop_u16(0x23, alias)).bytes());
        for text in ["set", "used"] {
            let got = subscriber.delivery();
            assert_eq!((got.topic.as_str(), got.text().as_str()), (topic.as_str(), text));
            assert_eq!(got.properties.get(0x23), None, "the publisher's alias is its own");
        }
    }
    // Another topic under the same alias replaces it.
    let other = format!("{topic}/other");
    subscriber.subscribe(&other, 0);
    publisher.send(&Publish::new(5, &other, "moved").property(prop_u16(0x23, 1)).bytes());
    publisher.send(&Publish::new(5, "", "there").property(prop_u16(0x23, 1)).bytes());
    assert_eq!((subscriber.delivery().topic, subscriber.delivery().topic), (other.clone(), other));
    publisher.leave();
    let mut publisher = Peer::clean(broker::at(), 5, "alias-user");
    publisher.send(&Publish::new(5, "", "lost").property(prop_u16(0x23, 1)).bytes());
    refusal::check(5, &mut publisher, &[0x82, 0x94]);
    subscriber.quiet();
}

/// [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]
#[test]
fn topic_alias_out_of_range_closes() {
    let (_, connack) = Peer::connect(broker::at(), &Connect::new(5, "alias-range"));
    let most = connack.properties.number(0x22).unwrap_or(0);
    for alias in [0, most + 1, 65_535] {
        let Ok(alias) = u16::try_from(alias) else { continue };
        if alias != 0 && u32::from(alias) <= most {
            continue;
        }
        let bytes = Publish::new(5, "a", "b").property(prop_u16(0x23, alias)).bytes();
        refusal::connected(5, &bytes, &[0x82, 0x94]);
    }
}

/// [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-8]
#[test]
fn server_uses_aliases_only_as_far_as_the_client_allows() {
    for most in [None, Some(0), Some(2)] {
        let mut connect = Connect::new(5, &format!("alias-out-{most:?}"));
        if let Some(most) = most {
            connect = connect.property(prop_u16(0x22, most));
        }
        let mut subscriber = Peer::connect(broker::at(), &connect).0;
        let root = format!("publish/alias-out-{}", most.unwrap_or(99));
        subscriber.subscribe(&format!("{root}/#"), 0);
        let mut publisher = Peer::clean(broker::at(), 5, &format!("alias-out-pub-{most:?}"));
        let mut known: HashMap<u32, String> = HashMap::new();
        for round in 0..20 {
            let topic = format!("{root}/{}", round % 4);
            publisher.publish(&topic, 0, "m");
            let got = subscriber.delivery();
            let mut name = got.topic.clone();
            if let Some(alias) = got.properties.number(0x23) {
                assert!((1..=u32::from(most.unwrap_or(0))).contains(&alias), "alias {alias} of {most:?}");
                if name.is_empty() {
                    name = known[&alias].clone();
                } else {
                    known.insert(alias, name.clone());
                }
            }
            assert_eq!(name, topic);
        }
    }
}

/// A message that was too large for the client has set no alias.
///
/// [MQTT-3.1.2-24] [MQTT-3.1.2-25] [MQTT-3.3.2-8]
#[test]
fn message_too_large_for_the_client_sets_no_alias() {
    let limits = [prop_u32(0x27, 120), prop_u16(0x22, 5)].concat();
    let connect = Connect::new(5, "alias-too-large").property(limits);
    let mut subscriber = Peer::connect(broker::at(), &connect).0;
    subscriber.subscribe("publish/alias-too-large", 1);
    let mut publisher = Peer::clean(broker::at(), 5, "alias-too-large-pub");
    for payload in [&"x".repeat(200), "small"] {
        publisher.publish("publish/alias-too-large", 0, payload);
    }
    let got = subscriber.delivery();
    assert_eq!((got.topic.as_str(), got.text().as_ref()), ("publish/alias-too-large", "small"));
}

/// [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19] [MQTT-1.5.7-1] [MQTT-3.3.4-6]
#[test]
fn wrong_publish_properties_close() {
    let double = |one: Vec<u8>| [one.clone(), one].concat();
    for bad in [
        prop_field(0x08, "answers/#"),
        prop_field(0x08, "+/answers"),
        prop_field(0x08, ""),
        prop_field(0x08, b"\xFF"),
        prop_field(0x03, b"\xFF"),
        [vec![0x26], packet::field(b"\xFF"), packet::field("v")].concat(),
        [vec![0x26], packet::field("k"), packet::field(b"\xED\xA0\x80")].concat(),
        prop_varint(0x0B, 1),
        prop_byte(0x01, 2),
        double(prop_byte(0x01, 1)),
        double(prop_u32(0x02, 1)),
        double(prop_field(0x03, "t")),
        double(prop_field(0x08, "t")),
        double(prop_field(0x09, "t")),
        double(prop_u16(0x23, 1)),
        prop_u32(0x11, 1),
        prop_byte(0x24, 1),
        prop_byte(0x7F, 1),
    ] {
        for qos in 0..=2 {
            let bytes = Publish::new(5, "a", "b").qos(qos, 1).property(bad.clone()).bytes();
            refusal::connected(5, &bytes, &[0x81, 0x82, 0x90, 0x94, 0x99]);
        }
    }
}

/// [MQTT-3.3.4-1] [MQTT-3.3.4-1@3.1.1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-2.2.1-2] [MQTT-2.2.1-5] [MQTT-2.3.1-5@3.1.1]
/// [MQTT-2.3.1-6@3.1.1] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1]
#[test]
fn each_quality_of_service_has_its_answer() {
    for version in [3, 4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("answers-{version}"));
        for qos in 0..=2 {
            for id in [1, 0x1234, 0xFFFF] {
                peer.send(&Publish::new(version, "publish/answers", "m").qos(qos, id).bytes());
                if qos > 0 {
                    let answer = peer.expect(if qos == 1 { packet::PUBACK } else { packet::PUBREC });
                    assert_eq!(answer.id(), id);
                    assert!([0x00, 0x10].contains(&answer.ack_reason()), "{answer:?}");
                    assert!(version == 5 || answer.body.len() == 2, "{answer:?}");
                }
                if qos == 2 {
                    peer.send(&packet::ack(packet::PUBREL, id));
                    let pubcomp = peer.expect(packet::PUBCOMP);
                    assert_eq!((pubcomp.id(), pubcomp.ack_reason()), (id, 0));
                }
            }
        }
        peer.ping();
    }
}

/// [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] [MQTT-3.3.5-1@3.1.1]
#[test]
fn overlapping_subscriptions_deliver_the_highest_qos_and_all_identifiers() {
    let mut subscriber = Peer::clean(broker::at(), 5, "overlap");
    let filters =
        [("publish/overlap/#", 0, 7), ("publish/overlap/+", 2, 8), ("publish/overlap/a", 1, 268_435_455)];
    for (filter, qos, number) in filters {
        let id = subscriber.fresh_id();
        subscriber.send(&packet::subscribe_with(5, id, &prop_varint(0x0B, number), &[(filter, qos)]));
        assert_eq!(subscriber.expect(packet::SUBACK).reasons(5), [qos]);
    }
    subscriber.subscribe("+/overlap/a", 0);
    Peer::clean(broker::at(), 5, "overlap-pub").publish("publish/overlap/a", 2, "m");
    // One delivery with all identifiers, or one for each subscription with its own: both are allowed.
    let first = subscriber.delivery_acknowledged();
    let mut ids = first.properties.subscription_ids();
    let mut highest = first.qos;
    if ids.len() < 3 {
        for _ in 0..3 {
            let next = subscriber.delivery_acknowledged();
            highest = highest.max(next.qos);
            ids.extend(next.properties.subscription_ids());
        }
        ids.sort_unstable();
    }
    assert_eq!((highest, ids), (2, vec![7, 8, 268_435_455]));
    subscriber.quiet();
}

/// What a durable session gets by the log of a topic and by a wildcard comes once, with everything that asked for it.
///
/// [MQTT-3.3.4-2]
#[test]
fn overlapping_subscriptions_of_a_durable_session_deliver_once() {
    let (mut subscriber, _) = Peer::connect(broker::at(), &Connect::new(5, "overlap-kept").durable());
    for (filter, qos, number) in [("publish/kept/#", 2, 7), ("publish/kept/a", 1, 8)] {
        let id = subscriber.fresh_id();
        subscriber.send(&packet::subscribe_with(5, id, &prop_varint(0x0B, number), &[(filter, qos)]));
        assert_eq!(subscriber.expect(packet::SUBACK).reasons(5), [qos]);
    }
    let mut publisher = Peer::clean(broker::at(), 5, "overlap-kept-pub");
    for qos in [2, 1, 0] {
        publisher.publish("publish/kept/a", qos, "m");
        let delivery = subscriber.delivery_acknowledged();
        let mut ids = delivery.properties.subscription_ids();
        ids.sort_unstable();
        assert_eq!((delivery.qos, ids), (qos, vec![7, 8]));
        subscriber.quiet();
    }
}

/// [MQTT-3.3.5-1@3.1.1]
#[test]
fn overlapping_subscriptions_of_v311_deliver_the_highest_qos() {
    let mut subscriber = Peer::clean(broker::at(), 4, "overlap-4");
    subscriber.subscribe("publish/overlap4/#", 0);
    subscriber.subscribe("publish/overlap4/+", 2);
    subscriber.subscribe("publish/overlap4/a", 1);
    Peer::clean(broker::at(), 4, "overlap-pub-4").publish("publish/overlap4/a", 2, "m");
    let mut highest = subscriber.delivery_acknowledged().qos;
    while let Some(more) = subscriber.packet_within(crate::peer::QUIET) {
        highest = highest.max(more.publish(4).qos);
    }
    assert_eq!(highest, 2);
}

/// More unacknowledged QoS 2 messages than the server's Receive Maximum.
///
/// [MQTT-3.3.4-7] [MQTT-4.9.0-1]
#[test]
fn more_than_receive_maximum_closes() {
    let (mut peer, connack) = Peer::connect(broker::at(), &Connect::new(5, "receive-maximum"));
    let most = u16::try_from(connack.properties.number(0x21).unwrap_or(65_535)).unwrap();
    let burst: Vec<u8> = (1..=most)
        .flat_map(|id| Publish::new(5, "publish/receive-maximum", "m").qos(2, id).bytes())
        .collect();
    peer.send(&burst);
    for id in 1..=most {
        assert_eq!(peer.expect(packet::PUBREC).id(), id);
    }
    peer.send(&Publish::new(5, "publish/receive-maximum", "m").qos(2, most + 1).bytes());
    assert_eq!(peer.closed().reason(), Some(0x93));
}

/// [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
#[test]
fn server_stays_within_the_clients_receive_maximum() {
    let connect = Connect::new(5, "window-sub").property(prop_u16(0x21, 3));
    let mut subscriber = Peer::connect(broker::at(), &connect).0;
    subscriber.subscribe("publish/window", 2);
    let mut publisher = Peer::clean(broker::at(), 5, "window-pub");
    for number in 0..10 {
        publisher.publish("publish/window", 1 + number % 2, &number.to_string());
    }
    let mut window: Vec<_> = (0..3).map(|_| subscriber.delivery()).collect();
    subscriber.quiet();
    subscriber.ping();
    publisher.publish("publish/window", 0, "outside the window");
    let passing = subscriber.packet_within(crate::peer::QUIET).map(|packet| packet.publish(5).qos);
    assert!(passing.is_none_or(|qos| qos == 0), "only QoS 0 may pass a full window");
    for number in 0..10 {
        let message = window.remove(0);
        assert_eq!(message.text(), number.to_string());
        if message.qos == 1 {
            subscriber.send(&packet::ack(packet::PUBACK, message.id));
        } else {
            // PUBREC frees nothing: only PUBCOMP, or a PUBREC that refuses, does.
            subscriber.send(&packet::ack(packet::PUBREC, message.id));
            assert_eq!(subscriber.expect(packet::PUBREL).id(), message.id);
            subscriber.quiet();
            subscriber.send(&packet::ack(packet::PUBCOMP, message.id));
        }
        if number < 7 {
            window.push(next_above_qos_0(&mut subscriber));
        }
    }
}

fn next_above_qos_0(peer: &mut Peer) -> packet::Delivery {
    loop {
        let next = peer.delivery();
        if next.qos > 0 {
            return next;
        }
    }
}

/// A message larger than the client takes counts as delivered; what follows it is not held up.
///
/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn messages_beyond_the_clients_maximum_packet_size_are_left_out() {
    let connect = Connect::new(5, "size-sub").property([prop_u32(0x27, 100), prop_u16(0x21, 1)].concat());
    let mut subscriber = Peer::connect(broker::at(), &connect).0;
    subscriber.subscribe("publish/size", 2);
    let mut publisher = Peer::clean(broker::at(), 5, "size-pub");
    for qos in 0..=2 {
        publisher.publish("publish/size", qos, &"x".repeat(100));
        publisher.publish("publish/size", qos, &format!("small {qos}"));
        assert_eq!(subscriber.delivery_acknowledged().text(), format!("small {qos}"));
    }
    // Exactly the limit: 2 bytes of fixed header, 14 of topic, 1 of property length.
    publisher.publish("publish/size", 0, &"x".repeat(83));
    assert_eq!(subscriber.delivery().payload.len(), 83);
    publisher.publish("publish/size", 0, &"x".repeat(84));
    publisher.publish("publish/size", 0, "last");
    assert_eq!(subscriber.delivery().text(), "last");
}

/// An unauthorised topic: acknowledged with 0x87 in MQTT 5, silently or by a close in 3.1.1; in each case not delivered.
///
/// [MQTT-3.3.5-2@3.1.1] [MQTT-3.4.2-1]
#[test]
fn publishing_below_the_servers_own_topics_changes_nothing() {
    for version in [4, 5] {
        let mut watcher = Peer::clean(broker::at(), version, &format!("sys-watch-{version}"));
        watcher.subscribe("$SYS/forged/#", 0);
        let mut peer = Peer::clean(broker::at(), version, &format!("sys-pub-{version}"));
        peer.send(&Publish::new(version, "$SYS/forged/a", "x").qos(1, 1).bytes());
        let answer = peer.packet_within(crate::peer::PATIENCE);
        if let Some(puback) = answer.filter(|packet| packet.first == packet::PUBACK) {
            assert!(version == 4 || [0x87, 0x90].contains(&puback.ack_reason()), "{puback:?}");
        }
        watcher.quiet();
    }
}
