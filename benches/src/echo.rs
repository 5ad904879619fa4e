//! A whole broker on loopback: the server with its defaults and one shard, in this process, and two stock sockets.
//!
//! A round trip is one PUBLISH from one connection to the other and, at QoS 1, both acknowledgements: the next begins when
//! everything of the last was read. With one message under way this measures wake-ups and system calls, most of them
//! those of the bench's own thread; the load test measures the broker's share. Each round compares every byte it reads.
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths of a hundred bytes at most, and numbers that may wrap"
)]

use bitsim::configuration::Configuration;
use bitsim::launch::launch;
use bitsim::settings::{Flag, Inputs};
use criterion::Criterion;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A broker that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

const PAYLOAD_BYTES: usize = 64;

pub(crate) fn bench(criterion: &mut Criterion) {
    let shards = Flag { flag: "--shards", key: "runtime.shards".to_owned(), value: "1".to_owned() };
    let listen = vec!["127.0.0.1:0".to_owned()];
    let inputs = Inputs { listen, flags: vec![shards], ..Inputs::default() };
    let (configuration, _) = Configuration::load(&inputs).unwrap();
    let broker = launch(&configuration).unwrap();
    let address = broker.listening()[0];
    for qos in [0, 1] {
        let mut echo = Echo::new(address, qos);
        criterion.bench_function(&format!("echo/loopback, QoS {qos}"), |bencher| {
            bencher.iter(|| echo.round());
        });
    }
    broker.begin_shutdown();
    broker.ended().recv_timeout(PATIENCE).unwrap().unwrap();
}

struct Echo {
    qos: u8,
    publisher: TcpStream,
    subscriber: TcpStream,
    rounds: u64,
}

impl Echo {
    fn new(address: SocketAddr, qos: u8) -> Echo {
        let publisher = client(address, format!("publisher-{qos}"));
        let mut subscriber = client(address, format!("subscriber-{qos}"));
        let topic = topic(qos);
        let mut subscribe = vec![0x82, 5 + topic.len() as u8, 0, 1, 0, topic.len() as u8];
        subscribe.extend_from_slice(topic.as_bytes());
        subscribe.push(qos);
        subscriber.write_all(&subscribe).unwrap();
        expect(&mut subscriber, &[0x90, 3, 0, 1, qos]);
        Echo { qos, publisher, subscriber, rounds: 0 }
    }

    fn round(&mut self) {
        self.rounds += 1;
        let mut message = publish(self.qos, self.rounds);
        self.publisher.write_all(&message).unwrap();
        let mut came = [0; 2 * PAYLOAD_BYTES];
        let came = &mut came[..message.len()];
        self.subscriber.read_exact(came).unwrap();
        if self.qos == 1 {
            let at = id_at(self.qos);
            self.subscriber.write_all(&[0x40, 2, came[at], came[at + 1]]).unwrap();
            expect(&mut self.publisher, &[0x40, 2, message[at], message[at + 1]]);
            // The broker numbers its deliveries itself.
            message[at..at + 2].copy_from_slice(&came[at..at + 2]);
        }
        assert_eq!(came, message);
    }
}

fn topic(qos: u8) -> String {
    format!("echo/{qos}")
}

/// Where the packet identifier is.
fn id_at(qos: u8) -> usize {
    4 + topic(qos).len()
}

/// A PUBLISH with the number of its round at the end.
fn publish(qos: u8, round: u64) -> Vec<u8> {
    let topic = topic(qos);
    let id_bytes = if qos == 0 { 0 } else { 2 };
    let mut packet = vec![0x30 | qos << 1, (2 + topic.len() + id_bytes + PAYLOAD_BYTES) as u8];
    packet.extend_from_slice(&[0, topic.len() as u8]);
    packet.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        packet.extend_from_slice(&(1 + (round % 60_000) as u16).to_be_bytes());
    }
    packet.extend_from_slice(&[0x5A; PAYLOAD_BYTES - 8]);
    packet.extend_from_slice(&round.to_be_bytes());
    packet
}

/// A connection of MQTT 3.1.1.
fn client(address: SocketAddr, id: String) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connect =
        vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, id.len() as u8];
    connect.extend_from_slice(id.as_bytes());
    stream.write_all(&connect).unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0]);
    stream
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut came = vec![0; wanted.len()];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(came, wanted);
}
