//! All clients of a run, on one socket ring and one thread.
//!
//! A turn takes what arrived, lets the work in hand hear of it, and gives every client that wrote something one send.
//! The first thing that goes wrong ends the run: a load test that goes on with fewer clients measures something else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bitsim_protocol::{Publish, encode};
use bitsim_ring::{Event, Receive, Ring, RingConfig, SlotId, stream_socket};

use crate::client::{Client, Heard, Speech, cut};
use crate::standstill::Standstill;

/// Completions of one turn.
const REAP_MAX: usize = 4096;
/// Connections that are being made at once.
const OPENING_MAX: usize = 64;
/// How long the fleet may stand still while it connects.
const STALL: Duration = Duration::from_secs(20);
/// Connections from one source address; the kernel has about 28,000 ports for each.
const PER_SOURCE: usize = 20_000;

/// What the work in hand hears.
pub(crate) trait Listener {
    /// `who` received a message.
    fn message(&mut self, who: usize, message: &Publish<'_>) -> Result<(), String>;
    /// A message of `who` was acknowledged for good.
    fn acknowledged(&mut self, who: usize);
}

/// For work that only connects.
#[derive(Debug)]
pub(crate) struct Silence;

impl Listener for Silence {
    fn message(&mut self, who: usize, _: &Publish<'_>) -> Result<(), String> {
        Err(format!("client {who} received a message that nobody sent"))
    }

    fn acknowledged(&mut self, _: usize) {}
}

/// The clients, numbered from 0.
pub(crate) struct Fleet {
    ring: Ring,
    target: SocketAddr,
    speech: Speech,
    clients: Vec<Client>,
    /// The client of each slot of the ring.
    by_slot: Vec<usize>,
    /// Clients with something to send.
    writers: Vec<usize>,
    opened: usize,
    ready: usize,
}

impl Fleet {
    pub(crate) fn new(target: SocketAddr, speech: Speech) -> Result<Self, String> {
        let config = RingConfig { buffers: 512, ..RingConfig::default() };
        let ring = Ring::new(config).map_err(|error| format!("no socket ring: {error}"))?;
        Ok(Self {
            ring,
            target,
            speech,
            clients: Vec::new(),
            by_slot: Vec::new(),
            writers: Vec::new(),
            opened: 0,
            ready: 0,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Adds a client that will connect, and subscribe if it has a filter.
    pub(crate) fn add(&mut self, filter: Option<Box<str>>) -> usize {
        self.clients.push(Client::new(filter));
        self.clients.len() - 1
    }

    /// Connects all clients that are not yet; returns when every one is ready.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        let mut standstill = Standstill::new(self.ready as u64, Instant::now());
        while self.ready < self.clients.len() {
            while self.opened < self.clients.len() && self.opened - self.ready < OPENING_MAX {
                self.connect(self.opened)?;
                self.opened += 1;
            }
            self.turn(&mut Silence, Some(Duration::from_secs(1)))?;
            if standstill.lasts(self.ready as u64, Instant::now(), STALL) {
                return Err(format!("{} of {} clients are ready, and no more", self.ready, self.len()));
            }
        }
        Ok(())
    }

    /// The place where `who` writes packets, which leave at the end of the turn.
    #[inline]
    pub(crate) fn write(&mut self, who: usize) -> &mut Vec<u8> {
        let client = &mut self.clients[who];
        if !client.listed {
            client.listed = true;
            self.writers.push(who);
        }
        &mut client.out
    }

    /// Writes a PINGREQ.
    pub(crate) fn ping(&mut self, who: usize) {
        encode::pingreq(self.write(who));
    }

    /// One turn; waits for at most `patience` when nothing has arrived, not at all without it.
    pub(crate) fn turn(
        &mut self,
        listener: &mut impl Listener,
        patience: Option<Duration>,
    ) -> Result<(), String> {
        self.flush()?;
        let waited = match patience {
            Some(_) => self.ring.wait(patience),
            None => self.ring.submit(),
        };
        waited.map_err(|error| format!("the socket ring failed: {error}"))?;
        self.ring.reap(REAP_MAX);
        while let Some(event) = self.ring.next_event() {
            self.event(event, listener)?;
        }
        Ok(())
    }

    fn connect(&mut self, who: usize) -> Result<(), String> {
        let socket = stream_socket(self.target, self.source(who))
            .map_err(|error| format!("client {who} gets no socket ({error:?}; see ulimit -n)"))?;
        let slot = self.ring.attach(socket).map_err(|_| "the ring has no slot left".to_owned())?;
        self.ring.connect(slot, self.target).map_err(|error| format!("client {who}: {error:?}"))?;
        let at = slot.slot as usize;
        if self.by_slot.len() <= at {
            self.by_slot.resize(at + 1, 0);
        }
        self.by_slot[at] = who;
        self.clients[who].slot = Some(slot);
        Ok(())
    }

    /// Many clients on loopback come from several of its addresses.
    fn source(&self, who: usize) -> Option<IpAddr> {
        let nth = u8::try_from(who / PER_SOURCE).ok().filter(|&nth| nth > 0 && nth < 250)?;
        matches!(self.target.ip(), IpAddr::V4(ip) if ip.is_loopback())
            .then(|| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + nth)))
    }

