//! The engine of one shard: its parts, the one entry, and what the driver polls.
//!
//! It lives on its shard's thread. Per turn the driver gives inputs, then drains effects until there are none (`poll_effect` flushes
//! the turn's writes as one batch), then takes output and mail. The order of everything visible depends on the inputs alone.

use crate::access::AccessRules;
use crate::commit::{Release, Waiting};
use crate::deliver::{EncodeCache, RouteCache};
use crate::effect::Effect;
use crate::filters::{FilterTable, Seeds};
use crate::home::{Home, Wanted};
use crate::identity::{LinkId, SessionUid, ShardId};
use crate::input::Input;
use crate::lanes::Lanes;
use crate::limits::Limits;
use crate::link::Links;
use crate::mail::{Lane, Mail, MailBatch};
use crate::probe::Counters;
use crate::retained_fetch::Fetches;
use crate::session::{Sessions, Sub};
use crate::shared::Groups;
use crate::slots::SlotMap;
use crate::store::{Request, StoreToken, Write};
use crate::subscribe::PendingSubscribes;
use crate::time::Now;
use crate::timers::TimerKind;
use crate::wheel::Wheel;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This shard.
    pub shard: ShardId,
    /// All shards, at least 1.
    pub shards: u16,
    /// Rises by one at each start of the process; below 2^20.
    pub epoch: u32,
    /// Key of the slot hash. A fact of the store.
    pub slot_key: u64,
    /// Levels of a topic that decide its home. A fact of the store.
    pub home_levels: u8,
    /// Secret per process, for hash tables and assigned client ids.
    pub seed: u64,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Who may do what.
    pub access: Arc<AccessRules>,
    /// The first moment.
    pub now: Now,
}

/// See the module.
pub struct Engine {
    pub(crate) shard: ShardId,
    pub(crate) epoch: u32,
    pub(crate) seed: u64,
    pub(crate) slot_key: u64,
    pub(crate) home_levels: u8,
    pub(crate) slots: SlotMap,
    pub(crate) limits: Arc<Limits>,
    pub(crate) access: Arc<AccessRules>,
    pub(crate) links: Links,
    pub(crate) sessions: Sessions,
    pub(crate) filters: FilterTable<Sub>,
    /// Rises with each change of `filters`.
    pub(crate) filters_version: u64,
    pub(crate) home: Home,
    pub(crate) groups: Groups,
    pub(crate) subscribes: PendingSubscribes,
    pub(crate) fetches: Fetches,
    pub(crate) wheel: Wheel<u64>,
    pub(crate) lanes: Lanes,
    /// Mail of this shard to itself, in order.
    pub(crate) own_mail: VecDeque<Mail>,
    effects: VecDeque<Effect>,
    pub(crate) batch: Vec<Write>,
    pub(crate) releases: Vec<Release>,
    pub(crate) waiting: Waiting,
    /// Sessions whose cursors changed since the last commit.
    pub(crate) moved_cursors: Vec<SessionUid>,
    pub(crate) cursor_timer: bool,
    pub(crate) route: RouteCache,
    pub(crate) cache: EncodeCache,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) topic_scratch: String,
    pub(crate) fired: Vec<u64>,
    pub(crate) sessions_made: u64,
    pub(crate) draining: bool,
    pub(crate) counters: Counters,
}

/// Writes after which a batch is not extended.
pub(crate) const BATCH_WRITES_MAX: usize = 1000;

impl Engine {
    /// An engine without sessions.
    pub fn new(config: EngineConfig) -> Engine {
        let seeds = Seeds::new(config.seed, config.seed.rotate_left(32) ^ 0x9E37_79B9_7F4A_7C15);
        let home = Home::new(seeds, config.seed, config.epoch, config.shard, config.shards);
        Engine {
            shard: config.shard,
            epoch: config.epoch,
            seed: config.seed,
            slot_key: config.slot_key,
            home_levels: config.home_levels,
            slots: SlotMap::new(config.shards),
            lanes: Lanes::new(config.shards, config.limits.lane_items_max, config.limits.lane_bytes_max),
            limits: config.limits,
            access: config.access,
            links: Links::default(),
            sessions: Sessions::new(config.seed),
            filters: FilterTable::new(seeds),
            filters_version: 0,
            home,
            groups: Groups::default(),
            subscribes: PendingSubscribes::default(),
            fetches: Fetches::default(),
            wheel: Wheel::new(config.now.monotonic_ms),
            own_mail: VecDeque::new(),
            effects: VecDeque::new(),
            batch: Vec::new(),
            releases: Vec::new(),
            waiting: Waiting::default(),
            moved_cursors: Vec::new(),
            cursor_timer: false,
            route: RouteCache::default(),
            cache: EncodeCache::default(),
            wanted: Vec::new(),
            scratch: Vec::new(),
            topic_scratch: String::new(),
            fired: Vec::new(),
            sessions_made: 0,
            draining: false,
            counters: Counters::default(),
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Received { link, bytes } => self.received(now, link, bytes),
            Input::Sent { link, bytes } => self.sent(now, link, bytes),
            Input::Mail { from, batch } => {
                batch.items.into_iter().for_each(|item| self.mail(now, from, item))
            }
            Input::Stored { token, answer } => self.stored(now, token, answer),
            Input::Open { link, meta } => self.open(now, link, meta),
            Input::Closed { link } => self.transport_closed(now, link),
            Input::Authenticated { link, verdict } => self.authenticated(now, link, verdict),
            Input::Tick => self.tick(now),
            Input::Admin { id, request } => self.admin(now, id, request),
            Input::Totals(totals) => self.publish_totals(now, &totals),
            Input::Drain => self.drain(),
            Input::Reload { limits, access } => {
                self.lanes.set_bounds(limits.lane_items_max, limits.lane_bytes_max);
                (self.limits, self.access) = (limits, access);
            }
        }
        self.own_mail(now);
    }

