//! CONNECT to CONNACK, and the end of links and sessions.
//!
//! The order is fixed: framing and version, the client id, authentication, the account that owns the session, takeover of the old
//! link, session and will, CONNACK. A wrong password disturbs nobody. Where a row has to be written or deleted first, CONNACK waits.

use crate::access::{Action, Identity};
use crate::commit::Release;
use crate::effect::{AuthRequest, Effect};
use crate::engine::Engine;
use crate::identity::{LinkId, SessionUid};
use crate::input::Verdict;
use crate::link::{LinkState, NONE, Pause, PendingConnect};
use crate::mail::Mail;
use crate::probe::Refusal;
use crate::session::Session;
use crate::store::{Table, Write};
use crate::time::Now;
use crate::timers::TimerKind;
use crate::will::Will;
use bitsim_protocol::encode::{self, Peer};
use bitsim_protocol::{
    ConnAck, Connect, Disconnect, Frame, Qos, ReasonCode, Terms, Version, Violation, decode_connect,
    forwardable_properties, payload_is_valid_utf8, validate_topic_name,
};
use bytes::Bytes;

impl Engine {
    /// The first packet of a link.
    pub(crate) fn connect_frame(&mut self, now: Now, id: LinkId, frame: &Frame<'_>) {
        let connect = match decode_connect(frame) {
            Ok(connect) => connect,
            Err(violation) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.version = version_of(frame);
                }
                return self.violated(now, id, violation);
            }
        };
        let terms = Terms {
            receive_max: self.limits.receive_max,
            topic_alias_max: self.limits.alias_in_max,
            topic_alias_bytes_max: self.limits.alias_in_bytes_max,
        };
        let Some(link) = self.links.get_mut(id) else { return };
        link.version = connect.version;
        link.request_problem_info = connect.properties.request_problem_info;
        link.packet_max = connect.properties.packet_max.unwrap_or(u32::MAX);
        // [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]: absent is 0, and then no alias is used.
        link.alias_out_max = connect.properties.topic_alias_max.min(self.limits.alias_out_max);
        if let Err(violation) = link.connection.connect(&connect, &terms) {
            return self.violated(now, id, violation);
        }
        match self.judge(&connect) {
            Ok(()) => {}
            Err(reason) => return self.refuse(now, id, reason),
        }
        self.ask_who(now, id, &connect);
    }

    /// What can be refused without knowing who it is.
    fn judge(&mut self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        // Enhanced authentication is not offered [MQTT-4.12.0-1], so no AUTH is ever sent [MQTT-4.12.0-2].
        if connect.properties.auth_method.is_some() {
            self.counters.refuse(Refusal::Unsupported);
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        // An empty client id asks for a clean session before 5: [MQTT-3.1.3-7@3.1.1] [MQTT-3.1.3-8@3.1.1]; of [MQTT-3.1.3-8] the code.
        if connect.client_id.is_empty()
            && (connect.version == Version::V31 || connect.version == Version::V311 && !connect.clean_start)
        {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        let user = &connect.properties.user;
        if user.count() > u32::from(self.limits.user_properties_max)
            || user.bytes() > self.limits.user_property_bytes_max
        {
            self.counters.refuse(Refusal::Quota);
            return Err(ReasonCode::QuotaExceeded);
        }
        let Some(will) = &connect.will else { return Ok(()) };
        validate_topic_name(will.topic, &self.limits.topic).map_err(Violation::reason_code)?;
        // [MQTT-3.2.2-12]
        if will.qos as u8 > self.limits.qos_max {
            return Err(ReasonCode::QosNotSupported);
        }
        // [MQTT-3.2.2-13]
        if will.retain && !self.limits.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        if will.properties.payload_is_utf8 && !payload_is_valid_utf8(will.payload) {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Hands the credentials to the authenticator, or lets an anonymous client in.
    fn ask_who(&mut self, now: Now, id: LinkId, connect: &Connect<'_>) {
        let assigned = connect.client_id.is_empty();
        let Some(namespace) = self.links.get(id).map(|l| l.meta.namespace) else { return };
        // Any identifier a client chose is taken [MQTT-3.1.3-5]; one chosen for it is used like its own [MQTT-3.1.3-7].
        let client_id: Box<str> =
            if assigned { self.assign_client_id(namespace) } else { connect.client_id.into() };
        let (inflight, inflight_v3) = (self.limits.inflight_max, self.limits.inflight_max_v3);
        let Some(link) = self.links.get_mut(id) else { return };
        let v5 = connect.version.is_v5();
        let request = AuthRequest {
            username: connect.username.map(Into::into),
            password: connect.password.map(Into::into),
            client_id,
            peer: link.meta.peer,
            namespace: link.meta.namespace,
        };
        let anonymous = request.username.is_none() && request.password.is_none();
        let allowed = link.meta.anonymous;
        let expiry_secs = match (v5, connect.clean_start) {
            (true, _) => connect.properties.session_expiry_secs.min(self.limits.session_expiry_max_secs),
            (false, true) => 0,
            (false, false) => self.limits.session_expiry_v3_secs.min(self.limits.session_expiry_max_secs),
        };
        let pending = PendingConnect {
            request: request.clone(),
            clean_start: connect.clean_start,
            assigned,
            keep_alive_secs: connect.keep_alive_secs,
            expiry_secs,
            asked_expiry_secs: if v5 { connect.properties.session_expiry_secs } else { expiry_secs },
            // [MQTT-4.9.0-1]
            receive_max: if v5 { connect.properties.receive_max.min(inflight) } else { inflight_v3 },
            will: connect.will.as_ref().map(|will| Box::new(own_will(will))),
            session_present: false,
        };
        link.state = LinkState::Pending(Box::new(pending));
        self.pause(id, Pause::Opening);
        if anonymous {
            let verdict = if allowed { Verdict::Accepted } else { Verdict::NotAuthorized };
            self.authenticated(now, id, verdict);
        } else {
            self.effect(Effect::Authenticate { link: id, request: Box::new(request) });
        }
    }

    /// A client id that nobody can guess and that belongs to this shard [MQTT-3.1.3-6].
    fn assign_client_id(&mut self, namespace: u8) -> Box<str> {
        loop {
            self.sessions_made += 1;
            let word = mix(self.seed ^ mix(self.sessions_made << 20 ^ u64::from(self.epoch)));
            let more = mix(word ^ self.seed.rotate_left(17) ^ u64::from(self.shard.0));
            let name = format!("auto-{word:016x}{more:016x}");
            if self.slots.shards() == 1
                || crate::slots::session_shard(namespace, name.as_bytes(), self.slots.shards(), self.slot_key)
                    == self.shard.0
            {
                return name.into_boxed_str();
            }
        }
    }

    /// The authenticator has spoken.
    pub(crate) fn authenticated(&mut self, now: Now, id: LinkId, verdict: Verdict) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !matches!(link.state, LinkState::Pending(_)) || link.session != NONE {
            return;
        }
        let reason = match verdict {
            Verdict::Accepted => return self.enter(now, id),
            Verdict::AcceptedAnonymously => {
                if let LinkState::Pending(pending) = &mut link.state {
                    pending.request.username = None;
                }
                return self.enter(now, id);
            }
            Verdict::BadCredentials => ReasonCode::BadUserNameOrPassword,
            Verdict::NotAuthorized => ReasonCode::NotAuthorized,
            Verdict::Unavailable => ReasonCode::ServerUnavailable,
            Verdict::RateExceeded => ReasonCode::ConnectionRateExceeded,
        };
        self.counters.refuse(Refusal::Login);
        self.refuse(now, id, reason);
    }

    /// Finds, takes over or makes the session.
    fn enter(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let LinkState::Pending(pending) = std::mem::replace(&mut link.state, LinkState::Opening) else {
            return;
        };
        let mut pending = pending;
        let namespace = link.meta.namespace;
        let account = pending.request.username.clone();
        if let Some(will) = &pending.will {
            let who = Identity { username: account.as_deref(), client_id: &pending.request.client_id };
            if will.topic.starts_with('$') || !self.access.may(&who, Action::Write, &will.topic) {
                self.counters.refuse(Refusal::Access);
                return self.refuse(now, id, ReasonCode::NotAuthorized);
            }
        }
        // [MQTT-3.1.3-2]
        let found = self.sessions.find(namespace, &pending.request.client_id);
        if let Some(at) = found {
            // A session is taken over by its own account only.
            if self.sessions.get(at).is_some_and(|s| s.account != account) {
                self.counters.refuse(Refusal::Login);
                return self.refuse(now, id, ReasonCode::NotAuthorized);
            }
            self.take_over(now, at, pending.clean_start);
        } else if self.sessions.len >= self.limits.sessions_max {
            self.counters.refuse(Refusal::Sessions);
            return self.refuse(now, id, ReasonCode::QuotaExceeded);
        }
        // [MQTT-3.1.2-4]: Clean Start discards the session; [MQTT-3.1.2-5]: else it goes on, unless it ended with its link.
        let kept =
            found.filter(|at| !pending.clean_start && self.sessions.get(*at).is_some_and(Session::durable));
        let at = match kept {
            Some(at) => at,
            None => {
                if let Some(at) = found {
                    // [MQTT-3.1.4-4]
                    self.end_session(now, at);
                }
                // [MQTT-3.1.2-6]
                self.make_session(namespace, &pending.request.client_id, account, pending.expiry_secs)
            }
        };
        // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        pending.session_present = kept.is_some();
        let will = pending.will.take();
        let timer = {
            let Some(session) = self.sessions.get_mut(at) else { return };
            session.link = id.slot;
            session.away_since_ms = 0;
            session.expiry_secs = pending.expiry_secs;
            // It is published when the link is lost, and only then. [MQTT-3.1.2-7]
            session.will = will;
            session.timer.take()
        };
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        if self.sessions.get(at).is_some_and(Session::durable) {
            self.sessions.register(at);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.session = at;
            link.receive_max = pending.receive_max;
            link.state = LinkState::Pending(pending);
        }
        self.save_session(at);
        if self.batch.is_empty() {
            self.connected(now, id);
        } else {
            // CONNACK is an acknowledgement: it leaves after the rows are committed.
            self.release(Release::Connected { link: id });
        }
    }

    fn make_session(
        &mut self,
        namespace: u8,
        client_id: &str,
        account: Option<Box<str>>,
        expiry_secs: u32,
    ) -> u32 {
        self.sessions_made += 1;
        let uid = SessionUid::new(self.epoch, self.shard, self.sessions_made);
        self.sessions.insert(Session::new(uid, namespace, client_id, account, expiry_secs))
    }

    /// The session's link, if it has one, is told and closed [MQTT-3.1.4-3].
    fn take_over(&mut self, now: Now, at: u32, clean_start: bool) {
        let Some(session) = self.sessions.get(at) else { return };
        let slot = session.link;
        if slot == NONE {
            return;
        }
        let Some(id) = self.links.id(slot) else { return };
        self.counters.refuse(Refusal::Takeover);
        if let Some(link) = self.links.outbox(slot)
            && link.version.is_v5()
            && matches!(link.state, LinkState::Live)
        {
            let peer = Peer { version: link.version, packet_max: link.packet_max };
            let _ = encode::disconnect(peer, &Disconnect::new(ReasonCode::SessionTakenOver), &mut link.out);
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        session.link = NONE;
        // The will of the old link is sent, unless the new one continues the session within its delay [MQTT-3.1.3-9].
        if let Some(will) = session.will.take()
            && (clean_start || will.delay_secs == 0)
        {
            self.send_will(now, &will, at);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.session = NONE;
        }
        self.finish_link(id);
    }

    /// CONNACK, then whatever the session has waiting.
    pub(crate) fn connected(&mut self, now: Now, id: LinkId) {
        let limits = self.limits.clone();
        // Refused meanwhile, or gone.
        if !self.links.get(id).is_some_and(|l| matches!(l.state, LinkState::Pending(_))) {
            return;
        }
        let Some(link) = self.links.outbox(id.slot) else { return };
        // Live from here on: there is no second CONNACK [MQTT-3.2.0-2].
        let LinkState::Pending(pending) = std::mem::replace(&mut link.state, LinkState::Live) else { return };
        let asked = pending.keep_alive_secs;
        let v5 = link.version.is_v5();
        let granted = match (v5, limits.server_keep_alive_secs, limits.keep_alive_max_secs) {
            (false, _, _) => asked,
            // [MQTT-3.2.2-22]
            (true, 0, 0) => asked,
            (true, 0, cap) => {
                if asked == 0 || asked > cap {
                    cap
                } else {
                    asked
                }
            }
            (true, own, _) => own,
        };
        link.keep_alive_secs = granted;
        // [MQTT-3.1.4-5]; Response Information is never part of it [MQTT-3.1.2-28].
        let mut connack = ConnAck::refusal(ReasonCode::Success);
        connack.session_present = pending.session_present;
        let properties = &mut connack.properties;
        properties.receive_max = limits.receive_max;
        // [MQTT-3.2.2-9]
        properties.qos_max = Qos::try_from(limits.qos_max).unwrap_or(Qos::ExactlyOnce);
        properties.retain_available = limits.retain_available;
        properties.packet_max = Some(limits.packet_bytes_max);
        properties.topic_alias_max = limits.alias_in_max;
        // [MQTT-3.1.3-7]
        properties.assigned_client_id = pending.assigned.then_some(&*pending.request.client_id);
        properties.session_expiry_secs =
            Some(pending.expiry_secs).filter(|secs| *secs != pending.asked_expiry_secs);
        // [MQTT-3.2.2-21]
        properties.server_keep_alive_secs =
            Some(granted).filter(|secs| *secs != asked || limits.server_keep_alive_secs != 0);
        let peer = Peer { version: link.version, packet_max: link.packet_max };
        // [MQTT-3.2.0-1]: CONNACK is the first packet. A client whose Maximum Packet Size it exceeds is closed.
        let sent = encode::connack(peer, &connack, &mut link.out);
        let session = link.session;
        if sent.is_err() {
            return self.close_link(now, id, None);
        }
        self.counters.connects += 1;
        self.start_keep_alive(now, id);
        self.session_back(now, session);
        self.resume(now, id, Pause::Opening);
    }

    /// CONNACK with a reason of 0x80 or above, then the end [MQTT-3.1.4-2] [MQTT-4.12.0-4].
    pub(crate) fn refuse(&mut self, now: Now, id: LinkId, reason: ReasonCode) {
        if self.links.get(id).is_none() {
            return;
        }
        let Some(link) = self.links.outbox(id.slot) else { return };
        let peer = Peer { version: link.version, packet_max: link.packet_max };
        // [MQTT-3.2.2-7]
        let _ = encode::connack(peer, &ConnAck::refusal(reason), &mut link.out);
        // Had it found a session, that goes on without it; a will that was never accepted is not sent.
        let at = link.session;
        if let Some(session) = self.sessions.get_mut(at) {
            session.will = None;
        }
        self.link_ends(now, id, false);
        self.finish_link(id);
    }

    /// A link that broke the protocol before it had a session.
    pub(crate) fn refuse_unread(&mut self, now: Now, id: LinkId, violation: Violation) {
        let Some(link) = self.links.get_mut(id) else { return };
        let v5 = link.version.is_v5();
        match violation {
            // [MQTT-3.1.2-2]: an unknown level is answered in the form its client can be expected to read.
            Violation::UnsupportedVersion { level } => {
                link.version = if level > 5 { Version::V5 } else { Version::V311 };
                self.refuse(now, id, ReasonCode::UnsupportedProtocolVersion);
            }
            _ if v5 && violation != Violation::ConnectExpected => {
                self.refuse(now, id, violation.reason_code())
            }
            // [MQTT-3.1.4-1]: closed without a CONNACK.
            _ => self.close_link(now, id, None),
        }
    }

    /// DISCONNECT of the client.
    pub(crate) fn disconnected(&mut self, now: Now, id: LinkId, disconnect: &Disconnect<'_>) {
        let Some(at) = self.links.get(id).map(|l| l.session) else { return };
        if let Some(session) = self.sessions.get_mut(at) {
            // [MQTT-3.14.4-3], [MQTT-3.1.2-10]: only a normal end takes the will back.
            if disconnect.reason == ReasonCode::Success {
                session.will = None;
            }
            if let Some(secs) = disconnect.session_expiry_secs {
                session.expiry_secs = secs.min(self.limits.session_expiry_max_secs);
            }
        }
        self.link_ends(now, id, false);
        self.finish_link(id);
    }

    /// A session loses its link. `quiet`: the broker shuts down, wills stay.
    pub(crate) fn link_ends(&mut self, now: Now, id: LinkId, quiet: bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        let at = std::mem::replace(&mut link.session, NONE);
        let Some(session) = self.sessions.get_mut(at) else { return };
        if session.link != id.slot {
            return;
        }
        session.link = NONE;
        let expiry = session.expiry_secs;
        if quiet {
            return;
        }
        // [MQTT-3.1.2-8]: sent when the link ends without DISCONNECT; a session that ends now waits for no delay.
        if session.will.as_ref().is_some_and(|w| w.delay_secs == 0 || expiry == 0)
            && let Some(will) = session.will.take()
        {
            self.send_will(now, &will, at);
        }
        if expiry == 0 {
            return self.end_session(now, at);
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        session.away_since_ms = now.wall_ms;
        session.ends_at_ms =
            if expiry == u32::MAX { u64::MAX } else { now.monotonic_ms + u64::from(expiry) * 1000 };
        session.will_at_ms =
            session.will.as_ref().map_or(u64::MAX, |w| now.monotonic_ms + u64::from(w.delay_secs) * 1000);
        self.share_rooms(at, true);
        self.save_session(at);
        self.away_timer(now, at);
    }

    /// A session without link: its will or its end may be due.
    pub(crate) fn away_timer(&mut self, now: Now, at: u32) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        // While it is connected nothing of it ends [MQTT-4.1.0-1].
        if session.link != NONE {
            return;
        }
        if session.will_at_ms <= now.monotonic_ms
            && let Some(will) = session.will.take()
        {
            self.send_will(now, &will, at);
            self.save_session(at);
        }
        let Some(session) = self.sessions.get(at) else { return };
        // [MQTT-3.1.2-23]: the session is kept until its expiry, and not longer.
        // [MQTT-4.1.0-2]
        if session.ends_at_ms <= now.monotonic_ms {
            return self.end_session(now, at);
        }
        let next = if session.will.is_some() {
            session.will_at_ms.min(session.ends_at_ms)
        } else {
            session.ends_at_ms
        };
        if next != u64::MAX {
            let timer = self.timer(next, TimerKind::Away, at);
            if let Some(session) = self.sessions.get_mut(at) {
                session.timer = Some(timer);
            }
        }
    }

    /// A session ends: nothing of it is left, here, at its homes, or in the store.
    pub(crate) fn end_session(&mut self, now: Now, at: u32) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (uid, timer) = (session.uid, session.timer.take());
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        // A delayed will is sent at the session's end at the latest [MQTT-3.1.3-9].
        if let Some(will) = session.will.take() {
            self.send_will(now, &will, at);
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        let subscriptions = std::mem::take(&mut session.subscriptions);
        let fetches = std::mem::take(&mut session.fetches);
        for subscription in subscriptions {
            self.drop_subscription(at, &subscription, true);
        }
        for fetch in fetches {
            self.fetches.remove(fetch);
        }
        let Some(session) = self.sessions.remove(at) else { return };
        for (shard, logs) in self.homes_read(&session) {
            self.post_first(shard, None, Mail::Discard { subscriber: uid, logs });
        }
        if session.stored {
            let prefix = Bytes::copy_from_slice(&uid.0.to_be_bytes());
            self.write(Write::Delete {
                table: Table::Sessions,
                key: session_key(session.namespace, &session.client_id),
            });
            self.write(Write::DeletePrefix { table: Table::Cursors, prefix: prefix.clone() });
            self.write(Write::DeletePrefix { table: Table::Received, prefix });
        }
        if self.batch.len() >= crate::engine::BATCH_WRITES_MAX {
            self.flush();
        }
    }

    /// Writes the row of a session that outlives its link, or did.
    pub(crate) fn save_session(&mut self, at: u32) {
        let Some(session) = self.sessions.get(at) else { return };
        let key = session_key(session.namespace, &session.client_id);
        if session.durable() || session.stored {
            let value = session.record(|id| self.filters.filter(id).to_owned()).encode();
            self.write(Write::Put { table: Table::Sessions, key, value, expires_at_ms: None });
            if let Some(session) = self.sessions.get_mut(at) {
                session.stored = true;
            }
        }
    }

    /// Who a session is, for the access rules.
    pub(crate) fn may(&self, at: u32, action: Action, topic: &str) -> bool {
        if self.access.allows_everything() {
            return true;
        }
        self.sessions.get(at).is_some_and(|s| {
            self.access.may(
                &Identity { username: s.account.as_deref(), client_id: &s.client_id },
                action,
                topic,
            )
        })
    }
}

/// Key of a session's row.
pub(crate) fn session_key(namespace: u8, client_id: &str) -> Bytes {
    let mut key = Vec::with_capacity(1 + client_id.len());
    key.push(namespace);
    key.extend_from_slice(client_id.as_bytes());
    key.into()
}

/// The protocol of a CONNECT that could not be decoded, as far as its first bytes say.
fn version_of(frame: &Frame<'_>) -> Version {
    match frame.body {
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Version::V5,
        _ => Version::V311,
    }
}

fn own_will(will: &bitsim_protocol::Will<'_>) -> Will {
    let mut properties = Vec::new();
    forwardable_properties(will.properties.raw, &mut properties);
    Will {
        topic: will.topic.into(),
        properties: properties.into_boxed_slice(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        delay_secs: will.properties.delay_secs,
        expiry_secs: will.properties.message_expiry,
    }
}

/// A 64-bit mixer (the finaliser of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
