//! The memory store behind a delay: requests take effect in the order of each shard, answers come late and in any order.

use crate::dice::Dice;
use crate::fault::Fault;
use bitsim_engine::identity::ShardId;
use bitsim_engine::store::{Answer, Request, StoreToken, Write};
use bitsim_storage::Memory;

const DELAY_MAX_MS: usize = 40;
const BYTES_MAX: u64 = 1 << 30;

/// See the module.
pub(crate) struct Store {
    pub(crate) memory: Memory,
    waiting: Vec<(u64, ShardId, StoreToken, Answer)>,
    fault: Option<Fault>,
}

impl Store {
    pub(crate) fn new(fault: Option<Fault>) -> Store {
        Store { memory: Memory::new(BYTES_MAX), waiting: Vec::new(), fault }
    }

    /// Takes a request at `(monotonic, wall)`.
    pub(crate) fn submit(
        &mut self,
        from: (ShardId, StoreToken),
        mut request: Request,
        now: (u64, u64),
        dice: &mut Dice,
    ) {
        let mut lost = false;
        if let Request::Commit(writes) = &mut request {
            lost = self.fault == Some(Fault::AcknowledgeEarly) && dice.chance(8);
            if self.fault == Some(Fault::ReferenceTrimmed) {
                for write in writes {
                    if let Write::Trim { to, .. } = write {
                        *to += 1;
                    }
                }
            }
        }
        let answer = if lost { Answer::Committed } else { self.memory.execute(request, now.1) };
        self.waiting.push((now.0 + dice.below(DELAY_MAX_MS) as u64, from.0, from.1, answer));
    }

    /// An answer for a shard that is due, any of them.
    pub(crate) fn take(&mut self, shard: ShardId, now: u64, dice: &mut Dice) -> Option<(StoreToken, Answer)> {
        let due: Vec<usize> = (0..self.waiting.len())
            .filter(|at| self.waiting[*at].1 == shard && self.waiting[*at].0 <= now)
            .collect();
        if due.is_empty() {
            return None;
        }
        let (_, _, token, answer) = self.waiting.swap_remove(due[dice.below(due.len())]);
        Some((token, answer))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
