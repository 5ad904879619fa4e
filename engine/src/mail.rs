//! What shards say to each other. Items travel in batches: all that one turn produced for a shard and lane is one batch.
//!
//! First hop: a shard asks a home (or a group's shard) for something; second hop: answers and forwards. Handling a
//! second-hop item never waits for another shard, so that lane always drains.

use crate::identity::{LinkId, SessionUid, ShardId};
use crate::message::Message;
use crate::store::{LogId, Offset};
use bitsim_protocol::{Qos, ReasonCode};
use std::sync::Arc;

/// Which of the two lanes between two shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Towards a home.
    First,
    /// Away from it.
    Second,
}

/// Items of one lane from one shard to another, in order.
#[derive(Debug)]
pub struct MailBatch {
    /// The lane.
    pub lane: Lane,
    /// At least one.
    pub items: Vec<Mail>,
}

/// Where a publish came from and who waits for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The publisher's shard.
    pub shard: ShardId,
    /// Its link at that moment.
    pub link: LinkId,
    /// Its session. `SessionUid(0)`: the broker itself.
    pub session: SessionUid,
    /// 0: nobody waits.
    pub packet_id: u16,
    /// As published.
    pub qos: Qos,
    /// QoS 2 of a durable session: the identifier is committed with the message.
    pub durable: bool,
    /// The acknowledgement can carry a refusal: QoS 1 or 2 of a v5 client.
    pub told: bool,
}

/// How a subscription interests a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The subscriber: a session, or a shared group.
    pub subscriber: SessionUid,
    /// Messages at QoS 1 and 2 wait in logs for it.
    pub durable: bool,
    /// Granted QoS.
    pub qos: Qos,
    /// Its own publishes are left out.
    pub no_local: bool,
}

/// One item.
#[derive(Debug)]
pub enum Mail {
    /// First: route this message.
    Publish {
        /// Who waits.
        origin: Origin,
        /// The message.
        message: Arc<Message>,
    },
    /// First: a subscriber of the sender's shard wants this filter.
    Subscribe {
        /// Names the pending SUBSCRIBE at the sender.
        request: u32,
        /// Index of the filter in it.
        index: u16,
        /// The filter, without share prefix.
        filter: Box<str>,
        /// Who and how.
        interest: Interest,
        /// The sender's first subscriber of this filter: its shard is to be told from now on.
        first: bool,
        /// After a restart: the log and cursor of the reader that existed.
        resume: Option<(LogId, Offset)>,
    },
    /// First: it does not want it any more.
    Unsubscribe {
        /// The filter.
        filter: Box<str>,
        /// Who.
        interest: Interest,
        /// The sender has no other subscriber of this filter.
        last: bool,
        /// The subscriber ends: nothing that waits in this filter's log is needed.
        discard: bool,
    },
    /// First: a subscriber ended; nothing that references hold for it is needed.
    Discard {
        /// Who.
        subscriber: SessionUid,
        /// The topic logs that it read at this home.
        logs: Vec<LogId>,
    },
    /// First: a page of retained messages of this home.
    RetainedAsk {
        /// Names the fetch at the sender.
        fetch: u64,
        /// The filter.
        filter: Box<str>,
        /// Last topic of the page before.
        after: Option<Box<str>>,
        /// Values that arrived later were delivered live.
        until: u64,
    },
    /// First: a durable subscriber is back; where do its logs stand?
    Wake {
        /// Who.
        subscriber: SessionUid,
        /// The topic logs it reads at this home; reference logs are known there.
        logs: Vec<LogId>,
    },
    /// First: a durable cursor was committed.
    CursorMoved {
        /// Who.
        subscriber: SessionUid,
        /// The log it reads.
        log: LogId,
        /// Lowest offset it still needs.
        to: Offset,
        /// Reference logs: what the passed references held.
        released: Vec<(LogId, Offset)>,
        /// The reader is gone after this.
        ended: bool,
    },
    /// First: a member joins a shared group of the receiver.
    ShareJoin {
        /// Share name and filter, as in `$share/name/filter`.
        group: Box<str>,
        /// The member.
        member: ShareMember,
        /// Names the pending SUBSCRIBE.
        request: u32,
        /// Index of the filter in it.
        index: u16,
    },
    /// First: a member leaves.
    ShareLeave {
        /// As above.
        group: Box<str>,
        /// The member.
        session: SessionUid,
        /// Its session ended: what it did not finish goes back.
        ended: bool,
    },
    /// First: a member can take messages, or cannot.
    ShareRoom {
        /// As above.
        group: Box<str>,
        /// The member.
        session: SessionUid,
        /// Messages it can take; 0 when its link went away.
        room: u16,
    },
    /// First: a member finished what it was handed.
    ShareDone {
        /// As above.
        group: Box<str>,
        /// The handle of `ShareDeliver`.
        handle: u64,
    },
    /// Second: what became of a publish.
    PublishAnswer {
        /// The one who waits.
        origin: Origin,
        /// Goes into PUBACK or PUBREC.
        outcome: PublishOutcome,
    },
    /// Second: a message for subscribers of the receiver.
    Forward {
        /// The message.
        message: Arc<Message>,
        /// Its place, if it has a log.
        place: Option<Place>,
    },
    /// Second: the home knows the subscription.
    SubscribeAnswer {
        /// As asked.
        request: u32,
        /// As asked.
        index: u16,
        /// Where a durable exact reader starts.
        start: Option<(LogId, Offset)>,
        /// The home's latest arrival: retained values up to it belong to this subscription.
        arrival: u64,
        /// Refused: too many short wildcards.
        refused: bool,
    },
    /// Second: where the logs of a woken subscriber stand: log, first offset it may need, committed head.
    Heads {
        /// Who.
        subscriber: SessionUid,
        /// Only logs with something new.
        heads: Vec<(LogId, Offset, Offset)>,
    },
    /// Second: a page of retained messages.
    RetainedPage {
        /// As asked.
        fetch: u64,
        /// In the order of the page.
        messages: Vec<Arc<Message>>,
        /// Where the next page begins; `None`: this home has no more.
        next: Option<Box<str>>,
    },
    /// Second: a member's share of a group's messages.
    ShareDeliver {
        /// The member.
        session: SessionUid,
        /// As above.
        group: Box<str>,
        /// Comes back with `ShareDone`; 0 for QoS 0.
        handle: u64,
        /// The message.
        message: Arc<Message>,
        /// Handed to this member before.
        again: bool,
    },
}

