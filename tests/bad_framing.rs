//! Bad input below MQTT's packets: foreign protocols, broken headers, cut and slow streams.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::family::{self, Case, Outcome};
use crate::packet::{self, Connect, Publish, Will, frame};
use crate::peer::Peer;

const CLOSES: Outcome = Outcome::Closes(&[0x01, 0x81, 0x82, 0x84, 0x95]);

fn foreign_protocols() -> Vec<Case> {
    let texts: [(&str, &[u8]); 6] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("HTTP POST", b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("PROXY", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"),
        ("zeros", &[0; 64]),
    ];
    texts.map(|(name, bytes)| Case::first(name, 5, bytes.to_vec(), CLOSES)).into()
}

fn broken_headers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bytes) in [
        ("PUBLISH of 256 MiB first", &[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..]),
        ("length of five bytes", &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("CONNECT of 256 MiB", &[0x10, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("CONNECT of length 0", &[0x10, 0x00]),
        ("type 0", &[0x00, 0x00]),
        ("type 15", &[0xF0, 0x00]),
    ] {
        cases.push(Case::first(name, 5, bytes.to_vec(), CLOSES));
    }
    for flags in 1..16 {
        let mut bytes = Connect::new(5, "flags").bytes();
        bytes[0] = 0x10 | flags;
        cases.push(Case::first(format!("CONNECT with flags {flags:#x}"), 5, bytes, CLOSES));
    }
    for version in [3, 4, 5] {
        cases.extend(broken_headers_later(version));
    }
    cases
}

fn broken_headers_later(version: u8) -> Vec<Case> {
    let mut cases = vec![
        Case::connected("second CONNECT", version, Connect::new(version, "again").bytes(), CLOSES),
        Case::connected("length of five bytes", version, vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], CLOSES),
        Case::connected("packet of 256 MiB", version, vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], CLOSES),
        Case::connected("type 0", version, vec![0x00, 0x00], CLOSES),
        Case::connected("PINGREQ with a body", version, vec![0xC0, 0x01, 0x00], CLOSES),
    ];
    // What only a server sends, each well-formed.
    for (name, first, body) in [
        ("CONNACK", 0x20, &[0, 0][..]),
        ("SUBACK", 0x90, &[0, 1, 0]),
        ("UNSUBACK", 0xB0, &[0, 1]),
        ("PINGRESP", 0xD0, &[]),
        ("AUTH or type 15", 0xF0, &[]),
    ] {
        cases.push(Case::connected(name, version, frame(first, body), CLOSES));
    }
    if version == 5 {
        cases.push(Case::connected("PINGREQ in a long form", 5, vec![0xC0, 0x80, 0x00], CLOSES));
    }
    for (kind, right) in
        [(0xC0, 0), (0xE0, 0), (0x40, 0), (0x50, 0), (0x60, 2), (0x70, 0), (0x80, 2), (0xA0, 2)]
    {
        for flags in (0..16).filter(|flags| *flags != right) {
            let bytes = frame(kind | flags, &[0, 1, 0, 0, 1, b'a', 0]);
            cases.push(Case::connected(format!("flags {flags:#x} of {kind:#x}"), version, bytes, CLOSES));
        }
    }
    cases
}

#[test]
fn bad_framing_closes() {
    let mut cases = foreign_protocols();
    cases.extend(broken_headers());
    family::run(&cases);
}

/// A generator for bytes, the same in each run.
fn noise(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Random bytes, some after a CONNECT, in chunks of random lengths: whatever happens, the server goes on.
#[test]
fn bad_framing_random_bytes_do_no_harm() {
    let broker = Broker::for_family(&[]);
    let mut seed = 0x5EED_0000_0000_0001;
    family::repeat(&broker, |number| {
        let mut peer = if number % 2 == 0 {
            Peer::open(broker.mqtt, 5)
        } else {
            Peer::clean(broker.mqtt, 4, "random-bytes")
        };
        for _ in 0..8 {
            let len = usize::try_from(noise(&mut seed) % 40).unwrap();
            let chunk: Vec<u8> = (0..len).map(|_| noise(&mut seed).to_le_bytes()[0]).collect();
            peer.send_lossy(&chunk);
        }
    });
    assert!(broker.alive());
    Peer::clean(broker.mqtt, 5, "after-random-bytes").ping();
}

/// Nothing sent, and one byte at a time: the deadline counts from accept, not from the last byte.
#[test]
fn bad_framing_connect_that_never_completes_is_closed() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&["--set", "connections.connect_timeout_secs=2"]);
    let mut silent = Peer::open(broker.mqtt, 5);
    let mut slow = Peer::open(broker.mqtt, 5);
    let start = Instant::now();
    for byte in Connect::new(5, "slow").bytes().iter().take(12) {
        slow.send_lossy(&[*byte]);
        if slow.packet_within(Duration::from_millis(300)).is_some() {
            break;
        }
    }
    assert!(slow.closed().packets.is_empty());
    assert!(silent.closed().packets.is_empty());
    assert!(start.elapsed() < Duration::from_secs(5), "closed after {:?}", start.elapsed());
}