    fn event(&mut self, event: Event, listener: &mut impl Listener) -> Result<(), String> {
        match event {
            Event::Received { slot, data } => {
                let who = self.by_slot[slot.slot as usize];
                self.received(who, &data, listener)
            }
            Event::Sent { slot, mut buffer } => {
                let who = self.by_slot[slot.slot as usize];
                let client = &mut self.clients[who];
                client.sending = false;
                buffer.clear();
                if client.out.is_empty() {
                    client.out = buffer;
                    return Ok(());
                }
                let full = std::mem::replace(&mut client.out, buffer);
                self.send(who, full)
            }
            Event::Connected { slot, result } => {
                result.map_err(|error| format!("{} refuses connections: {error:?}", self.target))?;
                self.connected(slot)
            }
            Event::ReceiveEnded { slot, end } => {
                let who = self.by_slot[slot.slot as usize];
                Err(format!("the broker closed client {who}: {end:?}"))
            }
            Event::SendFailed { slot, error, .. } => {
                let who = self.by_slot[slot.slot as usize];
                Err(format!("the broker closed client {who}: {error:?}"))
            }
            Event::Closed { .. } | Event::Doorbell | Event::Accepted { .. } | Event::AcceptEnded { .. } => {
                Ok(())
            }
        }
    }

    fn connected(&mut self, slot: SlotId) -> Result<(), String> {
        let who = self.by_slot[slot.slot as usize];
        self.ring.receive(slot, Receive::Multishot).map_err(|error| format!("client {who}: {error:?}"))?;
        let client_id = format!("load-{}-{who}", std::process::id());
        let speech = self.speech;
        self.write(who);
        self.clients[who].greet(speech, &client_id);
        Ok(())
    }

    fn received(&mut self, who: usize, data: &[u8], listener: &mut impl Listener) -> Result<(), String> {
        let mut partial = std::mem::take(&mut self.clients[who].partial);
        if partial.is_empty() {
            let taken = self.packets(who, data, listener)?;
            let rest = data.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                partial.extend_from_slice(rest);
            }
        } else {
            partial.extend_from_slice(data);
            let taken = self.packets(who, &partial, listener)?;
            partial.drain(..taken);
        }
        self.clients[who].partial = partial;
        Ok(())
    }

    /// Takes the whole packets at the start of `bytes`; answers how many bytes they have.
    fn packets(&mut self, who: usize, bytes: &[u8], listener: &mut impl Listener) -> Result<usize, String> {
        let speech = self.speech;
        let mut taken = 0;
        while let Some(frame) = cut(bytes.get(taken..).unwrap_or_default())? {
            taken += frame.total;
            match self.clients[who].take(speech, &frame)? {
                Heard::Nothing => {}
                Heard::Ready => self.ready += 1,
                Heard::Message(message) => listener.message(who, &message)?,
                Heard::Acknowledged => listener.acknowledged(who),
            }
        }
        if !self.clients[who].out.is_empty() {
            self.write(who);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut writers = std::mem::take(&mut self.writers);
        for who in writers.drain(..) {
            let client = &mut self.clients[who];
            client.listed = false;
            if client.sending || client.out.is_empty() {
                continue;
            }
            let full = std::mem::take(&mut client.out);
            self.send(who, full)?;
        }
        self.writers = writers;
        Ok(())
    }

    fn send(&mut self, who: usize, bytes: Vec<u8>) -> Result<(), String> {
        let client = &mut self.clients[who];
        let slot = client.slot.ok_or("a client sends before it connects")?;
        client.sending = true;
        self.ring.send(slot, bytes).map_err(|refused| format!("client {who}: {:?}", refused.error))
    }
}
