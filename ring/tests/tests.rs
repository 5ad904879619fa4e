//! The ring against real sockets. The tests run one at a time: some count descriptors.

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
