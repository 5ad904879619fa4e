//! Acknowledgements that fit nothing, none at all where some are due, and sessions that end in unusual ways.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::family::{self, Case, Outcome, Witness, repeats, told};
use crate::metrics::{await_metric, metric};
use crate::packet::{
    self, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Will, ack, ack_reason,
    disconnect_with, frame, prop_field, prop_u16, prop_u32,
};
use crate::peer::{PATIENCE, Peer, QUIET};

const CLOSES: Outcome = Outcome::Closes(&[0x81, 0x82]);

/// The four packets, each with a code of MQTT 5 that is none of its own.
const KINDS: [(u8, &str, u8); 4] = [
    (PUBACK, "PUBACK", 0x92),
    (PUBREC, "PUBREC", 0x92),
    (PUBREL, "PUBREL", 0x10),
    (PUBCOMP, "PUBCOMP", 0x80),
];

fn acknowledgements(version: u8) -> Vec<Case> {
    let mut cases = Vec::new();
    for (first, name, _) in KINDS {
        let case = |what: &str, bytes: Vec<u8>, outcome| {
            Case::connected(format!("{name} {what} (version {version})"), version, bytes, outcome)
        };
        for id in [1, 2, 0x7FFF, 0xFFFF] {
            cases.push(case(&format!("of unknown {id}"), ack(first, id), Outcome::Stays));
        }
        cases.push(case("of a thousand unknown", ack(first, 9).repeat(1000), Outcome::Either));
        cases.push(case("of identifier 0", ack(first, 0), Outcome::Either));
        cases.push(case("without identifier", frame(first, &[]), CLOSES));
        cases.push(case("cut", frame(first, &[1]), CLOSES));
        cases.push(Case::first(format!("{name} without CONNECT"), version, ack(first, 1), CLOSES));
        if version < 5 {
            cases.push(case("with bytes left over", ack_reason(first, 1, 0), CLOSES));
        }
    }
    cases
}

fn reasons_and_properties() -> Vec<Case> {
    let mut cases = Vec::new();
    let reason = prop_field(0x1F, "why");
    for (first, name, foreign) in KINDS {
        let with = |tail: &[u8]| frame(first, &[&[0, 1][..], tail].concat());
        let block =
            |properties: &[u8]| with(&[&[0, u8::try_from(properties.len()).unwrap()], properties].concat());
        for (what, bytes) in [
            ("reason 0x01", with(&[0x01])),
            ("reason of another packet", with(&[foreign])),
            ("reason 0xFF", with(&[0xFF])),
            ("properties past the end", with(&[0, 9, 0x1F])),
            ("length of properties cut", with(&[0, 0x80])),
            ("length of properties in a long form", with(&[0, 0x80, 0])),
            ("bytes left over", with(&[0, 0, 0])),
            ("reason string twice", block(&reason.repeat(2))),
            ("reason string of no UTF-8", block(&prop_field(0x1F, b"\xFF"))),
            ("Topic Alias", block(&prop_u16(0x23, 1))),
            ("unknown property", block(&[0x7E, 0])),
        ] {
            cases.push(Case::connected(format!("{name} with {what}"), 5, bytes, CLOSES));
        }
        cases.push(Case::connected(
            format!("{name} with a reason string"),
            5,
            block(&reason),
            Outcome::Stays,
        ));
    }
    cases
}

