//! One transport connection as the engine sees it: bytes in, bytes out, and how far its CONNECT has come.
//!
//! The driver owns the socket; the engine owns the partial frame, the outbox, and the reasons for which input waits.
//! A free slot and an idle link hold no buffer.

use crate::effect::AuthRequest;
use crate::identity::LinkId;
use crate::input::LinkMeta;
use crate::wheel::TimerId;
use bitsim_protocol::{Connection, Qos, ReasonCode, Version};
use std::collections::{HashMap, VecDeque};

/// Why PUBLISH, SUBSCRIBE and UNSUBSCRIBE of a link wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pause {
    /// Log-in is being checked, or the session is being made durable.
    Opening = 1,
    /// A lane to another shard is full.
    Lane = 2,
    /// The store refuses messages.
    Store = 4,
    /// Above its publish rate.
    Rate = 8,
    /// More than Receive Maximum unacknowledged messages of a 3.x client.
    Window = 16,
}

/// How far a link has come.
#[derive(Debug)]
pub(crate) enum LinkState {
    /// No connection in this slot.
    Free,
    /// CONNECT has not come.
    Opening,
    /// CONNECT came; the answer of the authenticator or of the store is awaited.
    Pending(Box<PendingConnect>),
    /// It has a session.
    Live,
    /// Closed by the engine; the driver has been told.
    Closing,
}

/// A CONNECT that waits for an answer.
#[derive(Debug)]
pub(crate) struct PendingConnect {
    pub(crate) request: AuthRequest,
    pub(crate) clean_start: bool,
    pub(crate) assigned: bool,
    pub(crate) keep_alive_secs: u16,
    pub(crate) expiry_secs: u32,
    pub(crate) receive_max: u16,
    /// What the client asked for.
    pub(crate) asked_expiry_secs: u32,
    /// Goes into CONNACK.
    pub(crate) session_present: bool,
    pub(crate) will: Option<Box<crate::will::Will>>,
}

/// An acknowledgement that keeps its place in the order of the publishes [MQTT-4.6.0-2], [MQTT-4.6.0-3].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingAck {
    pub(crate) packet_id: u16,
    pub(crate) qos: Qos,
    pub(crate) ready: Option<ReasonCode>,
    /// How often the message came again meanwhile: each gets its own answer.
    pub(crate) repeats: u16,
}

/// Rarely used parts, made when needed.
#[derive(Debug, Default)]
pub(crate) struct LinkExtras {
    /// Whole frames that wait while the link is paused.
    pub(crate) held: Vec<u8>,
    /// Acknowledgements that wait for a home or the store, and those behind them.
    pub(crate) acks: VecDeque<PendingAck>,
    /// Topic aliases set towards the client.
    pub(crate) aliases_out: HashMap<Box<str>, u16, foldhash::fast::FixedState>,
    /// Tokens of the publish rate, in messages, and when they were counted.
    pub(crate) rate: (u32, u64),
    /// Reading was stopped by an effect.
    pub(crate) stopped: bool,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u32,
    pub(crate) state: LinkState,
    /// Bits of `Pause`.
    pub(crate) paused: u8,
    pub(crate) version: Version,
    /// In the list of links with output.
    pub(crate) listed: bool,
    pub(crate) request_problem_info: bool,
    pub(crate) alias_out_max: u16,
    pub(crate) session: u32,
    /// Window towards the client.
    pub(crate) receive_max: u16,
    pub(crate) keep_alive_secs: u16,
    /// Largest packet the client takes.
    pub(crate) packet_max: u32,
    pub(crate) connection: Connection,
    /// Start of a frame whose rest has not come.
    pub(crate) part: Vec<u8>,
    /// Bytes for the next send.
    pub(crate) out: Vec<u8>,
    /// Bytes of the send under way.
    pub(crate) sending: u32,
    pub(crate) timer: Option<TimerId>,
    /// Monotonic milliseconds of the last bytes.
    pub(crate) seen_ms: u64,
    pub(crate) meta: LinkMeta,
    pub(crate) extras: Option<Box<LinkExtras>>,
    /// Monotonic seconds at which it was opened.
    pub(crate) opened_secs: u32,
    /// PUBLISH packets, for operators; they wrap.
    pub(crate) messages_in: u32,
    pub(crate) messages_out: u32,
}

