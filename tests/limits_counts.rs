//! How many connections and sessions there may be and how fast they may come, what one more gets, and that the metrics count it.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::metrics::{await_metric, metric};
use crate::packet::{Connect, PUBACK, Publish, Will};
use crate::peer::{PATIENCE, Peer};

/// Tries until a connection is accepted: a close by the other side takes a moment to be seen.
fn connects_at_last(broker: &Broker, id: &str) -> Peer {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut peer = Peer::open(broker.mqtt, 4);
        peer.send_lossy(&Connect::new(4, id).bytes());
        if peer.packet_within(Duration::from_secs(1)).is_some_and(|packet| packet.connack(4).reason == 0) {
            return peer;
        }
        assert!(Instant::now() < until, "no room came back");
    }
}

#[test]
fn limits_one_connection_too_many_is_closed_at_accept() {
    const REFUSED: &str = "bitsim_connections_refused_total{reason=\"connections_max\"}";
    for shards in ["1", "3"] {
        let broker = Broker::start_plain(&["--shards", shards, "--set", "connections.max=4"]);
        let mut peers: Vec<Peer> =
            (0..4).map(|n| Peer::clean(broker.mqtt, [4, 5][n % 2], &format!("counted-{n}"))).collect();
        assert_eq!(metric(&broker, REFUSED), 0);
        for version in [3, 4, 5] {
            let mut extra = Peer::open(broker.mqtt, version);
            extra.send_lossy(&Connect::new(version, "extra").bytes());
            assert!(extra.closed().packets.is_empty());
        }
        await_metric(&broker, REFUSED, 3);
        peers.iter_mut().for_each(Peer::ping);
        // Room comes back however a connection ends, and no more of it than there was.
        for round in 0..3 {
            peers.remove(0).vanish();
            peers.push(connects_at_last(&broker, &format!("polite-{round}")));
            peers.remove(0).leave();
            peers.push(connects_at_last(&broker, &format!("again-{round}")));
            let mut extra = Peer::open(broker.mqtt, 5);
            extra.send_lossy(&Connect::new(5, "extra").bytes());
            assert!(extra.closed().packets.is_empty());
        }
        peers.iter_mut().for_each(Peer::ping);
    }
}

#[test]
fn limits_one_session_too_many_is_refused() {
    let broker = Broker::start_plain(&["--shards", "1", "--set", "session.max=3"]);
    let away = Peer::connect(broker.mqtt, &Connect::new(5, "away").durable()).0;
    away.leave();
    let mut first = Peer::clean(broker.mqtt, 5, "first");
    let second = Peer::clean(broker.mqtt, 4, "second");
    for (version, reason) in [(3, 3), (4, 3), (5, 0x97)] {
        let mut extra = Peer::open(broker.mqtt, version);
        extra.send(&Connect::new(version, "extra").bytes());
        assert_eq!(extra.closed().reason(), Some(reason), "version {version}");
    }
    await_metric(&broker, "bitsim_refusals_total{reason=\"sessions_max\"}", 3);
    // A session that exists is no new one, whether it goes on or begins again.
    let (back, connack) = Peer::connect(broker.mqtt, &Connect::new(5, "away").durable().resume());
    assert_eq!(connack.flags, 1);
    let anew = Peer::clean(broker.mqtt, 5, "away");
    drop(back);
    first.ping();
    second.leave();
    let third = connects_at_last(&broker, "third");
    drop((anew, third));
}

#[test]
fn limits_an_address_that_connects_too_fast_is_closed_at_accept() {
    const REFUSED: &str = "bitsim_connections_refused_total{reason=\"rate\"}";
    let settings = ["--shards", "1", "--set", "connections.rate=1", "--set", "connections.rate_burst=5"];
    let broker =
        Broker::start_plain(&[&settings[..], &["--set", "connections.rate_on_loopback=true"]].concat());
    let attempts = || {
        let began = Instant::now();
        let peers = (0..20).filter(|n| {
            let mut peer = Peer::open(broker.mqtt, 4);
            peer.send_lossy(&Connect::new(4, &format!("fast-{n}")).bytes());
            peer.packet_within(PATIENCE).is_some_and(|packet| packet.connack(4).reason == 0)
        });
        (u64::try_from(peers.count()).unwrap(), began.elapsed().as_secs() + 1)
    };
    let (accepted, seconds) = attempts();
    assert!((5..=5 + seconds).contains(&accepted), "{accepted} of 20 in {seconds} s");
    await_metric(&broker, REFUSED, 20 - accepted);
    // A second of rest is worth one connection.
    connects_at_last(&broker, "rested").ping();
    // By default loopback is exempt.
    let open = Broker::start_plain(&settings);
    let mut peers: Vec<Peer> = (0..20).map(|n| Peer::clean(open.mqtt, 4, &format!("exempt-{n}"))).collect();
    peers.iter_mut().for_each(Peer::ping);
    assert_eq!(metric(&open, REFUSED), 0);
}

/// [MQTT-3.2.2-11]
#[test]
fn limits_a_qos_above_the_maximum_is_named() {
    let broker = Broker::start_plain(&["--set", "packets.qos_max=1"]);
    let (mut peer, connack) = Peer::connect(broker.mqtt, &Connect::new(5, "qos-max"));
    assert_eq!(connack.properties.number(0x24), Some(1), "Maximum QoS");
    peer.send(&Publish::new(5, "limits/qos", "x").qos(2, 1).bytes());
    assert_eq!(peer.closed().reason(), Some(0x9B));
    await_metric(&broker, r#"bitsim_violations_total{kind="qos_above_maximum"}"#, 1);
}

/// Who can be told is refused; a message of anybody else goes to its subscribers, and only retaining it is left out.
#[test]
fn limits_a_retained_message_too_many_is_refused_or_at_least_delivered() {
    let broker = Broker::start_plain(&["--set", "retained.max=0"]);
    let mut watcher = Peer::clean(broker.mqtt, 5, "retained-watch");
    watcher.subscribe("limits/#", 1);

    let mut told = Peer::clean(broker.mqtt, 5, "told");
    told.send(&Publish::new(5, "limits/told", "refused").retain().qos(1, 1).bytes());
    assert_eq!(told.expect(PUBACK).ack_reason(), 0x97);
    watcher.quiet();

    let mut untold = Peer::clean(broker.mqtt, 4, "untold");
    untold.send(&Publish::new(4, "limits/untold", "delivered").retain().qos(1, 1).bytes());
    untold.expect(PUBACK);
    assert_eq!(watcher.delivery_acknowledged().text(), "delivered");

    let will = Will::new("limits/will", "gone").qos(1).retain();
    let (leaving, _) = Peer::connect(broker.mqtt, &Connect::new(5, "leaving").will(will));
    leaving.vanish();
    assert_eq!(watcher.delivery_acknowledged().text(), "gone");

    let mut late = Peer::clean(broker.mqtt, 5, "late");
    late.subscribe("limits/#", 1);
    late.quiet();
}
