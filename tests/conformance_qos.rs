//! Statements about delivery (sections 4.3 to 4.6 and 4.9) and the acknowledgements that carry it (3.4 to 3.7).

use std::collections::HashSet;

use crate::broker;
use crate::packet::{self, Connect, Publish, frame, prop_u16, prop_u32};
use crate::peer::{Peer, QUIET};
use crate::refusal::{self, MALFORMED};

/// A durable subscriber of one topic at QoS 2, its CONNECT, and the topic.
fn durable_subscriber(version: u8, name: &str) -> (Peer, Connect, String) {
    let id = broker::unique(&format!("{name}-{version}"));
    let topic = format!("qos/{id}");
    let connect = Connect::new(version, &id).durable();
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    peer.subscribe(&topic, 2);
    (peer, connect, topic)
}

fn publisher(version: u8, topic: &str) -> Peer {
    Peer::clean(broker::at(), version, &format!("pub-{topic}"))
}

/// Messages not yet acknowledged have identifiers of their own, none of them 0.
///
/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT-2.3.1-2@3.1.1] [MQTT-2.3.1-4@3.1.1]
/// [MQTT-4.3.2-1@3.1.1] [MQTT-4.3.3-1@3.1.1]
#[test]
fn unacknowledged_messages_have_different_identifiers() {
    for version in [4, 5] {
        let (mut peer, _, topic) = durable_subscriber(version, "identifiers");
        let mut publisher = publisher(version, &topic);
        let mut taken = HashSet::new();
        for number in 0..20 {
            publisher.publish(&topic, 1 + number % 2, "m");
            let got = peer.delivery();
            assert!(!got.dup);
            assert!(taken.insert(got.id), "{} is in use", got.id);
        }
    }
}

/// What was not acknowledged comes again on the next connection, and only then: same identifiers, DUP, same order.
///
/// [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.6.0-1] [MQTT-4.4.0-1@3.1.1] [MQTT-3.3.1-1@3.1.1]
/// [MQTT-2.3.1-3@3.1.1] [MQTT-4.6.0-1@3.1.1] [MQTT-4.3.2-1@3.1.1] [MQTT-4.3.3-1@3.1.1]
#[test]
fn unacknowledged_messages_are_resent_on_reconnect_only() {
    for version in [3, 4, 5] {
        let (mut peer, connect, topic) = durable_subscriber(version, "resend");
        let mut publisher = publisher(version, &topic);
        for number in 0..6 {
            publisher.publish(&topic, 1 + number % 2, &number.to_string());
        }
        let first: Vec<_> =
            (0..6).map(|_| peer.delivery()).map(|got| (got.id, got.qos, got.text())).collect();
        peer.quiet();
        for _ in 0..2 {
            peer.vanish();
            peer = Peer::connect(broker::at(), &connect).0;
            let again: Vec<_> = (0..6).map(|_| peer.delivery()).inspect(|got| assert!(got.dup)).collect();
            assert_eq!(again.into_iter().map(|got| (got.id, got.qos, got.text())).collect::<Vec<_>>(), first);
            peer.quiet();
        }
    }
}

/// [MQTT-4.3.2-3] [MQTT-4.3.2-5] [MQTT-3.4.2-1]
#[test]
fn acknowledged_message_does_not_come_again() {
    for version in [4, 5] {
        let (mut peer, connect, topic) = durable_subscriber(version, "done");
        let mut publisher = publisher(version, &topic);
        for qos in [1, 2] {
            publisher.publish(&topic, qos, "m");
            peer.delivery_acknowledged();
        }
        peer.ping();
        peer.vanish();
        let mut peer = Peer::connect(broker::at(), &connect).0;
        peer.quiet();
    }
}

