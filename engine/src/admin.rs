//! What an operator can ask of a shard, and the answers. Lists come in pages.

use crate::effect::Effect;
use crate::engine::Engine;
use crate::link::NONE;
use crate::probe::Refusal;
use crate::time::Now;
use bitsim_protocol::ReasonCode;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Sessions, connected or not, at most `limit`, after the index `after`.
    Sessions {
        /// Where the last page ended; 0 at first.
        after: u32,
        /// At least 1.
        limit: u32,
    },
    /// Closes a client's link with 0x98; with `end` its session ends too.
    Kick {
        /// Namespace of its listener.
        namespace: u8,
        /// The client.
        client_id: Box<str>,
        /// The session as well.
        end: bool,
    },
    /// Subscriptions of one session.
    Subscriptions {
        /// Namespace of its listener.
        namespace: u8,
        /// The client.
        client_id: Box<str>,
    },
    /// Topics with a retained message that match a filter.
    Retained {
        /// The filter.
        filter: Box<str>,
        /// Last topic of the page before.
        after: Option<Box<str>>,
        /// At least 1.
        limit: u32,
    },
    /// The connected sessions with the most bytes queued.
    Slowest {
        /// At least 1.
        limit: u32,
    },
}

/// One session, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Namespace of its listener.
    pub namespace: u8,
    /// Client id.
    pub client_id: Box<str>,
    /// Account, if not anonymous.
    pub account: Option<Box<str>>,
    /// It has a link.
    pub connected: bool,
    /// Its link's address.
    pub peer: Option<std::net::SocketAddr>,
    /// Session Expiry Interval.
    pub expiry_secs: u32,
    /// Subscriptions.
    pub subscriptions: u32,
    /// Messages sent and not finished.
    pub inflight: u32,
    /// Messages that wait outside a log.
    pub queued: u32,
    /// Bytes waiting to be sent.
    pub outbox_bytes: u64,
    /// Messages in logs that were not handed out.
    pub lag: u64,
    /// Milliseconds since its last bytes.
    pub silent_ms: u64,
    /// `3.1`, `3.1.1` or `5`; empty without a link.
    pub protocol: &'static str,
    /// Seconds since its link was opened.
    pub connected_secs: u64,
    /// In force.
    pub keep_alive_secs: u16,
    /// PUBLISH packets of this link.
    pub messages_in: u64,
    /// PUBLISH packets to this link.
    pub messages_out: u64,
    /// Its publishes wait.
    pub paused: bool,
}

/// One retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedInfo {
    /// Topic name.
    pub topic: String,
    /// As published.
    pub qos: u8,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// What is left of its lifetime.
    pub expires_in_secs: Option<u64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAnswer {
    /// Sessions, and where the next page begins.
    Sessions(Vec<SessionInfo>, Option<u32>),
    /// Whether the client was there.
    Kicked(bool),
    /// Filter, options byte and Subscription Identifier.
    Subscriptions(Vec<(String, u8, u32)>),
    /// Retained messages, and where the next page begins.
    Retained(Vec<RetainedInfo>, Option<String>),
}

