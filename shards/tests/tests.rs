//! The shards with real sockets: a small client that writes packets as bytes, against 1 and more shards.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod broker;
mod client;
mod drain;
mod moving;
mod roundtrip;
