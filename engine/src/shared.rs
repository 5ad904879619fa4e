//! Shared subscriptions: a group lives on the shard of its name and filter, subscribes like a session, and hands each message to one
//! member that has room [MQTT-4.8.2-4]. A QoS 1 message that a member did not finish goes to another when that member's session
//! ends; a QoS 2 message once handed over goes to nobody else [MQTT-4.8.2-5].

use crate::deliver::{GROUP, How};
use crate::engine::Engine;
use crate::identity::{SessionUid, ShardId};
use crate::link::NONE;
use crate::mail::{Interest, Mail, ShareMember};
use crate::message::{Incoming, Message};
use crate::probe::Drop;
use crate::session::{FilterRef, Options, Sub};
use crate::slots::slot_of_group;
use crate::time::Now;
use bitsim_protocol::Qos;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A member and what it may take.
#[derive(Debug)]
struct Member {
    who: ShareMember,
}

/// One group.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    members: Vec<Member>,
    /// Where the round goes on.
    next: usize,
    queue: VecDeque<Arc<Message>>,
    queue_bytes: u64,
    /// Handed over and not finished: member and message.
    handed: HashMap<u64, (SessionUid, Arc<Message>), foldhash::fast::FixedState>,
}

/// All groups of a shard.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    slots: Vec<Option<Group>>,
    by_name: HashMap<Arc<str>, u32, foldhash::fast::FixedState>,
    last_handle: u64,
}

impl Groups {
    fn get_mut(&mut self, at: u32) -> Option<&mut Group> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}

/// The filter in `name/filter`.
fn filter_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, filter)| filter)
}

impl Engine {
    /// Shard of a group, by `name/filter`.
    pub(crate) fn group_shard(&self, name: &str) -> ShardId {
        let (share, filter) = name.split_once('/').unwrap_or((name, ""));
        self.shard_of(slot_of_group(share, filter, self.slot_key))
    }

