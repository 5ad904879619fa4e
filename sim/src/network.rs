//! The queues between shards: two bounded lanes per pair, each in order; a batch is on its way for a while, so batches of
//! different pairs and lanes overtake each other.

use crate::dice::Dice;
use crate::fault::Fault;
use bitsim_engine::identity::ShardId;
use bitsim_engine::mail::{Lane, Mail, MailBatch};
use std::collections::{BTreeMap, VecDeque};

/// Batches that one lane holds: few, so that they are full at times.
const BATCHES_MAX: usize = 3;
const DELAY_MAX_MS: usize = 30;

type Way = (ShardId, ShardId, bool);

/// See the module.
pub(crate) struct Network {
    ways: BTreeMap<Way, VecDeque<(u64, MailBatch)>>,
    fault: Option<Fault>,
}

impl Network {
    pub(crate) fn new(fault: Option<Fault>) -> Network {
        Network { ways: BTreeMap::new(), fault }
    }

    pub(crate) fn has_room(&self, from: ShardId, to: ShardId, lane: Lane) -> bool {
        self.ways.get(&(from, to, lane == Lane::First)).is_none_or(|way| way.len() < BATCHES_MAX)
    }

    pub(crate) fn post(&mut self, way: (ShardId, ShardId), mut batch: MailBatch, now: u64, dice: &mut Dice) {
        if self.fault == Some(Fault::CursorEarly) {
            for item in &mut batch.items {
                if let Mail::CursorMoved { to, .. } = item {
                    *to += 2;
                }
            }
        }
        let due = now + dice.below(DELAY_MAX_MS) as u64;
        self.ways.entry((way.0, way.1, batch.lane == Lane::First)).or_default().push_back((due, batch));
    }

    /// The next batch of a lane, if it has arrived.
    pub(crate) fn take(&mut self, from: ShardId, to: ShardId, lane: Lane, now: u64) -> Option<MailBatch> {
        let way = self.ways.get_mut(&(from, to, lane == Lane::First))?;
        way.front().filter(|(due, _)| *due <= now)?;
        way.pop_front().map(|(_, batch)| batch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ways.values().all(VecDeque::is_empty)
    }
}
