//! Bad SUBSCRIBE and UNSUBSCRIBE packets, and more of good ones than anybody needs.

use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::family::{self, Case, Outcome, Witness, repeats, told};
use crate::metrics::{await_metric, metric};
use crate::packet::{
    self, Connect, Publish, SUBSCRIBE, UNSUBSCRIBE, field, frame, prop_byte, prop_u16, prop_u32, prop_user,
    prop_varint, subscribe, subscribe_with, unsubscribe,
};
use crate::peer::{PATIENCE, Peer};

const CLOSES: Outcome = Outcome::Closes(&[0x81, 0x82, 0x8F, 0x94, 0x95, 0x97]);

/// Subscriptions one session may have by default.
const QUOTA: usize = 200;

fn case(name: &str, version: u8, bytes: Vec<u8>) -> Case {
    Case::connected(format!("{name} (version {version})"), version, bytes, CLOSES)
}

/// Identifier and, for MQTT 5, an empty list of properties.
fn head(version: u8) -> &'static [u8] {
    if version == 5 { &[0, 1, 0] } else { &[0, 1] }
}

fn filters(version: u8) -> Vec<Case> {
    let mut cases = Vec::new();
    for bad in
        ["", "a/#/b", "#/", "#/b", "a#", "a/b#", "#a", "##", "+a", "a+", "++", "a/+b/c", "a/+#", "a\0b"]
    {
        cases.push(case(&format!("to {bad:?}"), version, subscribe(version, 1, &[("good", 0), (bad, 1)])));
        cases.push(case(&format!("from {bad:?}"), version, unsubscribe(version, 1, &["good", bad])));
    }
    for bad in [&b"\xFF"[..], b"\xED\xA0\x80", b"\xC0\xAF", b"a/\xE2\x82"] {
        let body = [head(version), &field(bad), &[0]].concat();
        cases.push(case(&format!("to {bad:02x?}"), version, frame(SUBSCRIBE, &body)));
        let body = [head(version), &field(bad)].concat();
        cases.push(case(&format!("from {bad:02x?}"), version, frame(UNSUBSCRIBE, &body)));
    }
    // Before MQTT 5 these are ordinary filters, which we need not serve.
    let outcome = if version == 5 { CLOSES } else { Outcome::Either };
    for bad in
        ["$share", "$share/", "$share/g", "$share/g/", "$share//t", "$share/+/t", "$share/#", "$share/g#/t"]
    {
        let name = format!("shared as {bad:?}");
        cases.push(Case::connected(name, version, subscribe(version, 1, &[(bad, 0)]), outcome));
        cases.push(Case::connected(
            format!("no longer {bad:?}"),
            version,
            unsubscribe(version, 1, &[bad]),
            outcome,
        ));
    }
    for bad in ["$share/g/a#", "$share/g/#/a", "$share/g/a\0"] {
        cases.push(case(&format!("shared as {bad:?}"), version, subscribe(version, 1, &[(bad, 0)])));
    }
    // Right in form, beyond what we serve: refused one way or the other.
    for long in [
        "x".repeat(65_535),
        "/".repeat(65_535),
        "+/".repeat(1000) + "#",
        format!("$share/{}/t", "g".repeat(60_000)),
    ] {
        let name = format!("filter of {} bytes", long.len());
        let bytes = subscribe(version, 1, &[(&long, 0)]);
        cases.push(Case::connected(name, version, bytes, Outcome::Either));
    }
    cases
}

fn options(version: u8) -> Vec<Case> {
    let reserved: Vec<u8> = match version {
        5 => (0..=255).filter(|byte| byte & 0xC0 != 0 || byte & 3 == 3 || byte & 0x30 == 0x30).collect(),
        _ => (3..=255).collect(),
    };
    // MQTT 3.1 calls the upper bits unused.
    let outcome = |byte: u8| if version == 3 && byte & 3 != 3 { Outcome::Either } else { CLOSES };
    let mut cases: Vec<Case> = reserved
        .into_iter()
        .map(|byte| {
            let bytes = subscribe(version, 1, &[("a", 1), ("b", byte)]);
            Case::connected(format!("options {byte:#04x} (version {version})"), version, bytes, outcome(byte))
        })
        .collect();
    if version == 5 {
        for byte in [0x04, 0x05, 0x2E] {
            cases.push(case("No Local on a shared one", 5, subscribe(5, 1, &[("$share/g/t", byte)])));
        }
    }
    cases
}

