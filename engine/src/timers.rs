//! What the wheel's entries mean, and what happens when one fires.
//!
//! Keep-alive entries are not moved per packet: when one fires early it is put where the last bytes say.

use crate::engine::Engine;
use crate::identity::LinkId;
use crate::link::{LinkState, NONE, Pause};
use crate::probe::Refusal;
use crate::time::Now;
use bitsim_protocol::ReasonCode;

/// Kind of a timer. The index beside it is a link's slot or a session's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TimerKind {
    /// CONNECT must be complete.
    Connect = 1,
    /// The link must have been heard.
    KeepAlive = 2,
    /// A session away: its end, or its will.
    Away = 3,
    /// Changed cursors are committed.
    Cursors = 4,
    /// A link above its publish rate may go on.
    Rate = 5,
    /// A link whose message the store did not take is closed.
    Refused = 6,
}

/// Changed cursors wait this long.
const CURSORS_MS: u64 = 500;

impl TimerKind {
    /// As the wheel's value.
    pub(crate) fn pack(self, index: u32) -> u64 {
        (self as u64) << 32 | u64::from(index)
    }

    fn unpack(value: u64) -> Option<(TimerKind, u32)> {
        let kind = match value >> 32 {
            1 => TimerKind::Connect,
            2 => TimerKind::KeepAlive,
            3 => TimerKind::Away,
            4 => TimerKind::Cursors,
            5 => TimerKind::Rate,
            6 => TimerKind::Refused,
            _ => return None,
        };
        Some((kind, u32::try_from(value & 0xFFFF_FFFF).ok()?))
    }
}

impl Engine {
    /// Fires what is due.
    pub(crate) fn tick(&mut self, now: Now) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(now.monotonic_ms, &mut |value| fired.push(value));
        for value in fired.drain(..) {
            if let Some((kind, index)) = TimerKind::unpack(value) {
                self.fire(now, kind, index);
            }
        }
        self.fired = fired;
    }

    fn fire(&mut self, now: Now, kind: TimerKind, index: u32) {
        match kind {
            TimerKind::Connect => {
                if let Some(link) = self.links.at_mut(index)
                    && let Some(id) = {
                        link.timer = None;
                        self.links.id(index)
                    }
                {
                    self.counters.refuse(Refusal::ConnectTimeout);
                    self.close_link(now, id, None);
                }
            }
            TimerKind::KeepAlive => self.check_keep_alive(now, index),
            TimerKind::Away => {
                if let Some(session) = self.sessions.get_mut(index) {
                    session.timer = None;
                }
                self.away_timer(now, index);
            }
            TimerKind::Cursors => {
                self.cursor_timer = false;
                self.commit_cursors(now);
            }
            TimerKind::Rate => {
                if let Some(id) = self.links.id(index) {
                    self.resume(now, id, Pause::Rate);
                }
            }
            TimerKind::Refused => {
                if let Some(link) = self.links.at_mut(index)
                    && link.paused & Pause::Store as u8 != 0
                    && let Some(id) = self.links.id(index)
                {
                    self.counters.refuse(Refusal::Store);
                    self.close_link(now, id, Some(ReasonCode::QuotaExceeded));
                }
            }
        }
    }

    /// [MQTT-3.1.2-22], [MQTT-3.1.2-24@3.1.1]: one and a half keep-alives without a packet close the link. While we pause a link its
    /// keep-alive stands still.
    fn check_keep_alive(&mut self, now: Now, slot: u32) {
        let idle_secs = self.limits.idle_timeout_secs;
        let Some(link) = self.links.at_mut(slot) else { return };
        link.timer = None;
        if !matches!(link.state, LinkState::Live) {
            return;
        }
        let allowed_ms = if link.keep_alive_secs > 0 {
            u64::from(link.keep_alive_secs) * 1500
        } else {
            u64::from(idle_secs) * 1000
        };
        if allowed_ms == 0 {
            return;
        }
        if link.paused != 0 {
            link.seen_ms = now.monotonic_ms;
        }
        let deadline = link.seen_ms + allowed_ms;
        if deadline > now.monotonic_ms {
            let timer = self.timer(deadline, TimerKind::KeepAlive, slot);
            if let Some(link) = self.links.at_mut(slot) {
                link.timer = Some(timer);
            }
        } else if let Some(id) = self.links.id(slot) {
            self.counters.refuse(Refusal::KeepAlive);
            self.close_link(now, id, Some(ReasonCode::KeepAliveTimeout));
        }
    }

    /// Starts the link's keep-alive.
    pub(crate) fn start_keep_alive(&mut self, now: Now, link: LinkId) {
        self.cancel_link_timer(link);
        self.check_keep_alive(now, link.slot);
    }

    /// Stops whatever timer the link has.
    pub(crate) fn cancel_link_timer(&mut self, link: LinkId) {
        if let Some(timer) = self.links.get_mut(link).and_then(|l| l.timer.take()) {
            self.wheel.cancel(timer);
        }
    }

    /// Makes sure that changed cursors are committed soon.
    pub(crate) fn cursors_soon(&mut self, now: Now) {
        if !self.cursor_timer {
            self.cursor_timer = true;
            self.timer(now.monotonic_ms + CURSORS_MS, TimerKind::Cursors, NONE);
        }
    }
}
