//! Runs a family of bad inputs: each case by itself, then all of them again and again.
//!
//! After each case a connection that was there before must still get its own message back. At the end the process must
//! be as large as it was when the repeats began, within 5 %, and count no connection, session or subscription but that
//! one's. `BITSIM_TEST_REPEATS` says how many repeats (1,000; the campaign runs 10,000). What was done is printed, one line a family: `tools/campaign` makes
//! its report of those.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::metrics::await_metric;
use crate::packet::{Connect, DISCONNECT};
use crate::peer::{PATIENCE, Peer};

const REPEAT_LIMIT: Duration = Duration::from_millis(50);

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
pub(crate) struct Witness {
    peer: Peer,
    count: u32,
    slowest: Duration,
}

impl Witness {
    pub(crate) fn new(broker: &Broker) -> Self {
        let connect = Connect::new(4, "family-witness").keep_alive(0);
        let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
        peer.subscribe("family/witness", 1);
        Self { peer, count: 0, slowest: Duration::ZERO }
    }

    pub(crate) fn check(&mut self) {
        let start = Instant::now();
        self.count += 1;
        self.peer.publish("family/witness", 1, &self.count.to_string());
        assert_eq!(self.peer.delivery_acknowledged().text(), self.count.to_string());
        self.slowest = self.slowest.max(start.elapsed());
    }

    /// The longest that a message took to come back.
    pub(crate) fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Waits until nobody but this connection is there, in the server's own count.
    pub(crate) fn alone(&mut self, broker: &Broker) {
        self.check();
        if broker.http.is_some() {
            for name in ["bitsim_connections", "bitsim_sessions", "bitsim_subscriptions"] {
                await_metric(broker, name, 1);
            }
        }
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
    witness.alone(&broker);
    told(&format!(
        "{} cases, each also by itself; a bystander's slowest message: {:?}",
        cases.len(),
        witness.slowest()
    ));
}

/// One line of the report.
pub(crate) fn told(what: &str) {
    let thread = std::thread::current();
    println!("bad input: {}: {what}", thread.name().unwrap_or_default());
}

/// Rounds of repeats in which pools and tables may find their size.
const ROUNDS_MAX: usize = 4;

/// Repeats an action, a tenth to warm up and then in rounds, until a round leaves the memory of the process as it was. A
/// leak grows in every round. Returns how often the action was done.
pub(crate) fn repeat(broker: &Broker, mut action: impl FnMut(usize)) -> usize {
    let start = Instant::now();
    let count = repeats();
    let limit = REPEAT_LIMIT * u32::try_from(count).unwrap();
    let mut done = count / 10;
    (0..done).for_each(&mut action);
    let mut resident = vec![broker.resident_kib()];
    loop {
        let before = broker.resident_kib();
        for _ in 0..count {
            action(done);
            done += 1;
        }
        if let Some(after) = memory_back(broker, before, PATIENCE / 5) {
            resident.push(after);
            break;
        }
        resident.push(broker.resident_kib());
        assert!(
            resident.len() <= ROUNDS_MAX && start.elapsed() < limit,
            "growth without end: {resident:?} KiB"
        );
    }
    let seconds = start.elapsed().as_secs();
    told(&format!(
        "{done} repeats in {seconds} s, resident after warming up and after each {count}: {resident:?} KiB"
    ));
    done
}

/// Does something until it adds no more memory: pools and tables grow with the most there ever was at once. What the last
/// time made is kept. Growth that has no end fails.
pub(crate) fn settle<T>(broker: &Broker, mut action: impl FnMut() -> T) -> (T, u64) {
    let mut kept = action();
    for _ in 0..8 {
        let before = broker.resident_kib();
        drop(std::mem::replace(&mut kept, action()));
        if broker.resident_kib() <= before + before / 20 {
            return (kept, before);
        }
    }
    panic!("{} KiB and still growing", broker.resident_kib());
}

/// Memory comes back within 5 % (and a mebibyte, so that a small process may round); what it is then.
pub(crate) fn await_memory(broker: &Broker, before: u64) -> u64 {
    let back = memory_back(broker, before, PATIENCE);
    back.unwrap_or_else(|| panic!("{} KiB now, {before} KiB before", broker.resident_kib()))
}

fn memory_back(broker: &Broker, before: u64, patience: Duration) -> Option<u64> {
    let bound = before + before / 20 + 1024;
    let until = Instant::now() + patience;
    loop {
        let now = broker.resident_kib();
        if now <= bound || Instant::now() > until {
            return (now <= bound).then_some(now);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
