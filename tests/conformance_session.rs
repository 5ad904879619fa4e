//! Statements about sessions, their end, and wills.

use std::time::{Duration, Instant};

use crate::broker;
use crate::packet::{self, Connect, Publish, Will, prop_byte, prop_field, prop_u32, prop_user};
use crate::peer::{Peer, forget};

/// Leaves behind a durable session with one subscription and one waiting message.
fn session_with_a_message(version: u8, name: &str) -> (Connect, String) {
    let id = broker::unique(&format!("{name}-{version}"));
    let topic = format!("session/{id}");
    let connect = Connect::new(version, &id).durable();
    let (mut peer, connack) = Peer::connect(broker::at(), &connect);
    assert_eq!(connack.flags, 0, "no session yet");
    peer.subscribe(&topic, 1);
    peer.leave();
    Peer::clean(broker::at(), version, &format!("{id}-pub")).publish(&topic, 1, "waits");
    (connect, topic)
}

/// [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-4.5.0-1] [MQTT-3.1.2-4@3.1.1]
/// [MQTT-3.1.2-5@3.1.1] [MQTT-3.2.2-2@3.1.1] [MQTT-3.2.2-3@3.1.1] [MQTT-4.5.0-1@3.1.1] [MQTT-4.1.0-1@3.1.1]
#[test]
fn session_is_resumed_with_its_subscriptions_and_messages() {
    for version in [4, 5] {
        let (connect, topic) = session_with_a_message(version, "resume");
        let (mut peer, connack) = Peer::connect(broker::at(), &connect);
        assert_eq!(connack.flags, 1);
        assert_eq!(peer.delivery_acknowledged().text(), "waits");
        peer.publish_as(Publish::new(version, &topic, "live"), 0);
        assert_eq!(peer.delivery().text(), "live");
        peer.leave();
    }
}

/// MQTT 3.1 keeps sessions too, but has no flag that says so.
#[test]
fn session_is_resumed_in_v31() {
    let (connect, _) = session_with_a_message(3, "resume");
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    assert_eq!(peer.delivery_acknowledged().text(), "waits");
}

/// [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.1.2-6@3.1.1] [MQTT-3.1.4-3@3.1.1] [MQTT-3.2.2-1@3.1.1]
#[test]
fn clean_start_discards_the_session() {
    for version in [4, 5] {
        let (connect, topic) = session_with_a_message(version, "clean");
        let id = broker::unique(&format!("clean-{version}"));
        let (mut peer, connack) = Peer::connect(broker::at(), &Connect::new(version, &id));
        assert_eq!(connack.flags, 0);
        peer.publish(&topic, 1, "nobody listens");
        peer.quiet();
        peer.leave();
        let (mut peer, connack) = Peer::connect(broker::at(), &connect);
        assert_eq!(connack.flags, 0, "the clean session is gone as well");
        peer.quiet();
    }
}

/// [MQTT-4.1.0-2] [MQTT-3.1.2-23]
#[test]
fn session_ends_when_its_expiry_has_passed() {
    let id = broker::unique("expires");
    let connect = Connect::new(5, &id).resume().property(prop_u32(0x11, 1));
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    peer.subscribe("session/expires", 1);
    peer.leave();
    let gone = Instant::now();
    while Peer::connect(broker::at(), &connect).1.flags == 1 {
        // Each look resumes the session and starts its second anew, so the pauses between looks are longer than that.
        assert!(gone.elapsed() < Duration::from_secs(15), "the session is still there");
        std::thread::sleep(Duration::from_millis(2200));
    }
    assert!(gone.elapsed() < Duration::from_secs(15));
}

/// [MQTT-4.1.0-2] [MQTT-4.1.0-2@3.1.1] [MQTT-3.1.2-6@3.1.1]
#[test]
fn session_without_expiry_ends_with_its_connection() {
    let id = broker::unique("no-expiry");
    let connect = Connect::new(5, &id).resume();
    let (peer, _) = Peer::connect(broker::at(), &connect);
    peer.leave();
    assert_eq!(Peer::connect(broker::at(), &connect).1.flags, 0);
}

/// [MQTT-4.1.0-1] [MQTT-3.1.2-23]
#[test]
fn expiry_of_disconnect_replaces_that_of_connect() {
    let id = broker::unique("expiry-change");
    let connect = Connect::new(5, &id).resume().property(prop_u32(0x11, 300));
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    peer.send(&packet::disconnect_with(0, &prop_u32(0x11, 0)));
    peer.closed();
    assert_eq!(Peer::connect(broker::at(), &connect).1.flags, 0, "an expiry of 0 ended it");
}

