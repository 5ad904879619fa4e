//! Plain counters of one shard. Read by the driver as a whole; nothing in the engine depends on them.

use bitsim_protocol::Violation;

/// Why a message was not delivered or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Drop {
    /// QoS 0 and the link's outbox is full.
    OutboxFull,
    /// A session's queue is full: its oldest message on a topic without log.
    QueueFull,
    /// Larger than the receiver's Maximum Packet Size.
    TooLarge,
    /// Its Message Expiry Interval ran out.
    Expired,
    /// QoS 0 between shards, and the lane is full.
    LaneFull,
    /// For a durable session that is away, on a topic without log.
    Away,
    /// The reader may not read the topic.
    NotAllowed,
    /// A retained message over the count or byte limit: not kept, and delivered only if its publisher cannot be refused.
    RetainedFull,
    /// A shared group's queue is full.
    GroupFull,
}

impl Drop {
    /// All, in the order of the counters.
    pub const ALL: [Drop; 9] = [
        Drop::OutboxFull,
        Drop::QueueFull,
        Drop::TooLarge,
        Drop::Expired,
        Drop::LaneFull,
        Drop::Away,
        Drop::NotAllowed,
        Drop::RetainedFull,
        Drop::GroupFull,
    ];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Drop::OutboxFull => "outbox_full",
            Drop::QueueFull => "queue_full",
            Drop::TooLarge => "packet_too_large",
            Drop::Expired => "expired",
            Drop::LaneFull => "lane_full",
            Drop::Away => "away",
            Drop::NotAllowed => "not_allowed",
            Drop::RetainedFull => "retained_full",
            Drop::GroupFull => "group_full",
        }
    }
}

/// Why policy said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// Log-in refused.
    Login,
    /// The access rules do not allow it.
    Access,
    /// A quota of the session or shard is used up.
    Quota,
    /// The shard has as many sessions as it may.
    Sessions,
    /// Not supported: enhanced authentication.
    Unsupported,
    /// Queue of a live session full at QoS 1 or 2: closed with 0x97.
    SlowConsumer,
    /// No CONNECT in time.
    ConnectTimeout,
    /// Silent for one and a half keep-alives.
    KeepAlive,
    /// Another link took the session over.
    Takeover,
    /// The store would not take a message for too long.
    Store,
    /// An operator's wish.
    Kicked,
}

impl Refusal {
    /// All, in the order of the counters.
    pub const ALL: [Refusal; 11] = [
        Refusal::Login,
        Refusal::Access,
        Refusal::Quota,
        Refusal::Sessions,
        Refusal::Unsupported,
        Refusal::SlowConsumer,
        Refusal::ConnectTimeout,
        Refusal::KeepAlive,
        Refusal::Takeover,
        Refusal::Store,
        Refusal::Kicked,
    ];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Login => "login",
            Refusal::Access => "access",
            Refusal::Quota => "quota",
            Refusal::Sessions => "sessions_max",
            Refusal::Unsupported => "unsupported",
            Refusal::SlowConsumer => "slow_consumer",
            Refusal::ConnectTimeout => "connect_timeout",
            Refusal::KeepAlive => "keep_alive",
            Refusal::Takeover => "takeover",
            Refusal::Store => "store",
            Refusal::Kicked => "kicked",
        }
    }
}

/// Counts since the start, and gauges.
#[derive(Clone, Debug)]
pub struct Counters {
    /// PUBLISH packets received, by QoS.
    pub publishes_in: [u64; 3],
    /// Bytes of them.
    pub publish_bytes_in: [u64; 3],
    /// PUBLISH packets sent, by QoS.
    pub publishes_out: [u64; 3],
    /// Bytes of them.
    pub publish_bytes_out: [u64; 3],
    /// All bytes received.
    pub bytes_in: u64,
    /// All bytes given to the driver.
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// By `Drop`.
    pub drops: [u64; Drop::ALL.len()],
    /// By `Refusal`.
    pub refusals: [u64; Refusal::ALL.len()],
    /// By the index in `Violation::ALL`.
    pub violations: Vec<u64>,
    /// CONNECTs that were accepted.
    pub connects: u64,
    /// Messages this shard was home to.
    pub homed: u64,
    /// Records appended to logs.
    pub appends: u64,
    /// Commits asked of the store.
    pub commits: u64,
    /// Pages read from logs.
    pub log_reads: u64,
    /// Wills sent.
    pub wills: u64,
    /// Live connected links (gauge).
    pub links: u64,
    /// Sessions, connected or not (gauge).
    pub sessions: u64,
    /// Subscriptions (gauge).
    pub subscriptions: u64,
    /// Retained messages (gauge).
    pub retained: u64,
    /// Bytes of retained messages (gauge).
    pub retained_bytes: u64,
    /// Wildcard filters known to every shard (gauge).
    pub short_wildcards: u64,
    /// Bytes in outboxes and queues (gauge).
    pub queued_bytes: u64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            publishes_in: [0; 3],
            publish_bytes_in: [0; 3],
            publishes_out: [0; 3],
            publish_bytes_out: [0; 3],
            bytes_in: 0,
            bytes_out: 0,
            packets_in: 0,
            drops: [0; Drop::ALL.len()],
            refusals: [0; Refusal::ALL.len()],
            violations: vec![0; Violation::ALL.len()],
            connects: 0,
            homed: 0,
            appends: 0,
            commits: 0,
            log_reads: 0,
            wills: 0,
            links: 0,
            sessions: 0,
            subscriptions: 0,
            retained: 0,
            retained_bytes: 0,
            short_wildcards: 0,
            queued_bytes: 0,
        }
    }
}

impl Counters {
    pub(crate) fn drop(&mut self, why: Drop) {
        if let Some(n) = self.drops.get_mut(why as usize) {
            *n += 1;
        }
    }

    pub(crate) fn refuse(&mut self, why: Refusal) {
        if let Some(n) = self.refusals.get_mut(why as usize) {
            *n += 1;
        }
    }

    pub(crate) fn violate(&mut self, what: Violation) {
        if let Some(n) =
            Violation::ALL.iter().position(|v| *v == what).and_then(|i| self.violations.get_mut(i))
        {
            *n += 1;
        }
    }
}
