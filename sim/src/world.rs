//! One run: shards, clients and what is between them, driven by the dice.
//!
//! A shard's turn keeps the order of the `shards` crate: answers, bytes, mail (the second lane always, the first only while
//! the engine takes it), the clock, effects, mail out, output. After the script everybody comes back and everything comes to
//! rest; then all is taken down, and no counter and no row may be left.

use crate::client::{Client, TOPICS};
use crate::dice::Dice;
use crate::fault::Fault;
use crate::network::Network;
use crate::oracle::{Oracle, SECRET};
use crate::store::Store;
use crate::transcript::{Transcript, packets};
use bitsim_engine::access::{AccessRules, Effect as Rule, Rights, Subject};
use bitsim_engine::effect::Effect;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta, Verdict};
use bitsim_engine::limits::Limits;
use bitsim_engine::mail::Lane;
use bitsim_engine::slots::session_shard;
use bitsim_engine::store::{Answer, Request, Table};
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};
use bitsim_protocol::Version;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const SLOT_KEY: u64 = 7;
const CLIENTS: usize = 5;
const STEPS: usize = 400;
/// Rounds after which everything must be at rest.
const ROUNDS_MAX: usize = 3_000;
/// Quiet rounds that count as rest: longer than any delay.
const QUIET: usize = 12;
const WALL_MS: u64 = 1_800_000_000_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Things that clients did and connections that ended.
    pub events: u64,
    /// Messages published.
    pub messages: u64,
    /// Messages received.
    pub deliveries: u64,
}

impl Stats {
    /// Adds another run's.
    pub fn add(&mut self, other: &Stats) {
        self.events += other.events;
        self.messages += other.messages;
        self.deliveries += other.deliveries;
    }
}

/// Why a run failed.
#[derive(Debug)]
pub struct Failure {
    /// The rule that was broken.
    pub why: String,
    /// The last events.
    pub transcript: Vec<String>,
}

/// A connection.
struct Wire {
    shard: usize,
    /// The client at its end; `None` once that has gone.
    client: Option<usize>,
    owner: usize,
    to_broker: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    paused: bool,
    /// The engine has closed it.
    closed: bool,
}

struct World {
    now: u64,
    dice: Dice,
    engines: Vec<Engine>,
    wires: BTreeMap<LinkId, Wire>,
    verdicts: Vec<(usize, LinkId)>,
    generation: u32,
    network: Network,
    store: Store,
    clients: Vec<Client>,
    oracle: Oracle,
    transcript: Transcript,
    fault: Option<Fault>,
    moved: bool,
}

/// Runs one seed.
///
/// # Errors
/// The first invariant that does not hold.
pub fn run(seed: u64, fault: Option<Fault>) -> Result<Stats, Box<Failure>> {
    let mut world = World::new(seed, fault, false);
    match world.play() {
        Ok(()) => Ok(Stats {
            events: world.transcript.events,
            messages: world.oracle.messages(),
            deliveries: world.oracle.deliveries,
        }),
        Err(why) => {
            let mut again = World::new(seed, fault, true);
            assert_eq!(again.play().as_ref(), Err(&why), "a seed decides everything");
            Err(Box::new(Failure { why, transcript: again.transcript.lines() }))
        }
    }
}

fn access() -> Arc<AccessRules> {
    let mut rules = AccessRules::builder();
    rules.add(Rule::Allow, Subject::Everyone, Rights::WRITE, "#").unwrap();
    rules.add(Rule::Allow, Subject::Everyone, Rights::SUBSCRIBE, "#").unwrap();
    for filter in ["t/0", "t/1", "t/0/a", "u/0", "s/#"] {
        rules.add(Rule::Allow, Subject::Everyone, Rights::READ, filter).unwrap();
    }
    rules.build()
}

