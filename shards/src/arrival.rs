//! A connection before it belongs to a shard: its bytes until CONNECT is complete, and where it then goes.

use bitsim_engine::input::LinkMeta;
use bitsim_engine::slots::session_shard;
use bitsim_protocol::{decode_connect, first_byte_ok, split_frame};

/// What has come of one connection.
pub(crate) struct Arrival {
    pub(crate) bytes: Vec<u8>,
    pub(crate) meta: LinkMeta,
    /// Monotonic milliseconds at which it is given up.
    pub(crate) deadline_ms: u64,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// CONNECT is not complete.
    Unknown,
    /// It stays here: it breaks a rule, which the engine answers, or it has no client id.
    Here,
    /// The shard of its session.
    Shard(u16),
}

/// How client ids are spread.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) shards: u16,
    pub(crate) slot_key: u64,
}

impl Arrival {
    /// Judges what has come so far.
    pub(crate) fn destination(&self, bytes_max: u32, spread: Spread) -> Destination {
        if self.bytes.first().is_some_and(|first| !first_byte_ok(*first)) {
            return Destination::Here;
        }
        let frame = match split_frame(&self.bytes, bytes_max) {
            Ok(None) if self.bytes.len() < bytes_max as usize => return Destination::Unknown,
            Ok(Some(frame)) => frame,
            _ => return Destination::Here,
        };
        match decode_connect(&frame) {
            Ok(connect) if !connect.client_id.is_empty() => {
                let id = connect.client_id.as_bytes();
                Destination::Shard(session_shard(self.meta.namespace, id, spread.shards, spread.slot_key))
            }
            _ => Destination::Here,
        }
    }
}