/// After PUBREC only PUBREL is repeated, and a repeated PUBREC gets its PUBREL.
///
/// [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-2.2.1-5] [MQTT-3.6.2-1] [MQTT-4.3.3-1@3.1.1]
/// [MQTT-2.3.1-6@3.1.1] [MQTT-4.4.0-1@3.1.1]
#[test]
fn pubrel_is_repeated_instead_of_the_message() {
    for version in [3, 4, 5] {
        let (mut peer, connect, topic) = durable_subscriber(version, "pubrel");
        publisher(version, &topic).publish(&topic, 2, "m");
        let id = peer.delivery().id;
        for _ in 0..2 {
            peer.send(&packet::ack(packet::PUBREC, id));
            let pubrel = peer.expect(packet::PUBREL);
            assert_eq!((pubrel.id(), pubrel.ack_reason()), (id, 0));
        }
        peer.vanish();
        let mut peer = Peer::connect(broker::at(), &connect).0;
        assert_eq!(peer.expect(packet::PUBREL).id(), id);
        peer.quiet();
        peer.send(&packet::ack(packet::PUBCOMP, id));
        peer.ping();
        peer.vanish();
        let mut peer = Peer::connect(broker::at(), &connect).0;
        peer.quiet();
    }
}

/// [MQTT-4.4.0-2] [MQTT-4.3.3-4] [MQTT-4.9.0-2]
#[test]
fn refused_message_counts_as_acknowledged() {
    let id = broker::unique("refuses");
    let connect = Connect::new(5, &id).durable().property(prop_u16(0x21, 1));
    let mut peer = Peer::connect(broker::at(), &connect).0;
    let topic = format!("qos/{id}");
    peer.subscribe(&topic, 2);
    let mut publisher = publisher(5, &topic);
    for (qos, answer) in [(1, packet::PUBACK), (2, packet::PUBREC), (2, packet::PUBREC)] {
        publisher.publish(&topic, qos, "m");
        let got = peer.delivery();
        assert_eq!((got.qos, got.dup), (qos, false), "the window of one is free again");
        peer.send(&packet::ack_reason(answer, got.id, 0x83));
    }
    peer.quiet();
    peer.vanish();
    Peer::connect(broker::at(), &connect).0.quiet();
}

/// Before PUBREL the same identifier is the same message; after PUBCOMP it is another one.
///
/// [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT-4.3.3-8] [MQTT-4.3.3-2@3.1.1]
#[test]
fn qos_2_is_delivered_once_for_each_release() {
    for version in [3, 4, 5] {
        let topic = format!("qos/once/{version}");
        let mut subscriber = Peer::clean(broker::at(), version, &format!("once-sub-{version}"));
        subscriber.subscribe(&topic, 0);
        let mut peer = Peer::clean(broker::at(), version, &format!("once-{version}"));
        for round in 0..2 {
            for repeat in 0..3 {
                let publish = Publish::new(version, &topic, format!("{round}")).qos(2, 77);
                peer.send(&if repeat > 0 { publish.dup() } else { publish }.bytes());
                let pubrec = peer.expect(packet::PUBREC);
                assert_eq!((pubrec.id(), pubrec.ack_reason() & 0x80), (77, 0));
            }
            for repeat in 0..2 {
                peer.send(&packet::ack(packet::PUBREL, 77));
                let pubcomp = peer.expect(packet::PUBCOMP);
                let reasons: &[u8] = if version == 5 && repeat > 0 { &[0x00, 0x92] } else { &[0x00] };
                assert_eq!(pubcomp.id(), 77);
                assert!(reasons.contains(&pubcomp.ack_reason()), "{pubcomp:?}");
            }
            assert_eq!(subscriber.delivery().text(), round.to_string());
            subscriber.quiet();
        }
    }
}

/// The identifier of an incoming QoS 2 message is remembered by the session, not the connection.
///
/// [MQTT-4.3.3-10] [MQTT-4.1.0-1] [MQTT-3.1.2-23] [MQTT-4.3.3-2@3.1.1] [MQTT-4.1.0-1@3.1.1]
#[test]
fn qos_2_is_delivered_once_across_connections() {
    for version in [4, 5] {
        let (mut peer, connect, _) = durable_subscriber(version, "across");
        let topic = format!("qos/across/{version}");
        let mut subscriber = Peer::clean(broker::at(), version, &format!("across-sub-{version}"));
        subscriber.subscribe(&topic, 2);
        let publish = Publish::new(version, &topic, "m").qos(2, 5);
        peer.send(&publish.bytes());
        peer.expect(packet::PUBREC);
        peer.vanish();
        let mut peer = Peer::connect(broker::at(), &connect).0;
        peer.send(&publish.dup().bytes());
        assert_eq!(peer.expect(packet::PUBREC).id(), 5);
        peer.send(&packet::ack(packet::PUBREL, 5));
        peer.expect(packet::PUBCOMP);
        assert_eq!(subscriber.delivery_acknowledged().text(), "m");
        subscriber.quiet();
    }
}