impl World {
    fn new(seed: u64, fault: Option<Fault>, recorded: bool) -> World {
        let mut dice = Dice::new(seed);
        let shards = 1 + u16::try_from(dice.below(4)).unwrap_or(0);
        let limits = Arc::new(Limits {
            connect_timeout_ms: 1 << 40,
            lane_items_max: dice.pick(&[4, 16, 1000]),
            inflight_max: dice.pick(&[2, 8, 1024]),
            ..Limits::default()
        });
        let config = |shard| EngineConfig {
            shard: ShardId(shard),
            shards,
            epoch: 1,
            slot_key: SLOT_KEY,
            home_levels: 2,
            seed: 11,
            limits: limits.clone(),
            access: access(),
            now: Now { monotonic_ms: 1_000, wall_ms: WALL_MS },
        };
        World {
            now: 1_000,
            engines: (0..shards).map(|shard| Engine::new(config(shard))).collect(),
            wires: BTreeMap::new(),
            verdicts: Vec::new(),
            generation: 0,
            network: Network::new(fault),
            store: Store::new(fault),
            clients: (0..CLIENTS).map(|at| Client::new(at, &mut dice)).collect(),
            oracle: Oracle::new(CLIENTS),
            transcript: Transcript::new(recorded),
            dice,
            fault,
            moved: false,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.now += self.dice.below(6) as u64 + if self.dice.chance(60) { 4_000 } else { 0 };
            let at = self.dice.below(CLIENTS);
            self.client_step(at)?;
            for shard in 0..self.engines.len() {
                if self.dice.chance(2) {
                    self.turn(shard, false);
                }
            }
            self.read(at, 2)?;
        }
        self.rest()?;
        self.oracle.settled()?;
        for (at, client) in self.clients.iter().enumerate() {
            if client.online && !client.unfinished().is_empty() {
                let wire = self.wires.values().find(|wire| wire.owner == at);
                let state = wire.map(|w| (w.paused, w.closed, w.to_broker.len()));
                return Err(format!(
                    "{} never got an answer for {:?}; its link (paused, closed, unread): {state:?}",
                    client.name,
                    client.unfinished()
                ));
            }
        }
        self.take_down()
    }

    fn client_step(&mut self, at: usize) -> Result<(), String> {
        if !self.clients[at].linked {
            if self.dice.chance(3) {
                let clean = self.dice.chance(6);
                self.connect(at, clean);
            }
        } else if self.dice.chance(25) {
            match self.dice.below(3) {
                0 => self.cut(at),
                1 => {
                    let clean = self.dice.chance(6);
                    self.connect(at, clean);
                }
                _ if self.clients[at].online => {
                    let bytes = self.clients[at].disconnect();
                    self.say(at, bytes);
                    self.note(at, "disconnects");
                    self.abandon(at);
                }
                _ => {}
            }
        } else if self.clients[at].online {
            let (line, bytes) = self.clients[at].act(&mut self.dice, &mut self.oracle);
            self.note(at, &line);
            self.say(at, bytes);
        }
        Ok(())
    }

    fn note(&mut self, at: usize, line: &str) {
        self.transcript.event(self.now, || format!("client {at} {line}"));
    }

    fn connect(&mut self, at: usize, clean: bool) {
        self.abandon(at);
        // A connection that was left says nothing after its successor began.
        for wire in self.wires.values_mut().filter(|wire| wire.owner == at) {
            wire.to_broker.clear();
        }
        let will = self.dice.chance(3);
        let bytes = self.clients[at].connect(clean, will, &mut self.dice, &mut self.oracle);
        self.note(at, &format!("connects, clean {clean}"));
        let shards = u16::try_from(self.engines.len()).unwrap_or(1);
        let shard = usize::from(session_shard(0, self.clients[at].name.as_bytes(), shards, SLOT_KEY));
        let taken = |slot: u32| self.wires.keys().any(|link| link.slot == slot);
        let slot = (0..).find(|slot| !taken(*slot)).unwrap_or(0);
        self.generation += 1;
        let link = LinkId { slot, generation: self.generation };
        let wire = Wire {
            shard,
            client: Some(at),
            owner: at,
            to_broker: VecDeque::from([bytes]),
            to_client: VecDeque::new(),
            paused: false,
            closed: false,
        };
        self.wires.insert(link, wire);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.input(shard, Input::Open { link, meta: LinkMeta { peer, namespace: 0, anonymous: true } });
    }

