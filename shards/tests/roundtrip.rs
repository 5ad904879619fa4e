//! CONNECT, SUBSCRIBE and PUBLISH through real sockets.

use crate::broker::{Broker, start_at};
use crate::client::{Client, PATIENCE, connect, publish};
use bitsim_shards::StartError;
use std::sync::mpsc::sync_channel;

/// Every pair of shards carries messages in both hops: as many clients as make each shard a publisher and a subscriber.
fn everybody_hears_everybody(shards: u16, qos: u8) {
    let broker = Broker::new(shards);
    let mut clients: Vec<Client> =
        (0..12).map(|n| Client::new(broker.address(), &format!("client-{n}"))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("room/{n}"), qos);
        client.subscribe("all/of/you", qos);
    }
    let count = clients.len();
    for from in 0..count {
        let to = (from + 5) % count;
        let payload = format!("{from} to {to}").into_bytes();
        clients[from].publish(&format!("room/{to}"), qos, &payload);
        if qos == 1 {
            assert_eq!(clients[from].packet(), [0x40, 2, 0, 9]);
        }
        assert_eq!(clients[to].message(), payload);
    }
    clients[0].publish("all/of/you", qos, b"hello");
    // The publisher's own copy and its PUBACK may come in any order.
    let mut got = (0, 0);
    while got != (1, usize::from(qos)) {
        let packet = clients[0].packet();
        match packet[0] >> 4 {
            3 => got.0 += 1,
            4 => got.1 += 1,
            other => panic!("packet type {other}"),
        }
    }
    for client in clients.iter_mut().skip(1) {
        assert_eq!(client.message(), b"hello");
    }
    clients.into_iter().skip(1).for_each(Client::leave);
}

#[test]
fn one_shard() {
    everybody_hears_everybody(1, 0);
    everybody_hears_everybody(1, 1);
}

#[test]
fn two_shards() {
    everybody_hears_everybody(2, 0);
    everybody_hears_everybody(2, 1);
}

#[test]
fn five_shards() {
    everybody_hears_everybody(5, 0);
    everybody_hears_everybody(5, 1);
}

/// Four publishers on their shards, one reader, at QoS 1: nothing is lost, and each publisher's order is kept. They are held to what the
/// reader's window and queue hold, since a client that is slower than that is closed.
#[test]
fn a_stream_between_shards_loses_nothing() {
    const EACH: u32 = 4_000;
    const PART: u32 = 50;
    let broker = Broker::new(4);
    let address = broker.address();
    let mut reader = Client::new(address, "reader");
    for n in 0..4 {
        reader.subscribe(&format!("stream/{n}"), 1);
    }
    let (gates, writers): (Vec<_>, Vec<_>) = (0..4)
        .map(|n| {
            let (gate, parts_read) = sync_channel(EACH as usize);
            (0..4).for_each(|_| gate.send(()).unwrap());
            let writer = std::thread::spawn(move || {
                let mut client = Client::new(address, &format!("writer-{n}"));
                for part in 0..EACH / PART {
                    parts_read.recv_timeout(PATIENCE).unwrap();
                    for number in part * PART..(part + 1) * PART {
                        client.publish(&format!("stream/{n}"), 1, format!("{n} {number}").as_bytes());
                    }
                    (0..PART).for_each(|_| assert_eq!(client.packet(), [0x40, 2, 0, 9]));
                }
                client.leave();
            });
            (gate, writer)
        })
        .unzip();
    let mut next = [0; 4];
    for _ in 0..4 * EACH {
        let text = String::from_utf8(reader.message()).unwrap();
        let (writer, number) = text.split_once(' ').unwrap();
        let writer: usize = writer.parse().unwrap();
        assert_eq!(number.parse::<u32>().unwrap(), next[writer]);
        next[writer] += 1;
        if next[writer] % PART == 0 {
            // The writer may be done.
            let _ = gates[writer].send(());
        }
    }
    assert_eq!(next, [EACH; 4]);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

/// A payload beyond one receive buffer and one socket buffer arrives whole, at a reader that is slow to look.
#[test]
fn a_large_message_arrives_whole() {
    for shards in [1, 2] {
        let broker = Broker::new(shards);
        let mut reader = Client::new(broker.address(), "reader");
        reader.subscribe("large/one", 0);
        let mut writer = Client::new(broker.address(), "writer");
        let payload: Vec<u8> = (0..900_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        for _ in 0..3 {
            writer.write(&publish("large/one", 0, &payload));
        }
        for _ in 0..3 {
            assert!(reader.message() == payload);
        }
    }
}

#[test]
fn the_log_in_decides_from_its_own_thread() {
    for shards in [1, 2] {
        let broker = Broker::new(shards);
        let mut known = Client::raw(broker.address());
        known.write(&connect("known", Some("yes")));
        assert_eq!(known.packet(), [0x20, 2, 0, 0]);
        let mut unknown = Client::raw(broker.address());
        unknown.write(&connect("unknown", Some("no")));
        assert_eq!(unknown.packet(), [0x20, 2, 0, 4]);
        assert_eq!(unknown.try_packet(), None);
    }
}

/// A question that nobody answers ends as if the log-in were out of order, at once.
#[test]
fn a_dropped_question_is_answered() {
    let broker = Broker::new(1);
    let mut client = Client::raw(broker.address());
    client.write(&connect("lost", Some("lost")));
    assert_eq!(client.packet(), [0x20, 2, 0, 3]);
    assert_eq!(client.try_packet(), None);
}

#[test]
fn a_taken_address_is_named() {
    let broker = Broker::new(2);
    let address = broker.address();
    assert!(matches!(start_at(address), Err(StartError::AddressInUse(taken)) if taken == address));
}
