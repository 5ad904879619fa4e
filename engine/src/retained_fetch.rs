//! Retained messages for a new subscription, in pages from each home in turn, as fast as the client takes them.

use crate::deliver::How;
use crate::engine::Engine;
use crate::identity::{SessionUid, ShardId};
use crate::link::NONE;
use crate::mail::Mail;
use crate::message::{Incoming, Message};
use crate::retained::PageLimit;
use crate::session::{FilterRef, Sub};
use crate::time::Now;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// Messages and visited topics of one page.
const PAGE: PageLimit = PageLimit { messages_max: 64, visits_max: 4096 };

/// One subscription's retained messages that were not sent yet.
#[derive(Debug)]
struct Fetch {
    uid: SessionUid,
    session: u32,
    filter: Box<str>,
    homes: Vec<(ShardId, u64)>,
    after: Option<Box<str>>,
    /// A page was asked for.
    asked: bool,
}

/// All fetches under way.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    last: u64,
    all: HashMap<u64, Fetch, foldhash::fast::FixedState>,
}

impl Fetches {
    /// Forgets one.
    pub(crate) fn remove(&mut self, fetch: u64) {
        self.all.remove(&fetch);
    }
}

impl Engine {
    /// Begins to send the retained messages of a subscription.
    pub(crate) fn fetch_retained(&mut self, now: Now, at: u32, filter: &str, homes: Vec<(ShardId, u64)>) {
        let Some(session) = self.sessions.get(at) else { return };
        if session.fetches.len() >= 2 * self.limits.subscriptions_max as usize {
            self.thin_fetches(at);
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        self.fetches.last += 1;
        let fetch = self.fetches.last;
        session.fetches.push(fetch);
        let uid = session.uid;
        self.fetches.all.insert(
            fetch,
            Fetch { uid, session: at, filter: filter.into(), homes, after: None, asked: false },
        );
        self.fetch_on(now, at);
    }

    /// Asks for the next page, if the session has room for one.
    pub(crate) fn fetch_on(&mut self, now: Now, at: u32) {
        loop {
            let Some(session) = self.sessions.get(at) else { return };
            let Some(fetch) = session.fetches.first().copied() else { return };
            let waiting = session.outbound.as_ref().map_or(0, |o| o.queue.len());
            let Some(link) = self.links.at(session.link) else { return };
            if session.link == NONE
                || waiting > 0
                || link.queued() > self.limits.outbox_bytes_max as usize / 4
            {
                return;
            }
            let Some(state) = self.fetches.all.get_mut(&fetch) else {
                self.fetch_done(at, fetch);
                continue;
            };
            if state.asked {
                return;
            }
            let Some((shard, until)) = state.homes.last().copied() else {
                self.fetch_done(at, fetch);
                continue;
            };
            if shard != self.shard {
                state.asked = true;
                let item = Mail::RetainedAsk {
                    fetch,
                    filter: state.filter.clone(),
                    after: state.after.clone(),
                    until,
                };
                return self.post_first(shard, None, item);
            }
            let (filter, after) = (state.filter.clone(), state.after.clone());
            let (messages, next) = self.retained_page(now, &filter, after.as_deref(), until);
            self.page_came(now, fetch, &messages, next);
        }
    }

    /// Of the fetches that have not begun, leaves the last of each filter that is still subscribed: no more than there may be
    /// subscriptions, however often a client asks while it takes nothing.
    fn thin_fetches(&mut self, at: u32) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let mut old = std::mem::take(&mut session.fetches).into_iter();
        let first = old.next();
        let mut kept = Vec::new();
        let mut seen = HashSet::with_hasher(foldhash::fast::FixedState::default());
        for fetch in old.rev() {
            let Some(state) = self.fetches.all.get(&fetch) else { continue };
            let id = self.filters.find(&state.filter).filter(|id| self.filters.get_by_id(*id, at).is_some());
            if id.is_some_and(|id| seen.insert(id)) {
                kept.push(fetch);
            } else {
                self.fetches.all.remove(&fetch);
            }
        }
        if let Some(session) = self.sessions.get_mut(at) {
            session.fetches.extend(first);
            session.fetches.extend(kept.into_iter().rev());
        }
    }

    fn fetch_done(&mut self, at: u32, fetch: u64) {
        self.fetches.all.remove(&fetch);
        if let Some(session) = self.sessions.get_mut(at) {
            session.fetches.retain(|f| *f != fetch);
        }
    }

    fn retained_page(
        &mut self,
        now: Now,
        filter: &str,
        after: Option<&str>,
        until: u64,
    ) -> (Vec<Arc<Message>>, Option<Box<str>>) {
        let mut messages = Vec::new();
        let page = self.home.retained.page(filter, after, PAGE, &mut |_, retained| {
            // A newer value was delivered live; one that expired is as good as none.
            if retained.arrival <= until && retained.message.expires_at > now.monotonic_ms {
                messages.push(retained.message.clone());
            }
        });
        (messages, page.next.map(String::into_boxed_str))
    }

    /// At the home: one page.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn home_page(
        &mut self,
        now: Now,
        from: ShardId,
        fetch: u64,
        filter: &str,
        after: Option<&str>,
        until: u64,
    ) {
        let (messages, next) = self.retained_page(now, filter, after, until);
        self.post_second(from, Mail::RetainedPage { fetch, messages, next });
    }

    /// A page came: it is delivered, and the next one asked for when there is room.
    pub(crate) fn page_came(
        &mut self,
        now: Now,
        fetch: u64,
        messages: &[Arc<Message>],
        next: Option<Box<str>>,
    ) {
        let Some(state) = self.fetches.all.get_mut(&fetch) else { return };
        let (at, uid, remote) = (state.session, state.uid, state.asked);
        state.asked = false;
        if next.is_none() {
            state.homes.pop();
        }
        state.after = next;
        let id = self.filters.find(&state.filter);
        let Some(session) = self.sessions.get(at).filter(|s| s.uid == uid) else {
            self.fetches.all.remove(&fetch);
            return;
        };
        let own = id.map(FilterRef::Own);
        let sub: Option<Sub> =
            session.subscriptions.iter().find(|s| Some(&s.filter) == own.as_ref()).map(|s| s.sub);
        // Unsubscribed meanwhile: no more of it.
        let Some(sub) = sub else {
            self.fetch_done(at, fetch);
            if remote {
                self.fetch_on(now, at);
            }
            return;
        };
        for message in messages {
            if !self.may(at, crate::access::Action::Read, message.topic()) {
                continue;
            }
            // [MQTT-3.3.1-8]: RETAIN is set on what a new subscription gets.
            let how = How {
                qos: message.qos.min(sub.options.qos()),
                retain: true,
                ids: if sub.id == 0 { Vec::new() } else { vec![sub.id] },
                shared: None,
            };
            if self.sessions.get(at).is_some_and(|s| s.link != NONE) {
                self.deliver_live(now, at, &mut Incoming::shared(message), how);
            }
        }
        if remote {
            self.fetch_on(now, at);
        }
    }
}
