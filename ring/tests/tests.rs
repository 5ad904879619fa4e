//! The ring against real sockets. The tests run one at a time: some count descriptors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code, its helpers included")]

mod rig;

mod accept;
mod close;
mod echo;
mod growth;
mod lifetimes;
mod moving;
mod pause;
mod rt;
mod wake;
