//! Messages between the clients of a fleet: who may send how much, and what arrived.
//!
//! Closed-loop, a publisher is at most `depth` messages ahead of each of its subscribers. Open-loop, messages leave one
//! at a time when they are due, and their latency counts from that moment, so a broker that stalls cannot hide it.
//! At QoS 1 and 2 a publisher has at most `window` messages without their last acknowledgement, either way.

use std::time::{Duration, Instant};

use bitsim_protocol::encode::{self, PublishOut};
use bitsim_protocol::{Publish, Qos, Version};
use hdrhistogram::Histogram;

use crate::arguments::{Plan, Work};
use crate::client::Speech;
use crate::fleet::{Fleet, Listener};
use crate::stamp::{Sequence, Stamp};
use crate::standstill::Standstill;

/// Latencies are told apart up to a minute.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;
/// How long a standstill lasts before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_millis(50);
/// Seconds between the keep-alives of a client that is never silent.
const KEEP_ALIVE_SECS: u16 = 300;

/// A publisher.
#[derive(Debug)]
struct Publisher {
    client: usize,
    topic: Box<str>,
    sent: u64,
    /// Of those sent, with their last acknowledgement.
    acknowledged: u64,
    /// By all its subscribers together; those passed over count too.
    delivered: u64,
    /// Whether it stands in `Table::movable`.
    listed: bool,
}

/// The fleet, and what it carries.
pub(crate) struct Traffic {
    fleet: Fleet,
    table: Table,
    packet: Packet,
    window: u64,
    /// Messages a publisher may be ahead of each subscriber.
    depth: u64,
    /// Messages in all; what ends the run if it is set.
    messages_max: u64,
}

/// Who sent and received what; hears the fleet.
struct Table {
    work: Work,
    publishers: Vec<Publisher>,
    /// Of the clients from 0, which are the subscribers.
    sequences: Vec<Sequence>,
    /// Subscribers of each publisher.
    audience: u64,
    /// Publishers whose room may have grown.
    movable: Vec<usize>,
    delivered: u64,
    latency: Histogram<u32>,
    measuring: bool,
    start: Instant,
    now_nanos: u64,
}

/// What all messages have in common.
struct Packet {
    version: Version,
    qos: Qos,
    payload: Vec<u8>,
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
}

impl Traffic {
    /// Connects everybody.
    pub(crate) fn open(plan: &Plan) -> Result<Self, String> {
        let speech = Speech { version: plan.version, keep_alive_secs: KEEP_ALIVE_SECS, qos: plan.qos };
        let mut fleet = Fleet::new(plan.target, speech)?;
        let count = plan.count as usize;
        let (publishers, subscribers) = match plan.work {
            Work::FanOut => (1, count),
            Work::FanIn => (count, 1),
            _ => (count, count),
        };
        let topics = if plan.work == Work::Pair { count } else { 1 };
        let topic = |of: usize| -> Box<str> { format!("load/{}/{}", std::process::id(), of % topics).into() };
        for nth in 0..subscribers {
            fleet.add(Some(topic(nth)));
        }
        let publishers: Vec<Publisher> = (0..publishers)
            .map(|nth| Publisher {
                client: fleet.add(None),
                topic: topic(nth),
                sent: 0,
                acknowledged: 0,
                delivered: 0,
                listed: true,
            })
            .collect();
        fleet.open()?;
        let table = Table::new(plan.work, publishers, subscribers)?;
        let packet = Packet { version: plan.version, qos: plan.qos, payload: vec![b'x'; plan.size] };
        let (window, depth) = (u64::from(plan.window), u64::from(plan.depth()));
        Ok(Self { fleet, table, packet, window, depth, messages_max: plan.messages.unwrap_or(u64::MAX) })
    }

    /// Sends as much as may be under way, until `until` or until all messages are sent.
    pub(crate) fn run_deep(&mut self, until: Instant) -> Result<(), String> {
        self.table.list_all();
        let mut standstill = Standstill::new(self.table.delivered, Instant::now());
        while Instant::now() < until && self.totals().sent < self.messages_max {
            self.fill()?;
            self.fleet.turn(&mut self.table, Some(WAIT))?;
            self.table.tick();
            if standstill.lasts(self.table.delivered, Instant::now(), PATIENCE) {
                self.table.write_off();
            }
        }
        Ok(())
    }

    /// Sends `rate` messages a second in all until `until`, each publisher in its turn.
    pub(crate) fn run_paced(&mut self, rate: u32, until: Instant) -> Result<(), String> {
        let gap = Duration::from_secs(1) / rate;
        let mut due = Instant::now();
        let mut nth = 0;
        while due < until && self.totals().sent < self.messages_max {
            self.fleet.turn(&mut self.table, None)?;
            self.table.tick();
            if Instant::now() < due {
                continue;
            }
            let nanos = self.table.nanos(due);
            if self.unacknowledged(nth) < self.window {
                self.publish(nth, nanos)?;
                due += gap;
                nth = (nth + 1) % self.table.publishers.len();
            }
        }
        Ok(())
    }

    /// Lets everything arrive; answers how many deliveries are missing for good.
    pub(crate) fn drain(&mut self) -> Result<u64, String> {
        let mut standstill = Standstill::new(self.table.delivered, Instant::now());
        loop {
            let acknowledged = (0..self.table.publishers.len()).all(|nth| self.unacknowledged(nth) == 0);
            if self.table.outstanding() == 0 && acknowledged {
                break;
            }
            self.fleet.turn(&mut self.table, Some(WAIT))?;
            self.table.tick();
            if standstill.lasts(self.table.delivered, Instant::now(), PATIENCE) {
                self.table.write_off();
                break;
            }
        }
        Ok((self.totals().sent * self.table.audience).saturating_sub(self.table.delivered))
    }