    /// The client's end goes away; the broker has not noticed.
    fn abandon(&mut self, at: usize) {
        let wire = self.wires.values_mut().find(|wire| wire.client == Some(at));
        if let Some(wire) = wire {
            wire.client = None;
            self.clients[at].lost(&mut self.oracle);
        }
    }

    /// Without a word; the broker notices now, or when it notices.
    fn cut(&mut self, at: usize) {
        self.note(at, "is cut off");
        let link = self.link(at);
        self.abandon(at);
        if let Some(link) = link.filter(|_| self.dice.chance(2)) {
            self.close(link);
        }
    }

    fn link(&self, at: usize) -> Option<LinkId> {
        self.wires.iter().find(|(_, wire)| wire.client == Some(at)).map(|(link, _)| *link)
    }

    fn close(&mut self, link: LinkId) {
        if let Some(wire) = self.wires.remove(&link)
            && !wire.closed
        {
            self.input(wire.shard, Input::Closed { link });
        }
    }

    fn say(&mut self, at: usize, bytes: Vec<u8>) {
        let wire = self.wires.values_mut().find(|wire| wire.client == Some(at));
        if let Some(wire) = wire.filter(|_| !bytes.is_empty()) {
            wire.to_broker.push_back(bytes);
        }
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        let now = Now { monotonic_ms: self.now, wall_ms: WALL_MS + self.now };
        let version =
            |link: &LinkId| self.wires.get(link).map_or(Version::V5, |wire| self.clients[wire.owner].version);
        self.transcript.note(self.now, || match &input {
            Input::Received { link, bytes } => {
                format!("shard {shard} <- {link:?}: {}", packets(version(link), bytes))
            }
            other => format!("shard {shard} <- {other:?}"),
        });
        self.engines[shard].handle(now, input);
        self.moved = true;
    }

    /// The client reads up to `pieces` of what came.
    fn read(&mut self, at: usize, pieces: usize) -> Result<(), String> {
        let Some(link) = self.link(at) else { return Ok(()) };
        for _ in 0..pieces {
            let Some(wire) = self.wires.get_mut(&link) else { return Ok(()) };
            let (shard, closed) = (wire.shard, wire.closed);
            let Some(bytes) = wire.to_client.pop_front() else {
                if closed {
                    self.note(at, "is closed by the broker");
                    self.wires.remove(&link);
                    self.clients[at].lost(&mut self.oracle);
                    self.moved = true;
                }
                return Ok(());
            };
            if !closed {
                self.input(shard, Input::Sent { link, bytes: bytes.len() });
            }
            let reply = self.clients[at].read(&bytes, &mut self.oracle)?;
            self.say(at, reply);
        }
        Ok(())
    }

    /// One turn of a shard. `all`: everything that is due, else some of it.
    fn turn(&mut self, shard: usize, all: bool) {
        let id = ShardId(u16::try_from(shard).unwrap_or(0));
        while let Some((token, answer)) = self.store.take(id, self.now, &mut self.dice) {
            self.input(shard, Input::Stored { token, answer });
        }
        for (at, link) in std::mem::take(&mut self.verdicts) {
            self.input(at, Input::Authenticated { link, verdict: Verdict::Accepted });
        }
        self.bytes_in(shard, all);
        self.mail_in(id);
        if self.engines[shard].next_deadline().is_some_and(|at| at <= self.now) {
            self.input(shard, Input::Tick);
        }
        self.effects(shard);
        self.mail_out(id);
        self.effects(shard);
        while let Some(link) = self.engines[shard].poll_output() {
            self.output(shard, link);
        }
    }

