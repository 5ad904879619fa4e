//! One shard as the fuzz targets drive it: an engine, the memory store, and links whose other ends are the target's.
//!
//! [`Shard::settle`] does what the engine wants until it wants nothing: answers the store, lets every client in, takes
//! output and closes links. Time moves only by [`Shard::pass`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::Effect;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta, Verdict};
use bitsim_engine::limits::Limits;
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};
use bitsim_storage::Memory;

/// Rounds of [`Shard::settle`] after which the engine is taken to run in a circle.
const ROUNDS_MAX: usize = 100_000;

/// A broker of one shard.
pub struct Shard {
    /// The engine under test.
    pub engine: Engine,
    /// Its store.
    pub memory: Memory,
    now: Now,
    links: BTreeMap<LinkId, Link>,
    generation: u32,
}

/// The other end of a link.
#[derive(Default)]
struct Link {
    received: Vec<u8>,
    paused: bool,
    closed: bool,
}

impl Shard {
    /// An empty broker.
    pub fn new(limits: Limits) -> Shard {
        let now = Now { monotonic_ms: 1_000, wall_ms: 1_800_000_000_000 };
        let engine = Engine::new(EngineConfig {
            shard: ShardId(0),
            shards: 1,
            epoch: 1,
            slot_key: 7,
            home_levels: 2,
            seed: 11,
            limits: Arc::new(limits),
            access: AccessRules::open(),
            now,
        });
        Shard { engine, memory: Memory::new(1 << 30), now, links: BTreeMap::new(), generation: 0 }
    }

    /// A connection in slot `slot`, which is free, from a listener of this namespace.
    pub fn open(&mut self, slot: u32, namespace: u8) -> LinkId {
        self.generation += 1;
        let link = LinkId { slot, generation: self.generation };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.links.insert(link, Link::default());
        self.engine
            .handle(self.now, Input::Open { link, meta: LinkMeta { peer, namespace, anonymous: true } });
        self.settle();
        link
    }

    /// Bytes from the client, if the link is open.
    pub fn send(&mut self, link: LinkId, bytes: &[u8]) {
        if self.is_open(link) {
            self.engine.handle(self.now, Input::Received { link, bytes });
            self.settle();
        }
    }

    /// The client's end goes away, without a word.
    pub fn cut(&mut self, link: LinkId) {
        if self.is_open(link) {
            self.engine.handle(self.now, Input::Closed { link });
            self.settle();
        }
        self.links.remove(&link);
    }

    /// Time goes by.
    pub fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
        if self.engine.next_deadline().is_some_and(|at| at <= self.now.monotonic_ms) {
            self.engine.handle(self.now, Input::Tick);
            self.settle();
        }
    }

    /// Whether the broker keeps the link.
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| !link.closed)
    }

    /// Whether the broker wants no more bytes of the link for now.
    pub fn is_paused(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.paused)
    }

    /// What the broker sent since the last call.
    pub fn received(&mut self, link: LinkId) -> Vec<u8> {
        self.links.get_mut(&link).map(|link| std::mem::take(&mut link.received)).unwrap_or_default()
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if let Some(effect) = self.engine.poll_effect() {
                self.effect(effect);
            } else if let Some(link) = self.engine.poll_output() {
                let bytes = self.take_output(link);
                self.engine.handle(self.now, Input::Sent { link, bytes });
            } else {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Store { token, request } => {
                let answer = self.memory.execute(request, self.now.wall_ms);
                self.engine.handle(self.now, Input::Stored { token, answer });
            }
            Effect::Authenticate { link, .. } => {
                self.engine.handle(self.now, Input::Authenticated { link, verdict: Verdict::Accepted });
            }
            Effect::Close { link } => {
                self.take_output(link);
                self.link(link).closed = true;
            }
            Effect::StopReading { link } => self.link(link).paused = true,
            Effect::StartReading { link } => self.link(link).paused = false,
            Effect::Admin { .. } => panic!("nobody asked"),
        }
    }

    fn take_output(&mut self, link: LinkId) -> usize {
        let mut bytes = Vec::new();
        self.engine.take_output(link, &mut bytes);
        let end = self.link(link);
        assert!(bytes.is_empty() || !end.closed, "output for a link that was closed");
        end.received.extend_from_slice(&bytes);
        bytes.len()
    }

    fn link(&mut self, link: LinkId) -> &mut Link {
        self.links.get_mut(&link).expect("the engine names links that exist")
    }
}