/// A PUBREC that refuses ends the exchange: the identifier may be used at once.
///
/// [MQTT-4.3.3-9] [MQTT-3.5.2-1]
#[test]
fn identifier_is_free_after_a_refusing_pubrec() {
    if broker::is_foreign() {
        return;
    }
    let topic = "qos/after-refusal";
    let mut subscriber = Peer::clean(broker::at(), 5, "after-refusal-sub");
    subscriber.subscribe(topic, 0);
    let mut peer = Peer::clean(broker::at(), 5, "after-refusal");
    peer.send(&Publish::new(5, "$SYS/forged", "m").qos(2, 8).bytes());
    let pubrec = peer.expect(packet::PUBREC);
    assert!([0x87, 0x90].contains(&pubrec.ack_reason()), "{pubrec:?}");
    peer.send(&Publish::new(5, topic, "new").qos(2, 8).bytes());
    let pubrec = peer.expect(packet::PUBREC);
    assert_eq!((pubrec.id(), pubrec.ack_reason() & 0x80), (8, 0));
    peer.send(&packet::ack(packet::PUBREL, 8));
    peer.expect(packet::PUBCOMP);
    assert_eq!(subscriber.delivery().text(), "new");
}

/// After PUBACK an identifier is free: the same one is a new message, whatever its DUP flag.
///
/// [MQTT-4.3.2-4] [MQTT-4.3.2-5] [MQTT-4.3.2-2@3.1.1]
#[test]
fn qos_1_identifier_is_free_after_puback() {
    for version in [4, 5] {
        let topic = format!("qos/reuse/{version}");
        let mut subscriber = Peer::clean(broker::at(), version, &format!("reuse-sub-{version}"));
        subscriber.subscribe(&topic, 0);
        let mut peer = Peer::clean(broker::at(), version, &format!("reuse-{version}"));
        for number in 0..3 {
            peer.send(&Publish::new(version, &topic, number.to_string()).qos(1, 9).dup().bytes());
            assert_eq!(peer.expect(packet::PUBACK).id(), 9);
            assert_eq!(subscriber.delivery().text(), number.to_string());
        }
    }
}

/// A message that was sent once is not taken back by its expiry.
///
/// [MQTT-4.3.3-7]
#[test]
fn expiry_does_not_take_back_what_was_sent() {
    let (mut peer, connect, topic) = durable_subscriber(5, "expiring");
    publisher(5, &topic).publish_as(Publish::new(5, &topic, "m").property(prop_u32(0x02, 1)), 2);
    let first = peer.delivery();
    peer.vanish();
    // The message's second must have passed.
    std::thread::sleep(std::time::Duration::from_millis(1600));
    let mut peer = Peer::connect(broker::at(), &connect).0;
    let again = peer.delivery_acknowledged();
    assert_eq!((again.id, again.dup, again.text()), (first.id, true, "m".to_owned()));
    peer.ping();
}

