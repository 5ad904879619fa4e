//! The shards with real sockets: a small client that writes packets as bytes, against 1 and more shards.

mod broker;
mod client;
mod drain;
mod moving;
mod roundtrip;
