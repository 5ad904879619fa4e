//! Runs a family of bad inputs: each case by itself, then all of them again and again.
//!
//! After each case a connection that was there before must still get its own message back. At the end the process must
//! be as large as it was when the repeats began, within 5 %. `BITSIM_TEST_REPEATS` says how many repeats (1,000; the
//! campaign runs 10,000), and a family stops repeating after 50 s, so that all of them stay below a minute.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::packet::{Connect, DISCONNECT};
use crate::peer::{PATIENCE, Peer};

const REPEAT_LIMIT: Duration = Duration::from_secs(50);

/// What must come of a case.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// The connection closes, with one of these reasons or without any.
    Closes(&'static [u8]),
    /// The connection stays: the input is unusual, not wrong.
    Stays,
    /// One of the two: the specification leaves it open.
    Either,
}

/// One bad input.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) version: u8,
    /// Sent after an accepted CONNECT, or as the first bytes.
    pub(crate) connected: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Outcome,
}

impl Case {
    pub(crate) fn first(name: impl Into<String>, version: u8, bytes: Vec<u8>, outcome: Outcome) -> Self {
        Self { name: name.into(), version, connected: false, bytes, outcome }
    }

    pub(crate) fn connected(name: impl Into<String>, version: u8, bytes: Vec<u8>, outcome: Outcome) -> Self {
        Self { name: name.into(), version, connected: true, bytes, outcome }
    }

    fn run(&self, broker: &Broker) {
        let mut peer = if self.connected {
            Peer::clean(broker.mqtt, self.version, "family-case")
        } else {
            Peer::open(broker.mqtt, self.version)
        };
        peer.send_lossy(&self.bytes);
        match self.outcome {
            Outcome::Closes(allowed) => {
                let closed = peer.closed();
                closed.silent_or(allowed);
                let spoke = closed.packets.iter().any(|packet| packet.first == DISCONNECT);
                assert!(self.version == 5 || !spoke, "DISCONNECT to a client of version {}", self.version);
            }
            Outcome::Stays => {
                peer.send(&crate::packet::PINGREQ);
                peer.pick(crate::packet::PINGRESP);
            }
            Outcome::Either => {}
        }
    }
}

/// A connection that sends itself a message to show that it works.
struct Witness {
    peer: Peer,
    count: u32,
}

impl Witness {
    fn new(broker: &Broker) -> Self {
        let connect = Connect::new(4, "family-witness").keep_alive(0);
        let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
        peer.subscribe("family/witness", 1);
        Self { peer, count: 0 }
    }

    fn check(&mut self) {
        self.count += 1;
        self.peer.publish("family/witness", 1, &self.count.to_string());
        assert_eq!(self.peer.delivery_acknowledged().text(), self.count.to_string());
    }
}

/// How often a family is repeated.
pub(crate) fn repeats() -> usize {
    std::env::var("BITSIM_TEST_REPEATS").map_or(1_000, |count| count.parse().unwrap())
}

/// Runs the family on a broker of its own.
pub(crate) fn run(cases: &[Case]) {
    let broker = Broker::for_family(&[]);
    let mut witness = Witness::new(&broker);
    for case in cases {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.run(&broker)));
        assert!(broker.alive(), "{}: the server is gone\n{}", case.name, broker.log());
        if let Err(panic) = outcome {
            eprintln!(
                "case: {} (version {}): {:02x?}",
                case.name,
                case.version,
                &case.bytes[..case.bytes.len().min(80)]
            );
            std::panic::resume_unwind(panic);
        }
        witness.check();
    }
    repeat(&broker, |number| cases[number % cases.len()].run(&broker));
    witness.check();
}

/// Repeats an action and compares the memory of the process before and after.
pub(crate) fn repeat(broker: &Broker, mut action: impl FnMut(usize)) {
    let start = Instant::now();
    let count = repeats();
    // The first tenth fills pools and caches, which stay.
    let warm = count / 10;
    (0..warm).for_each(&mut action);
    let before = broker.resident_kib();
    for number in warm..count {
        action(number);
        if start.elapsed() > REPEAT_LIMIT {
            eprintln!("stopped after {number} of {count} repeats");
            break;
        }
    }
    await_memory(broker, before);
}

/// Memory comes back within 5 % (and a mebibyte, so that a small process may round).
pub(crate) fn await_memory(broker: &Broker, before: u64) {
    let bound = before + before / 20 + 1024;
    let until = Instant::now() + PATIENCE;
    loop {
        let now = broker.resident_kib();
        if now <= bound {
            return;
        }
        assert!(Instant::now() < until, "{now} KiB now, {before} KiB before");
        std::thread::sleep(Duration::from_millis(100));
    }
}