/// An expiry of 0 at CONNECT must not grow at DISCONNECT: a protocol error (section 3.14.2.2.2).
///
/// [MQTT-4.13.1-1] [MQTT-4.1.0-2]
#[test]
fn expiry_raised_from_zero_at_disconnect_is_refused() {
    let id = broker::unique("expiry-raised");
    let (mut peer, _) = Peer::connect(broker::at(), &Connect::new(5, &id));
    peer.send(&packet::disconnect_with(0, &prop_u32(0x11, 300)));
    peer.closed().silent_or(&[0x82]);
    assert_eq!(Peer::connect(broker::at(), &Connect::new(5, &id).resume()).1.flags, 0);
}

/// [MQTT-3.1.2-7@3.1.1]
#[test]
fn retained_messages_are_no_part_of_a_session() {
    let topic = "session/retained/stays";
    let mut peer = Peer::clean(broker::at(), 4, "retained-owner");
    peer.publish_as(Publish::new(4, topic, "stays").retain(), 1);
    peer.leave();
    let mut peer = Peer::clean(broker::at(), 4, "retained-owner");
    peer.subscribe(topic, 0);
    assert_eq!(peer.delivery().text(), "stays");
    forget(broker::at(), topic);
}

/// [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-14] [MQTT-3.1.2-8@3.1.1] [MQTT-3.1.2-10@3.1.1]
/// [MQTT-3.1.2-16@3.1.1]
#[test]
fn will_is_published_once_when_the_connection_is_lost() {
    for version in [3, 4, 5] {
        for qos in 0..=2 {
            let topic = format!("will/lost/{version}/{qos}");
            let mut watcher = Peer::clean(broker::at(), version, &format!("will-watch-{version}-{qos}"));
            watcher.subscribe(&topic, 2);
            let connect = Connect::new(version, &format!("will-lost-{version}-{qos}"));
            let connect = connect.will(Will::new(&topic, "gone").qos(qos));
            Peer::connect(broker::at(), &connect).0.vanish();
            let got = watcher.delivery_acknowledged();
            assert_eq!((got.text().as_str(), got.qos, got.retain), ("gone", qos, false));
            Peer::clean(broker::at(), version, &format!("will-lost-{version}-{qos}")).vanish();
            watcher.quiet();
            let mut late = Peer::clean(broker::at(), version, &format!("will-late-{version}-{qos}"));
            late.subscribe(&topic, 0);
            late.quiet();
        }
    }
}