fn shapes(version: u8) -> Vec<Case> {
    let plain = subscribe(version, 1, &[("a", 0)]);
    let mut cases = vec![
        case("no filter", version, subscribe(version, 1, &[])),
        case("no filter to end", version, unsubscribe(version, 1, &[])),
        case("identifier 0", version, subscribe(version, 0, &[("a", 0)])),
        case("identifier 0 to end", version, unsubscribe(version, 0, &["a"])),
        Case::first("SUBSCRIBE without CONNECT", version, plain.clone(), CLOSES),
        Case::first("UNSUBSCRIBE without CONNECT", version, unsubscribe(version, 1, &["a"]), CLOSES),
        Case::connected(
            "what was never subscribed",
            version,
            unsubscribe(version, 1, &["a"; 500]),
            Outcome::Stays,
        ),
        // The specification leaves open what comes of an identifier that is in use.
        Case::connected("identifier twice", version, [plain.clone(), plain].concat(), Outcome::Stays),
    ];
    cases.extend(cut_everywhere(version, SUBSCRIBE, &[&field("one/+"), &[1], &field("#"), &[2]], &[2, 4]));
    cases.extend(cut_everywhere(version, UNSUBSCRIBE, &[&field("one/+"), &field("#")], &[1, 2]));
    cases
}

/// A packet cut at each byte, its length adjusted. It is whole behind those of its parts that `whole` numbers.
fn cut_everywhere(version: u8, first: u8, parts: &[&[u8]], whole: &[usize]) -> Vec<Case> {
    let body = [head(version), &parts.concat()].concat();
    let ends = whole.iter().map(|count| head(version).len() + parts[..*count].concat().len());
    let ends: Vec<usize> = ends.collect();
    let cut = |len: usize| {
        let outcome = if ends.contains(&len) { Outcome::Stays } else { CLOSES };
        let name = format!("{first:#04x} cut at {len} (version {version})");
        Case::connected(name, version, frame(first, &body[..len]), outcome)
    };
    (0..=body.len()).map(cut).collect()
}

