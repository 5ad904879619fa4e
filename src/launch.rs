//! From a configuration to running shards: limits, log-in, listeners, and the administration's questions.
//!
//! Lives on the main thread and on the threads of its callers; nothing of it runs on a shard. What a setting means to the
//! engine is decided here, once.

mod ask;
mod limits;
mod login;
mod sample;

use crate::admin::Admin;
use crate::configuration::Configuration;
use crate::serve::{Broker, StartError};
use crate::settings::Settings;
use bitsim_engine::access::AccessRules;
use bitsim_shards::{EngineTemplate, ListenerConfig, RingSettings, Running, ShardsConfig};
use bitsim_storage::{MemoryStore, Store};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use login::LoginGate;

/// Binds, starts the shards, and gives what the server needs of them.
pub fn launch(configuration: &Configuration) -> Result<Box<dyn Broker>, StartError> {
    bitsim_ring::probe().map_err(|error| StartError::Host(error.to_string()))?;
    let settings = &configuration.settings;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(u64::MAX));
    tracing::info!("store: {}", store.describe());
    let login = Arc::new(LoginGate::start(settings, configuration.passwords.clone())?);
    let config = ShardsConfig {
        listeners: listeners(settings),
        shards: shard_count(settings),
        cores: (!settings.runtime.cores.is_empty()).then(|| settings.runtime.cores.clone()),
        engine: template(configuration),
        store,
        ring: RingSettings {
            entries: settings.runtime.ring_entries,
            buffers: settings.runtime.ring_buffers,
            buffer_bytes: settings.runtime.ring_buffer_bytes,
            min_wait_us: settings.runtime.min_wait_us,
        },
        backlog: settings.runtime.listen_backlog,
        sys_interval: Duration::from_secs(u64::from(settings.topics.sys_interval_secs)),
        version: format!("bitsim version {}", env!("CARGO_PKG_VERSION")),
        login: login.clone(),
    };
    let running = bitsim_shards::start(config).map_err(start_error)?;
    let (ended, ends) = bounded(1);
    Ok(Box::new(Launched {
        running: Arc::new(running),
        login,
        namespaces: ask::namespaces(settings),
        ended,
        ends,
    }))
}

/// The shards, seen from the server.
struct Launched {
    running: Arc<Running>,
    login: Arc<LoginGate>,
    namespaces: Arc<[String]>,
    ended: Sender<Result<(), String>>,
    ends: Receiver<Result<(), String>>,
}

impl Broker for Launched {
    fn listening(&self) -> Vec<SocketAddr> {
        self.running.local_addrs().to_vec()
    }

    fn admin(&self) -> Arc<dyn Admin> {
        Arc::new(ask::Asker::new(self.running.clone(), self.login.clone(), self.namespaces.clone()))
    }

    fn reload(&self, configuration: &Configuration) {
        self.login.reload(&configuration.settings, configuration.passwords.clone());
        let limits = Arc::new(limits::limits(&configuration.settings));
        self.running.reload(limits, configuration.access.clone());
    }

    fn begin_shutdown(&self) {
        let (running, ended) = (self.running.clone(), self.ended.clone());
        std::thread::spawn(move || {
            running.drain();
            // The receiver is gone only if the process ends anyway.
            let _ = ended.send(Ok(()));
        });
    }

    fn ended(&self) -> Receiver<Result<(), String>> {
        self.ends.clone()
    }
}

fn listeners(settings: &Settings) -> Vec<ListenerConfig> {
    let names = ask::namespaces(settings);
    settings
        .listeners
        .iter()
        .map(|listener| ListenerConfig {
            addr: listener.address,
            namespace: names
                .iter()
                .position(|n| *n == listener.namespace)
                .and_then(|n| u8::try_from(n).ok())
                .unwrap_or(0),
            anonymous: settings.anonymous_allowed(listener),
        })
        .collect()
}

/// One shard per core that the process may use, unless set.
fn shard_count(settings: &Settings) -> u16 {
    let wanted = match settings.runtime.shards {
        0 if !settings.runtime.cores.is_empty() => settings.runtime.cores.len(),
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    };
    u16::try_from(wanted.clamp(1, 256)).unwrap_or(1)
}

fn template(configuration: &Configuration) -> EngineTemplate {
    let access: Arc<AccessRules> = configuration.access.clone();
    EngineTemplate {
        limits: Arc::new(limits::limits(&configuration.settings)),
        access,
        seed: seed(),
        slot_key: seed(),
        home_levels: configuration.settings.topics.home_levels,
        epoch: 1,
    }
}

/// Eight random bytes of the system.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds its hasher from the system's random source.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn start_error(error: bitsim_shards::StartError) -> StartError {
    match error {
        bitsim_shards::StartError::AddressInUse(address) => StartError::AddressInUse(address),
        bitsim_shards::StartError::Bind(address, error) => StartError::Bind(address, error),
        bitsim_shards::StartError::Host(text) => StartError::Host(text),
        bitsim_shards::StartError::System(what, error) => StartError::System(what, error),
    }
}