fn disconnects() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bytes) in [
        ("expiry raised from 0", disconnect_with(0, &prop_u32(0x11, 60))),
        ("expiry for ever", disconnect_with(4, &prop_u32(0x11, u32::MAX))),
        ("expiry twice", disconnect_with(0, &prop_u32(0x11, 0).repeat(2))),
        ("Server Reference", disconnect_with(0, &prop_field(0x1C, "elsewhere"))),
        ("Will Delay", disconnect_with(0, &prop_u32(0x18, 1))),
        ("reason 0x01", disconnect_with(1, &[])),
        ("reason 0x03", disconnect_with(3, &[])),
        ("properties past the end", frame(DISCONNECT, &[0, 5, 0x11])),
        ("bytes left over", frame(DISCONNECT, &[0, 0, 0])),
    ] {
        cases.push(Case::connected(format!("DISCONNECT with {name}"), 5, bytes, CLOSES));
    }
    for version in [3, 4] {
        let bytes = frame(DISCONNECT, &[0]);
        cases.push(Case::connected(
            format!("DISCONNECT with a body (version {version})"),
            version,
            bytes,
            CLOSES,
        ));
    }
    cases
}

#[test]
fn bad_acknowledge_closes_or_is_ignored() {
    let mut cases = reasons_and_properties();
    cases.extend(disconnects());
    for version in [3, 4, 5] {
        cases.extend(acknowledgements(version));
    }
    family::run(&cases);
}

/// A durable subscriber with one message of each QoS above 0 that it has not acknowledged; the identifiers.
fn with_two_messages(broker: &Broker, version: u8, name: &str) -> (Peer, Connect, [u16; 2]) {
    let id = broker::unique(&format!("{name}-{version}"));
    let (connect, topic) = (Connect::new(version, &id).durable(), format!("bad/{id}"));
    let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
    peer.subscribe(&topic, 2);
    let mut publisher = Peer::clean(broker.mqtt, version, &format!("to-{id}"));
    publisher.publish(&topic, 1, "one");
    publisher.publish(&topic, 2, "two");
    let ids = [peer.delivery().id, peer.delivery().id];
    (peer, connect, ids)
}

/// An acknowledgement for the other QoS, or of a step that is not due, settles nothing: the messages come again, and end
/// as they should.
///
/// [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.4.0-1]
#[test]
fn bad_acknowledge_of_another_step_settles_nothing() {
    if broker::is_foreign() {
        return;
    }
    for version in [3, 4, 5] {
        let (mut peer, connect, [one, two]) = with_two_messages(broker::shared(), version, "other-step");
        for (first, id) in
            [(PUBREC, one), (PUBCOMP, one), (PUBREL, one), (PUBACK, two), (PUBCOMP, two), (PUBREL, two)]
        {
            peer.send(&ack(first, id));
        }
        // PUBREL is about messages from here, of which there is none by that name.
        for id in [one, two] {
            let pubcomp = peer.expect(PUBCOMP);
            assert_eq!((pubcomp.id(), pubcomp.ack_reason()), (id, if version == 5 { 0x92 } else { 0 }));
        }
        peer.quiet();
        peer.vanish();
        let (mut peer, _) = Peer::connect(broker::at(), &connect);
        for (id, text) in [(one, "one"), (two, "two")] {
            let again = peer.delivery();
            assert_eq!((again.id, again.dup, again.text()), (id, true, text.to_owned()));
        }
        // PUBREC twice, PUBACK and PUBCOMP twice: what is settled stays so.
        peer.send(&[ack(PUBACK, one), ack(PUBACK, one), ack(PUBREC, two), ack(PUBREC, two)].concat());
        // One PUBREL may answer both, if the second came before the first was settled.
        while let Some(pubrel) = peer.packet_within(QUIET) {
            assert_eq!((pubrel.first, pubrel.id()), (PUBREL, two));
        }
        peer.send(&[ack(PUBACK, two), ack(PUBCOMP, two), ack(PUBCOMP, two)].concat());
        peer.quiet();
        // A PUBREC behind the end finds nothing.
        peer.send(&ack(PUBREC, two));
        let pubrel = peer.expect(PUBREL);
        assert_eq!((pubrel.id(), pubrel.ack_reason()), (two, if version == 5 { 0x92 } else { 0 }));
        peer.vanish();
        Peer::connect(broker::at(), &connect).0.quiet();
    }
}

