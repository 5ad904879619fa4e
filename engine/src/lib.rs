//! The broker of one shard: sessions, subscriptions, routing, logs and cursors, retained messages, wills, limits.
//!
//! A deterministic state machine. `Engine::handle(now, input)` takes one event; then effects, output and mail are
//! polled until there are none. It never waits, reads no clock, draws no random numbers and holds no locks, so the
//! same engine runs under glommio and under the simulator. An acknowledgement whose promise needs a write leaves
//! only when the store has answered that write.

pub mod identity;
pub mod store;
pub mod time;
