//! Shards: executors, listeners, mailboxes, and the turn that drives an engine.
//!
//! One thread per shard, each with a socket ring, an engine and the connections whose sessions it owns. A connection is
//! accepted anywhere, read until its CONNECT is complete, then moved once to the shard of its client id. Shards talk
//! through bounded queues and doorbells. No MQTT rule is decided here.

mod arrival;
mod config;
mod gate;
mod post;
mod question;
mod rate;
mod running;
mod shard;
mod turn;

pub use config::{EngineTemplate, ListenerConfig, Login, RingSettings, ShardsConfig, StartError};
pub use post::{Inbox, Mailbox, Report, pair};
pub use running::{Running, start};
