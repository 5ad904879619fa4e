//! Connections before their CONNECT is complete, and their move to the shard of the session.

use crate::broker::Broker;
use crate::client::{Client, connect, publish};
use bitsim_engine::limits::Limits;

/// Whichever shard accepts: the session is found, the old link is told, the new one works.
#[test]
fn a_session_is_taken_over_wherever_its_client_lands() {
    let broker = Broker::new(3);
    let mut old = Client::new(broker.address(), "wanderer");
    for _ in 0..20 {
        let new = Client::new(broker.address(), "wanderer");
        assert_eq!(old.try_packet(), None);
        old = new;
    }
    old.leave();
}

#[test]
fn a_connect_in_pieces_is_put_together() {
    for shards in [1, 3] {
        let broker = Broker::new(shards);
        for n in 0..8 {
            let mut client = Client::raw(broker.address());
            for byte in connect(&format!("slow-{n}"), None) {
                client.write(&[byte]);
            }
            assert_eq!(client.packet(), [0x20, 2, 0, 0]);
            client.leave();
        }
    }
}

/// What is sent behind CONNECT moves with it, in order.
#[test]
fn what_follows_connect_comes_along() {
    let broker = Broker::new(3);
    for n in 0..8 {
        let mut client = Client::raw(broker.address());
        let id = format!("eager-{n}");
        let mut bytes = connect(&id, None);
        bytes.extend([0x82, 8, 0, 1, 0, 3, b'o', b'/', b'0' + n, 0]);
        client.write(&bytes);
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        assert_eq!(client.packet(), [0x90, 3, 0, 1, 0]);
        client.write(&publish(&format!("o/{n}"), 0, b"me"));
        assert_eq!(client.message(), b"me");
        client.leave();
    }
}

#[test]
fn an_empty_client_id_stays_where_it_landed() {
    let broker = Broker::new(3);
    for _ in 0..8 {
        Client::new(broker.address(), "").leave();
    }
}

#[test]
fn what_is_not_mqtt_is_closed() {
    for shards in [1, 3] {
        let broker = Broker::new(shards);
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], &[0xC0, 0]] {
            let mut client = Client::raw(broker.address());
            client.write(bytes);
            assert_eq!(client.try_packet(), None);
        }
        Client::new(broker.address(), "after").leave();
    }
}

#[test]
fn a_silent_connection_is_closed_at_its_deadline() {
    for shards in [1, 3] {
        let broker = Broker::with(shards, Limits { connect_timeout_ms: 300, ..Limits::default() });
        let mut silent = Client::raw(broker.address());
        let mut half = Client::raw(broker.address());
        half.write(&connect("half", None)[..6]);
        assert_eq!(silent.try_packet(), None);
        assert_eq!(half.try_packet(), None);
    }
}

/// A CONNECT above the bound of unknown clients is refused by the shard that has it, below 1 KiB never.
#[test]
fn a_small_bound_before_log_in_does_not_split_sessions() {
    let broker = Broker::with(3, Limits { prelogin_bytes_max: 64, ..Limits::default() });
    let id = "x".repeat(200);
    let mut old = Client::new(broker.address(), &id);
    for _ in 0..12 {
        let new = Client::new(broker.address(), &id);
        assert_eq!(old.try_packet(), None);
        old = new;
    }
}