    fn bytes_in(&mut self, shard: usize, all: bool) {
        let links: Vec<LinkId> =
            self.wires.iter().filter(|(_, w)| w.shard == shard).map(|(l, _)| *l).collect();
        for link in links {
            let Some(wire) = self.wires.get_mut(&link) else { continue };
            if wire.paused || wire.closed {
                continue;
            }
            if wire.client.is_none() && wire.to_broker.is_empty() && (all || self.dice.chance(8)) {
                self.close(link);
                continue;
            }
            if !all && self.dice.chance(3) {
                continue;
            }
            let Some(mut bytes) = wire.to_broker.pop_front() else { continue };
            if self.dice.chance(4) {
                let rest = bytes.split_off(self.dice.below(bytes.len()));
                wire.to_broker.push_front(rest);
            }
            if !bytes.is_empty() {
                self.input(shard, Input::Received { link, bytes: &bytes });
            }
        }
    }

    fn mail_in(&mut self, to: ShardId) {
        let shard = usize::from(to.0);
        for lane in [Lane::Second, Lane::First] {
            for from in 0..self.engines.len() {
                let from = ShardId(u16::try_from(from).unwrap_or(0));
                while lane == Lane::Second || self.engines[shard].takes_first_hop() {
                    let Some(batch) = self.network.take(from, to, lane, self.now) else { break };
                    self.input(shard, Input::Mail { from, batch });
                }
            }
        }
    }

    fn mail_out(&mut self, from: ShardId) {
        let now = Now { monotonic_ms: self.now, wall_ms: WALL_MS + self.now };
        let engine = &mut self.engines[usize::from(from.0)];
        let mut pending = Vec::new();
        engine.mail_pending(&mut pending);
        for to in pending {
            for lane in [Lane::Second, Lane::First] {
                if !engine.has_mail(to, lane) {
                    continue;
                }
                if !self.network.has_room(from, to, lane) {
                    engine.mail_waits(to);
                } else if let Some(batch) = engine.take_mail(now, to, lane) {
                    self.network.post((from, to), batch, self.now, &mut self.dice);
                    self.moved = true;
                }
            }
        }
    }

    fn effects(&mut self, shard: usize) {
        while let Some(effect) = self.engines[shard].poll_effect() {
            self.moved = true;
            self.transcript.note(self.now, || format!("shard {shard} -> {effect:?}"));
            match effect {
                Effect::Store { token, request } => {
                    let id = ShardId(u16::try_from(shard).unwrap_or(0));
                    let now = (self.now, WALL_MS + self.now);
                    self.store.submit((id, token), request, now, &mut self.dice);
                }
                Effect::Authenticate { link, .. } => self.verdicts.push((shard, link)),
                Effect::Close { link } => {
                    self.output(shard, link);
                    if let Some(wire) = self.wires.get_mut(&link) {
                        wire.closed = true;
                        if wire.client.is_none() {
                            self.wires.remove(&link);
                        }
                    }
                }
                Effect::StopReading { link } => self.pause(link, true),
                Effect::StartReading { link } => self.pause(link, false),
                Effect::Admin { .. } => {}
            }
        }
    }