/// [MQTT-3.1.2-15] [MQTT-3.1.2-17@3.1.1]
#[test]
fn retained_will_is_retained() {
    for version in [4, 5] {
        let topic = format!("will/retained/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("will-retain-watch-{version}"));
        watcher.subscribe(&topic, 0);
        let connect = Connect::new(version, &format!("will-retain-{version}"));
        Peer::connect(broker::at(), &connect.will(Will::new(&topic, "gone").retain())).0.vanish();
        assert!(!watcher.delivery().retain, "a live message to an old subscription");
        let mut late = Peer::clean(broker::at(), version, &format!("will-retain-late-{version}"));
        late.subscribe(&topic, 0);
        let got = late.delivery();
        assert_eq!((got.text().as_str(), got.retain), ("gone", true));
        forget(broker::at(), &topic);
    }
}

/// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT-3.14.4-3@3.1.1] [MQTT-3.1.2-10@3.1.1] [MQTT-3.1.2-12@3.1.1]
#[test]
fn will_is_discarded_by_disconnect() {
    for version in [3, 4, 5] {
        let topic = format!("will/orderly/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("will-orderly-watch-{version}"));
        watcher.subscribe(&topic, 0);
        let connect = Connect::new(version, &format!("will-orderly-{version}"));
        Peer::connect(broker::at(), &connect.will(Will::new(&topic, "never"))).0.leave();
        Peer::connect(broker::at(), &Connect::new(version, &format!("will-none-{version}"))).0.vanish();
        watcher.quiet();
    }
}

/// DISCONNECT with 0x04 asks for the will; so does any reason but 0 (section 3.14.4).
///
/// [MQTT-3.1.2-8] [MQTT-3.1.2-10]
#[test]
fn will_is_published_on_disconnect_with_another_reason() {
    for reason in [0x04, 0x80] {
        let topic = format!("will/reason/{reason}");
        let mut watcher = Peer::clean(broker::at(), 5, &format!("will-reason-watch-{reason}"));
        watcher.subscribe(&topic, 0);
        let connect = Connect::new(5, &format!("will-reason-{reason}")).will(Will::new(&topic, "gone"));
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        peer.send(&packet::disconnect_with(reason, &[]));
        peer.closed();
        assert_eq!(watcher.delivery().text(), "gone");
    }
}

/// A connection the server closes loses its will like any other: here by takeover, and by a protocol error.
///
/// [MQTT-3.1.2-8] [MQTT-3.1.2-8@3.1.1]
#[test]
fn will_is_published_when_the_server_closes() {
    for version in [4, 5] {
        let topic = format!("will/closed/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("will-closed-watch-{version}"));
        watcher.subscribe(&topic, 0);
        let id = format!("will-closed-{version}");
        let connect = Connect::new(version, &id).will(Will::new(&topic, "gone"));
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        peer.send(&[0x00, 0x00]);
        peer.closed();
        assert_eq!(watcher.delivery().text(), "gone");
        let (mut old, _) = Peer::connect(broker::at(), &connect);
        let _new = Peer::clean(broker::at(), version, &id);
        old.closed();
        assert_eq!(watcher.delivery().text(), "gone");
    }
}

/// [MQTT-3.1.3-9]
#[test]
fn will_delay_is_cancelled_by_a_return() {
    let (id, topic) = (broker::unique("will-delay"), "will/delay/cancelled");
    let mut watcher = Peer::clean(broker::at(), 5, "will-delay-watch");
    watcher.subscribe(topic, 0);
    let connect = Connect::new(5, &id).durable();
    let with_will = connect.clone().will(Will::new(topic, "late").properties(prop_u32(0x18, 2)));
    Peer::connect(broker::at(), &with_will).0.vanish();
    let (back, connack) = Peer::connect(broker::at(), &connect);
    assert_eq!(connack.flags, 1);
    assert!(watcher.packet_within(Duration::from_millis(3500)).is_none(), "the client came back in time");
    back.leave();
}

/// The earlier of will delay and session end publishes it.
///
/// [MQTT-3.1.2-8]
#[test]
fn will_is_delayed_until_its_delay_or_the_end_of_the_session() {
    for (delay, expiry) in [(1, 300), (300, 1)] {
        let topic = format!("will/delay/{delay}");
        let mut watcher = Peer::clean(broker::at(), 5, &format!("will-delay-watch-{delay}"));
        watcher.subscribe(&topic, 0);
        let connect =
            Connect::new(5, &broker::unique(&format!("will-delay-{delay}"))).property(prop_u32(0x11, expiry));
        let connect = connect.will(Will::new(&topic, "late").properties(prop_u32(0x18, delay)));
        Peer::connect(broker::at(), &connect).0.vanish();
        let start = Instant::now();
        assert_eq!(watcher.delivery().text(), "late");
        assert!(start.elapsed() > Duration::from_millis(700), "after {:?}", start.elapsed());
    }
}

/// [MQTT-3.1.3-10] [MQTT-3.1.2-9]
#[test]
fn will_properties_are_published_with_it_in_order() {
    let topic = "will/properties";
    let mut watcher = Peer::clean(broker::at(), 5, "will-properties-watch");
    watcher.subscribe(topic, 0);
    let properties = [
        prop_user("b", "1"),
        prop_byte(0x01, 1),
        prop_user("a", "2"),
        prop_field(0x03, "text/plain"),
        prop_field(0x08, "answers"),
        prop_field(0x09, b"\x00\xFF"),
        prop_user("b", "1"),
    ];
    let will = Will::new(topic, "gone").properties(properties.concat());
    Peer::connect(broker::at(), &Connect::new(5, "will-properties").will(will)).0.vanish();
    let got = watcher.delivery().properties;
    let pairs: Vec<(String, String)> =
        [("b", "1"), ("a", "2"), ("b", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(got.user(), pairs);
    assert_eq!(
        (got.number(0x01), got.get(0x03), got.get(0x08)),
        (Some(1), Some(&b"text/plain"[..]), Some(&b"answers"[..]))
    );
    assert_eq!((got.get(0x09), got.get(0x18)), (Some(&b"\x00\xFF"[..]), None));
}
