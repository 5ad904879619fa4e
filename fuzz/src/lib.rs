//! What the fuzz targets check: one module per target, each with one `check(data)` that panics when something is wrong.
//!
//! A target in `src/bin` hands libFuzzer's bytes to its module. The modules that need decisions rather than bytes read
//! them from a [`source::Source`]. `seeds` has whole packets for the targets that read packets, since a fuzzer is
//! slow to find the fifteen shapes of MQTT by itself.

pub mod connection;
pub mod decode;
pub mod filters;
pub mod hostile;
pub mod identity;
pub mod packets;
pub mod seeds;
pub mod session;
pub mod shard;
pub mod source;
