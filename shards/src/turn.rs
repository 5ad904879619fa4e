//! The turn: completions in, mail in, timers, effects, sends out, mail out, one enter of the ring.

use crate::arrival::Spread;
use crate::post::Control;
use crate::question::Question;
use crate::rate::Rate;
use crate::shard::{Shard, Stage, slot};
use bitsim_engine::effect::Effect;
use bitsim_engine::input::Input;
use bitsim_engine::mail::Lane;
use bitsim_engine::probe::Counters;
use bitsim_engine::sys::Totals;
use bitsim_engine::time::Now;
use bitsim_ring::Receive;
use bitsim_ring::rt::Host;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Completions of one turn.
const REAP_MAX: usize = 4096;
/// First-hop batches of one turn.
const FIRST_MAX: usize = 256;
/// A shard without work looks at its timers this often at least.
const WAIT_MAX: Duration = Duration::from_secs(1);
const REPORT_MS: u64 = 1_000;
/// Links have this long to end when the shard is drained.
const DRAIN_MS: u64 = 10_000;

/// The loop of a shard; ends after `Control::Drain`.
pub(crate) async fn run(mut shard: Shard, host: Host) {
    host.set_doorbell(shard.ring.doorbell());
    loop {
        let began = Instant::now();
        let worked = shard.turn();
        shard.measure(began);
        if shard.drained() {
            return;
        }
        if host.wants_turn() {
            host.yield_now().await;
        }
        if !worked {
            shard.report.sleeps += 1;
            let timeout = if host.wants_turn() { Duration::from_millis(1) } else { shard.timeout() };
            let waited = shard.ring.wait(Some(timeout));
            // The ring is of no use any more: a shard without it would strand its sessions.
            assert!(waited.is_ok(), "the socket ring failed: {waited:?}");
        }
    }
}

impl Shard {
    /// One turn. False: it found nothing to do.
    fn turn(&mut self) -> bool {
        self.now = self.read_clock();
        let mut worked = self.ring.reap(REAP_MAX) > 0;
        while let Some(event) = self.ring.next_event() {
            worked = true;
            self.event(event);
        }
        worked |= self.mail_in();
        if self.engine.next_deadline().is_some_and(|at| at <= self.now.monotonic_ms) {
            self.engine.handle(self.now, Input::Tick);
        }
        self.housekeeping();
        worked |= self.effects();
        // Mail that leaves makes room, by which links go on: what they wish for belongs to this turn.
        if self.mail_out() {
            worked = true;
            self.effects();
        }
        while let Some(id) = self.engine.poll_output() {
            self.flush_link(slot(id));
        }
        let submitted = self.ring.submit();
        assert!(submitted.is_ok(), "the socket ring failed: {submitted:?}");
        worked
    }