/// PUBREL twice, and first: a PUBCOMP each, one delivery for each message.
///
/// [MQTT-4.3.3-11] [MQTT-4.3.3-12]
#[test]
fn bad_acknowledge_released_twice_is_delivered_once() {
    for version in [3, 4, 5] {
        let topic = format!("bad/released/{version}");
        let mut watcher = Peer::clean(broker::at(), version, &format!("released-watch-{version}"));
        watcher.subscribe(&topic, 0);
        let mut peer = Peer::clean(broker::at(), version, &format!("released-{version}"));
        let unknown = if version == 5 { 0x92 } else { 0 };
        let release = |peer: &mut Peer, reason: u8| {
            peer.send(&ack(PUBREL, 7));
            let pubcomp = peer.expect(PUBCOMP);
            assert_eq!((pubcomp.id(), pubcomp.ack_reason()), (7, reason));
        };
        release(&mut peer, unknown);
        for number in 0..20 {
            let publish = Publish::new(version, &topic, number.to_string()).qos(2, 7);
            peer.send(&publish.bytes());
            peer.expect(PUBREC);
            peer.send(&publish.dup().bytes());
            peer.expect(PUBREC);
            release(&mut peer, 0);
            release(&mut peer, unknown);
            assert_eq!(watcher.delivery().text(), number.to_string());
        }
        watcher.quiet();
    }
}

/// What a session sent and waits for: identifier, first byte without DUP, and text, in order.
fn waiting(peer: &mut Peer, count: usize) -> Vec<(u16, u8, String)> {
    (0..count)
        .map(|_| {
            let packet = peer.packet();
            if packet.first == PUBREL {
                return (packet.id(), PUBREL, String::new());
            }
            let first = packet.first & !0x08;
            let delivery = packet.publish(5);
            assert!(delivery.dup, "{delivery:?}");
            (delivery.id, first, delivery.text())
        })
        .collect()
}

/// Never acknowledging, connection after connection, ended in turn by a reset, a takeover and a DISCONNECT: the same
/// identifiers, marked DUP, in the same order, and no growth.
///
/// [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1]
#[test]
fn bad_acknowledge_never_over_many_connections() {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    let connect = Connect::new(5, &broker::unique("never")).durable().property(prop_u16(0x21, 40));
    let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
    peer.subscribe("never/exact", 2);
    peer.subscribe("never/wild/+", 1);
    peer.subscribe("$share/g/never/shared", 2);
    let mut publisher = Peer::clean(broker.mqtt, 5, "never-publisher");
    for number in 0..30_u8 {
        let topic = ["never/exact", "never/wild/x", "never/shared"][usize::from(number % 3)];
        publisher.publish(topic, 1 + number % 2, &number.to_string());
    }
    let first: Vec<_> = (0..30).map(|_| peer.delivery()).collect();
    // Of some the first half of the exchange is over.
    let received: Vec<u16> = first.iter().filter(|each| each.qos == 2).take(3).map(|each| each.id).collect();
    for id in &received {
        peer.send(&ack(PUBREC, *id));
        assert_eq!(peer.expect(PUBREL).id(), *id);
    }
    let mut known = None;
    family::repeat(&broker, |number| {
        let (mut next, connack) = Peer::connect(broker.mqtt, &connect);
        assert_eq!(connack.flags, 1);
        let seen = waiting(&mut next, 30);
        assert_eq!(*known.get_or_insert_with(|| seen.clone()), seen);
        let old = std::mem::replace(&mut peer, next);
        drop(old);
        match number % 3 {
            0 => {}
            1 => peer.send(&packet::disconnect()),
            _ => {
                let _ = peer.stream().shutdown(std::net::Shutdown::Both);
            }
        }
    });
    // Which of two QoS is sent first is open; each connection after that sees what the one before saw.
    let sorted = |ids: &mut dyn Iterator<Item = u16>| {
        let mut ids: Vec<u16> = ids.collect();
        ids.sort_unstable();
        ids
    };
    let known = known.unwrap();
    let released = sorted(&mut known.iter().filter(|each| each.1 == PUBREL).map(|each| each.0));
    assert_eq!(released, sorted(&mut received.into_iter()));
    let ids = sorted(&mut first.iter().map(|each| each.id));
    let again = sorted(&mut known.iter().map(|each| each.0));
    assert_eq!(ids, again);
    witness.check();
    drop((peer, publisher));
    Peer::connect(broker.mqtt, &Connect::new(5, &broker::unique("never"))).0.leave();
    witness.alone(&broker);
}

