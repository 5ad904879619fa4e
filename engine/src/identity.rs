//! The names of things inside one process: shards, links, sessions. Plain numbers, each its own type.

/// Number of a shard, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// One transport connection on one shard. Whoever drives the engine gives the slot and a generation
/// that rises each time the slot is used again, so that late news of an old link is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    /// Index in the driver's and the engine's tables.
    pub slot: u32,
    /// Use count of the slot.
    pub generation: u32,
}

/// One incarnation of a session: unique across shards and restarts (epoch, shard, counter). A session that was ended and
/// begun again under the same client id has another one, so no stale row or release can touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionUid(pub u64);

impl SessionUid {
    /// Composes the number: 20 bits of epoch, 10 of shard, 34 of counter.
    pub fn new(epoch: u32, shard: ShardId, counter: u64) -> SessionUid {
        SessionUid(
            (u64::from(epoch) & 0xF_FFFF) << 44
                | (u64::from(shard.0) & 0x3FF) << 34
                | (counter & 0x3_FFFF_FFFF),
        )
    }
}