    fn read_clock(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms: millis(self.start.elapsed()), wall_ms: millis(wall) }
    }

    fn mail_in(&mut self) -> bool {
        let mut worked = false;
        while let Ok(control) = self.inbox.control.try_recv() {
            worked = true;
            self.control(control);
        }
        // Handling second-hop mail never waits for anybody, so that lane always drains; what comes meanwhile is the next
        // turn's, or busy neighbours would hold this one up for ever.
        for _ in 0..self.inbox.second.len() {
            let Ok((from, batch)) = self.inbox.second.try_recv() else { break };
            worked = true;
            self.engine.handle(self.now, Input::Mail { from, batch });
        }
        for _ in 0..FIRST_MAX {
            if !self.engine.takes_first_hop() {
                break;
            }
            let Ok((from, batch)) = self.inbox.first.try_recv() else { break };
            worked = true;
            self.engine.handle(self.now, Input::Mail { from, batch });
        }
        worked
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Moved { socket, bytes, meta } => self.moved(socket, &bytes, meta),
            Control::Decided { link, verdict } => {
                self.engine.handle(self.now, Input::Authenticated { link, verdict })
            }
            Control::Reload(limits, access) => {
                self.connect_timeout_ms = limits.connect_timeout_ms;
                self.connections_max = limits.connections_max;
                self.rates.rate = Rate::new(&limits);
                self.spread = Spread::new(self.spread.shards, self.spread.slot_key, &limits);
                self.engine.handle(self.now, Input::Reload { limits, access });
            }
            Control::Admin(request, answer) => {
                self.last_ask += 1;
                self.asked.insert(self.last_ask, answer);
                self.engine.handle(self.now, Input::Admin { id: self.last_ask, request });
            }
            Control::Report(answer) => {
                self.refresh_report();
                // Whoever asked may have given up.
                drop(answer.send(self.report.clone()));
            }
            Control::Drain => {
                for (listener, _, _) in self.listeners.drain(..) {
                    self.ring.remove_listener(listener);
                }
                self.refused_accepts.clear();
                self.draining_until = Some(self.now.monotonic_ms + DRAIN_MS);
                for (at, _) in std::mem::take(&mut self.arrivals) {
                    self.cut_slot(at);
                }
                self.engine.handle(self.now, Input::Drain);
            }
        }
    }

    /// Does what the engine wants until it wants nothing. False: it wanted nothing, and the store said nothing.
    fn effects(&mut self) -> bool {
        let mut worked = false;
        loop {
            while let Some(effect) = self.engine.poll_effect() {
                worked = true;
                self.effect(effect);
            }
            if self.unanswered > 0 {
                self.store.poll(self.id, &mut self.answers);
            }
            if self.answers.is_empty() {
                return worked;
            }
            worked = true;
            let mut answers = std::mem::take(&mut self.answers);
            assert!(answers.len() <= self.unanswered, "the store answered what was not asked");
            self.unanswered -= answers.len();
            for (token, answer) in answers.drain(..) {
                self.engine.handle(self.now, Input::Stored { token, answer });
            }
            self.answers = answers;
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Close { link } => self.end(slot(link)),
            // A slot that is gone needs neither.
            Effect::StopReading { link } => {
                let _ = self.ring.pause(slot(link));
            }
            Effect::StartReading { link } => {
                if self.stage(slot(link)) == Stage::Live {
                    let _ = self.ring.receive(slot(link), Receive::Multishot);
                }
            }
            Effect::Authenticate { link, request } => {
                let anonymous = self.slots.get(link.slot as usize).is_some_and(|s| s.anonymous);
                let question = Question::new(self.boxes.clone(), self.id, link);
                self.login.check(*request, anonymous, Box::new(|verdict| question.answer(verdict)));
            }
            Effect::Store { token, request } => {
                self.unanswered += 1;
                self.store.submit(self.id, token, request, self.now.wall_ms);
            }
            Effect::Admin { id, answer } => {
                if let Some(asker) = self.asked.remove(&id) {
                    // Whoever asked may have given up.
                    drop(asker.send(answer));
                }
            }
        }
    }

    /// Gives other shards what their queues have room for. False: nothing was given.
    fn mail_out(&mut self) -> bool {
        let mut progress = self.deliver_stuck();
        let mut pending = std::mem::take(&mut self.pending);
        self.engine.mail_pending(&mut pending);
        for to in pending.drain(..) {
            let Some(mailbox) = self.boxes.get(usize::from(to.0)) else { continue };
            let mut posted = false;
            for lane in [Lane::Second, Lane::First] {
                if !self.engine.has_mail(to, lane) {
                    continue;
                }
                let stuck = self.stuck.iter().any(|(at, batch)| *at == to && batch.lane == lane);
                if stuck || !mailbox.has_room(lane) {
                    self.engine.mail_waits(to);
                } else if let Some(batch) = self.engine.take_mail(self.now, to, lane) {
                    match mailbox.post(self.id, batch) {
                        Ok(()) => posted = true,
                        // Another shard took the last place.
                        Err(batch) => self.stuck.push((to, batch)),
                    }
                }
            }
            if posted {
                progress = true;
                mailbox.ring();
            }
        }
        self.pending = pending;
        progress
    }

    /// Tries again what a queue did not take, before anything newer of its lane.
    fn deliver_stuck(&mut self) -> bool {
        let before = self.stuck.len();
        for (to, batch) in std::mem::take(&mut self.stuck) {
            let Some(mailbox) = self.boxes.get(usize::from(to.0)) else { continue };
            match mailbox.post(self.id, batch) {
                Ok(()) => mailbox.ring(),
                Err(batch) => self.stuck.push((to, batch)),
            }
        }
        self.stuck.len() < before
    }

    /// What happens by the clock and is not the engine's.
    fn housekeeping(&mut self) {
        let now = self.now.monotonic_ms;
        while let Some((_, id)) = self.goodbyes.front().copied().filter(|g| g.0 <= now) {
            self.goodbyes.pop_front();
            if matches!(self.stage(id), Stage::Flushing | Stage::Ending) {
                self.cut(id);
            }
        }
        if let Some((_, listener)) = self.refused_accepts.first().copied().filter(|r| r.0 <= now) {
            self.refused_accepts.remove(0);
            self.ring.resume_accept(listener);
        }
        if self.next_report_ms > now {
            return;
        }
        self.next_report_ms = now + REPORT_MS;
        self.sweep();
        self.refresh_report();
        if let Some(mailbox) = self.boxes.get(usize::from(self.id.0)) {
            mailbox.set_report(self.report.clone());
        }
        if self.id.0 == 0 && self.sys_interval_ms > 0 && self.next_sys_ms <= now {
            self.next_sys_ms = now + self.sys_interval_ms;
            let totals = self.totals();
            self.engine.handle(self.now, Input::Totals(Box::new(totals)));
        }
    }

    /// Ends connections whose CONNECT is late, and takes back memory of links that fell silent.
    fn sweep(&mut self) {
        let now = self.now.monotonic_ms;
        let late: Vec<u32> = self.arrivals.iter().filter(|a| a.1.deadline_ms <= now).map(|a| *a.0).collect();
        for at in late {
            self.arrivals.remove(&at);
            self.cut_slot(at);
        }
        for id in std::mem::take(&mut self.warm) {
            self.cool(id);
        }
    }

    fn refresh_report(&mut self) {
        self.report.counters = self.engine.counters().clone();
        self.report.lane_depths = self.engine.lane_depths();
        self.report.table_bytes = self.engine.table_bytes();
    }

    /// Sums over all shards.
    fn totals(&mut self) -> Totals {
        let mut sum = Totals {
            version: self.version.clone(),
            uptime_secs: self.start.elapsed().as_secs(),
            ..Totals::default()
        };
        for mailbox in self.boxes.iter() {
            let report = mailbox.report();
            let c: &Counters = &report.counters;
            sum.clients_connected += c.links;
            sum.clients_disconnected += c.sessions.saturating_sub(c.links);
            sum.packets_received += c.packets_in;
            sum.publish_received += c.publishes_in.iter().sum::<u64>();
            sum.publish_sent += c.publishes_out.iter().sum::<u64>();
            sum.publish_dropped += c.drops.iter().sum::<u64>();
            sum.bytes_received += c.bytes_in;
            sum.bytes_sent += c.bytes_out;
            sum.retained += c.retained;
            sum.subscriptions += c.subscriptions;
            sum.heap_bytes += report.table_bytes as u64;
        }
        self.clients_max = self.clients_max.max(sum.clients_connected);
        sum.clients_maximum = self.clients_max;
        sum
    }

    fn timeout(&self) -> Duration {
        let now = self.now.monotonic_ms;
        let mut until = self.next_report_ms;
        if let Some(deadline) = self.engine.next_deadline() {
            until = until.min(deadline);
        }
        if let Some(deadline) = self.draining_until {
            until = until.min(deadline);
        }
        if let Some((deadline, _)) = self.goodbyes.front() {
            until = until.min(*deadline);
        }
        if let Some((deadline, _)) = self.refused_accepts.first() {
            until = until.min(*deadline);
        }
        let wait = Duration::from_millis(until.saturating_sub(now).max(1)).min(WAIT_MAX);
        // Mail that a full queue did not take is tried again soon.
        let stuck = !self.stuck.is_empty() || self.engine.lane_depths() != (0, 0);
        if stuck { wait.min(Duration::from_millis(1)) } else { wait }
    }

    fn measure(&mut self, began: Instant) {
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let at = (64 - us.leading_zeros() as usize).min(self.report.turns.len() - 1);
        if let Some(count) = self.report.turns.get_mut(at) {
            *count += 1;
        }
        self.report.turn_us += us;
    }

    /// Everything has ended after a drain and is in the store, or its time is over.
    fn drained(&self) -> bool {
        self.draining_until.is_some_and(|until| {
            until <= self.now.monotonic_ms
                || (self.unanswered == 0 && self.slots.iter().all(|s| s.stage == Stage::Free))
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