    fn pause(&mut self, link: LinkId, paused: bool) {
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.paused = paused;
        }
    }

    fn output(&mut self, shard: usize, link: LinkId) {
        let mut bytes = Vec::new();
        self.engines[shard].take_output(link, &mut bytes);
        let Some(wire) = self.wires.get_mut(&link).filter(|_| !bytes.is_empty()) else { return };
        self.moved = true;
        let version = self.clients[wire.owner].version;
        self.transcript.note(self.now, || format!("shard {shard} -> {link:?}: {}", packets(version, &bytes)));
        if wire.client.is_some() {
            if self.fault == Some(Fault::IdentifierReused) {
                reuse(&mut bytes);
            }
            wire.to_client.push_back(bytes);
        } else if !wire.closed {
            let bytes = bytes.len();
            self.input(shard, Input::Sent { link, bytes });
        }
    }

    /// Everybody who has a session comes back, and everything comes to rest.
    fn rest(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            self.now += 10;
            self.moved = false;
            for at in 0..CLIENTS {
                if !self.clients[at].linked && self.clients[at].session {
                    self.connect(at, false);
                }
                self.read(at, 10)?;
                let mut out = Vec::new();
                self.clients[at].acknowledge(usize::MAX, &mut out);
                self.moved |= !out.is_empty();
                self.say(at, out);
            }
            for shard in 0..self.engines.len() {
                self.turn(shard, true);
            }
            let still = !self.moved && self.network.is_empty() && self.store.is_empty();
            quiet = if still { quiet + 1 } else { 0 };
            if quiet > QUIET {
                return Ok(());
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// Subscriptions, retained messages and sessions are ended; nothing is left of them.
    fn take_down(&mut self) -> Result<(), String> {
        for at in 0..CLIENTS {
            let mut out = Vec::new();
            for filter in self.oracle.filters(at) {
                self.clients[at].unsubscribe(&filter, &mut self.oracle, &mut out);
            }
            self.say(at, out);
        }
        self.rest()?;
        for at in 0..CLIENTS {
            self.connect(at, true);
        }
        self.rest()?;
        let mut out = Vec::new();
        TOPICS.iter().for_each(|topic| self.clients[0].clear(topic, &mut out));
        self.say(0, out);
        self.rest()?;
        for at in 0..CLIENTS {
            let bytes = self.clients[at].disconnect();
            self.say(at, bytes);
        }
        self.rest_without_clients()?;
        self.nothing_left()
    }

    fn rest_without_clients(&mut self) -> Result<(), String> {
        self.rest()?;
        // Cursors are written and logs trimmed by the clock.
        self.now += 120_000;
        self.rest()
    }

    fn nothing_left(&mut self) -> Result<(), String> {
        for (shard, engine) in self.engines.iter_mut().enumerate() {
            let lanes = engine.lane_depths();
            let c = engine.counters();
            let left = [
                c.links,
                c.sessions,
                c.subscriptions,
                c.retained,
                c.retained_bytes,
                c.short_wildcards,
                c.queued_bytes,
            ];
            if left != [0; 7] || lanes != (0, 0) {
                return Err(format!(
                    "left on shard {shard}: links, sessions, subscriptions, retained, its bytes, wildcards, queued \
                     {left:?}, lanes {lanes:?}"
                ));
            }
        }
        for table in [Table::Sessions, Table::Cursors, Table::Received, Table::Retained, Table::Groups] {
            let scan = Request::Scan { table, prefix: Vec::new().into(), after: None, rows_max: 10 };
            if let Answer::Rows { rows, .. } = self.store.memory.execute(scan, WALL_MS + self.now)
                && !rows.is_empty()
            {
                return Err(format!("left in {table:?}: {rows:?}"));
            }
        }
        debug_assert!(TOPICS.contains(&SECRET), "the topic without a right is written to");
        Ok(())
    }
}

/// Gives every second PUBLISH of an output, at QoS 1 and 2, the identifier of the one before it.
fn reuse(bytes: &mut [u8]) {
    let (mut at, mut before): (usize, Option<[u8; 2]>) = (0, None);
    while let Ok(Some(frame)) = bitsim_protocol::split_frame(&bytes[at..], u32::MAX) {
        let (first, total, header) = (frame.first, frame.total, frame.total - frame.body.len());
        if first >> 4 == 3 && first & 0b110 != 0 {
            let body = at + header;
            let topic = usize::from(u16::from_be_bytes([bytes[body], bytes[body + 1]]));
            let place = body + 2 + topic;
            match before.take() {
                Some(other) => bytes[place..place + 2].copy_from_slice(&other),
                None => before = Some([bytes[place], bytes[place + 1]]),
            }
        }
        at += total;
    }
}
