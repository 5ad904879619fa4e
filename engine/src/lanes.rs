//! Mail on its way to other shards: the rules of the two lanes, without the queues themselves.
//!
//! Each lane to each shard is bounded in items and bytes. A full first lane pauses the links that fill it, and opens them when it
//! has been taken; items without a link always fit (there are at most a few per subscription). A full second lane pauses the
//! links of this shard that publish into it, and stops this shard from taking first-hop mail. What came in until then (a batch of
//! the first lane, with what its links added above its bound) has twice as much room again; QoS 0 beyond that is dropped.

use crate::identity::{LinkId, ShardId};
use crate::mail::{Lane, Mail, MailBatch};
use bitsim_protocol::Qos;

/// Outgoing mail of one shard.
#[derive(Debug)]
pub(crate) struct Lanes {
    to: Vec<Pair>,
    items_max: u32,
    bytes_max: u32,
    /// Shards with something to send, each once.
    pub(crate) pending: Vec<ShardId>,
}

#[derive(Debug, Default)]
struct Pair {
    first: Queue,
    second: Queue,
    listed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Mail>,
    bytes: u32,
    paused: Vec<LinkId>,
}

/// What happened to an item of the second lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It will be sent.
    Kept,
    /// It will be sent, and the lane is at its bound: whoever produced it is to be paused.
    Full,
    /// A QoS 0 message without room.
    Dropped,
}

impl Lanes {
    /// Lanes to `shards` shards.
    pub(crate) fn new(shards: u16, items_max: u32, bytes_max: u32) -> Lanes {
        Lanes {
            to: (0..shards).map(|_| Pair::default()).collect(),
            items_max,
            bytes_max,
            pending: Vec::new(),
        }
    }

    /// New bounds, from the next item on.
    pub(crate) fn set_bounds(&mut self, items_max: u32, bytes_max: u32) {
        (self.items_max, self.bytes_max) = (items_max, bytes_max);
    }

    /// Adds a first-hop item. True: the lane is full, and `link` is to be paused until `poll` lists it.
    pub(crate) fn post_first(&mut self, to: ShardId, link: Option<LinkId>, item: Mail) -> bool {
        let (items_max, bytes_max) = (self.items_max, self.bytes_max);
        let Some(queue) = self.queue(to, Lane::First) else { return false };
        queue.push(item);
        let full = queue.full(items_max, bytes_max);
        if full && let Some(link) = link {
            if queue.paused.last() != Some(&link) {
                queue.paused.push(link);
            }
            return true;
        }
        false
    }

    /// Adds a second-hop item, or what stands for it when the lane is full.
    pub(crate) fn post_second(&mut self, to: ShardId, item: Mail) -> Posted {
        let (items_max, bytes_max) = (self.items_max, self.bytes_max);
        let Some(queue) = self.queue(to, Lane::Second) else { return Posted::Dropped };
        let full = queue.full(items_max, bytes_max);
        let over = full && queue.full(items_max.saturating_mul(3), bytes_max.saturating_mul(3));
        if over && matches!(&item, Mail::Forward { message, .. } if message.qos == Qos::AtMostOnce) {
            return Posted::Dropped;
        }
        queue.push(item);
        if full { Posted::Full } else { Posted::Kept }
    }

    /// Notes that `link` waits until a second lane that is full has been taken. False: none is full.
    pub(crate) fn wait_for_second(&mut self, link: LinkId) -> bool {
        let (items_max, bytes_max) = (self.items_max, self.bytes_max);
        let full = self.to.iter_mut().find(|pair| pair.second.full(items_max, bytes_max));
        let Some(pair) = full else { return false };
        if pair.second.paused.last() != Some(&link) {
            pair.second.paused.push(link);
        }
        true
    }

    /// Whether a second lane is over its bound: then no first-hop mail is taken.
    pub(crate) fn second_full(&self) -> bool {
        self.to.iter().any(|pair| pair.second.full(self.items_max, self.bytes_max))
    }