/// A window full of messages that are never acknowledged: those behind it wait up to their quota, the oldest of them are
/// passed over, and the memory stays.
#[test]
fn bad_acknowledge_never_while_messages_go_on() {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    let connect = |id: &str| Connect::new(5, id).property(prop_u16(0x21, 5));
    let (mut away, _) = Peer::connect(broker.mqtt, &connect("mute-durable").durable());
    let (mut clean, _) = Peer::connect(broker.mqtt, &connect("mute-clean"));
    for peer in [&mut away, &mut clean] {
        peer.subscribe("$share/only/mute/shared", 1);
        peer.subscribe("mute/qos/+", 2);
    }
    let mut publisher = Peer::clean(broker.mqtt, 4, "mute-publisher");
    let mut round = |count: usize| {
        for number in 0..count {
            publisher.publish(["mute/qos/1", "mute/shared"][number % 2], 1, &"x".repeat(100));
        }
    };
    // More than the 1,000 that a session may have waiting.
    round(2 * 2500);
    let before = broker.resident_kib();
    round(2 * repeats());
    let after = family::await_memory(&broker, before + 8 * 1024);
    told(&format!(
        "{} messages behind a full window, resident {before} KiB before, {after} KiB after",
        2 * repeats()
    ));
    witness.check();
    let texts = (0..5).map(|_| away.delivery()).all(|delivery| delivery.payload.len() == 100);
    assert!(texts);
    drop((away, clean, publisher));
    Peer::connect(broker.mqtt, &Connect::new(5, "mute-durable")).0.leave();
    witness.alone(&broker);
}

/// How a session with a will ends: its CONNECT, what is done to it, and what comes of the will.
struct Ending {
    name: &'static str,
    expiry: Option<u32>,
    delay: u32,
    end: fn(Peer, &Connect),
    /// The will comes after this many seconds, or not at all.
    will: Option<u64>,
}

/// [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.3-9] [MQTT-3.14.4-3]
const ENDINGS: [Ending; 9] = [
    Ending {
        name: "no session to wait with",
        expiry: None,
        delay: 300,
        end: |peer, _| peer.vanish(),
        will: Some(0),
    },
    Ending {
        name: "session shorter than the delay",
        expiry: Some(1),
        delay: 300,
        end: |peer, _| peer.vanish(),
        will: Some(1),
    },
    Ending {
        name: "delay shorter than the session",
        expiry: Some(u32::MAX),
        delay: 1,
        end: |peer, _| peer.vanish(),
        will: Some(1),
    },
    Ending {
        name: "delay for ever",
        expiry: Some(1),
        delay: u32::MAX,
        end: |peer, _| peer.vanish(),
        will: Some(1),
    },
    Ending {
        name: "expiry lowered by DISCONNECT with will",
        expiry: Some(300),
        delay: 300,
        end: |mut peer, _| peer.send(&disconnect_with(4, &prop_u32(0x11, 0))),
        will: Some(0),
    },
    Ending {
        name: "expiry raised from 0 by DISCONNECT",
        expiry: None,
        delay: 300,
        end: |mut peer, _| {
            peer.send(&disconnect_with(4, &prop_u32(0x11, 300)));
            peer.closed().silent_or(&[0x82]);
        },
        will: Some(0),
    },
    Ending { name: "orderly DISCONNECT", expiry: Some(1), delay: 1, end: |peer, _| peer.leave(), will: None },
    Ending {
        name: "begun anew within the delay",
        expiry: Some(300),
        delay: 300,
        end: |peer, connect| {
            peer.vanish();
            // Clean Start ends the old session, and with it the delay.
            drop(Peer::connect(broker::at(), &connect.clone().flags(0x02)).0);
        },
        will: Some(0),
    },
    Ending {
        name: "resumed within the delay",
        expiry: Some(300),
        delay: 2,
        end: |peer, connect| {
            peer.vanish();
            let (back, connack) = Peer::connect(broker::at(), connect);
            assert_eq!(connack.flags, 1);
            back.leave();
        },
        will: None,
    },
];

