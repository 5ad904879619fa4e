//! The end, and what can be asked while it has not come.

use crate::broker::Broker;
use crate::client::{Client, PATIENCE, connect};
use bitsim_engine::admin::{AdminAnswer, AdminRequest};
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn a_drain_closes_everything_and_frees_the_port() {
    for shards in [1, 3] {
        let broker = Broker::new(shards);
        let address = broker.address();
        let clients: Vec<Client> = (0..6).map(|n| Client::new(address, &format!("c{n}"))).collect();
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| std::thread::spawn(move || assert_eq!(client.try_packet(), None)))
            .collect();
        let silent = Client::raw(address);
        let began = Instant::now();
        broker.0.drain();
        assert!(began.elapsed() < PATIENCE);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        drop(silent);
        assert!(TcpStream::connect(address).is_err());
    }
}

/// A connection that has sent nothing does not hold up the end until its deadline.
#[test]
fn a_drain_does_not_wait_for_the_silent() {
    let broker = Broker::new(2);
    let mut silent = Client::raw(broker.address());
    let mut half = Client::raw(broker.address());
    half.write(&connect("half", None)[..6]);
    let reader = std::thread::spawn(move || {
        assert_eq!(silent.try_packet(), None);
        assert_eq!(half.try_packet(), None);
    });
    let began = Instant::now();
    broker.0.drain();
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    reader.join().unwrap();
}

#[test]
fn an_operator_is_answered_by_every_shard() {
    let broker = Broker::new(3);
    let clients: Vec<Client> = (0..9).map(|n| Client::new(broker.address(), &format!("c{n}"))).collect();
    let mut seen = 0;
    for shard in 0..broker.0.shards() {
        let answers = broker.0.admin(shard, AdminRequest::Sessions { after: 0, limit: 100 });
        match answers.recv_timeout(PATIENCE).unwrap() {
            AdminAnswer::Sessions(sessions, None) => seen += sessions.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, clients.len());
    let reports = broker.0.counters(PATIENCE);
    assert_eq!(reports.iter().map(|r| r.counters.connects).sum::<u64>(), 9);
    assert_eq!(reports.iter().filter(|r| r.counters.connects > 0).count(), 3);
}

#[test]
fn totals_of_all_shards_are_published() {
    let broker = Broker::new(2);
    let mut client = Client::new(broker.address(), "watcher");
    client.subscribe("$SYS/broker/version", 0);
    assert_eq!(client.message(), b"test");
    client.subscribe("$SYS/broker/clients/connected", 0);
    let began = Instant::now();
    while client.message() != b"1" {
        assert!(began.elapsed() < PATIENCE);
    }
}