impl Engine {
    /// Answers an operator.
    pub(crate) fn admin(&mut self, now: Now, id: u64, request: AdminRequest) {
        let answer = match request {
            AdminRequest::Sessions { after, limit } => {
                let page: Vec<u32> = self
                    .sessions
                    .iter()
                    .map(|s| s.0)
                    .filter(|at| *at >= after)
                    .take(limit.max(1) as usize + 1)
                    .collect();
                let next = page.get(limit.max(1) as usize).copied();
                let infos = page
                    .iter()
                    .take(limit.max(1) as usize)
                    .filter_map(|at| self.session_info(now, *at))
                    .collect();
                AdminAnswer::Sessions(infos, next)
            }
            AdminRequest::Slowest { limit } => {
                let all: Vec<u32> = self.sessions.iter().filter(|s| s.1.link != NONE).map(|s| s.0).collect();
                let mut infos: Vec<SessionInfo> =
                    all.iter().filter_map(|at| self.session_info(now, *at)).collect();
                infos.sort_by_key(|i| std::cmp::Reverse((i.outbox_bytes, i.lag, i.queued)));
                infos.truncate(limit.max(1) as usize);
                AdminAnswer::Sessions(infos, None)
            }
            AdminRequest::Kick { namespace, client_id, end } => {
                AdminAnswer::Kicked(self.kick(now, namespace, &client_id, end))
            }
            AdminRequest::Subscriptions { namespace, client_id } => {
                let found = self.sessions.find(namespace, &client_id).and_then(|at| self.sessions.get(at));
                let record = found.map(|s| s.record(|id| self.filters.filter(id).to_owned()));
                let list = record
                    .map(|r| r.subscriptions.into_iter().map(|s| (s.filter, s.options, s.id)).collect());
                AdminAnswer::Subscriptions(list.unwrap_or_default())
            }
            AdminRequest::Retained { filter, after, limit } => {
                let limit =
                    crate::retained::PageLimit { messages_max: limit.max(1) as usize, visits_max: 10_000 };
                let mut topics = Vec::new();
                let page = self.home.retained.page(&filter, after.as_deref(), limit, &mut |topic, r| {
                    let view = r.message.view();
                    topics.push(RetainedInfo {
                        topic: topic.to_owned(),
                        qos: view.qos as u8,
                        payload_bytes: view.payload.len() as u64,
                        expires_in_secs: (view.expires_at != crate::message::NEVER)
                            .then(|| view.expires_at.saturating_sub(now.monotonic_ms) / 1000),
                    });
                });
                AdminAnswer::Retained(topics, page.next)
            }
        };
        self.effect(Effect::Admin { id, answer });
    }

    fn kick(&mut self, now: Now, namespace: u8, client_id: &str, end: bool) -> bool {
        let Some(at) = self.sessions.find(namespace, client_id) else { return false };
        let link = self.sessions.get(at).and_then(|s| self.links.id(s.link));
        if let Some(id) = link {
            self.counters.refuse(Refusal::Kicked);
            self.close_link(now, id, Some(ReasonCode::AdministrativeAction));
        }
        if end && self.sessions.find(namespace, client_id) == Some(at) {
            self.end_session(now, at);
        }
        true
    }

    fn session_info(&self, now: Now, at: u32) -> Option<SessionInfo> {
        let session = self.sessions.get(at)?;
        let link = self.links.at(session.link);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(SessionInfo {
            namespace: session.namespace,
            client_id: session.client_id.clone(),
            account: session.account.clone(),
            connected: link.is_some(),
            peer: link.map(|l| l.meta.peer),
            expiry_secs: session.expiry_secs,
            subscriptions: count(session.subscriptions.len()),
            inflight: session.outbound.as_ref().map_or(0, |o| u32::from(o.unfinished())),
            queued: session.outbound.as_ref().map_or(0, |o| count(o.queue.len())),
            outbox_bytes: link.map_or(0, |l| l.queued() as u64),
            lag: session
                .readers
                .as_ref()
                .map_or(0, |r| r.iter().map(|r| (r.forwarded + 1).saturating_sub(r.position)).sum()),
            silent_ms: link.map_or(0, |l| now.monotonic_ms.saturating_sub(l.seen_ms)),
            protocol: link.map_or("", |l| match l.version {
                bitsim_protocol::Version::V31 => "3.1",
                bitsim_protocol::Version::V311 => "3.1.1",
                bitsim_protocol::Version::V5 => "5",
            }),
            connected_secs: link
                .map_or(0, |l| now.monotonic_ms.saturating_sub(u64::from(l.opened_secs) * 1000) / 1000),
            keep_alive_secs: link.map_or(0, |l| l.keep_alive_secs),
            messages_in: link.map_or(0, |l| u64::from(l.messages_in)),
            messages_out: link.map_or(0, |l| u64::from(l.messages_out)),
            paused: link.is_some_and(|l| l.paused != 0),
        })
    }
}
