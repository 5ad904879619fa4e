//! One shard's state and the events of its ring: which connection is in which slot, and how far it is.
//!
//! Lives on the shard's thread. A link's name is its slot's name in the ring. A connection is either arriving (its CONNECT is not
//! complete), live (the engine's), or ending (its last bytes are on their way).

use crate::arrival::{Arrival, Destination, Spread};
use crate::config::Login;
use crate::gate::Gate;
use crate::post::{Control, Inbox, Mailbox, Report};
use crate::rate::Rates;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta};
use bitsim_engine::mail::MailBatch;
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, store};
use bitsim_ring::{AcceptEnd, Event, ListenerId, Receive, ReceiveEnd, Ring, SlotId, peer_address};
use bitsim_storage::Store;
use crossbeam_channel::Sender;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// A link that says goodbye is cut after this time.
const GOODBYE_MS: u64 = 5_000;

/// Accepting pauses this long when descriptors or memory ran out.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Vectors kept for the next sends, and the largest one kept.
const POOL_MAX: usize = 512;
const POOL_BYTES_MAX: usize = 64 << 10;

/// How far the connection of a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Free,
    Arriving,
    Live,
    /// The engine let go of it; it ends when what is left was sent.
    Flushing,
    /// The ring ends it.
    Ending,
}

/// What the shard knows of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) stage: Stage,
    pub(crate) sending: bool,
    /// Listed in `Shard::warm`.
    pub(crate) warm: bool,
    pub(crate) anonymous: bool,
}

const FREE: Slot = Slot { generation: 0, stage: Stage::Free, sending: false, warm: false, anonymous: false };

/// See the module.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) ring: Ring,
    pub(crate) engine: Engine,
    pub(crate) slots: Vec<Slot>,
    pub(crate) arrivals: HashMap<u32, Arrival>,
    pub(crate) listeners: Vec<(ListenerId, u8, bool)>,
    pub(crate) refused_accepts: Vec<(u64, ListenerId)>,
    pub(crate) goodbyes: VecDeque<(u64, SlotId)>,
    pub(crate) pool: Vec<Vec<u8>>,
    pub(crate) inbox: Inbox,
    pub(crate) boxes: Arc<[Mailbox]>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) answers: Vec<(store::StoreToken, store::Answer)>,
    pub(crate) login: Arc<dyn Login>,
    pub(crate) spread: Spread,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) gate: Arc<Gate>,
    /// Of the process, over all shards.
    pub(crate) connections_max: u64,
    pub(crate) rates: Rates,
    pub(crate) start: Instant,
    pub(crate) now: Now,
    pub(crate) next_report_ms: u64,
    pub(crate) sys_interval_ms: u64,
    pub(crate) next_sys_ms: u64,
    pub(crate) clients_max: u64,
    pub(crate) version: String,
    pub(crate) report: Report,
    pub(crate) asked: HashMap<u64, Sender<bitsim_engine::admin::AdminAnswer>>,
    pub(crate) last_ask: u64,
    pub(crate) draining_until: Option<u64>,
    pub(crate) pending: Vec<ShardId>,
    /// Batches that a queue did not take after all, at most one for each shard and lane.
    pub(crate) stuck: Vec<(ShardId, MailBatch)>,
    /// Requests that the store has not answered.
    pub(crate) unanswered: usize,
    /// Links that have sent since the last sweep, each once.
    pub(crate) warm: Vec<SlotId>,
}

pub(crate) fn link(slot: SlotId) -> LinkId {
    LinkId { slot: slot.slot, generation: slot.generation }
}

pub(crate) fn slot(link: LinkId) -> SlotId {
    SlotId { slot: link.slot, generation: link.generation }
}

