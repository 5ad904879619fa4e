//! The broker of one shard: sessions, subscriptions, routing, logs and cursors, retained messages, wills, limits.
//!
//! A deterministic state machine. `Engine::handle(now, input)` takes one event; then effects, output and mail are
//! polled until there are none. It never waits, reads no clock, draws no random numbers and holds no locks, so the
//! same engine runs under glommio and under the simulator. An acknowledgement whose promise needs a write leaves
//! only when the store has answered that write.

pub mod access;
mod acknowledge;
pub mod admin;
mod catchup;
mod commit;
mod connect;
mod deliver;
pub mod effect;
pub mod engine;
pub mod filters;
mod home;
pub mod identity;
pub mod input;
mod lanes;
pub mod limits;
mod link;
pub mod mail;
pub mod message;
mod outbound;
pub mod probe;
mod publish;
mod readers;
mod receive;
pub mod record;
pub mod retained;
mod retained_fetch;
mod session;
mod shared;
pub mod slots;
pub mod store;
mod subscribe;
pub mod sys;
pub mod time;
mod timers;
pub mod wheel;
mod will;

pub use engine::{Engine, EngineConfig};
