//! A connection before it belongs to a shard: its bytes until CONNECT is complete, and where it then goes.

use bitsim_engine::input::LinkMeta;
use bitsim_engine::limits::Limits;
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
    /// Largest CONNECT that is looked at: no smaller than what the engine takes, or a session could begin on a wrong shard.
    pub(crate) connect_bytes_max: u32,
}

/// Least bytes of a CONNECT that are always taken, as in the engine.
const CONNECT_BYTES_MIN: u32 = 1024;

impl Spread {
    /// For these limits.
    pub(crate) fn new(shards: u16, slot_key: u64, limits: &Limits) -> Spread {
        let bound = limits.prelogin_bytes_max.min(limits.packet_bytes_max);
        Spread { shards, slot_key, connect_bytes_max: bound.max(CONNECT_BYTES_MIN) }
    }
}

impl Arrival {
    /// Judges what has come so far.
    pub(crate) fn destination(&self, spread: Spread) -> Destination {
        if self.bytes.first().is_some_and(|first| !first_byte_ok(*first)) {
            return Destination::Here;
        }
        let frame = match split_frame(&self.bytes, spread.connect_bytes_max) {
            // Its length is known to be within the bound, or is not known after a few bytes.
            Ok(None) => return Destination::Unknown,
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