/// The will comes at the end of its delay or of the session, whichever is first, and once.
#[test]
fn bad_acknowledge_will_delay_against_session_expiry() {
    std::thread::scope(|scope| {
        for (number, ending) in ENDINGS.iter().enumerate() {
            scope.spawn(move || ending.check(number));
        }
    });
}

impl Ending {
    fn check(&self, number: usize) {
        let topic = format!("bad/ending/{number}");
        let mut watcher = Peer::clean(broker::at(), 5, &format!("ending-watch-{number}"));
        watcher.subscribe(&topic, 0);
        let mut connect = Connect::new(5, &broker::unique(&format!("ending-{number}")));
        if let Some(expiry) = self.expiry {
            connect = connect.resume().property(prop_u32(0x11, expiry));
        }
        let will = Will::new(&topic, self.name).properties(prop_u32(0x18, self.delay));
        let (peer, _) = Peer::connect(broker::at(), &connect.clone().will(will));
        let start = Instant::now();
        (self.end)(peer, &connect);
        let Some(after) = self.will else {
            let got = watcher.packet_within(Duration::from_secs(4));
            assert!(got.is_none(), "{}: {got:?}", self.name);
            return;
        };
        assert_eq!(watcher.delivery().text(), self.name);
        let took = start.elapsed();
        let (least, most) = (Duration::from_millis(after * 700), Duration::from_millis(after * 1000 + 2500));
        assert!((least..most).contains(&took), "{}: after {took:?}", self.name);
        let again = watcher.packet_within(QUIET);
        assert!(again.is_none(), "{}: {again:?}", self.name);
    }
}

/// Sessions that end again and again with a will that is still delayed: each will is published, and nothing stays.
#[test]
fn bad_acknowledge_delayed_wills_of_ended_sessions_leave_nothing() {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    let will = |number: usize| Will::new(&format!("ended/{number}"), "gone").properties(prop_u32(0x18, 3600));
    let done = family::repeat(&broker, |number| {
        let connect = Connect::new(5, "ends-with-will").property(prop_u32(0x11, 7200)).will(will(number));
        let (mut peer, connack) = Peer::connect(broker.mqtt, &connect);
        assert_eq!(connack.flags, 0);
        peer.subscribe(&format!("ended/+/{number}"), 1);
        peer.vanish();
    });
    Peer::connect(broker.mqtt, &Connect::new(5, "ends-with-will")).0.leave();
    witness.alone(&broker);
    if broker.http.is_some() {
        assert_eq!(metric(&broker, "bitsim_wills_total"), u64::try_from(done).unwrap());
    }
}

/// A file of access rules of a test's own.
fn rules(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.acl", std::process::id()))
}