/// [MQTT-4.3.3-13] [MQTT-4.3.3-11]
#[test]
fn release_of_an_expired_message_is_answered() {
    let mut peer = Peer::clean(broker::at(), 5, "expired-release");
    peer.send(&Publish::new(5, "qos/expired-release", "m").qos(2, 3).property(prop_u32(0x02, 1)).bytes());
    peer.expect(packet::PUBREC);
    std::thread::sleep(std::time::Duration::from_millis(1600));
    peer.send(&packet::ack(packet::PUBREL, 3));
    let pubcomp = peer.expect(packet::PUBCOMP);
    assert_eq!((pubcomp.id(), pubcomp.ack_reason()), (3, 0));
}

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.6.0-5@3.1.1] [MQTT-4.6.0-6@3.1.1]
#[test]
fn order_is_kept_for_each_publisher_topic_and_qos() {
    for version in [4, 5] {
        let topic = format!("qos/order/{version}");
        let mut subscriber = Peer::clean(broker::at(), version, &format!("order-sub-{version}"));
        subscriber.subscribe("qos/order/#", 2);
        let mut senders = Vec::new();
        for sender in 0..3 {
            let topic = topic.clone();
            senders.push(std::thread::spawn(move || {
                let mut peer = Peer::clean(broker::at(), version, &format!("order-{version}-{sender}"));
                for number in 0..150_u32 {
                    peer.publish(&topic, u8::try_from(number % 3).unwrap(), &format!("{sender} {number}"));
                }
            }));
        }
        let mut last = [[None; 3]; 3];
        for _ in 0..450 {
            let got = subscriber.delivery_acknowledged();
            if got.topic != topic {
                continue;
            }
            let text = got.text();
            let (sender, number) = text.split_once(' ').unwrap();
            let number = number.parse::<u32>().unwrap();
            let place = &mut last[sender.parse::<usize>().unwrap()][usize::from(got.qos)];
            assert!(*place < Some(number), "{sender} at QoS {}: {number} after {place:?}", got.qos);
            *place = Some(number);
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
}

/// Answers come in the order of what they answer.
///
/// [MQTT-4.6.0-2@3.1.1] [MQTT-4.6.0-3@3.1.1] [MQTT-4.6.0-4@3.1.1]
#[test]
fn answers_come_in_order() {
    let mut peer = Peer::clean(broker::at(), 4, "answer-order");
    let ids: Vec<u16> = vec![5, 3, 9, 1, 7];
    for (qos, answer) in [(1, packet::PUBACK), (2, packet::PUBREC)] {
        let burst: Vec<u8> =
            ids.iter().flat_map(|id| Publish::new(4, "qos/answers", "m").qos(qos, *id).bytes()).collect();
        peer.send(&burst);
        assert_eq!(ids.iter().map(|_| peer.expect(answer).id()).collect::<Vec<_>>(), ids);
    }
    let (mut receiver, _, topic) = durable_subscriber(4, "release-order");
    let mut publisher = publisher(4, &topic);
    (0..5).for_each(|_| publisher.publish(&topic, 2, "m"));
    let ids: Vec<u16> = (0..5).map(|_| receiver.delivery().id).collect();
    ids.iter().rev().for_each(|id| receiver.send(&packet::ack(packet::PUBREC, *id)));
    let released: Vec<u16> = ids.iter().map(|_| receiver.expect(packet::PUBREL).id()).collect();
    assert_eq!(released, ids.iter().rev().copied().collect::<Vec<_>>());
}

/// [MQTT-3.6.1-1] [MQTT-3.6.1-1@3.1.1] [MQTT-2.1.3-1] [MQTT-2.2.2-2@3.1.1]
#[test]
fn reserved_bits_of_acknowledgements_close() {
    for version in [4, 5] {
        for (kind, right) in [(0x40, 0), (0x50, 0), (0x60, 2), (0x70, 0)] {
            for flags in (0..16).filter(|flags| *flags != right) {
                refusal::connected(version, &packet::ack(kind | flags, 1), MALFORMED);
            }
        }
    }
}

/// Reason codes no acknowledgement has, cut ones, long ones, identifier 0.
///
/// [MQTT-4.13.1-1] [MQTT-4.8.0-1@3.1.1] [MQTT-2.2.2-1]
#[test]
fn malformed_acknowledgements_close() {
    for version in [4, 5] {
        for kind in [packet::PUBACK, packet::PUBREC, packet::PUBREL, packet::PUBCOMP] {
            for body in [&[][..], &[0], &[0, 0]] {
                refusal::connected(version, &frame(kind, body), MALFORMED);
            }
            let bad: &[&[u8]] = if version == 5 {
                &[
                    &[0, 1, 0x01],
                    &[0, 1, 0xFF],
                    &[0, 1, 0x00, 5],
                    &[0, 1, 0x00, 2, 0x01, 1],
                    &[0, 1, 0x00, 0, 0],
                ]
            } else {
                &[&[0, 1, 0], &[0, 1, 0, 0]]
            };
            for body in bad {
                refusal::connected(version, &frame(kind, body), MALFORMED);
            }
        }
    }
}

/// Answers leave out what would make them larger than the client takes.
///
/// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
/// [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]
/// [MQTT-3.1.2-24]
#[test]
fn answers_fit_the_clients_maximum_packet_size() {
    // Large enough for a CONNACK with all its properties and a SUBACK, too small for any reason string.
    let limit = 64;
    let mut peer = Peer::connect(broker::at(), &Connect::new(5, "small").property(prop_u32(0x27, limit))).0;
    let mut seen = Vec::new();
    for (bytes, kind) in [
        (Publish::new(5, "qos/small", "m").qos(1, 1).bytes(), packet::PUBACK),
        (Publish::new(5, "qos/small", "m").qos(2, 2).bytes(), packet::PUBREC),
        (packet::ack(packet::PUBREL, 2), packet::PUBCOMP),
        (packet::ack(packet::PUBREL, 3), packet::PUBCOMP),
        (packet::ack(packet::PUBREC, 4), packet::PUBREL),
        (packet::subscribe(5, 5, &[("test/nosubscribe", 0), ("a", 0)]), packet::SUBACK),
        (packet::unsubscribe(5, 6, &["none", "a"]), packet::UNSUBACK),
    ] {
        peer.send(&bytes);
        seen.push(peer.expect(kind));
    }
    peer.send(&[0x00, 0x00]);
    seen.extend(peer.closed().packets);
    for packet in seen {
        assert!(frame(packet.first, &packet.body).len() <= limit as usize, "{packet:?}");
    }
}

/// Messages for a session are kept while it is away, QoS 1 and 2, of exact and of wildcard filters.
///
/// [MQTT-4.5.0-1] [MQTT-4.5.0-1@3.1.1] [MQTT-3.1.2-5@3.1.1]
#[test]
fn messages_wait_for_each_matching_session() {
    for version in [4, 5] {
        let root = broker::unique(&format!("wait-{version}"));
        let filters =
            [format!("{root}/a/b"), format!("{root}/+/b"), format!("{root}/#"), "+/+/b/#".to_owned()];
        let sessions: Vec<Connect> = filters
            .iter()
            .enumerate()
            .map(|(at, filter)| {
                let connect = Connect::new(version, &format!("{root}-{at}")).durable();
                let mut peer = Peer::connect(broker::at(), &connect).0;
                peer.subscribe(filter, 2);
                peer.leave();
                connect
            })
            .collect();
        let mut publisher = Peer::clean(broker::at(), version, &format!("{root}-pub"));
        (0..10).for_each(|number| {
            publisher.publish(&format!("{root}/a/b"), 1 + number % 2, &number.to_string())
        });
        for connect in sessions {
            let mut peer = Peer::connect(broker::at(), &connect).0;
            let mut seen: Vec<u32> = (0..10).map(|_| own(&mut peer, &root).parse().unwrap()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
            peer.leave();
            Peer::connect(broker::at(), &connect.flags(0x02)).0.leave();
        }
    }
}

/// The next message below `root`: a wide filter gets those of other tests as well.
fn own(peer: &mut Peer, root: &str) -> String {
    loop {
        let got = peer.delivery_acknowledged();
        if got.topic.starts_with(root) {
            return got.text();
        }
    }
}

/// A full window holds back messages, not answers.
///
/// [MQTT-4.9.0-3] [MQTT-3.3.4-10] [MQTT-4.9.0-1]
#[test]
fn full_window_does_not_hold_back_answers() {
    let connect = Connect::new(5, "full-window").property(prop_u16(0x21, 1));
    let mut peer = Peer::connect(broker::at(), &connect).0;
    peer.subscribe("qos/full-window", 1);
    let mut publisher = Peer::clean(broker::at(), 5, "full-window-pub");
    (0..3).for_each(|_| publisher.publish("qos/full-window", 1, "m"));
    peer.delivery();
    peer.ping();
    peer.publish("qos/full-window/own", 1, "m");
    peer.publish("qos/full-window/own", 2, "m");
    peer.send(&packet::subscribe(5, 900, &[("b", 0)]));
    assert_eq!(peer.expect(packet::SUBACK).id(), 900);
    assert!(peer.packet_within(QUIET).is_none());
}