fn properties() -> Vec<Case> {
    let twice = |one: Vec<u8>| [one.clone(), one].concat();
    let mut cases = Vec::new();
    for (name, bytes) in [
        ("subscription identifier 0", prop_varint(0x0B, 0)),
        ("subscription identifier of five bytes", vec![0x0B, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("subscription identifier in a long form", vec![0x0B, 0x81, 0x00]),
        ("subscription identifier twice", twice(prop_varint(0x0B, 1))),
        ("cut subscription identifier", vec![0x0B, 0x80]),
        ("format", prop_byte(0x01, 1)),
        ("alias", prop_u16(0x23, 1)),
        ("Session Expiry", prop_u32(0x11, 1)),
        ("unknown property", vec![0x7F, 0]),
        ("cut user property", vec![0x26, 0, 1, b'k', 0, 9, b'v']),
        ("user property of no UTF-8", [vec![0x26], field(b"\xFF"), field("v")].concat()),
    ] {
        cases.push(case(name, 5, subscribe_with(5, 1, &bytes, &[("a", 0)])));
    }
    let number = [vec![0, 1, 2], prop_varint(0x0B, 1), field("a")].concat();
    cases.push(case("subscription identifier in UNSUBSCRIBE", 5, frame(UNSUBSCRIBE, &number)));
    for first in [SUBSCRIBE, UNSUBSCRIBE] {
        let past = [&[0, 1, 0x50][..], &field("a"), &[0]].concat();
        cases.push(case("properties past the end", 5, frame(first, &past)));
        let long = [&[0, 1, 0x80, 0x00][..], &field("a"), &[0]].concat();
        cases.push(case("length of properties in a long form", 5, frame(first, &long)));
    }
    let many: Vec<u8> = (0..5000).flat_map(|_| prop_user("k", "v")).collect();
    let many = subscribe_with(5, 1, &many, &[("a", 0)]);
    cases.push(Case::connected("5,000 user properties", 5, many, Outcome::Either));
    cases
}

#[test]
fn bad_subscribe_closes() {
    let mut cases = properties();
    for version in [3, 4, 5] {
        cases.extend(filters(version));
        cases.extend(options(version));
        cases.extend(shapes(version));
    }
    family::run(&cases);
}

/// Sends SUBSCRIBE or UNSUBSCRIBE and waits for its answer's codes.
fn answer(peer: &mut Peer, version: u8, bytes: &[u8]) -> Vec<u8> {
    peer.send(bytes);
    let kind = if bytes[0] == SUBSCRIBE { packet::SUBACK } else { packet::UNSUBACK };
    let answer = peer.pick(kind);
    assert_eq!(answer.id(), 1);
    answer.reasons(version)
}

/// `count` filters of their own in one packet.
fn many(version: u8, prefix: &str, count: usize) -> Vec<u8> {
    let filters: Vec<String> = (0..count).map(|number| format!("{prefix}/{number}")).collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    subscribe(version, 1, &filters)
}

/// A code that refuses one filter for its number.
fn refused(version: u8) -> u8 {
    if version == 5 { 0x97 } else { 0x80 }
}

/// Each filter of a packet gets its code, in order: those within the quota are granted, the others refused alone.
///
/// [MQTT-3.8.4-6] [MQTT-3.9.3-1]
#[test]
fn bad_subscribe_ten_thousand_filters_in_a_packet() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&[]);
    let mut witness = Witness::new(&broker);
    for version in [3, 4, 5] {
        let (mut peer, _) = Peer::connect(broker.mqtt, &Connect::new(version, "ten-thousand"));
        let codes = answer(&mut peer, version, &many(version, "bad/many", 10_000));
        assert_eq!(codes.len(), 10_000);
        assert!(codes[..QUOTA].iter().all(|code| *code == 1), "{:?}", &codes[..QUOTA]);
        assert!(
            codes[QUOTA..].iter().all(|code| *code == refused(version)),
            "{:?}",
            &codes[QUOTA..QUOTA + 9]
        );
        await_metric(&broker, "bitsim_subscriptions", 1 + 200);
        peer.publish("bad/many/199", 0, "granted");
        peer.publish("bad/many/200", 0, "refused");
        peer.publish("bad/many/0", 0, "last");
        assert_eq!((peer.delivery().text(), peer.delivery().text()), ("granted".into(), "last".into()));
        peer.vanish();
        witness.alone(&broker);
    }
}

/// One filter as often as a packet of the greatest size holds it: one subscription, a code each, and no more memory
/// for the second such packet than for the first.
#[test]
fn bad_subscribe_one_filter_in_a_packet_a_quarter_of_a_million_times() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&[]);
    let mut witness = Witness::new(&broker);
    witness.check();
    for (version, filter) in [(4, "r"), (5, "r"), (5, "$share/g/t")] {
        let (mut peer, _) = Peer::connect(broker.mqtt, &Connect::new(version, "same-filter"));
        let count = (1_048_576 - 8) / (3 + filter.len());
        let bytes = subscribe(version, 1, &vec![(filter, 2); count]);
        let mut before = 0;
        for round in 0..6 {
            let codes = answer(&mut peer, version, &bytes);
            assert_eq!(codes.len(), count);
            assert!(codes.iter().all(|code| *code == 2 || *code == refused(version)));
            assert!(codes[..1000].iter().all(|code| *code == 2));
            if round == 2 {
                before = broker.resident_kib();
            }
        }
        family::await_memory(&broker, before);
        await_metric(&broker, "bitsim_subscriptions", 2);
        let codes = answer(&mut peer, version, &unsubscribe(version, 1, &[filter, filter]));
        assert!(version < 5 || codes == [0x00, 0x11], "{codes:?}");
        peer.vanish();
        witness.alone(&broker);
    }
    told(&format!("a bystander's slowest message: {:?}", witness.slowest()));
}

