//! Shards on free ports of this machine.

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::AuthRequest;
use bitsim_engine::input::Verdict;
use bitsim_engine::limits::Limits;
use bitsim_shards::{
    EngineTemplate, ListenerConfig, Login, RingSettings, Running, ShardsConfig, StartError, start,
};
use bitsim_storage::MemoryStore;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const SLOT_KEY: u64 = 7;

/// Lets in who says `yes`, from another thread; drops the question of who says `lost`.
struct Gate;

impl Login for Gate {
    fn check(&self, request: AuthRequest, _anonymous: bool, answer: Box<dyn FnOnce(Verdict) + Send>) {
        let password = request.password.unwrap_or_default();
        if *password == *b"lost" {
            return;
        }
        let verdict = if *password == *b"yes" { Verdict::Accepted } else { Verdict::BadCredentials };
        std::thread::spawn(move || answer(verdict));
    }
}

/// Running shards; drained when dropped.
pub(crate) struct Broker(pub(crate) Running);

impl Broker {
    pub(crate) fn new(shards: u16) -> Broker {
        Broker::with(shards, Limits::default())
    }

    pub(crate) fn with(shards: u16, limits: Limits) -> Broker {
        let any = "127.0.0.1:0".parse().unwrap();
        Broker(start(config(shards, limits, any)).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addrs()[0]
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.drain();
    }
}

/// A second start, on an address of choice.
pub(crate) fn start_at(addr: SocketAddr) -> Result<Running, StartError> {
    start(config(1, Limits::default(), addr))
}

fn config(shards: u16, limits: Limits, addr: SocketAddr) -> ShardsConfig {
    ShardsConfig {
        listeners: vec![ListenerConfig { addr, namespace: 0, anonymous: true }],
        shards,
        cores: None,
        engine: EngineTemplate {
            limits: Arc::new(limits),
            access: AccessRules::open(),
            seed: 1,
            slot_key: SLOT_KEY,
            home_levels: 2,
            epoch: 1,
        },
        store: Arc::new(MemoryStore::new(64 << 20)),
        ring: RingSettings { entries: 256, buffers: 16, buffer_bytes: 4096, min_wait_us: 0 },
        backlog: 128,
        sys_interval: Duration::from_secs(1),
        version: "test".to_owned(),
        login: Arc::new(Gate),
    }
}