    /// The next wish; flushes the writes so far as one batch when nothing else is left.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() && !self.batch.is_empty() {
            self.flush();
        }
        self.effects.pop_front()
    }

    /// The next link with output, each once.
    pub fn poll_output(&mut self) -> Option<LinkId> {
        while let Some(slot) = self.links.dirty.pop() {
            let Some(link) = self.links.at_mut(slot) else { continue };
            link.listed = false;
            if !link.out.is_empty() && link.sending == 0 {
                return self.links.id(slot);
            }
        }
        None
    }

    /// Swaps a link's output into `into` (cleared by the caller). `Input::Sent` must follow with its length, unless the link closes.
    pub fn take_output(&mut self, link: LinkId, into: &mut Vec<u8>) {
        if let Some(link) = self.links.get_mut(link) {
            std::mem::swap(&mut link.out, into);
            link.sending = u32::try_from(into.len()).unwrap_or(u32::MAX);
            self.counters.bytes_out += into.len() as u64;
        }
    }

    /// Shards with mail, each once. The driver then takes what their queues have room for.
    pub fn mail_pending(&mut self, out: &mut Vec<ShardId>) {
        self.lanes.drain_pending(out);
    }

    /// Takes the mail of one lane to one shard. To be called only if the queue has room for a batch; else `mail_waits`.
    pub fn take_mail(&mut self, now: Now, to: ShardId, lane: Lane) -> Option<MailBatch> {
        let mut resumed = Vec::new();
        let batch = self.lanes.take(to, lane, &mut resumed);
        if resumed.is_empty() {
            return batch;
        }
        for link in resumed {
            self.resume(now, link, crate::link::Pause::Lane);
        }
        // What they said may lie in the lane that was taken before this one.
        if self.lanes.waits(to, Lane::First) || self.lanes.waits(to, Lane::Second) {
            self.lanes.still_pending(to);
        }
        batch
    }

    /// The shard's queue had no room: it is listed by `mail_pending` again.
    pub fn mail_waits(&mut self, to: ShardId) {
        self.lanes.still_pending(to);
    }

    /// Whether mail waits for a shard in a lane.
    pub fn has_mail(&self, to: ShardId, lane: Lane) -> bool {
        self.lanes.waits(to, lane)
    }

    /// Whether first-hop mail may be given now. Second-hop mail always may.
    pub fn takes_first_hop(&self) -> bool {
        !self.lanes.second_full()
    }

    /// When `Input::Tick` is due, at the latest (monotonic milliseconds).
    pub fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Counters, with the gauges brought up to date.
    pub fn counters(&mut self) -> &Counters {
        self.counters.links = self.links.live;
        self.counters.sessions = self.sessions.len;
        self.counters.subscriptions = self.filters.len() as u64;
        self.counters.retained = self.home.retained.len() as u64;
        self.counters.retained_bytes = self.home.retained.bytes() as u64;
        &self.counters
    }

    /// Depths of the outgoing lanes: first, second.
    pub fn lane_depths(&self) -> (usize, usize) {
        self.lanes.depths()
    }

    /// Heap bytes of the large tables.
    pub fn table_bytes(&self) -> usize {
        self.links.bytes()
            + self.sessions.bytes()
            + self.filters.bytes()
            + self.wheel.bytes()
            + self.home.retained.bytes()
    }

    /// Shard of a home slot.
    pub(crate) fn shard_of(&self, slot: u16) -> ShardId {
        ShardId(self.slots.shard(slot))
    }

    /// Home slot of a topic.
    pub(crate) fn slot_of(&self, topic: &str) -> u16 {
        crate::slots::slot_of(topic, self.home_levels, self.slot_key)
    }

    /// Sends a first-hop item; to itself by the local queue. Pauses `link` if the lane is full.
    pub(crate) fn post_first(&mut self, to: ShardId, link: Option<LinkId>, item: Mail) {
        if to == self.shard {
            self.own_mail.push_back(item);
        } else if self.lanes.post_first(to, link, item)
            && let Some(link) = link
        {
            self.pause(link, crate::link::Pause::Lane);
        }
    }

    /// Sends a second-hop item; to itself by the local queue.
    pub(crate) fn post_second(&mut self, to: ShardId, item: Mail) {
        if to == self.shard {
            self.own_mail.push_back(item);
        } else {
            self.lanes.post_second(to, item);
        }
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Hands the batch to the store.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut self.batch);
        let releases = std::mem::take(&mut self.releases);
        self.counters.commits += 1;
        let token = self.waiting.commit(releases);
        self.effects.push_back(Effect::Store { token, request: Request::Commit(writes) });
    }

    /// Adds a write to the turn's batch.
    pub(crate) fn write(&mut self, write: Write) {
        self.batch.push(write);
    }

    /// Adds what to release when the writes so far are committed.
    pub(crate) fn release(&mut self, release: Release) {
        self.releases.push(release);
        if self.batch.len() >= BATCH_WRITES_MAX {
            self.flush();
        }
    }

    /// Sends a read to the store.
    pub(crate) fn ask(&mut self, request: Request, then: crate::commit::Then) {
        let token: StoreToken = self.waiting.ask(then);
        self.effects.push_back(Effect::Store { token, request });
    }

    pub(crate) fn timer(&mut self, deadline_ms: u64, kind: TimerKind, index: u32) -> crate::wheel::TimerId {
        self.wheel.insert(deadline_ms, kind.pack(index))
    }

    fn own_mail(&mut self, now: Now) {
        while let Some(item) = self.own_mail.pop_front() {
            let from = self.shard;
            self.mail(now, from, item);
        }
    }

    /// One item of another shard, or of this one.
    fn mail(&mut self, now: Now, from: ShardId, item: Mail) {
        match item {
            Mail::Publish { origin, message } => self.homed_publish(now, &origin, &message),
            Mail::Forward { message, place } => self.forwarded(now, &message, place.as_ref()),
            Mail::PublishAnswer { origin, outcome } => self.publish_answered(now, &origin, outcome),
            Mail::Subscribe { request, index, filter, interest, first, resume } => {
                self.home_subscribe(from, request, index, &filter, interest, first, resume);
            }
            Mail::Unsubscribe { filter, interest, last, discard } => {
                self.home_unsubscribe(from, &filter, interest, last, discard);
            }
            Mail::SubscribeAnswer { request, index, start, arrival, refused } => {
                self.subscribe_answered(now, from, request, index, start, arrival, refused);
            }
            Mail::Discard { subscriber, logs } => self.home_discard(subscriber, &logs),
            Mail::RetainedAsk { fetch, filter, after, until } => {
                self.home_page(now, from, fetch, &filter, after.as_deref(), until)
            }
            Mail::RetainedPage { fetch, messages, next } => self.page_came(now, fetch, &messages, next),
            Mail::Wake { subscriber, logs } => {
                let heads = self.home.heads(subscriber, &logs);
                if !heads.is_empty() {
                    self.post_second(from, Mail::Heads { subscriber, heads });
                }
            }
            Mail::Heads { subscriber, heads } => self.heads_came(now, subscriber, &heads),
            Mail::CursorMoved { subscriber, log, to, released, ended } => {
                self.home_cursor(subscriber, log, to, &released, ended);
            }
            Mail::ShareJoin { group, member, request, index } => {
                self.share_join(now, from, &group, member, request, index)
            }
            Mail::ShareLeave { group, session, ended } => self.share_leave(now, &group, session, ended),
            Mail::ShareRoom { group, session, room } => self.share_room(now, &group, session, room),
            Mail::ShareDone { group, handle } => self.share_done(now, &group, handle),
            Mail::ShareDeliver { session, group, handle, message, again } => {
                self.share_delivered(now, session, &group, handle, &message, again);
            }
        }
    }

    /// A row's key of one session and one log.
    pub(crate) fn cursor_key(uid: SessionUid, log: crate::store::LogId) -> Bytes {
        let mut key = Vec::with_capacity(19);
        key.extend_from_slice(&uid.0.to_be_bytes());
        key.extend_from_slice(&log.encode());
        key.into()
    }
}