/// A million filters, ten thousand in a packet: the quota refuses all but its 200, and they cost nothing.
#[test]
fn bad_subscribe_a_million_subscriptions_meet_the_quota() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&[]);
    let mut witness = Witness::new(&broker);
    let (mut peer, _) = Peer::connect(broker.mqtt, &Connect::new(5, "million").durable());
    assert!(answer(&mut peer, 5, &many(5, "bad/first", QUOTA)).iter().all(|code| *code == 1));
    let mut round = |number: usize| {
        let codes = answer(&mut peer, 5, &many(5, &format!("bad/{number}"), 10_000));
        assert!(codes.iter().all(|code| *code == 0x97));
    };
    let rounds = repeats() / 100;
    let ((), before) = family::settle(&broker, || (0..3).for_each(&mut round));
    (0..rounds).for_each(&mut round);
    let after = family::await_memory(&broker, before);
    witness.check();
    await_metric(&broker, "bitsim_subscriptions", 1 + 200);
    told(&format!("{} filters, resident {before} KiB before, {after} KiB after", rounds * 10_000));
    // Room for a new one comes with the end of an old one.
    answer(&mut peer, 5, &unsubscribe(5, 1, &["bad/first/7"]));
    assert_eq!(answer(&mut peer, 5, &many(5, "bad/late", 2)), [1, 0x97]);
    // With the session goes all that is its.
    Peer::connect(broker.mqtt, &Connect::new(5, "million")).0.leave();
    witness.alone(&broker);
}

/// Wildcards so short that every shard must know them have a bound over all sessions.
#[test]
fn bad_subscribe_short_wildcards_meet_their_bound() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&["--shards", "1", "--set", "topics.short_wildcards_max=300"]);
    let mut witness = Witness::new(&broker);
    let wild = |session: usize| -> Vec<String> { (0..QUOTA).map(|n| format!("{session}-{n}/#")).collect() };
    let mut granted = 0;
    let mut peers = Vec::new();
    for session in 0..3 {
        let filters = wild(session);
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
        let mut peer = Peer::clean(broker.mqtt, 5, &format!("short-{session}"));
        let codes = answer(&mut peer, 5, &subscribe(5, 1, &filters));
        granted += codes.iter().filter(|code| **code == 0).count();
        assert!(codes.iter().all(|code| [0, 0x97].contains(code)));
        // Longer ones are not held by all.
        assert_eq!(
            answer(&mut peer, 5, &subscribe(5, 1, &[("long/enough/to/have/one/home/#", 1)]))[0] & 0x80,
            if session == 0 { 0x80 } else { 0 }
        );
        peers.push(peer);
    }
    assert_eq!(granted, 300);
    drop(peers);
    witness.alone(&broker);
    let mut peer = Peer::clean(broker.mqtt, 5, "short-again");
    let filters = wild(9);
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    assert!(answer(&mut peer, 5, &subscribe(5, 1, &filters)).iter().all(|code| *code == 0));
}

