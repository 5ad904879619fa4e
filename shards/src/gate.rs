//! How many connections the process has, over all shards, and whether one more may come.
//!
//! Each shard holds the same gate. A unit is taken when a connection is accepted and given back when its slot's last
//! completion came; it travels with a connection that moves to another shard. When all are taken a new connection is
//! closed at once, before it gets a slot, memory or a read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all shards.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicU64,
}

impl Gate {
    /// Takes a unit. False: `max` are taken.
    pub(crate) fn enter(&self, max: u64) -> bool {
        // The count guards no other memory, so no order is needed.
        if self.open.fetch_add(1, Ordering::Relaxed) < max {
            return true;
        }
        self.leave();
        false
    }

    /// Gives a unit back.
    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_makes_room_and_what_is_refused_takes_none() {
        let gate = Gate::default();
        assert!(gate.enter(2) && gate.enter(2));
        assert!(!gate.enter(2) && !gate.enter(2));
        gate.leave();
        assert!(gate.enter(2));
        assert!(!gate.enter(2));
    }
}
