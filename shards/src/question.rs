//! A log-in that is being decided: whoever decides holds it, on any thread.
//!
//! It is answered exactly once: who drops it without an answer has said that log-in is out of order. So no client waits
//! for its deadline because a thread of the log-in went away, and there is at most one verdict per link in a mailbox.

use crate::post::{Control, Mailbox};
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::Verdict;
use std::sync::Arc;

/// See the module.
pub(crate) struct Question {
    boxes: Arc<[Mailbox]>,
    shard: ShardId,
    link: LinkId,
    verdict: Verdict,
}

impl Question {
    /// Asked by `shard` for `link`.
    pub(crate) fn new(boxes: Arc<[Mailbox]>, shard: ShardId, link: LinkId) -> Question {
        Question { boxes, shard, link, verdict: Verdict::Unavailable }
    }

    /// Tells the shard.
    pub(crate) fn answer(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(mailbox) = self.boxes.get(usize::from(self.shard.0)) {
            mailbox.tell(Control::Decided { link: self.link, verdict: self.verdict });
        }
    }
}