/// 1,000 filters of 20 levels, `+` in nearly all: a topic they all match costs a message for each session, and neither
/// that topic nor one that fails at its last level holds anybody up.
#[test]
fn bad_subscribe_a_thousand_filters_of_twenty_wildcards() {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    let filter = |number: usize| {
        let level = |at: usize| if at < 10 && number >> at & 1 == 1 { "a" } else { "+" };
        (0..20).map(level).collect::<Vec<_>>().join("/")
    };
    let mut peers: Vec<Peer> = (0..5)
        .map(|session| {
            let mut peer = Peer::clean(broker.mqtt, 4, &format!("wild-{session}"));
            let filters: Vec<String> = (0..QUOTA).map(|number| filter(session * QUOTA + number)).collect();
            let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
            assert!(answer(&mut peer, 4, &subscribe(4, 1, &filters)).iter().all(|code| *code == 0));
            peer
        })
        .collect();
    let all = vec!["a"; 20].join("/");
    for topic in [&all, &format!("{all}/a"), &all[2..].to_owned()] {
        let start = Instant::now();
        let bytes = Publish::new(4, topic, "x").bytes().repeat(10);
        let mut publisher = Peer::clean(broker.mqtt, 4, "wild-publisher");
        for _ in 0..repeats() / 100 {
            publisher.send(&bytes);
            publisher.ping();
            witness.check();
        }
        assert!(
            start.elapsed() < PATIENCE * u32::try_from(repeats() / 1000 + 1).unwrap(),
            "{:?}",
            start.elapsed()
        );
        if *topic == all {
            // A server may send one message for all that overlap, or one for each.
            peers.iter_mut().for_each(|peer| assert_eq!(peer.delivery().topic, all));
        }
    }
    told(&format!("a bystander's slowest message: {:?}", witness.slowest()));
    drop(peers);
    witness.alone(&broker);
}

/// One session that subscribes and unsubscribes filters of every kind, each new, as fast as it is answered.
fn churn(broker: &Broker, session: usize, until: Instant) -> usize {
    let version = [3, 4, 5][session % 3];
    let connect = Connect::new(version, &format!("churn-{session}"));
    let connect = if session.is_multiple_of(2) { connect.durable() } else { connect };
    let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
    let mut count = 0;
    while Instant::now() < until {
        let base = format!("churn/{session}/{count}");
        let filters = [
            base.clone(),
            format!("{base}/+/x"),
            format!("{base}/#"),
            format!("$share/{count}/{base}"),
            format!("{count}/#"),
        ];
        let wanted: Vec<(&str, u8)> =
            filters.iter().zip([1, 2, 0, 1, 1]).map(|(text, qos)| (text.as_str(), qos)).collect();
        let names: Vec<&str> = filters.iter().map(String::as_str).collect();
        // Both at once: the second is asked for while the homes have not answered the first.
        peer.send(&[subscribe(version, 1, &wanted), unsubscribe(version, 1, &names)].concat());
        assert_eq!(peer.pick(packet::SUBACK).reasons(version), [1, 2, 0, 1, 1]);
        let codes = peer.pick(packet::UNSUBACK).reasons(version);
        assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
        count += 1;
    }
    // The last ones stay, and end with their session.
    peer.subscribe(&format!("churn/{session}/stays"), 1);
    peer.vanish();
    Peer::connect(broker.mqtt, &Connect::new(version, &format!("churn-{session}"))).0.leave();
    count
}

