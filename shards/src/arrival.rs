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

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Spread = Spread { shards: 8, slot_key: 3, connect_bytes_max: 1024 };

    fn destination(bytes: &[u8], namespace: u8) -> Destination {
        let meta = LinkMeta { peer: "127.0.0.1:1".parse().unwrap(), namespace, anonymous: true };
        Arrival { bytes: bytes.to_vec(), meta, deadline_ms: 0 }.destination(SPREAD)
    }

    fn connect(id: &str) -> Vec<u8> {
        let mut bytes = vec![0x10, 12 + u8::try_from(id.len()).unwrap()];
        bytes.extend([0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, u8::try_from(id.len()).unwrap()]);
        bytes.extend(id.as_bytes());
        bytes
    }

    #[test]
    fn a_whole_connect_goes_to_the_shard_of_its_session() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..100 {
            let id = format!("client-{n}");
            for namespace in [0, 1] {
                let shard = session_shard(namespace, id.as_bytes(), 8, 3);
                assert_eq!(destination(&connect(&id), namespace), Destination::Shard(shard));
                seen.insert(shard);
            }
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn every_part_of_a_connect_waits_for_the_rest() {
        let bytes = connect("some client");
        for end in 0..bytes.len() {
            assert_eq!(destination(&bytes[..end], 0), Destination::Unknown);
        }
    }

    #[test]
    fn what_the_engine_refuses_stays() {
        // Another packet, other flags, an endless length, a length above the bound, a protocol that is none, no client id.
        for bytes in [
            &[0x30][..],
            &[0x11],
            &[0x10, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x10, 0x80, 0x10],
            &[0x10, 2, 0, 0],
            &connect(""),
        ] {
            assert_eq!(destination(bytes, 0), Destination::Here, "{bytes:?}");
        }
    }
}
