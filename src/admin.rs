//! What the administration may ask of the broker, and what it answers: plain data, no HTTP and no shards.
//!
//! Whoever runs the shards implements `Admin`. A question goes to the shards as mail, and the answer comes back
//! through a oneshot channel, so asking never blocks the HTTP thread. Every list is asked for in pages: an answer's
//! size does not grow with the broker.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Sample;

/// Most items of one page.
pub const PAGE_ITEMS_MAX: u16 = 1_000;

/// The broker, as the administration sees it.
pub trait Admin: Send + Sync {
    /// Asks. An answer that is never sent (the sender dropped) counts as `AdminReply::Unavailable`.
    fn ask(&self, request: AdminRequest) -> oneshot::Receiver<AdminReply>;

    /// Starts a live trace, which ends when the receiver is dropped. The channel is bounded: what it has no room
    /// for is left out and counted in `TraceLine::missed` of the next line. `None` if the broker is stopping.
    fn trace(&self, target: TraceTarget) -> Option<mpsc::Receiver<TraceLine>>;
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Connected clients.
    Clients(PageRequest),
    /// One connected client.
    Client(ClientKey),
    /// Closes a client's connection (MQTT 5: DISCONNECT 0x98); its session stays.
    Kick(ClientKey),
    /// Sessions, connected or not.
    Sessions(PageRequest),
    /// One session.
    Session(ClientKey),
    /// Ends a session: its connection is closed, its subscriptions and messages are deleted.
    EndSession(ClientKey),
    /// Subscriptions of one session, or of all.
    Subscriptions(Option<ClientKey>, PageRequest),
    /// Retained messages whose topics match a filter.
    Retained(String, PageRequest),
    /// The sessions that are furthest behind.
    Slowest(u16),
    /// Every metric, summed over the shards.
    Metrics,
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The `next` of the page before; `None` for the first.
    pub after: Option<String>,
    /// Most items, 1 to `PAGE_ITEMS_MAX`.
    pub limit: u16,
}

/// A session's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientKey {
    /// The name space of the listener.
    pub namespace: String,
    /// The client identifier.
    pub client_id: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AdminReply {
    /// To `Clients`.
    Clients(Page<ClientInfo>),
    /// To `Client`.
    Client(Box<ClientInfo>),
    /// To `Sessions`, and to `Slowest`.
    Sessions(Page<SessionInfo>),
    /// To `Session`.
    Session(Box<SessionInfo>),
    /// To `Subscriptions`.
    Subscriptions(Page<SubscriptionInfo>),
    /// To `Retained`.
    Retained(Page<RetainedInfo>),
    /// To `Kick` and `EndSession`: it was done.
    Done,
    /// There is no such client or session.
    NotFound,
    /// The broker is stopping, or a shard did not answer.
    Unavailable,
    /// To `Metrics`.
    #[serde(skip)]
    Metrics(Vec<Sample>),
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// What to ask for as `after`; `None` if this was the last page.
    pub next: Option<String>,
}

/// A connected client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientInfo {
    /// Its session.
    #[serde(flatten)]
    pub key: ClientKey,
    /// The account, if it is not anonymous.
    pub username: Option<String>,
    /// Where it connects from.
    pub address: String,
    /// `3.1`, `3.1.1` or `5`.
    pub protocol: &'static str,
    /// The shard that owns it.
    pub shard: usize,
    /// Seconds since CONNECT.
    pub connected_secs: u64,
    /// Keep-alive in force, in seconds; 0 for none.
    pub keep_alive_secs: u16,
    /// Messages received from it.
    pub messages_in: u64,
    /// Messages sent to it.
    pub messages_out: u64,
    /// Bytes waiting to be sent.
    pub outbox_bytes: u64,
    /// Whether it is paused, so that nothing more is read from it.
    pub paused: bool,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionInfo {
    /// Its key.
    #[serde(flatten)]
    pub key: ClientKey,
    /// Whether a client is connected.
    pub connected: bool,
    /// Session expiry in seconds; 4294967295 for never.
    pub expiry_secs: u32,
    /// Subscriptions it holds.
    pub subscriptions: u32,
    /// QoS 1 and 2 messages sent and not acknowledged.
    pub inflight: u32,
    /// Messages behind in logs and in its queue.
    pub lag_messages: u64,
    /// Bytes in its queue and outbox.
    pub queued_bytes: u64,
    /// Seconds since a message was last acknowledged or sent; `None` if none ever was.
    pub progress_secs_ago: Option<u64>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionInfo {
    /// Whose.
    #[serde(flatten)]
    pub key: ClientKey,
    /// The filter, `$share/..` included.
    pub filter: String,
    /// Granted QoS.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub identifier: Option<u32>,
}

/// A retained message, without its payload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetainedInfo {
    /// Its topic.
    pub topic: String,
    /// Its QoS.
    pub qos: u8,
    /// Size of its payload.
    pub payload_bytes: u64,
    /// Seconds until it expires.
    pub expires_in_secs: Option<u64>,
}

/// What a trace follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceTarget {
    /// Every packet of one client.
    Client(ClientKey),
    /// Every message whose topic matches a filter.
    Topics(String),
}

/// One event of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceLine {
    /// Wall time, milliseconds since 1970.
    pub at_ms: u64,
    /// Whose.
    #[serde(flatten)]
    pub key: ClientKey,
    /// What happened: `in PUBLISH`, `out PUBACK`, `closed`.
    pub event: &'static str,
    /// More about it; client strings stand as they are and are escaped when written.
    pub detail: String,
    /// Events left out before this one.
    pub missed: u64,
}
