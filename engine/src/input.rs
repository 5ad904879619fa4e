//! What can happen to an engine. One call of `handle` per input; see `effect.rs` for what comes out.

use crate::access::AccessRules;
use crate::admin::AdminRequest;
use crate::identity::{LinkId, ShardId};
use crate::limits::Limits;
use crate::mail::MailBatch;
use crate::store::{Answer, StoreToken};
use std::net::SocketAddr;
use std::sync::Arc;

/// One event, in the order in which the driver saw them.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection now belongs to this shard. Nothing of it has been handled.
    Open {
        /// Chosen by the driver; the slot is free.
        link: LinkId,
        /// Where it came from.
        meta: LinkMeta,
    },
    /// Bytes of a link, cut anywhere.
    Received {
        /// The link.
        link: LinkId,
        /// Valid during the call only.
        bytes: &'a [u8],
    },
    /// A send that was taken with `take_output` is complete.
    Sent {
        /// The link.
        link: LinkId,
        /// All bytes of that output.
        bytes: usize,
    },
    /// The transport is gone (end of file, reset, failed send). Not given for links that the engine closed itself.
    Closed {
        /// The link.
        link: LinkId,
    },
    /// Answer to `Effect::Authenticate`.
    Authenticated {
        /// The link, which may be gone by now.
        link: LinkId,
        /// What was decided.
        verdict: Verdict,
    },
    /// A batch of another shard, one lane.
    Mail {
        /// Who sent it.
        from: ShardId,
        /// In order.
        batch: MailBatch,
    },
    /// Answer to `Effect::Store`.
    Stored {
        /// The request's.
        token: StoreToken,
        /// What happened.
        answer: Answer,
    },
    /// A question of an operator.
    Admin {
        /// Comes back with the answer.
        id: u64,
        /// The question.
        request: AdminRequest,
    },
    /// New limits and access rules, from the next input on.
    Reload {
        /// All of them.
        limits: Arc<Limits>,
        /// All of them.
        access: Arc<AccessRules>,
    },
    /// Counts of the whole process, for `$SYS` (once per interval, to shard 0 only).
    Totals(Box<crate::sys::Totals>),
    /// Time passed: at or after `next_deadline`.
    Tick,
    /// Shut down: v5 links get DISCONNECT 0x8B, all links close, and wills are not sent: it is the broker that leaves.
    Drain,
}

/// Where a link came from and what its listener allows.
#[derive(Clone, Copy, Debug)]
pub struct LinkMeta {
    /// The client's address.
    pub peer: SocketAddr,
    /// Sessions of different namespaces never meet.
    pub namespace: u8,
    /// A CONNECT without user name is let in.
    pub anonymous: bool,
}

/// Outcome of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Accepted,
    /// Let in, but not as who it says it is: the access rules see a client without a user name.
    AcceptedAnonymously,
    /// Unknown user or wrong password: CONNACK 0x86 (3.x: 4).
    BadCredentials,
    /// Known, and not allowed: 0x87 (3.x: 5).
    NotAuthorized,
    /// The back end could not say: 0x88 (3.x: 3).
    Unavailable,
    /// Too many attempts: 0x9F (3.x: 3).
    RateExceeded,
}
