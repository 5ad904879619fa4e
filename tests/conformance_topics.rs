//! Statements about topic names, filters and shared subscriptions (sections 4.7 and 4.8).

use crate::broker;
use crate::packet::{self, Connect, Publish, field, frame};
use crate::peer::{PATIENCE, Peer, QUIET};
use crate::refusal;

/// Whether a fresh subscription to `filter` gets a message to `topic`.
fn matches(version: u8, filter: &str, topic: &str) -> bool {
    let mut subscriber = Peer::clean(broker::at(), version, "matches-sub");
    subscriber.subscribe(filter, 0);
    let mut publisher = Peer::clean(broker::at(), version, "matches-pub");
    publisher.publish(topic, 0, "matches");
    let until = std::time::Instant::now() + QUIET;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match subscriber.packet_within(left) {
            // Other tests publish too, and filters here are wide.
            Some(packet) if packet.publish(version).topic == topic => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-2@3.1.1] [MQTT-4.7.1-3@3.1.1]
#[test]
fn misplaced_wildcards_are_refused() {
    for version in [4, 5] {
        for filter in
            ["match/a#", "match/#/b", "#/", "##", "a+", "+a", "match/+a", "match/a+/b", "+#", "a/#b"]
        {
            refused_filter(version, filter);
        }
    }
}

/// A filter that is no filter: SUBACK with a failure, or the close.
fn refused_filter(version: u8, filter: &str) {
    let mut peer = Peer::clean(broker::at(), version, &format!("filter-{version}-{}", filter.len()));
    peer.send(&packet::subscribe(version, 1, &[(filter, 0)]));
    let answer = peer.packet_within(PATIENCE);
    if let Some(suback) = answer.filter(|packet| packet.first == packet::SUBACK) {
        let reasons = suback.reasons(version);
        assert!(reasons[0] == 0x8F || version < 5 && reasons[0] == 0x80, "{filter}: {reasons:#04x?}");
    } else {
        peer.closed();
    }
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [MQTT-3.3.2-3] [MQTT-4.7.1-2@3.1.1] [MQTT-4.7.1-3@3.1.1]
/// [MQTT-4.7.3-4@3.1.1] [MQTT-3.3.2-3@3.1.1]
#[test]
fn filters_match_by_levels() {
    for (filter, topic, expected) in [
        ("mt/tennis/player1/#", "mt/tennis/player1", true),
        ("mt/tennis/player1/#", "mt/tennis/player1/ranking/x", true),
        ("mt/tennis/player1/#", "mt/tennis/player10", false),
        ("mt/+", "mt/a", true),
        ("mt/+", "mt/a/b", false),
        ("mt/+", "mt", false),
        ("mt/+", "mt/", true),
        ("mt/+/x", "mt//x", true),
        ("+/mt/+", "a/mt/b", true),
        ("/+", "/mt", true),
        ("+", "/mt", false),
        ("+/+", "/mt", true),
        ("mt/a", "mt/A", false),
        ("mt/a", "mt/a/", false),
        ("mt/a/", "mt/a", false),
        ("mt/ a", "mt/ a", true),
        ("mt/a b", "mt/a b ", false),
        // One letter as one code point and as two: no normalisation.
        ("mt/\u{E9}", "mt/\u{E9}", true),
        ("mt/\u{E9}", "mt/e\u{301}", false),
        ("mt/\u{FEFF}a", "mt/\u{FEFF}a", true),
        ("mt/\u{FEFF}a", "mt/a", false),
        ("mt/#", "mt/\u{1F600}/\u{10FFFD}", true),
    ] {
        assert_eq!(matches(4, filter, topic), expected, "{filter} and {topic}");
    }
}

/// [MQTT-1.5.4-3] [MQTT-1.5.3-3@3.1.1]
#[test]
fn byte_order_mark_is_kept() {
    let topic = "mt/\u{FEFF}mark/\u{FEFF}";
    let mut peer = Peer::clean(broker::at(), 5, "\u{FEFF}mark");
    peer.subscribe(topic, 0);
    peer.publish(topic, 0, "m");
    assert_eq!(peer.delivery().topic, topic);
    peer.publish("mt/mark/", 0, "without");
    peer.quiet();
    // It is a part of the client identifier as well.
    let _other = Peer::clean(broker::at(), 5, "mark");
    peer.ping();
}

/// [MQTT-4.7.2-1] [MQTT-4.7.2-1@3.1.1]
#[test]
fn wildcards_at_the_start_do_not_match_dollar_topics() {
    for version in [4, 5] {
        for filter in ["#", "+/#", "+/broker/#", "+/broker/uptime"] {
            let mut peer = Peer::clean(broker::at(), version, &format!("dollar-{version}"));
            peer.subscribe(filter, 0);
            while let Some(packet) = peer.packet_within(QUIET) {
                let topic = packet.publish(version).topic;
                assert!(!topic.starts_with('$'), "{topic} for {filter}");
            }
        }
        let mut peer = Peer::clean(broker::at(), version, &format!("dollar-own-{version}"));
        peer.subscribe("$SYS/#", 0);
        assert!(peer.delivery().topic.starts_with("$SYS/"), "their own wildcard does match");
    }
}

/// [MQTT-4.7.3-1] [MQTT-4.7.3-1@3.1.1]
#[test]
fn empty_names_and_filters_close() {
    for version in [4, 5] {
        refusal::connected(version, &Publish::new(version, "", "x").bytes(), &[0x81, 0x82, 0x90, 0x94]);
        refusal::connected(version, &packet::subscribe(version, 1, &[("", 0)]), &[0x81, 0x82, 0x8F]);
        refusal::connected(version, &packet::unsubscribe(version, 1, &[""]), &[0x81, 0x82, 0x8F]);
    }
}

/// [MQTT-4.7.3-3] [MQTT-4.7.3-3@3.1.1]
#[test]
fn longest_topic_name_passes() {
    for version in [4, 5] {
        let mut peer = Peer::clean(broker::at(), version, &format!("longest-{version}"));
        let topic = format!("mt/longest-{version}/{}", "x".repeat(65_535 - 13));
        assert_eq!(topic.len(), 65_535);
        peer.subscribe(&topic, 1);
        peer.publish(&topic, 1, "m");
        assert_eq!(peer.delivery_acknowledged().topic, topic);
    }
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn malformed_shared_filters_are_refused() {
    for filter in
        ["$share//t", "$share/g", "$share/g/", "$share/", "$share/g+/t", "$share/g#/t", "$share/+/t"]
    {
        refused_filter(5, filter);
    }
    // Publishing to such a name reaches nobody: it is not a topic for messages.
    let mut peer = Peer::clean(broker::at(), 5, "share-publish");
    peer.subscribe("$share/g/mt/share-publish", 0);
    peer.send(&Publish::new(5, "$share/g/mt/share-publish", "x").bytes());
    let answer = peer.packet_within(QUIET);
    assert!(answer.is_none_or(|packet| packet.first == packet::DISCONNECT), "delivered");
}

/// [MQTT-4.8.2-3] [MQTT-3.8.4-8]
#[test]
fn shared_subscription_respects_the_granted_qos_of_each_member() {
    let topic = "mt/shared-qos";
    let mut members: Vec<Peer> = (0..3)
        .map(|qos| {
            let mut member = Peer::clean(broker::at(), 5, &format!("shared-qos-{qos}"));
            member.subscribe(&format!("$share/qos/{topic}"), qos);
            member
        })
        .collect();
    let mut publisher = Peer::clean(broker::at(), 5, "shared-qos-pub");
    let mut seen = Vec::new();
    for number in 0..30 {
        publisher.publish(topic, 2, &number.to_string());
        let (granted, got) = wait_for_one(&mut members);
        assert_eq!(got.qos, granted);
        seen.push(got.text());
    }
    assert_eq!(seen, (0..30).map(|number| number.to_string()).collect::<Vec<_>>());
    members.iter_mut().for_each(Peer::quiet);
}

/// The member that gets the next message, by its place, and the message.
fn wait_for_one(members: &mut [Peer]) -> (u8, packet::Delivery) {
    let until = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < until {
        for (place, member) in members.iter_mut().enumerate() {
            if let Some(first) = member.packet_within(std::time::Duration::from_millis(2)) {
                member.unread(first);
                return (u8::try_from(place).unwrap(), member.delivery_acknowledged());
            }
        }
    }
    panic!("no member got the message");
}

/// QoS 2, handed to a member that went away in between: it is that member's, also on its return.
///
/// [MQTT-4.8.2-4]
#[test]
fn shared_qos_2_message_is_completed_with_its_member() {
    let (topic, id) = ("mt/shared-complete", broker::unique("shared-complete"));
    let connect = Connect::new(5, &id).durable();
    let mut member = Peer::connect(broker::at(), &connect).0;
    member.subscribe(&format!("$share/complete/{topic}"), 2);
    Peer::clean(broker::at(), 5, "shared-complete-pub").publish(topic, 2, "mine");
    let started = member.delivery();
    let mut other = Peer::clean(broker::at(), 5, "shared-complete-other");
    other.subscribe(&format!("$share/complete/{topic}"), 2);
    member.vanish();
    other.quiet();
    let mut member = Peer::connect(broker::at(), &connect).0;
    let again = member.delivery_acknowledged();
    assert_eq!((again.text().as_str(), again.id, again.dup), ("mine", started.id, true));
    other.quiet();
    member.leave();
    Peer::clean(broker::at(), 5, &id).leave();
}

/// QoS 2 whose member's session ends goes to nobody else.
///
/// [MQTT-4.8.2-5]
#[test]
fn shared_qos_2_message_ends_with_its_session() {
    let topic = "mt/shared-ends";
    let mut member = Peer::clean(broker::at(), 5, "shared-ends");
    member.subscribe(&format!("$share/ends/{topic}"), 2);
    Peer::clean(broker::at(), 5, "shared-ends-pub").publish(topic, 2, "mine");
    assert_eq!(member.delivery().text(), "mine");
    let mut other = Peer::clean(broker::at(), 5, "shared-ends-other");
    other.subscribe(&format!("$share/ends/{topic}"), 2);
    member.vanish();
    other.quiet();
}

/// [MQTT-4.8.2-6] [MQTT-4.4.0-2]
#[test]
fn shared_message_refused_by_its_member_is_discarded() {
    for (qos, answer) in [(1, packet::PUBACK), (2, packet::PUBREC)] {
        let topic = format!("mt/shared-refused/{qos}");
        let mut member = Peer::clean(broker::at(), 5, &format!("shared-refused-{qos}"));
        member.subscribe(&format!("$share/refused/{topic}"), 2);
        Peer::clean(broker::at(), 5, &format!("shared-refused-pub-{qos}")).publish(&topic, qos, "unwanted");
        let got = member.delivery();
        let mut other = Peer::clean(broker::at(), 5, &format!("shared-refused-other-{qos}"));
        other.subscribe(&format!("$share/refused/{topic}"), 2);
        member.send(&packet::ack_reason(answer, got.id, 0x80));
        member.quiet();
        member.leave();
        other.quiet();
    }
}

/// A retained message is not sent to a new shared subscription (section 4.8.2).
#[test]
fn shared_subscription_gets_no_retained_messages() {
    let topic = "mt/shared-retained";
    Peer::clean(broker::at(), 5, "shared-retained-pub")
        .publish_as(Publish::new(5, topic, "kept").retain(), 1);
    let mut member = Peer::clean(broker::at(), 5, "shared-retained");
    member.subscribe(&format!("$share/retained/{topic}"), 1);
    member.quiet();
    crate::peer::forget(broker::at(), topic);
}

/// A length of two bytes cannot say more: the field after it is read as what it is.
///
/// [MQTT-4.7.3-3]
#[test]
fn filter_longer_than_its_packet_closes() {
    let mut body = vec![0, 1, 0, 0xFF, 0xFF];
    body.extend(field("a"));
    refusal::connected(5, &frame(packet::SUBSCRIBE, &body), refusal::MALFORMED);
}