    pub(crate) fn totals(&self) -> Totals {
        let sent = self.table.publishers.iter().map(|publisher| publisher.sent).sum();
        Totals { sent, delivered: self.table.delivered }
    }

    /// From here on latencies are kept, or no more.
    pub(crate) fn measure(&mut self, on: bool) {
        self.table.measuring = on;
    }

    pub(crate) fn latency(&self) -> &Histogram<u32> {
        &self.table.latency
    }

    /// Messages that came twice, out of order or after a gap.
    pub(crate) fn disorder(&self) -> u64 {
        self.table.sequences.iter().map(|sequence| sequence.wrong).sum()
    }

    fn fill(&mut self) -> Result<(), String> {
        let nanos = self.table.nanos(Instant::now());
        let mut left = self.messages_max.saturating_sub(self.totals().sent);
        let mut movable = std::mem::take(&mut self.table.movable);
        for nth in movable.drain(..) {
            self.table.publishers[nth].listed = false;
            for _ in 0..self.room(nth).min(left) {
                self.publish(nth, nanos)?;
                left -= 1;
            }
        }
        if self.table.movable.is_empty() {
            self.table.movable = movable;
        }
        Ok(())
    }

    /// How many messages publisher `nth` may send now.
    fn room(&self, nth: usize) -> u64 {
        let publisher = &self.table.publishers[nth];
        let ahead = publisher.sent.saturating_sub(publisher.delivered / self.table.audience);
        let room = self.depth.saturating_sub(ahead);
        match self.packet.qos {
            Qos::AtMostOnce => room,
            _ => room.min(self.window - self.unacknowledged(nth)),
        }
    }

    fn unacknowledged(&self, nth: usize) -> u64 {
        let publisher = &self.table.publishers[nth];
        if self.packet.qos == Qos::AtMostOnce { 0 } else { publisher.sent - publisher.acknowledged }
    }

    #[inline]
    fn publish(&mut self, nth: usize, nanos: u64) -> Result<(), String> {
        let publisher = &mut self.table.publishers[nth];
        let number = publisher.sent;
        publisher.sent += 1;
        let of_topic = if self.table.work == Work::Pair { 0 } else { nth };
        let stamp = Stamp { publisher: u32::try_from(of_topic).unwrap_or(u32::MAX), number, nanos };
        stamp.write(&mut self.packet.payload);
        // The window is far below 65,535, so an identifier is free again long before its turn comes.
        let packet_id = u16::try_from(number % 65_535).unwrap_or(0) + 1;
        let message = PublishOut {
            qos: self.packet.qos,
            packet_id,
            ..PublishOut::new(self.packet.version, &publisher.topic, &self.packet.payload)
        };
        encode::publish(&message, u32::MAX, self.fleet.write(publisher.client))
            .map_err(|_| "the message is too large for MQTT".to_owned())?;
        Ok(())
    }
}

impl Table {
    fn new(work: Work, publishers: Vec<Publisher>, subscribers: usize) -> Result<Self, String> {
        let per_topic = if work == Work::Pair { 1 } else { publishers.len() };
        let latency = Histogram::new_with_bounds(1_000, LATENCY_NANOS_MAX, 3).map_err(|e| e.to_string())?;
        Ok(Self {
            work,
            movable: Vec::with_capacity(publishers.len()),
            publishers,
            sequences: (0..subscribers).map(|_| Sequence::of(per_topic)).collect(),
            audience: if work == Work::FanOut { subscribers as u64 } else { 1 },
            delivered: 0,
            latency,
            measuring: false,
            start: Instant::now(),
            now_nanos: 0,
        })
    }

    fn tick(&mut self) {
        self.now_nanos = self.nanos(Instant::now());
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    fn list(&mut self, nth: usize) {
        let publisher = &mut self.publishers[nth];
        if !publisher.listed {
            publisher.listed = true;
            self.movable.push(nth);
        }
    }

    fn list_all(&mut self) {
        self.movable.clear();
        self.movable.extend(0..self.publishers.len());
        self.publishers.iter_mut().for_each(|publisher| publisher.listed = true);
    }

    fn outstanding(&self) -> u64 {
        let due =
            |publisher: &Publisher| (publisher.sent * self.audience).saturating_sub(publisher.delivered);
        self.publishers.iter().map(due).sum()
    }

    /// What is missing will not come: room for others, and the counts say so.
    fn write_off(&mut self) {
        for publisher in &mut self.publishers {
            publisher.delivered = publisher.delivered.max(publisher.sent * self.audience);
        }
        self.list_all();
    }
}

impl Listener for Table {
    #[inline]
    fn message(&mut self, who: usize, message: &Publish<'_>) -> Result<(), String> {
        let stamp =
            Stamp::read(message.payload).ok_or("a message arrived that the load test did not send")?;
        let sequence = self.sequences.get_mut(who).ok_or("a publisher received a message")?;
        let passed = sequence.note(stamp);
        let nth = if self.work == Work::Pair { who } else { stamp.publisher as usize };
        let publisher = self.publishers.get_mut(nth).ok_or("a message arrived from an unknown publisher")?;
        publisher.delivered += passed;
        self.delivered += 1;
        self.list(nth);
        if self.measuring {
            self.latency.saturating_record(self.now_nanos.saturating_sub(stamp.nanos));
        }
        Ok(())
    }

    fn acknowledged(&mut self, who: usize) {
        let nth = who - self.sequences.len();
        self.publishers[nth].acknowledged += 1;
        self.list(nth);
    }
}
