//! The store contract and its back ends.
//!
//! `contract` says what a store promises, `memory` is the back end that keeps nothing across a restart, `suite` is the
//! one set of checks that every back end passes. The requests and answers themselves are the engine's
//! (`bitsim_engine::store`). Nothing here knows MQTT, sockets or glommio.

pub mod contract;
pub mod memory;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use contract::{Bell, Store};
pub use memory::{Memory, MemoryStore};