/// Subscribing and unsubscribing at full rate, a minute in the campaign: every count returns to zero, and the memory.
#[test]
fn bad_subscribe_and_unsubscribe_at_full_rate_leave_nothing() {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    let mut storm = |length: Duration| -> usize {
        let until = Instant::now() + length;
        std::thread::scope(|scope| {
            let broker = &broker;
            let threads: Vec<_> =
                (0..6).map(|session| scope.spawn(move || churn(broker, session, until))).collect();
            while Instant::now() < until {
                witness.check();
                std::thread::sleep(Duration::from_millis(50));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    };
    let length = Duration::from_millis(3 * u64::try_from(repeats()).unwrap());
    let mut count = storm(length);
    let before = broker.resident_kib();
    count += storm(length);
    let after = family::await_memory(&broker, before);
    witness.alone(&broker);
    if broker.http.is_some() {
        assert_eq!(metric(&broker, "bitsim_lane_items{shard=\"0\",lane=\"first\"}"), 0);
    }
    let (filters, slowest) = (5 * count, witness.slowest());
    told(&format!(
        "{filters} filters in {:?}, resident {before} KiB before, {after} KiB after, a bystander's slowest message: {slowest:?}",
        length * 2
    ));
}

/// Retains `count` messages, pipelined.
fn retain(broker: &Broker, count: usize) {
    let (mut peer, connack) = Peer::connect(broker.mqtt, &Connect::new(5, "retainer"));
    let window = connack.properties.number(0x21).map_or(100, |max| usize::try_from(max).unwrap());
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(window.min(1000)) {
        let one = |(at, number): (usize, &usize)| {
            let id = u16::try_from(at + 1).unwrap();
            Publish::new(5, &format!("many/{}/{number}", number % 100), "x".repeat(20))
                .retain()
                .qos(1, id)
                .bytes()
        };
        peer.send(&chunk.iter().enumerate().flat_map(one).collect::<Vec<u8>>());
        chunk.iter().for_each(|_| assert_eq!(peer.expect(packet::PUBACK).ack_reason() & 0x80, 0));
    }
    peer.leave();
}

/// `#` over very many retained messages: they come as fast as each client takes them, one that takes none gets few, and
/// nobody else waits.
#[test]
fn bad_subscribe_to_all_retained_messages_is_paced() {
    let broker = Broker::for_family(&["--shards", "2"]);
    let count = 100 * repeats() / 10;
    retain(&broker, count);
    let mut witness = Witness::new(&broker);
    let before = broker.resident_kib();
    // One does not read, one does not acknowledge, one has a window of ten and acknowledges each.
    let mut deaf = Peer::clean(broker.mqtt, 5, "deaf");
    (0..50).for_each(|_| deaf.send(&subscribe(5, 1, &[("#", 0)])));
    let (mut mute, _) = Peer::connect(broker.mqtt, &Connect::new(5, "mute").property(prop_u16(0x21, 10)));
    mute.subscribe("#", 1);
    let (mut small, _) = Peer::connect(broker.mqtt, &Connect::new(5, "small").property(prop_u16(0x21, 10)));
    small.subscribe("many/#", 1);
    let mut last = String::new();
    for number in 0..count {
        let delivery = small.delivery_acknowledged();
        assert!(delivery.retain && delivery.topic.starts_with("many/"), "{delivery:?}");
        assert_ne!(delivery.topic, last);
        last = delivery.topic;
        if number.is_multiple_of(1000) {
            witness.check();
        }
    }
    small.quiet();
    (0..10).for_each(|_| assert!(mute.delivery().retain));
    mute.quiet();
    let during = broker.resident_kib();
    assert!(during < before + 16 * 1024, "{before} KiB before, {during} KiB with slow clients");
    told(&format!("{count} retained messages, a bystander's slowest message: {:?}", witness.slowest()));
    drop((deaf, mute, small));
    witness.alone(&broker);
}

/// Asks for the same retained messages over and over without ever acknowledging one: what waits has a bound.
#[test]
fn bad_subscribe_again_and_again_for_retained_messages_is_bounded() {
    let broker = Broker::for_family(&[]);
    retain(&broker, 1000);
    let mut witness = Witness::new(&broker);
    let (mut peer, _) = Peer::connect(broker.mqtt, &Connect::new(5, "again").property(prop_u16(0x21, 1)));
    let same = subscribe(5, 1, &[("many/#", 1); 500]);
    let mut round = |number: usize| {
        answer(&mut peer, 5, &same);
        // A filter that ends takes with it what it still wanted.
        let name = format!("many/{}/+", number % 100);
        answer(&mut peer, 5, &subscribe(5, 1, &[(name.as_str(), 1); 100]));
        answer(&mut peer, 5, &unsubscribe(5, 1, &[&name]));
    };
    let rounds = repeats() / 5;
    (0..rounds / 4).for_each(&mut round);
    let before = broker.resident_kib();
    (rounds / 4..rounds).for_each(&mut round);
    let after = family::await_memory(&broker, before);
    told(&format!("{} filters, resident {before} KiB before, {after} KiB after", rounds * 600));
    witness.check();
    drop(peer);
    witness.alone(&broker);
}
