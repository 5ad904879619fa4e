//! The administration's questions, put to the shards: a page of a list walks the shards in order.

use super::login::LoginGate;
use super::sample;
use crate::admin::{
    Admin, AdminReply, AdminRequest, ClientInfo, ClientKey, Page, PageRequest, RetainedInfo, SessionInfo,
    SubscriptionInfo, TraceLine, TraceTarget,
};
use crate::settings::Settings;
use bitsim_engine::admin::{AdminAnswer, AdminRequest as Ask, SessionInfo as Found};
use bitsim_shards::Running;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A shard that takes longer is not asked further.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// Sessions with their shards, and where the next page begins.
type SessionPage = (Vec<(u16, Found)>, Option<String>);

/// The namespaces of the listeners, in the order of their numbers.
pub(super) fn namespaces(settings: &Settings) -> Arc<[String]> {
    let mut names: Vec<String> = Vec::new();
    for listener in &settings.listeners {
        if !names.contains(&listener.namespace) {
            names.push(listener.namespace.clone());
        }
    }
    names.into()
}

/// See the module.
#[derive(Clone)]
pub(super) struct Asker {
    running: Arc<Running>,
    login: Arc<LoginGate>,
    namespaces: Arc<[String]>,
}

impl Asker {
    pub(super) fn new(running: Arc<Running>, login: Arc<LoginGate>, namespaces: Arc<[String]>) -> Asker {
        Asker { running, login, namespaces }
    }
}

impl Admin for Asker {
    fn ask(&self, request: AdminRequest) -> oneshot::Receiver<AdminReply> {
        let (answer, answers) = oneshot::channel();
        let asker = self.clone();
        // Waiting for shards must not hold up the HTTP thread.
        let spawned = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            // Whoever asked may have gone.
            drop(answer.send(asker.answer(&request)));
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a question of the administration");
        }
        answers
    }

    /// Traces are not offered: there is nothing to read them from.
    fn trace(&self, _: TraceTarget) -> Option<mpsc::Receiver<TraceLine>> {
        None
    }
}

