//! What shards are started with, and why a start can fail.

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::AuthRequest;
use bitsim_engine::input::Verdict;
use bitsim_engine::limits::Limits;
use bitsim_storage::Store;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One address to accept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Port 0 picks a free one.
    pub addr: SocketAddr,
    /// Sessions of different namespaces never meet.
    pub namespace: u8,
    /// Clients without name and password are let in.
    pub anonymous: bool,
}

/// What all engines have in common.
#[derive(Clone)]
pub struct EngineTemplate {
    /// Limits.
    pub limits: Arc<Limits>,
    /// Who may do what.
    pub access: Arc<AccessRules>,
    /// Secret of this process.
    pub seed: u64,
    /// Key of the slot hash, a fact of the store.
    pub slot_key: u64,
    /// Levels of a topic that decide its home, a fact of the store.
    pub home_levels: u8,
    /// Rises with each start.
    pub epoch: u32,
}

/// Sizes of each shard's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Submission entries, a power of two.
    pub entries: u32,
    /// Receive buffers, a power of two.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
    /// Microseconds that a wait may gather completions; 0: none.
    pub min_wait_us: u32,
}

/// Decides who comes in. Called on shards: must not block.
pub trait Login: Send + Sync {
    /// `answer` may be called at once or later, on any thread. `anonymous`: the listener lets everybody in who gives no
    /// name. To drop `answer` is to say `Unavailable`.
    fn check(&self, request: AuthRequest, anonymous: bool, answer: Box<dyn FnOnce(Verdict) + Send>);
}

/// Everything that is decided at the start.
pub struct ShardsConfig {
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
    /// At least 1.
    pub shards: u16,
    /// Cores in the order of the shards, used again where there are more shards. `None`: all that the process may use.
    pub cores: Option<Vec<usize>>,
    /// For every engine.
    pub engine: EngineTemplate,
    /// Shared by all shards.
    pub store: Arc<dyn Store>,
    /// For every ring.
    pub ring: RingSettings,
    /// Connections that the kernel holds until they are accepted.
    pub backlog: u32,
    /// How often `$SYS` is published; zero: never.
    pub sys_interval: Duration,
    /// For `$SYS/broker/version`.
    pub version: String,
    /// Who decides.
    pub login: Arc<dyn Login>,
}

/// Why the shards did not start. Nothing of them is left then.
#[derive(Debug)]
pub enum StartError {
    /// Somebody listens there.
    AddressInUse(SocketAddr),
    /// The address cannot be bound for another reason.
    Bind(SocketAddr, io::Error),
    /// The machine lacks something.
    Host(String),
    /// The system refused a thread or descriptor.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::AddressInUse(address) => write!(f, "{address} is in use"),
            StartError::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Host(text) => f.write_str(text),
            StartError::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