    /// At the group: a member joins, or changes its options.
    #[expect(
        clippy::too_many_arguments,
        reason = "one message, its place and its receiver, all borrowed from different parts of the engine"
    )]
    pub(crate) fn share_join(
        &mut self,
        now: Now,
        from: ShardId,
        name: &str,
        member: ShareMember,
        request: u32,
        index: u16,
    ) {
        let at = match self.groups.find(name) {
            Some(at) => at,
            None => self.make_group(name),
        };
        if let Some(group) = self.groups.get_mut(at) {
            match group.members.iter_mut().find(|m| m.who.session == member.session) {
                Some(old) => old.who = member,
                None => group.members.push(Member { who: member }),
            }
        }
        self.post_second(
            from,
            Mail::SubscribeAnswer { request, index, start: None, arrival: 0, refused: false },
        );
        self.group_pump(now, at);
    }

    fn make_group(&mut self, name: &str) -> u32 {
        let shared: Arc<str> = name.into();
        let group = Group {
            name: shared.clone(),
            members: Vec::new(),
            next: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            handed: HashMap::default(),
        };
        let at = self.groups.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.groups.slots.push(None);
            self.groups.slots.len() - 1
        });
        if let Some(slot) = self.groups.slots.get_mut(at) {
            *slot = Some(group);
        }
        let at = u32::try_from(at).unwrap_or(0);
        self.groups.by_name.insert(shared, at);
        let filter = filter_of(name);
        let first = self.filters.find(filter).is_none();
        self.filters.insert(filter, at | GROUP, Sub { options: Options(2), id: 0 });
        self.filters_version += 1;
        self.group_interest(filter, first, true);
        at
    }

    /// Tells the homes of a group's filter that this shard wants it, or does not.
    fn group_interest(&mut self, filter: &str, edge: bool, wanted: bool) {
        if !edge {
            return;
        }
        let interest =
            Interest { subscriber: SessionUid(0), durable: false, qos: Qos::ExactlyOnce, no_local: false };
        use crate::slots::{FilterHome, home_of_filter};
        let homes = match home_of_filter(filter, self.home_levels, self.slot_key) {
            FilterHome::Slot(slot) => vec![self.shard_of(slot)],
            FilterHome::Everywhere => (0..self.slots.shards()).map(ShardId).collect(),
        };
        for shard in homes {
            let filter = filter.into();
            self.post_first(
                shard,
                None,
                match wanted {
                    true => Mail::Subscribe {
                        request: NONE,
                        index: 0,
                        filter,
                        interest,
                        first: true,
                        resume: None,
                    },
                    false => Mail::Unsubscribe { filter, interest, last: true, discard: false },
                },
            );
        }
    }

    /// At the group: a member leaves.
    pub(crate) fn share_leave(&mut self, now: Now, name: &str, session: SessionUid, ended: bool) {
        let Some(at) = self.groups.find(name) else { return };
        let Some(group) = self.groups.get_mut(at) else { return };
        group.members.retain(|m| m.who.session != session);
        if ended {
            let mut back: Vec<(u64, Arc<Message>)> = Vec::new();
            group.handed.retain(|handle, (member, message)| {
                let gone = *member == session;
                // [MQTT-4.8.2-5]: QoS 2 goes to nobody else.
                if gone && message.qos == Qos::AtLeastOnce {
                    back.push((*handle, message.clone()));
                }
                !gone
            });
            back.sort_by_key(|b| std::cmp::Reverse(b.0));
            for (_, message) in back {
                group.queue_bytes += u64::from(message.bytes());
                group.queue.push_front(message);
            }
        }
        if group.members.is_empty() {
            return self.end_group(at);
        }
        self.group_pump(now, at);
    }

    fn end_group(&mut self, at: u32) {
        let Some(group) = self.groups.slots.get_mut(at as usize).and_then(Option::take) else { return };
        self.groups.by_name.remove(&group.name);
        let filter = filter_of(&group.name);
        self.filters.remove(filter, at | GROUP);
        self.filters_version += 1;
        let last = self.filters.find(filter).is_none();
        self.group_interest(filter, last, false);
    }

    /// At the group: how much a member can take now.
    pub(crate) fn share_room(&mut self, now: Now, name: &str, session: SessionUid, room: u16) {
        let Some(at) = self.groups.find(name) else { return };
        if let Some(group) = self.groups.get_mut(at) {
            let held =
                u16::try_from(group.handed.values().filter(|h| h.0 == session).count()).unwrap_or(u16::MAX);
            if let Some(member) = group.members.iter_mut().find(|m| m.who.session == session) {
                member.who.room = room.saturating_sub(held);
            }
        }
        self.group_pump(now, at);
    }

    /// At the group: a member finished a message.
    pub(crate) fn share_done(&mut self, now: Now, name: &str, handle: u64) {
        let Some(at) = self.groups.find(name) else { return };
        if let Some(group) = self.groups.get_mut(at)
            && let Some((session, _)) = group.handed.remove(&handle)
            && let Some(member) = group.members.iter_mut().find(|m| m.who.session == session)
        {
            member.who.room = member.who.room.saturating_add(1);
        }
        self.group_pump(now, at);
    }

    /// A message that matches the group's filter.
    pub(crate) fn group_message(&mut self, now: Now, at: u32, message: &mut Incoming<'_>) {
        let (max, bytes_max) =
            (self.limits.queue_messages_max as usize, u64::from(self.limits.queue_bytes_max));
        let shared = message.share();
        let Some(group) = self.groups.get_mut(at) else { return };
        if group.queue.len() >= max || group.queue_bytes >= bytes_max {
            return self.counters.drop(Drop::GroupFull);
        }
        // QoS 0 is for those who are there.
        if shared.qos == Qos::AtMostOnce && !group.members.iter().any(|m| m.who.room > 0) {
            return self.counters.drop(Drop::GroupFull);
        }
        group.queue_bytes += u64::from(shared.bytes());
        group.queue.push_back(shared);
        self.group_pump(now, at);
    }

    /// Hands messages to members in turn, while one has room.
    fn group_pump(&mut self, _now: Now, at: u32) {
        loop {
            let last_handle = self.groups.last_handle;
            let Some(group) = self.groups.get_mut(at) else { return };
            let count = group.members.len();
            let Some(i) = (0..count)
                .map(|i| (group.next + i) % count.max(1))
                .find(|i| group.members.get(*i).is_some_and(|m| m.who.room > 0))
            else {
                return;
            };
            let Some(message) = group.queue.pop_front() else { return };
            group.queue_bytes = group.queue_bytes.saturating_sub(u64::from(message.bytes()));
            group.next = i + 1;
            let Some(member) = group.members.get_mut(i) else { return };
            let (session, shard) = (member.who.session, member.who.shard);
            let mut handle = 0;
            if message.qos != Qos::AtMostOnce && member.who.qos != Qos::AtMostOnce {
                handle = last_handle + 1;
                member.who.room -= 1;
                group.handed.insert(handle, (session, message.clone()));
            }
            let name = (*group.name).into();
            self.groups.last_handle = last_handle.max(handle);
            self.post_second(
                shard,
                Mail::ShareDeliver { session, group: name, handle, message, again: false },
            );
        }
    }

    /// At the member: its share of the messages.
    #[expect(clippy::too_many_arguments, reason = "the fields of one mail item")]
    pub(crate) fn share_delivered(
        &mut self,
        now: Now,
        session: SessionUid,
        name: &str,
        handle: u64,
        message: &Arc<Message>,
        _again: bool,
    ) {
        let found = self.sessions.by_uid(session);
        let group: Arc<str> = name.into();
        let shared = FilterRef::Shared(group.clone());
        let sub = found.and_then(|at| {
            let s = self.sessions.get(at)?;
            let sub = s.subscriptions.iter().find(|s| s.filter == shared)?.sub;
            Some((at, s.link, sub))
        });
        let Some((at, link, sub)) = sub else {
            // It left meanwhile: `ShareLeave` is on its way and brings the message back.
            return;
        };
        // [MQTT-4.8.2-3]
        let qos = message.qos.min(sub.options.qos());
        if link == NONE {
            if let Some(s) = self.sessions.get_mut(at).filter(|_| qos != Qos::AtMostOnce) {
                let ids = if sub.id == 0 { Vec::new() } else { vec![sub.id] };
                s.outbound().enqueue(crate::outbound::Queued {
                    message: message.clone(),
                    qos,
                    retain: false,
                    ids: ids.into(),
                    shared: (handle != 0).then_some((group, handle)),
                });
            }
            return;
        }
        if !self.may(at, crate::access::Action::Read, message.topic()) {
            self.counters.drop(Drop::NotAllowed);
            return self.post_share_done(&group, handle);
        }
        let retain = sub.options.retain_as_published() && message.retain;
        let ids = if sub.id == 0 { Vec::new() } else { vec![sub.id] };
        // [MQTT-3.3.4-5]
        let how = How { qos, retain, ids, shared: (handle != 0).then_some((group, handle)) };
        self.deliver_live(now, at, &mut Incoming::shared(message), how);
    }

    /// Tells the groups of a session that its link came or went.
    pub(crate) fn share_rooms(&mut self, at: u32, away: bool) {
        let Some(session) = self.sessions.get(at) else { return };
        let room = if away { 0 } else { self.links.at(session.link).map_or(0, |l| l.receive_max) };
        let uid = session.uid;
        let names: Vec<Arc<str>> = session
            .subscriptions
            .iter()
            .filter_map(|s| if let FilterRef::Shared(name) = &s.filter { Some(name.clone()) } else { None })
            .collect();
        for name in names {
            let shard = self.group_shard(&name);
            self.post_first(shard, None, Mail::ShareRoom { group: (*name).into(), session: uid, room });
        }
    }
}
