//! The engines of a few shards and the memory store under a deterministic simulator.
//!
//! A seed decides everything: how many shards there are, what the clients do, how long mail and the store's answers are on
//! their way, when connections break. `world` drives the engines by the rules of the `shards` crate, `client` is one client
//! with its session's state, `oracle` knows what must and what must not arrive. Crashes are not simulated here: the store's
//! promises are those of `Memory`, whose answers come late and in any order.
#![expect(
    clippy::indexing_slicing,
    reason = "indices come from the dice, below the length of what they index"
)]
#![expect(clippy::unwrap_used, reason = "a simulator that meets the impossible has to stop")]

mod client;
mod dice;
mod fault;
mod network;
mod oracle;
mod store;
mod transcript;
mod world;

pub use fault::Fault;
pub use world::{Failure, Stats, run};
