//! Everything that can happen to connections, at random and in a seeded order; `BITSIM_SEED` repeats one run.
//!
//! Each client sends bytes that follow from its own number and their position, and so does the ring to each client.
//! A byte of another connection, a lost or repeated one, data during a pause, a send whose memory never returns, a
//! descriptor, a slot, an operation or a buffer that stays: each fails the test.

use crate::growth::held;
use crate::rig::{Rig, alone, descriptors, reset_on_close};
use bitsim_ring::{BufferLease, Event, Receive, ReceiveEnd, RingConfig, RingUsage, SlotId, peer_address};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CONNECTIONS_MAX: usize = 24;
const STEPS: usize = 3_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }
}

/// The byte at a position of a client's stream; `down` for what the ring sends.
fn byte(number: u64, position: usize, down: bool) -> u8 {
    let mixed = (number * 2 + u64::from(down)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    u8::try_from((mixed ^ u64::try_from(position).unwrap().wrapping_mul(31)) & 0xff).unwrap()
}

struct Client {
    stream: TcpStream,
    number: u64,
    written: usize,
    read: usize,
    half_closed: bool,
}

impl Client {
    /// False when the connection is over.
    fn write(&mut self, count: usize) -> bool {
        let bytes: Vec<u8> =
            (self.written..self.written + count).map(|p| byte(self.number, p, false)).collect();
        match self.stream.write(&bytes) {
            Ok(n) => {
                self.written += n;
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    fn read(&mut self, count: usize) -> bool {
        let mut bytes = vec![0; count];
        match self.stream.read(&mut bytes) {
            Ok(0) => count == 0,
            Ok(n) => {
                for &got in &bytes[..n] {
                    assert_eq!(got, byte(self.number, self.read, true), "client {}", self.number);
                    self.read += 1;
                }
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Receiving {
    Off,
    On,
    Pausing,
}

/// What the test knows of a slot.
struct Link {
    number: u64,
    received: usize,
    sent: usize,
    sending: bool,
    receiving: Receiving,
    ended: bool,
    closing: bool,
}

struct World {
    rig: Rig,
    random: Random,
    clients: Vec<Client>,
    numbers: HashMap<SocketAddr, u64>,
    links: HashMap<SlotId, Link>,
    leases: Vec<BufferLease>,
    next_number: u64,
    /// Memory of sends that is with the ring.
    sends: usize,
    closed: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = RingConfig {
            sq_entries: 8,
            cq_entries: 16,
            buffers: 8,
            buffer_bytes: 512,
            slots_max: 1 << 12,
            ..RingConfig::default()
        };
        Self {
            rig: Rig::new(config),
            random: Random(seed | 1),
            clients: Vec::new(),
            numbers: HashMap::new(),
            links: HashMap::new(),
            leases: Vec::new(),
            next_number: 0,
            sends: 0,
            closed: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..2 => self.connect(),
            2..9 => self.client_acts(),
            9..15 => self.link_acts(),
            15 => {
                let keep = self.random.below(4);
                self.leases.truncate(keep);
            }
            _ => self.turn(),
        }
    }

    fn connect(&mut self) {
        if self.clients.len() >= CONNECTIONS_MAX {
            return;
        }
        let stream = TcpStream::connect(self.rig.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(stream.local_addr().unwrap(), number);
        self.clients.push(Client { stream, number, written: 0, read: 0, half_closed: false });
    }

    fn client_acts(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.random.below(self.clients.len());
        let count = self.random.below(20_000);
        let client = &mut self.clients[index];
        let alive = match self.random.below(40) {
            0..18 if !client.half_closed => client.write(count),
            0..36 => client.read(10 * count),
            36 => {
                reset_on_close(&client.stream);
                false
            }
            37 => false,
            _ => {
                client.half_closed = true;
                client.stream.shutdown(Shutdown::Write).is_ok()
            }
        };
        if !alive {
            self.clients.swap_remove(index);
        }
    }

    fn link_acts(&mut self) {
        let mut ids: Vec<_> = self.links.iter().filter(|(_, l)| !l.closing).map(|(&id, _)| id).collect();
        if ids.is_empty() {
            return;
        }
        ids.sort_unstable();
        let id = ids[self.random.below(ids.len())];
        match self.random.below(32) {
            0..8 => self.send(id),
            8..14 => self.pause(id),
            14..26 => self.receive(id),
            26..29 => self.reattach(id),
            29 | 30 => {
                self.links.get_mut(&id).unwrap().closing = true;
                self.rig.ring.close(id).unwrap();
            }
            _ => {
                self.links.get_mut(&id).unwrap().closing = true;
                self.rig.ring.finish(id).unwrap();
            }
        }
    }

    fn send(&mut self, id: SlotId) {
        let count = match self.random.below(10) {
            0 => 1 + self.random.below(2_000_000),
            _ => 1 + self.random.below(5_000),
        };
        let link = self.links.get_mut(&id).unwrap();
        let bytes = (link.sent..link.sent + count).map(|p| byte(link.number, p, true)).collect();
        match self.rig.ring.send(id, bytes) {
            Ok(()) => {
                assert!(!std::mem::replace(&mut link.sending, true));
                link.sent += count;
                self.sends += 1;
            }
            Err(refused) => {
                assert!(link.sending, "{:?}", refused.error);
                assert_eq!(refused.buffer.len(), count);
            }
        }
    }

    fn pause(&mut self, id: SlotId) {
        let link = self.links.get_mut(&id).unwrap();
        self.rig.ring.pause(id).unwrap();
        if link.receiving == Receiving::On {
            link.receiving = Receiving::Pausing;
        }
    }

    fn receive(&mut self, id: SlotId) {
        let kind = if self.random.below(4) == 0 { Receive::Once } else { Receive::Multishot };
        let link = self.links.get_mut(&id).unwrap();
        if !link.ended && self.rig.ring.receive(id, kind).is_ok() {
            link.receiving = Receiving::On;
        }
    }

    /// Moves a quiet link: to this ring again, which gives it another slot or generation.
    fn reattach(&mut self, id: SlotId) {
        if let Ok(descriptor) = self.rig.ring.detach(id) {
            let link = self.links.remove(&id).unwrap();
            assert!(!link.sending, "detached with a send in flight");
            let new = self.rig.ring.attach(descriptor).unwrap();
            assert_ne!(new, id);
            self.links.insert(new, Link { receiving: Receiving::Off, ..link });
        }
    }

    fn turn(&mut self) {
        if self.random.below(3) == 0 {
            self.rig.ring.wait(Some(Duration::from_micros(200))).unwrap();
        } else {
            self.rig.ring.submit().unwrap();
        }
        let budget = 1 + self.random.below(40);
        self.rig.ring.reap(budget);
        while let Some(event) = self.rig.ring.next_event() {
            self.handle(event);
            // Operations are started between events, too.
            if self.random.below(8) == 0 {
                self.link_acts();
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { connection, .. } => self.accepted(connection),
            Event::Received { slot, data } => self.received(slot, data),
            Event::ReceiveEnded { slot, end } => {
                let Some(link) = self.links.get_mut(&slot) else { panic!("{slot:?} is unknown: {end:?}") };
                assert!(!link.closing, "{end:?} of a slot that is being closed");
                if end == ReceiveEnd::Paused {
                    assert_eq!(link.receiving, Receiving::Pausing, "{slot:?}");
                    link.receiving = Receiving::Off;
                } else {
                    link.receiving = Receiving::Off;
                    link.ended = true;
                }
            }
            Event::Sent { slot, buffer } => self.sent(slot, &buffer),
            Event::SendFailed { slot, buffer, error, .. } => {
                assert!(error.is_disconnect(), "{error:?}");
                self.sent(slot, &buffer);
            }
            Event::Closed { slot, buffer } => {
                let link = self.links.remove(&slot).unwrap();
                assert!(link.closing);
                assert_eq!(link.sending, buffer.capacity() > 0, "the memory of a send");
                self.sends -= usize::from(link.sending);
                self.closed += 1;
            }
            Event::AcceptEnded { .. } | Event::Connected { .. } | Event::Doorbell => panic!("{event:?}"),
        }
    }

    fn accepted(&mut self, connection: std::os::fd::OwnedFd) {
        // A client that has reset already has no address: nothing of it can be checked.
        let Ok(peer) = peer_address(&connection) else { return };
        let number = self.numbers[&peer];
        let slot = self.rig.ring.attach(connection).unwrap();
        let link = Link {
            number,
            received: 0,
            sent: 0,
            sending: false,
            receiving: Receiving::Off,
            ended: false,
            closing: false,
        };
        assert!(self.links.insert(slot, link).is_none(), "{slot:?} is used twice");
    }

    fn received(&mut self, slot: SlotId, data: BufferLease) {
        let link = self.links.get_mut(&slot).expect("data for a slot that is no more");
        assert!(!data.is_empty());
        for &got in &*data {
            assert_eq!(got, byte(link.number, link.received, false), "at {} of {slot:?}", link.received);
            link.received += 1;
        }
        assert_ne!(link.receiving, Receiving::Off, "data while nothing was asked for");
        if self.leases.len() < 6 && self.random.below(6) == 0 {
            self.leases.push(data);
        }
    }

    fn sent(&mut self, slot: SlotId, buffer: &[u8]) {
        let link = self.links.get_mut(&slot).unwrap();
        assert!(std::mem::replace(&mut link.sending, false), "a send ended twice");
        assert!(!buffer.is_empty());
        self.sends -= 1;
    }

    /// Everybody leaves, and the ring must hold nothing.
    fn end(&mut self) {
        self.clients.clear();
        self.leases.clear();
        let start = Instant::now();
        let nothing = RingUsage { listeners: 1, ..RingUsage::default() };
        loop {
            let ids: Vec<_> = self.links.iter().filter(|(_, l)| !l.closing).map(|(&id, _)| id).collect();
            for id in ids {
                self.links.get_mut(&id).unwrap().closing = true;
                self.rig.ring.close(id).unwrap();
            }
            self.rig.ring.wait(Some(Duration::from_millis(1))).unwrap();
            let quiet = self.rig.ring.reap(usize::MAX) == 0;
            while let Some(event) = self.rig.ring.next_event() {
                self.handle(event);
            }
            self.leases.clear();
            if quiet && self.links.is_empty() && self.rig.ring.usage() == nothing {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "stays: {:?}", self.rig.ring.usage());
        }
        assert_eq!(self.sends, 0, "memory of sends was lost");
        self.numbers.clear();
    }
}

#[test]
fn random_lives_end_with_nothing_held() {
    let _alone = alone();
    let fixed = std::env::var("BITSIM_SEED").ok().and_then(|v| v.parse().ok());
    let rounds = std::env::var("BITSIM_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(6);
    for seed in fixed.map_or(1..=rounds, |seed: u64| seed..=seed) {
        println!("seed {seed}");
        let (files, memory) = (descriptors(), held());
        let mut world = World::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        assert!(world.closed > 20, "only {} connections lived", world.closed);
        assert_eq!(descriptors() - files, 5, "ring, eventfd, listener, probe and lock are all that is open");
        let counters = *world.rig.ring.counters();
        drop(world);
        assert_eq!(descriptors(), files);
        assert_eq!(held(), memory, "bytes");
        println!("{counters:?}");
    }
}
