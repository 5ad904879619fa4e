//! Bad CONNECT packets, and bad ways to connect.

use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::family::{self, Case, Outcome};
use crate::packet::{
    self, Connect, Publish, Will, field, frame, prop_byte, prop_field, prop_u16, prop_u32, prop_user,
    prop_varint,
};
use crate::peer::{PATIENCE, Peer};

const CLOSES: Outcome = Outcome::Closes(&[0x01, 0x02, 0x81, 0x82, 0x84, 0x85, 0x8C, 0x90, 0x95, 0x97, 0x99]);

fn case(name: &str, connect: &Connect) -> Case {
    Case::first(name, connect.version, connect.bytes(), CLOSES)
}

fn names_and_flags() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, level) in
        [("MQTT", 0), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0x85), ("MQIsdp", 4), ("MQIsdp", 5), ("", 4)]
    {
        let connect = Connect::new(4, "names").protocol(name, level);
        cases.push(case(&format!("name {name:?}, level {level}"), &connect));
    }
    for version in [4, 5] {
        for flags in [0x01, 0x08, 0x10, 0x18, 0x20, 0x38, 0x1C] {
            cases.push(case(&format!("flags {flags:#04x}"), &Connect::new(version, "flags").flags(flags)));
        }
        cases.push(case("will QoS 3", &Connect::new(version, "will").will(Will::new("w", "w").qos(3))));
        for topic in ["", "w/#", "+", "w/+/x", "w\0"] {
            cases.push(case(
                &format!("will topic {topic:?}"),
                &Connect::new(version, "will").will(Will::new(topic, "w")),
            ));
        }
        let plain = Connect::new(version, "over").body();
        cases.push(Case::first(
            "bytes left over",
            version,
            frame(0x10, &[&plain[..], &[0, 0]].concat()),
            CLOSES,
        ));
    }
    cases.push(case("empty id, 3.1.1, clean 0", &Connect::new(4, "").resume()));
    cases
}

/// A whole CONNECT with all fields, cut at each byte, the length adjusted.
fn cut_everywhere() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [3, 4, 5] {
        let connect = Connect::new(version, "cut")
            .will(Will::new("will/topic", "payload"))
            .user("user")
            .password("word");
        let body = connect.body();
        for len in 0..body.len() {
            let name = format!("version {version}, cut at {len}");
            // MQTT 3.1 lets the flags promise a user name and a password that are missing.
            let missing = [body.len() - 6, body.len() - 12].contains(&len);
            let outcome = if version == 3 && missing { Outcome::Stays } else { CLOSES };
            cases.push(Case::first(name, version, frame(0x10, &body[..len]), outcome));
        }
    }
    cases
}

fn properties() -> Vec<Case> {
    let twice = |one: Vec<u8>| [one.clone(), one].concat();
    let bad = [
        ("Receive Maximum 0", prop_u16(0x21, 0)),
        ("Maximum Packet Size 0", prop_u32(0x27, 0)),
        ("Session Expiry twice", twice(prop_u32(0x11, 1))),
        ("Receive Maximum twice", twice(prop_u16(0x21, 1))),
        ("Topic Alias Maximum twice", twice(prop_u16(0x22, 1))),
        ("method twice", twice(prop_field(0x15, "x"))),
        ("data without method", prop_field(0x16, "x")),
        ("unknown method", prop_field(0x15, "x")),
        ("Request Problem Information 2", prop_byte(0x17, 2)),
        ("Request Response Information 2", prop_byte(0x19, 2)),
        ("property of PUBLISH", prop_byte(0x01, 0)),
        ("property of CONNACK", prop_byte(0x24, 1)),
        ("property of SUBSCRIBE", prop_varint(0x0B, 1)),
        ("will delay outside the will", prop_u32(0x18, 1)),
        ("unknown property", vec![0x00]),
        ("unknown property of two bytes", vec![0xFF, 0x01]),
        ("cut integer", vec![0x11, 0]),
        ("cut string", vec![0x15, 0, 9, b'x']),
        ("user property without value", [vec![0x26], field("k")].concat()),
    ];
    let mut cases: Vec<Case> = bad
        .into_iter()
        .map(|(name, bytes)| case(name, &Connect::new(5, "properties").property(bytes)))
        .collect();
    for (name, bytes) in [
        ("will delay twice", twice(prop_u32(0x18, 1))),
        ("will with Session Expiry", prop_u32(0x11, 1)),
        ("will with Topic Alias", prop_u16(0x23, 1)),
        ("will with format 2", prop_byte(0x01, 2)),
        ("will with response wildcard", prop_field(0x08, "a/#")),
        ("will with unknown property", vec![0x7A, 1]),
    ] {
        cases.push(case(name, &Connect::new(5, "will").will(Will::new("w", "w").properties(bytes))));
    }
    let head = [field("MQTT"), vec![5, 2, 0, 60]].concat();
    cases.push(Case::first(
        "properties past the end",
        5,
        frame(0x10, &[&head[..], &[0x7F, 0]].concat()),
        CLOSES,
    ));
    cases.push(Case::first(
        "properties in a long form",
        5,
        frame(0x10, &[&head[..], &[0x80, 0, 0, 0]].concat()),
        CLOSES,
    ));
    let many: Vec<u8> = (0..5000).flat_map(|_| prop_user("k", "v")).collect();
    let many = Connect::new(5, "many").property(many);
    cases.push(Case::first("5,000 user properties", 5, many.bytes(), Outcome::Either));
    cases
}