impl Asker {
    fn answer(&self, request: &AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Metrics => {
                AdminReply::Metrics(sample::samples(&self.running.reports(), self.login.counts()))
            }
            AdminRequest::Clients(page) => {
                self.sessions(page).map_or(AdminReply::Unavailable, |(items, next)| {
                    let items = items
                        .into_iter()
                        .filter(|s| s.1.connected)
                        .map(|(shard, s)| self.client(shard, s))
                        .collect();
                    AdminReply::Clients(Page { items, next })
                })
            }
            AdminRequest::Sessions(page) => {
                self.sessions(page).map_or(AdminReply::Unavailable, |(items, next)| {
                    AdminReply::Sessions(Page {
                        items: items.into_iter().map(|(_, s)| self.session(s)).collect(),
                        next,
                    })
                })
            }
            AdminRequest::Client(key) => match self.find(key) {
                Some((shard, found)) if found.connected => {
                    AdminReply::Client(Box::new(self.client(shard, found)))
                }
                _ => AdminReply::NotFound,
            },
            AdminRequest::Session(key) => self.find(key).map_or(AdminReply::NotFound, |(_, found)| {
                AdminReply::Session(Box::new(self.session(found)))
            }),
            AdminRequest::Kick(key) => self.kick(key, false),
            AdminRequest::EndSession(key) => self.kick(key, true),
            AdminRequest::Slowest(limit) => self.slowest(*limit),
            AdminRequest::Subscriptions(Some(key), _) => self.subscriptions(key),
            AdminRequest::Subscriptions(None, page) => self.all_subscriptions(page),
            AdminRequest::Retained(filter, page) => self.retained(filter, page),
        }
    }

    fn ask_shard(&self, shard: u16, ask: Ask) -> Option<AdminAnswer> {
        self.running.admin(shard, ask).recv_timeout(ANSWER_MAX).ok()
    }

    /// A page of sessions. `after` is `shard:index`.
    fn sessions(&self, page: &PageRequest) -> Option<SessionPage> {
        let start = page.after.as_deref().and_then(|a| a.split_once(':'));
        let (mut shard, mut after) = match start {
            Some((shard, index)) => (shard.parse().ok()?, index.parse().ok()?),
            None => (0, 0),
        };
        let mut items = Vec::new();
        while shard < self.running.shards() {
            let limit = u32::from(page.limit) - u32::try_from(items.len()).ok()?;
            let AdminAnswer::Sessions(found, next) = self.ask_shard(shard, Ask::Sessions { after, limit })?
            else {
                return None;
            };
            items.extend(found.into_iter().map(|s| (shard, s)));
            match next {
                Some(next) => return Some((items, Some(format!("{shard}:{next}")))),
                None => (shard, after) = (shard + 1, 0),
            }
            if items.len() >= usize::from(page.limit) && shard < self.running.shards() {
                return Some((items, Some(format!("{shard}:0"))));
            }
        }
        Some((items, None))
    }

    fn find(&self, key: &ClientKey) -> Option<(u16, Found)> {
        let mut after = None;
        loop {
            let (items, next) = self.sessions(&PageRequest { after, limit: 1_000 })?;
            let hit = items
                .into_iter()
                .find(|(_, s)| *s.client_id == *key.client_id && self.name(s.namespace) == key.namespace);
            if hit.is_some() {
                return hit;
            }
            after = Some(next?);
        }
    }

    fn name(&self, namespace: u8) -> String {
        self.namespaces.get(usize::from(namespace)).cloned().unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u8> {
        self.namespaces.iter().position(|n| n == name).and_then(|n| u8::try_from(n).ok())
    }

    fn kick(&self, key: &ClientKey, end: bool) -> AdminReply {
        let Some(namespace) = self.number(&key.namespace) else { return AdminReply::NotFound };
        for shard in 0..self.running.shards() {
            let ask = Ask::Kick { namespace, client_id: key.client_id.as_str().into(), end };
            match self.ask_shard(shard, ask) {
                Some(AdminAnswer::Kicked(true)) => return AdminReply::Done,
                Some(_) => {}
                None => return AdminReply::Unavailable,
            }
        }
        AdminReply::NotFound
    }

    fn slowest(&self, limit: u16) -> AdminReply {
        let mut all = Vec::new();
        for shard in 0..self.running.shards() {
            match self.ask_shard(shard, Ask::Slowest { limit: u32::from(limit) }) {
                Some(AdminAnswer::Sessions(found, _)) => all.extend(found),
                _ => return AdminReply::Unavailable,
            }
        }
        all.sort_by_key(|s| std::cmp::Reverse((s.outbox_bytes, s.lag, s.queued)));
        all.truncate(usize::from(limit));
        AdminReply::Sessions(Page { items: all.into_iter().map(|s| self.session(s)).collect(), next: None })
    }

    fn subscriptions(&self, key: &ClientKey) -> AdminReply {
        let Some(namespace) = self.number(&key.namespace) else { return AdminReply::NotFound };
        let Some((shard, _)) = self.find(key) else { return AdminReply::NotFound };
        let ask = Ask::Subscriptions { namespace, client_id: key.client_id.as_str().into() };
        match self.ask_shard(shard, ask) {
            Some(AdminAnswer::Subscriptions(list)) => AdminReply::Subscriptions(Page {
                items: list.into_iter().map(|s| subscription(key, s)).collect(),
                next: None,
            }),
            _ => AdminReply::Unavailable,
        }
    }

    /// The subscriptions of a page of sessions.
    fn all_subscriptions(&self, page: &PageRequest) -> AdminReply {
        let Some((sessions, next)) = self.sessions(page) else { return AdminReply::Unavailable };
        let mut items = Vec::new();
        for (shard, found) in sessions {
            let key =
                ClientKey { namespace: self.name(found.namespace), client_id: found.client_id.to_string() };
            let ask = Ask::Subscriptions { namespace: found.namespace, client_id: found.client_id };
            match self.ask_shard(shard, ask) {
                Some(AdminAnswer::Subscriptions(list)) => {
                    items.extend(list.into_iter().map(|s| subscription(&key, s)))
                }
                _ => return AdminReply::Unavailable,
            }
        }
        AdminReply::Subscriptions(Page { items, next })
    }

    /// A page of one shard's retained messages. `after` is `shard:topic`.
    fn retained(&self, filter: &str, page: &PageRequest) -> AdminReply {
        let start = page.after.as_deref().and_then(|a| a.split_once(':'));
        let shard = start.and_then(|s| s.0.parse().ok()).unwrap_or(0);
        let after = start.map(|s| s.1).filter(|topic| !topic.is_empty()).map(Into::into);
        let ask = Ask::Retained { filter: filter.into(), after, limit: u32::from(page.limit) };
        let Some(AdminAnswer::Retained(found, next)) = self.ask_shard(shard, ask) else {
            return AdminReply::Unavailable;
        };
        let items = found
            .into_iter()
            .map(|r| RetainedInfo {
                topic: r.topic,
                qos: r.qos,
                payload_bytes: r.payload_bytes,
                expires_in_secs: r.expires_in_secs,
            })
            .collect();
        let next = match next {
            Some(topic) => Some(format!("{shard}:{topic}")),
            None => (shard + 1 < self.running.shards()).then(|| format!("{}:", shard + 1)),
        };
        AdminReply::Retained(Page { items, next })
    }

    fn client(&self, shard: u16, found: Found) -> ClientInfo {
        ClientInfo {
            key: ClientKey {
                namespace: self.name(found.namespace),
                client_id: found.client_id.into_string(),
            },
            username: found.account.map(String::from),
            address: found.peer.map(|p| p.to_string()).unwrap_or_default(),
            protocol: found.protocol,
            shard: usize::from(shard),
            connected_secs: found.connected_secs,
            keep_alive_secs: found.keep_alive_secs,
            messages_in: found.messages_in,
            messages_out: found.messages_out,
            outbox_bytes: found.outbox_bytes,
            paused: found.paused,
        }
    }

    fn session(&self, found: Found) -> SessionInfo {
        SessionInfo {
            key: ClientKey {
                namespace: self.name(found.namespace),
                client_id: found.client_id.into_string(),
            },
            connected: found.connected,
            expiry_secs: found.expiry_secs,
            subscriptions: found.subscriptions,
            inflight: found.inflight,
            lag_messages: found.lag + u64::from(found.queued),
            queued_bytes: found.outbox_bytes,
            progress_secs_ago: found.connected.then_some(found.silent_ms / 1000),
        }
    }
}

fn subscription(key: &ClientKey, (filter, options, id): (String, u8, u32)) -> SubscriptionInfo {
    SubscriptionInfo {
        key: key.clone(),
        filter,
        qos: options & 3,
        no_local: options & 4 != 0,
        retain_as_published: options & 8 != 0,
        identifier: Some(id).filter(|id| *id != 0),
    }
}