/// The client stops sending but still listens: that is the end, after what was asked is answered.
#[test]
fn bad_framing_half_close_ends_the_connection_with_its_will() {
    let topic = "bad/half-close";
    let mut watcher = Peer::clean(broker::at(), 4, "half-close-watch");
    watcher.subscribe(topic, 0);
    let connect = Connect::new(4, "half-close").will(Will::new(topic, "gone"));
    let (mut peer, _) = Peer::connect(broker::at(), &connect);
    peer.half_close();
    peer.closed();
    assert_eq!(watcher.delivery().text(), "gone");
    // Before CONNECT, and within it.
    for bytes in [&[][..], &Connect::new(5, "half").bytes()[..9]] {
        let mut peer = Peer::open(broker::at(), 5);
        peer.send(bytes);
        peer.half_close();
        assert!(peer.closed().packets.is_empty());
    }
}

/// A reset in the middle of a PUBLISH: the cut message is none, the will is published exactly once.
#[test]
fn bad_framing_reset_within_a_publish_sends_the_will_once() {
    for number in 0..20 {
        let topic = format!("bad/reset/{number}");
        let mut watcher = Peer::clean(broker::at(), 5, &format!("reset-watch-{number}"));
        watcher.subscribe(&topic, 1);
        let connect = Connect::new(5, &format!("reset-{number}")).will(Will::new(&topic, "gone").qos(1));
        let (peer, _) = Peer::connect(broker::at(), &connect);
        let bytes = Publish::new(5, &topic, "x".repeat(1000)).qos(1, 1).bytes();
        reset(peer, &bytes[..bytes.len() / 2]);
        assert_eq!(watcher.delivery_acknowledged().text(), "gone");
        if number % 5 == 0 {
            watcher.quiet();
        }
    }
}

/// Sends `last`, and closes with unread bytes in the receive buffer, which the kernel turns into a reset.
fn reset(mut peer: Peer, last: &[u8]) {
    peer.send(&packet::PINGREQ);
    let mut one = [0];
    peer.stream().set_read_timeout(Some(crate::peer::PATIENCE)).unwrap();
    assert_eq!(peer.stream().peek(&mut one).unwrap(), 1, "a PINGRESP lies unread");
    peer.send(last);
    drop(peer);
}

/// A client that never reads what it is sent costs a bounded amount of memory, and nobody else anything.
#[test]
fn bad_framing_reader_that_never_reads_is_bounded() {
    if broker::is_foreign() {
        return;
    }
    let broker = Broker::start_plain(&["--set", "connections.outbox_bytes_max=1048576"]);
    let mut stuck = Peer::clean(broker.mqtt, 4, "never-reads");
    stuck.subscribe("bad/flood", 0);
    let mut reader = Peer::clean(broker.mqtt, 4, "reads");
    reader.subscribe("bad/marker", 1);
    let before = broker.resident_kib();
    let mut publisher = Peer::clean(broker.mqtt, 4, "flood");
    let message = Publish::new(4, "bad/flood", vec![b'x'; 10_000]).bytes();
    for number in 0..20_u32 {
        (0..500).for_each(|_| publisher.stream().write_all(&message).unwrap());
        publisher.publish("bad/marker", 1, &number.to_string());
        assert_eq!(reader.delivery_acknowledged().text(), number.to_string());
    }
    let after = broker.resident_kib();
    assert!(
        after < before + 32 * 1024,
        "{before} KiB before, {after} KiB after 100 MB for a client that reads none"
    );
}