/// No session.
pub(crate) const NONE: u32 = u32::MAX;

impl Link {
    /// A link that has sent nothing.
    pub(crate) fn new(generation: u32, meta: LinkMeta) -> Link {
        Link {
            generation,
            state: LinkState::Opening,
            paused: 0,
            version: Version::V311,
            listed: false,
            request_problem_info: true,
            alias_out_max: 0,
            session: NONE,
            receive_max: 0,
            keep_alive_secs: 0,
            packet_max: u32::MAX,
            connection: Connection::new(),
            part: Vec::new(),
            out: Vec::new(),
            sending: 0,
            timer: None,
            seen_ms: 0,
            meta,
            extras: None,
            opened_secs: 0,
            messages_in: 0,
            messages_out: 0,
        }
    }

    pub(crate) fn extras(&mut self) -> &mut LinkExtras {
        self.extras.get_or_insert_default()
    }

    #[inline]
    fn list(&mut self, slot: u32, dirty: &mut Vec<u32>) {
        if !self.listed {
            self.listed = true;
            dirty.push(slot);
        }
    }

    /// Bytes waiting or on their way to the client.
    pub(crate) fn queued(&self) -> usize {
        self.out.len() + self.sending as usize
    }
}

/// All links of a shard, by slot.
#[derive(Debug, Default)]
pub(crate) struct Links {
    slots: Vec<Link>,
    /// Links with output, each once.
    pub(crate) dirty: Vec<u32>,
    pub(crate) live: u64,
}

impl Links {
    /// Puts a link into its slot.
    pub(crate) fn open(&mut self, id: LinkId, meta: LinkMeta) {
        let at = id.slot as usize;
        while self.slots.len() <= at {
            let mut free = Link::new(0, meta);
            free.state = LinkState::Free;
            self.slots.push(free);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            let listed = slot.listed;
            *slot = Link::new(id.generation, meta);
            slot.listed = listed;
        }
    }

    /// The link in a slot, if it is this one and not free.
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.slots
            .get(id.slot as usize)
            .filter(|l| l.generation == id.generation && !matches!(l.state, LinkState::Free))
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|l| l.generation == id.generation && !matches!(l.state, LinkState::Free))
    }

    /// The link in a slot, whoever it is.
    pub(crate) fn at(&self, slot: u32) -> Option<&Link> {
        self.slots.get(slot as usize)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut Link> {
        self.slots.get_mut(slot as usize)
    }

    /// The outbox of a slot that takes output, listed for sending.
    #[inline]
    pub(crate) fn outbox(&mut self, slot: u32) -> Option<&mut Link> {
        let link = self.slots.get_mut(slot as usize)?;
        // After the last packet, which was a DISCONNECT or a refusal, nothing is said.
        if matches!(link.state, LinkState::Closing | LinkState::Free) {
            return None;
        }
        link.list(slot, &mut self.dirty);
        Some(link)
    }

    /// What is left of a slot's output is to be sent.
    pub(crate) fn list(&mut self, slot: u32) {
        if let Some(link) = self.slots.get_mut(slot as usize) {
            link.list(slot, &mut self.dirty);
        }
    }

    /// Name of the link in a slot.
    pub(crate) fn id(&self, slot: u32) -> Option<LinkId> {
        self.slots.get(slot as usize).map(|l| LinkId { slot, generation: l.generation })
    }

    /// The same, if CONNACK was sent on it.
    pub(crate) fn live(&self, slot: u32) -> Option<LinkId> {
        self.id(slot).filter(|_| self.at(slot).is_some_and(Link::is_live))
    }

    /// All slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Link)> {
        (0..).zip(self.slots.iter()).filter(|(_, l)| !matches!(l.state, LinkState::Free))
    }

    /// Heap bytes of the table and of what hangs on it.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Link>()
    }
}

/// Who a session belongs to: its links are let in only with the same account.
pub(crate) type Account = Option<Box<str>>;

impl Link {
    /// It has a session and CONNACK was sent.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, LinkState::Live)
    }
}
