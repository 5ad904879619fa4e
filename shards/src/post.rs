//! The queues between shards, and from the rest of the process to a shard.
//!
//! Mail has two bounded lanes per receiver, in batches. The control queue is for what is rare and must not be lost: moved
//! connections (bounded by descriptors), verdicts (one per link), and an operator's wishes. Whoever puts something in
//! rings the receiver's bell after it.

use bitsim_engine::access::AccessRules;
use bitsim_engine::admin::{AdminAnswer, AdminRequest};
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{LinkMeta, Verdict};
use bitsim_engine::limits::Limits;
use bitsim_engine::mail::{Lane, MailBatch};
use bitsim_engine::probe::Counters;
use bitsim_ring::Doorbell;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Batches that one lane of one shard holds.
const BATCHES_MAX: usize = 1024;

/// What is not mail.
pub(crate) enum Control {
    /// A connection whose session lives on the receiver.
    Moved {
        /// The socket; nothing of it is outstanding.
        socket: OwnedFd,
        /// What was read: CONNECT, and what came with it.
        bytes: Vec<u8>,
        /// Where it came from.
        meta: LinkMeta,
    },
    /// A log-in was decided.
    Decided {
        /// The link, which may be gone.
        link: LinkId,
        /// What.
        verdict: Verdict,
    },
    /// New limits and rules.
    Reload(Arc<Limits>, Arc<AccessRules>),
    /// Shut down.
    Drain,
    /// A question of an operator.
    Admin(AdminRequest, Sender<AdminAnswer>),
    /// How is it now?
    Report(Sender<Report>),
}

/// What a shard says of itself, once a second.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The engine's.
    pub counters: Counters,
    /// Outgoing items: first hop, second hop.
    pub lane_depths: (usize, usize),
    /// Heap bytes of the large tables.
    pub table_bytes: usize,
    /// Turns by their length: entry `n` counts those below 2^n microseconds that no lower entry counts.
    pub turns: [u64; 24],
    /// Microseconds of all turns.
    pub turn_us: u64,
    /// Waits in the ring.
    pub sleeps: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,
    /// Connections closed because every slot of the ring was taken.
    pub no_slot: u64,
    /// Connections closed because the process has as many as it may.
    pub refused_max: u64,
    /// Connections closed because their address connects too fast.
    pub refused_rate: u64,
    /// Connections given to the shard of their session.
    pub moved: u64,
}

/// The post box of one shard, seen from outside. Public, with [`Inbox`] and [`pair`], for the benches.
pub struct Mailbox {
    first: Sender<(ShardId, MailBatch)>,
    second: Sender<(ShardId, MailBatch)>,
    control: Sender<Control>,
    bell: OnceLock<Doorbell>,
    report: Mutex<Report>,
}

/// Its other end, with the shard.
pub struct Inbox {
    /// Towards a home.
    pub first: Receiver<(ShardId, MailBatch)>,
    /// Away from it.
    pub second: Receiver<(ShardId, MailBatch)>,
    pub(crate) control: Receiver<Control>,
}

/// Both ends for one shard.
pub fn pair() -> (Mailbox, Inbox) {
    let (first, first_in) = bounded(BATCHES_MAX);
    let (second, second_in) = bounded(BATCHES_MAX);
    let (control, control_in) = unbounded();
    let mailbox = Mailbox { first, second, control, bell: OnceLock::new(), report: Mutex::default() };
    (mailbox, Inbox { first: first_in, second: second_in, control: control_in })
}

impl Mailbox {
    /// The shard's bell, once its ring exists.
    pub fn set_bell(&self, bell: Doorbell) {
        // A shard has one ring.
        let _ = self.bell.set(bell);
    }

    /// Wakes the shard, if it waits.
    pub fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// Room for a batch at this moment; other shards may take it.
    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        match lane {
            Lane::First => !self.first.is_full(),
            Lane::Second => !self.second.is_full(),
        }
    }

    /// Puts a batch in, or gives it back if the queue is full. A shard that has ended needs no mail.
    pub fn post(&self, from: ShardId, batch: MailBatch) -> Result<(), MailBatch> {
        let queue = match batch.lane {
            Lane::First => &self.first,
            Lane::Second => &self.second,
        };
        match queue.try_send((from, batch)) {
            Err(TrySendError::Full((_, batch))) => Err(batch),
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Puts something else in, and rings.
    pub(crate) fn tell(&self, control: Control) {
        if self.control.send(control).is_ok() {
            self.ring();
        }
    }

    /// What the shard last said of itself.
    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it says now.
    pub(crate) fn set_report(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lane: Lane) -> MailBatch {
        MailBatch { lane, items: Vec::new() }
    }

    #[test]
    fn a_full_lane_gives_the_batch_back_and_leaves_the_other_alone() {
        let (mailbox, inbox) = pair();
        for _ in 0..BATCHES_MAX {
            assert!(mailbox.has_room(Lane::First));
            mailbox.post(ShardId(1), batch(Lane::First)).unwrap();
        }
        assert!(!mailbox.has_room(Lane::First));
        assert_eq!(mailbox.post(ShardId(2), batch(Lane::First)).unwrap_err().lane, Lane::First);
        mailbox.post(ShardId(1), batch(Lane::Second)).unwrap();
        inbox.first.try_recv().unwrap();
        mailbox.post(ShardId(2), batch(Lane::First)).unwrap();
    }

    #[test]
    fn a_shard_that_has_ended_holds_nobody_up() {
        let (mailbox, inbox) = pair();
        drop(inbox);
        mailbox.post(ShardId(1), batch(Lane::First)).unwrap();
        mailbox.tell(Control::Drain);
    }
}