/// The right to read is taken from a client while it is away: of all that waits for it, on whatever way, it gets
/// nothing it may not read, and the rest comes.
#[test]
fn bad_acknowledge_rights_revoked_while_away() {
    if broker::is_foreign() {
        return;
    }
    let file = rules("revoked");
    std::fs::write(&file, "allow everyone all #\n").unwrap();
    let broker = Broker::start_plain(&["--set", &format!("access.file={}", file.display())]);
    let mut witness = Witness::new(&broker);
    for version in [4, 5] {
        let connect = Connect::new(version, "revoked").durable();
        let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
        for filter in ["secret/exact", "secret/+/wild", "#", "open/exact", "$share/g/secret/shared"] {
            peer.subscribe(filter, 2);
        }
        peer.vanish();
        let mut publisher = Peer::clean(broker.mqtt, 5, "revoked-publisher");
        for number in 0..50_u8 {
            for topic in
                ["secret/exact", "secret/a/wild", "secret/other", "secret/shared", "open/exact", "open/wild"]
            {
                publisher.publish(topic, 1 + number % 2, &number.to_string());
            }
        }
        publisher.publish_as(Publish::new(5, "secret/exact", "kept").retain(), 1);
        std::fs::write(&file, "allow everyone all #\ndeny everyone read secret/#\n").unwrap();
        assert!(broker.reload());
        let (mut peer, connack) = Peer::connect(broker.mqtt, &connect);
        assert_eq!(connack.flags, 1);
        for _ in 0..100 {
            assert!(peer.delivery_acknowledged().topic.starts_with("open/"));
        }
        peer.quiet();
        // Nor what comes now, retained or not; and a new subscription is refused.
        publisher.publish("secret/exact", 1, "late");
        peer.send(&packet::subscribe(version, 90, &[("secret/exact", 1), ("secret/late", 1)]));
        let codes = peer.pick(packet::SUBACK).reasons(version);
        assert!(codes.iter().all(|code| code & 0x80 != 0), "{codes:02x?}");
        publisher.publish("open/exact", 1, "last");
        assert_eq!(peer.delivery_acknowledged().text(), "last");
        peer.quiet();
        std::fs::write(&file, "allow everyone all #\n").unwrap();
        assert!(broker.reload());
        publisher.publish_as(Publish::new(5, "secret/exact", "").retain(), 1);
        drop((peer, publisher));
        Peer::connect(broker.mqtt, &Connect::new(version, "revoked")).0.leave();
        witness.alone(&broker);
    }
    std::fs::remove_file(file).unwrap();
}

/// The right to write is taken from a connected client: its next message is refused, and its will is not published.
#[test]
fn bad_acknowledge_right_to_write_revoked_while_connected() {
    if broker::is_foreign() {
        return;
    }
    let file = rules("unwritten");
    std::fs::write(&file, "allow everyone all #\n").unwrap();
    let broker = Broker::start_plain(&["--set", &format!("access.file={}", file.display())]);
    let mut watcher = Peer::clean(broker.mqtt, 5, "unwritten-watch");
    watcher.subscribe("#", 0);
    let will = |delay: u32| Will::new("secret/will", "gone").properties(prop_u32(0x18, delay));
    let (mut peer, _) = Peer::connect(broker.mqtt, &Connect::new(5, "unwritten").will(will(0)));
    let delayed = Connect::new(5, "unwritten-late").property(prop_u32(0x11, 3)).will(will(3));
    Peer::connect(broker.mqtt, &delayed).0.vanish();
    std::fs::write(&file, "allow everyone all #\ndeny everyone write secret/#\n").unwrap();
    assert!(broker.reload());
    let until = Instant::now() + PATIENCE;
    for id in 1.. {
        peer.send(&Publish::new(5, "secret/x", "x").qos(1, id).bytes());
        if peer.expect(PUBACK).ack_reason() == 0x87 {
            break;
        }
        assert!(Instant::now() < until, "the rules never take effect");
        assert_eq!(watcher.delivery().topic, "secret/x");
    }
    peer.vanish();
    assert!(watcher.packet_within(Duration::from_secs(5)).is_none(), "a will without the right to it");
    await_metric(&broker, "bitsim_sessions", 1);
    std::fs::remove_file(file).unwrap();
}