impl Shard {
    /// One event of the ring.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Received { slot: id, data } => match self.stage(id) {
                Stage::Live => {
                    self.engine.handle(self.now, Input::Received { link: link(id), bytes: &data });
                }
                Stage::Arriving => self.arrived(id, &data),
                Stage::Free | Stage::Flushing | Stage::Ending => {}
            },
            Event::Sent { slot: id, buffer } => self.sent(id, buffer),
            Event::Accepted { listener, connection } => self.accepted(listener, connection),
            Event::ReceiveEnded { slot: id, end } => match end {
                ReceiveEnd::Paused => {}
                ReceiveEnd::Eof | ReceiveEnd::Failed(_) => self.lost(id, end == ReceiveEnd::Eof),
            },
            Event::SendFailed { slot: id, buffer, .. } => {
                self.recycle(buffer);
                self.lost(id, false);
            }
            Event::Closed { slot: id, buffer } => {
                self.gate.leave();
                self.recycle(buffer);
                self.engine.handle(self.now, Input::Closed { link: link(id) });
                // The slot may have its next connection already.
                if self.slots.get(id.slot as usize).is_some_and(|s| s.generation == id.generation) {
                    self.arrivals.remove(&id.slot);
                    self.set_stage(id, Stage::Free);
                }
            }
            Event::AcceptEnded { listener, end } => match end {
                AcceptEnd::Paused => {}
                // A listener that failed is tried again at the same pace as one without descriptors: it never spins.
                AcceptEnd::OutOfDescriptors | AcceptEnd::OutOfMemory | AcceptEnd::Failed(_) => {
                    self.report.accept_pauses += 1;
                    self.refused_accepts.push((self.now.monotonic_ms + ACCEPT_PAUSE_MS, listener));
                }
            },
            Event::Connected { .. } | Event::Doorbell => {}
        }
    }

    pub(crate) fn stage(&self, id: SlotId) -> Stage {
        self.slots
            .get(id.slot as usize)
            .filter(|s| s.generation == id.generation)
            .map_or(Stage::Free, |s| s.stage)
    }

    pub(crate) fn set_stage(&mut self, id: SlotId, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation) {
            slot.stage = stage;
        }
    }

    fn accepted(&mut self, listener: ListenerId, connection: OwnedFd) {
        let Some((_, namespace, anonymous)) = self.listeners.iter().find(|l| l.0 == listener).copied() else {
            return;
        };
        // A connection that is gone already has no peer.
        let Ok(peer) = peer_address(&connection) else { return };
        if !self.rates.admit(peer.ip(), self.now.monotonic_ms) {
            self.report.refused_rate += 1;
            return;
        }
        if !self.gate.enter(self.connections_max) {
            self.report.refused_max += 1;
            return;
        }
        let meta = LinkMeta { peer, namespace, anonymous };
        let alone = self.spread.shards == 1;
        let Some(id) = self.attach(connection, meta, if alone { Stage::Live } else { Stage::Arriving })
        else {
            return;
        };
        if alone {
            return self.adopt(id, meta, &[]);
        }
        let deadline_ms = self.now.monotonic_ms + self.connect_timeout_ms;
        self.arrivals.insert(id.slot, Arrival { bytes: Vec::new(), meta, deadline_ms });
        if self.ring.receive(id, Receive::Once).is_err() {
            self.goodbye(id);
        }
    }

    /// Gives a connection a slot; without room for it, it is closed.
    fn attach(&mut self, connection: OwnedFd, meta: LinkMeta, stage: Stage) -> Option<SlotId> {
        let Ok(id) = self.ring.attach(connection) else {
            self.report.no_slot += 1;
            self.gate.leave();
            return None;
        };
        let at = id.slot as usize;
        while self.slots.len() <= at {
            self.slots.push(FREE);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot { generation: id.generation, stage, anonymous: meta.anonymous, ..FREE };
        }
        Some(id)
    }

    /// The engine has it from here on.
    fn adopt(&mut self, id: SlotId, meta: LinkMeta, bytes: &[u8]) {
        self.set_stage(id, Stage::Live);
        self.engine.handle(self.now, Input::Open { link: link(id), meta });
        if self.ring.receive(id, Receive::Multishot).is_err() {
            return self.lost(id, false);
        }
        if !bytes.is_empty() {
            self.engine.handle(self.now, Input::Received { link: link(id), bytes });
        }
    }

    /// Bytes of a connection whose CONNECT is not complete.
    fn arrived(&mut self, id: SlotId, data: &[u8]) {
        let Some(arrival) = self.arrivals.get_mut(&id.slot) else { return };
        arrival.bytes.extend_from_slice(data);
        let destination = arrival.destination(self.spread);
        if destination == Destination::Unknown {
            if self.ring.receive(id, Receive::Once).is_err() {
                self.goodbye(id);
            }
            return;
        }
        let Some(arrival) = self.arrivals.remove(&id.slot) else { return };
        let target = match destination {
            Destination::Shard(shard) if shard != self.id.0 => self.boxes.get(usize::from(shard)),
            _ => None,
        };
        let Some(target) = target else { return self.adopt(id, arrival.meta, &arrival.bytes) };
        match self.ring.detach(id) {
            Ok(socket) => {
                self.report.moved += 1;
                target.tell(Control::Moved { socket, bytes: arrival.bytes, meta: arrival.meta });
                self.set_stage(id, Stage::Free);
            }
            // The connection ended meanwhile.
            Err(_) => self.goodbye(id),
        }
    }

    /// A connection that another shard accepted.
    pub(crate) fn moved(&mut self, socket: OwnedFd, bytes: &[u8], meta: LinkMeta) {
        if let Some(id) = self.attach(socket, meta, Stage::Live) {
            self.adopt(id, meta, bytes);
        }
    }

    /// The peer is gone, or wants to hear no more: what is ready goes out, then the link ends.
    fn lost(&mut self, id: SlotId, polite: bool) {
        match self.stage(id) {
            Stage::Free | Stage::Ending => return,
            Stage::Live if polite => self.flush_link(id),
            _ => {}
        }
        self.engine.handle(self.now, Input::Closed { link: link(id) });
        self.arrivals.remove(&id.slot);
        if polite { self.goodbye(id) } else { self.cut(id) }
    }

    fn sent(&mut self, id: SlotId, buffer: Vec<u8>) {
        let bytes = buffer.len();
        self.recycle(buffer);
        if let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation) {
            slot.sending = false;
        }
        match self.stage(id) {
            Stage::Live => self.engine.handle(self.now, Input::Sent { link: link(id), bytes }),
            Stage::Flushing => {
                self.engine.handle(self.now, Input::Sent { link: link(id), bytes });
                self.flush_link(id);
                self.end_if_flushed(id);
            }
            Stage::Free | Stage::Arriving | Stage::Ending => {}
        }
    }

    /// The engine has closed the link: its last bytes go out, then it ends.
    pub(crate) fn end(&mut self, id: SlotId) {
        if self.stage(id) != Stage::Live {
            return;
        }
        self.set_stage(id, Stage::Flushing);
        self.goodbyes.push_back((self.now.monotonic_ms + GOODBYE_MS, id));
        self.flush_link(id);
        self.end_if_flushed(id);
    }

    /// With nothing on its way any more the connection ends; else `sent` comes back here.
    fn end_if_flushed(&mut self, id: SlotId) {
        let sending =
            self.slots.get(id.slot as usize).is_some_and(|s| s.generation == id.generation && s.sending);
        if !sending {
            self.goodbye(id);
        }
    }

    /// Sends what a link has, if nothing of it is on its way.
    pub(crate) fn flush_link(&mut self, id: SlotId) {
        let here = self.slots.get(id.slot as usize);
        if here.is_none_or(|s| s.generation != id.generation || s.sending) {
            return;
        }
        let mut buffer = self.pool.pop().unwrap_or_default();
        self.engine.take_output(link(id), &mut buffer);
        self.send(id, buffer);
    }

    /// Starts a send, of a link that has none under way.
    fn send(&mut self, id: SlotId, buffer: Vec<u8>) {
        let slot = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation);
        let Some(slot) = slot.filter(|_| !buffer.is_empty()) else { return self.recycle(buffer) };
        slot.sending = true;
        if !std::mem::replace(&mut slot.warm, true) {
            self.warm.push(id);
        }
        if let Err(refused) = self.ring.send(id, buffer) {
            slot.sending = false;
            self.recycle(refused.buffer);
        }
    }

    /// A link that was silent since the last sweep gives its outbox's memory back: `take_output` leaves the engine the vector it is
    /// given, so a busy link swaps two of the pool, and an idle one shall hold none.
    pub(crate) fn cool(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)
        else {
            return;
        };
        slot.warm = false;
        if slot.stage != Stage::Live || slot.sending {
            return;
        }
        let mut buffer = Vec::new();
        self.engine.take_output(link(id), &mut buffer);
        self.send(id, buffer);
    }

    /// Ends a connection politely, within bounds.
    pub(crate) fn goodbye(&mut self, id: SlotId) {
        self.set_stage(id, Stage::Ending);
        self.goodbyes.push_back((self.now.monotonic_ms + GOODBYE_MS, id));
        if self.ring.finish(id).is_err() {
            self.cut(id);
        }
    }

    /// Ends a connection now.
    pub(crate) fn cut(&mut self, id: SlotId) {
        self.set_stage(id, Stage::Ending);
        // `Stale` and `Closing`: it ends already.
        let _ = self.ring.close(id);
    }

    /// The same, of whatever is in a slot.
    pub(crate) fn cut_slot(&mut self, at: u32) {
        if let Some(generation) = self.slots.get(at as usize).map(|s| s.generation) {
            self.cut(SlotId { slot: at, generation });
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.pool.len() < POOL_MAX && (1..=POOL_BYTES_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}