    /// Takes what waits for a shard; links that may go on are added to `resumed`.
    pub(crate) fn take(&mut self, to: ShardId, lane: Lane, resumed: &mut Vec<LinkId>) -> Option<MailBatch> {
        let pair = self.to.get_mut(usize::from(to.0))?;
        let queue = match lane {
            Lane::First => &mut pair.first,
            Lane::Second => &mut pair.second,
        };
        queue.bytes = 0;
        resumed.append(&mut queue.paused);
        let items = std::mem::take(&mut queue.items);
        if pair.first.items.is_empty() && pair.second.items.is_empty() {
            pair.listed = false;
        }
        if items.is_empty() { None } else { Some(MailBatch { lane, items }) }
    }

    /// Whether anything waits for a shard in a lane.
    pub(crate) fn waits(&self, to: ShardId, lane: Lane) -> bool {
        self.to.get(usize::from(to.0)).is_some_and(|pair| match lane {
            Lane::First => !pair.first.items.is_empty(),
            Lane::Second => !pair.second.items.is_empty(),
        })
    }

    /// Items waiting, by lane: first, second.
    pub(crate) fn depths(&self) -> (usize, usize) {
        self.to.iter().fold((0, 0), |(a, b), pair| (a + pair.first.items.len(), b + pair.second.items.len()))
    }

    fn queue(&mut self, to: ShardId, lane: Lane) -> Option<&mut Queue> {
        let pair = self.to.get_mut(usize::from(to.0))?;
        if !pair.listed {
            pair.listed = true;
            self.pending.push(to);
        }
        Some(match lane {
            Lane::First => &mut pair.first,
            Lane::Second => &mut pair.second,
        })
    }

    /// Shards with mail, each once; those that keep some after `take` stay listed by `still_pending`.
    pub(crate) fn drain_pending(&mut self, out: &mut Vec<ShardId>) {
        out.append(&mut self.pending);
    }

    /// Lists a shard again whose queue had no room for all of it.
    pub(crate) fn still_pending(&mut self, to: ShardId) {
        if !self.pending.contains(&to) {
            self.pending.push(to);
        }
    }
}

impl Queue {
    fn push(&mut self, item: Mail) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.items.push(item);
    }

    fn full(&self, items_max: u32, bytes_max: u32) -> bool {
        self.items.len() >= items_max as usize || self.bytes >= bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SessionUid;
    use crate::message::{Message, MessageRef, NEVER};
    use std::sync::Arc;

    fn forward(qos: Qos) -> Mail {
        let view = MessageRef {
            topic: "a",
            properties: &[],
            payload: &[],
            qos,
            retain: false,
            expires_at: NEVER,
            publisher: SessionUid(0),
        };
        Mail::Forward { message: Arc::new(Message::new(&view)), place: None }
    }

    #[test]
    fn a_second_lane_three_times_as_full_as_its_bound_drops_qos_0_alone() {
        use Posted::{Dropped, Full, Kept};
        let to = ShardId(1);
        let mut lanes = Lanes::new(2, 2, u32::MAX);
        let posted: Vec<Posted> = (0..8).map(|_| lanes.post_second(to, forward(Qos::AtMostOnce))).collect();
        assert_eq!(posted, [Kept, Kept, Full, Full, Full, Full, Dropped, Dropped]);
        assert_eq!(lanes.post_second(to, forward(Qos::AtLeastOnce)), Full, "QoS 1 is never dropped");
    }

    #[test]
    fn a_full_second_lane_holds_the_publishers_until_it_is_taken() {
        let (to, link) = (ShardId(1), LinkId { slot: 7, generation: 1 });
        let mut lanes = Lanes::new(2, 2, u32::MAX);
        assert_eq!(lanes.post_second(to, forward(Qos::AtLeastOnce)), Posted::Kept);
        assert!(!lanes.wait_for_second(link) && !lanes.second_full());
        lanes.post_second(to, forward(Qos::AtLeastOnce));
        assert!(lanes.second_full());
        assert_eq!(lanes.post_second(to, forward(Qos::AtLeastOnce)), Posted::Full);
        assert!(lanes.wait_for_second(link));
        let mut resumed = Vec::new();
        assert_eq!(lanes.take(to, Lane::Second, &mut resumed).map(|b| b.items.len()), Some(3));
        assert_eq!((resumed, lanes.second_full()), (vec![link], false));
    }
}