/// A member of a shared group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareMember {
    /// Its session.
    pub session: SessionUid,
    /// Its shard.
    pub shard: ShardId,
    /// Granted QoS.
    pub qos: Qos,
    /// Its session outlives its link.
    pub durable: bool,
    /// Messages it can take now.
    pub room: u16,
}

/// Where a logged message is, and for whom references were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic log.
    pub log: LogId,
    /// Its offset there.
    pub offset: Offset,
    /// Durable wildcard subscribers of the receiver: who, and the reference's offset.
    pub references: Vec<(SessionUid, Offset)>,
}

/// What the home answers to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Success, or No Matching Subscribers, or a refusal: goes into the acknowledgement.
    Answered(ReasonCode),
    /// The store did not take it: no acknowledgement, so that the client tries again.
    NotStored,
}

impl Origin {
    /// A publish that nobody waits for.
    pub fn nobody(shard: ShardId, session: SessionUid, qos: Qos) -> Origin {
        Origin {
            shard,
            link: LinkId { slot: u32::MAX, generation: 0 },
            session,
            packet_id: 0,
            qos,
            durable: false,
            told: false,
        }
    }
}

impl Mail {
    /// Bytes that count against a lane's bound.
    pub fn bytes(&self) -> u32 {
        let own = u32::try_from(size_of::<Mail>()).unwrap_or(u32::MAX);
        own.saturating_add(match self {
            Mail::Publish { message, .. }
            | Mail::Forward { message, .. }
            | Mail::ShareDeliver { message, .. } => message.bytes(),
            Mail::RetainedPage { messages, .. } => {
                messages.iter().map(|m| m.bytes()).fold(0, u32::saturating_add)
            }
            Mail::Subscribe { filter, .. } | Mail::Unsubscribe { filter, .. } => {
                u32::try_from(filter.len()).unwrap_or(u32::MAX)
            }
            Mail::CursorMoved { released, .. } => u32::try_from(released.len() * 24).unwrap_or(u32::MAX),
            _ => 0,
        })
    }
}