fn identifiers() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [4, 5] {
        for id in [&b"\xFF"[..], b"a\0b", b"\xED\xA0\x80", b"\xC0\x80"] {
            cases.push(case(&format!("id {id:02x?}"), &Connect::new(version, "").raw_id(id)));
        }
        for id in [
            "x".repeat(65_535),
            "\u{1}\u{1b}[2J\r\n".to_owned(),
            "\u{7f}\u{9b}".to_owned(),
            "a/+/#".to_owned(),
        ] {
            let name = format!("id of {} bytes", id.len());
            cases.push(Case::first(name, version, Connect::new(version, &id).bytes(), Outcome::Either));
        }
    }
    cases
}

#[test]
fn bad_connect_closes() {
    let mut cases = names_and_flags();
    cases.extend(cut_everywhere());
    cases.extend(properties());
    cases.extend(identifiers());
    family::run(&cases);
}

/// One client identifier from 50 sockets as fast as they can for some seconds: one survivor, and no growth.
#[test]
fn bad_connect_one_identifier_from_many_sockets_leaves_one() {
    let broker = Broker::for_family(&[]);
    let storm = |seconds: f64| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let at = broker.mqtt;
        let threads: Vec<_> = (0..5)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut kept = Vec::new();
                    while Instant::now() < until {
                        let mut peer = Peer::open(at, 5);
                        peer.send_lossy(&Connect::new(5, "contested").durable().bytes());
                        kept.push(peer);
                        if kept.len() > 10 {
                            kept.remove(0);
                        }
                    }
                    kept
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<Peer>>()
    };
    let (peers, before) = family::settle(&broker, || storm(2.0));
    // CONNECTs of sockets that are closed by now may still be on their way, and each of them takes over once.
    let until = Instant::now() + PATIENCE;
    let mut last = loop {
        let mut peer = Peer::open(broker.mqtt, 5);
        peer.send_lossy(&Connect::new(5, "contested").durable().bytes());
        if peer.answered_and_left_alone() {
            break peer;
        }
        assert!(Instant::now() < until, "nobody survives");
    };
    for mut peer in peers {
        peer.closed();
    }
    last.ping();
    family::await_memory(&broker, before);
}

/// A PUBLISH right behind a CONNECT that is refused, in each way a CONNECT can be refused.
#[test]
fn bad_connect_publish_behind_it_is_not_processed() {
    let mut watcher = Peer::clean(broker::at(), 5, "behind-watch");
    watcher.subscribe("bad/behind", 0);
    for connect in [
        Connect::new(5, "behind").property(prop_field(0x15, "NO-SUCH-METHOD")),
        Connect::new(5, "behind").flags(0x01),
        Connect::new(5, "behind").protocol("MQTT", 6),
        Connect::new(4, "").resume(),
        Connect::new(5, "behind").will(Will::new("w/#", "w")),
    ] {
        let mut peer = Peer::open(broker::at(), connect.version);
        let publish = Publish::new(connect.version, "bad/behind", "never").bytes();
        peer.send(&[connect.bytes(), publish].concat());
        peer.closed();
    }
    watcher.quiet();
}

/// Many PUBLISH behind an accepted CONNECT, all in one segment, are all processed, in order.
#[test]
fn connect_with_much_behind_it_is_processed() {
    let mut watcher = Peer::clean(broker::at(), 5, "much-watch");
    watcher.subscribe("bad/much", 0);
    let mut bytes = Connect::new(4, "much").bytes();
    (0..100).for_each(|number| bytes.extend(Publish::new(4, "bad/much", number.to_string()).bytes()));
    bytes.extend(packet::disconnect());
    let mut peer = Peer::open(broker::at(), 4);
    peer.send(&bytes);
    for number in 0..100 {
        assert_eq!(watcher.delivery().text(), number.to_string());
    }
    peer.closed();
}

/// A will for a topic that the client may not write: refused at CONNECT, by the rules for publishing, and the session
/// that was there stays connected. A user name that nobody has proved gives no rights.
#[test]
fn bad_connect_will_for_a_topic_of_others_is_refused() {
    if broker::is_foreign() {
        return;
    }
    let rules = "access.rules=allow everyone readwrite own/%c/#,allow user:boss all #,deny everyone write own/+/locked";
    let broker = Broker::start_plain(&["--set", rules]);
    let reads = "allow everyone read #";
    let watched = Broker::start_plain(&["--set", &format!("{rules},{reads}")]);
    for (broker, may_read) in [(&broker, false), (&watched, true)] {
        let mut watcher = Peer::clean(broker.mqtt, 5, "will-watch");
        if may_read {
            watcher.subscribe("#", 0);
        }
        for version in [3, 4, 5] {
            let mut there = Peer::clean(broker.mqtt, version, "thief");
            for topic in
                ["own/other/inbox", "own/thief/locked", "$SYS/broker/uptime", "$share/g/own/thief/x", "x"]
            {
                for connect in [
                    Connect::new(version, "thief"),
                    Connect::new(version, "thief").user("boss").password("x"),
                ] {
                    let mut peer = Peer::open(broker.mqtt, version);
                    peer.send(&connect.will(Will::new(topic, "forged").retain()).bytes());
                    assert_eq!(
                        peer.closed().reason(),
                        Some(if version == 5 { 0x87 } else { 5 }),
                        "will for {topic}"
                    );
                }
            }
            there.ping();
            watcher.quiet();
            let will = Will::new("own/thief/inbox", "gone");
            Peer::connect(broker.mqtt, &Connect::new(version, "thief").will(will)).0.vanish();
            if may_read {
                assert_eq!(watcher.delivery().text(), "gone");
            }
        }
    }
}
