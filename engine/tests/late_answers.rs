//! A store that answers late: what it says of a session that has ended is not taken for its successor's.
//!
//! Raw packets go in, the test chooses which of the store's answers have come, and the outbox is read as a client would.

use std::sync::Arc;

use bitsim_engine::access::AccessRules;
use bitsim_engine::effect::Effect;
use bitsim_engine::identity::{LinkId, ShardId};
use bitsim_engine::input::{Input, LinkMeta, Verdict};
use bitsim_engine::limits::Limits;
use bitsim_engine::store::{Answer, StoreToken};
use bitsim_engine::time::Now;
use bitsim_engine::{Engine, EngineConfig};

struct Broker {
    engine: Engine,
    /// Requests without an answer, oldest first.
    asked: Vec<StoreToken>,
    /// Links so far.
    opened: u32,
    /// How often the engine has closed one.
    closed: u32,
}

impl Broker {
    fn new() -> Self {
        let engine = Engine::new(EngineConfig {
            shard: ShardId(0),
            shards: 1,
            epoch: 1,
            slot_key: 1,
            home_levels: 1,
            seed: 1,
            limits: Arc::new(Limits::default()),
            access: AccessRules::open(),
            now: Now::default(),
        });
        Self { engine, asked: Vec::new(), opened: 0, closed: 0 }
    }

    /// A 3.1.1 client on a link of its own.
    fn connect(&mut self, slot: u32, name: u8, clean: bool) -> LinkId {
        let link = self.open(slot);
        let flags = u8::from(clean) << 1;
        self.send(link, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60, 0, 1, name]);
        link
    }

    /// An MQTT 5 client whose session is kept.
    fn connect_v5(&mut self, slot: u32, name: u8) -> LinkId {
        let link = self.open(slot);
        let start = [0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 60, 5, 0x11, 0, 0, 3, 232];
        self.send(link, &[&start[..], &[0, 1, name]].concat());
        link
    }

    fn open(&mut self, slot: u32) -> LinkId {
        self.opened += 1;
        let link = LinkId { slot, generation: self.opened };
        let meta = LinkMeta { peer: ([127, 0, 0, 1], 1).into(), namespace: 0, anonymous: true };
        self.handle(Input::Open { link, meta });
        link
    }

    fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.handle(Input::Received { link, bytes });
    }

    fn committed(&mut self, token: StoreToken) {
        self.asked.retain(|asked| *asked != token);
        self.handle(Input::Stored { token, answer: Answer::Committed });
    }

    /// The store answers everything but `late`.
    fn answer_all_but(&mut self, late: Option<StoreToken>) {
        while let Some(token) = self.asked.iter().copied().find(|token| Some(*token) != late) {
            self.committed(token);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(Now::default(), input);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store { token, .. } => self.asked.push(token),
                Effect::Authenticate { link, .. } => {
                    let verdict = Verdict::Accepted;
                    self.engine.handle(Now::default(), Input::Authenticated { link, verdict });
                }
                Effect::Close { .. } => self.closed += 1,
                _ => {}
            }
        }
    }

    /// What is sent to a client now.
    fn read(&mut self, from: LinkId) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(link) = self.engine.poll_output() {
            let mut part = Vec::new();
            self.engine.take_output(link, &mut part);
            self.handle(Input::Sent { link, bytes: part.len() });
            if link == from {
                out.extend(part);
            }
        }
        out
    }

    /// A client subscribes to `topic` at QoS 2 and publishes to it: the request to store the state of the delivery.
    fn deliver_to_itself(&mut self, link: LinkId, topic: u8, late: Option<StoreToken>) -> StoreToken {
        self.send(link, &[0x82, 6, 0, 1, 0, 1, topic, 2]);
        self.answer_all_but(late);
        self.send(link, &[0x34, 6, 0, 1, topic, 0, 7, b'!']);
        let appended = *self.asked.last().expect("the message is stored");
        self.committed(appended);
        *self.asked.last().expect("the state of the delivery is stored")
    }
}

#[test]
fn a_late_answer_for_an_ended_session_sends_nothing_to_its_successor() {
    let mut broker = Broker::new();
    let first = broker.connect(0, b'c', false);
    broker.answer_all_but(None);
    let late = broker.deliver_to_itself(first, b'a', None);
    // A clean session of the same name ends the kept one, and its own end leaves its place to another client.
    let clean = broker.connect(1, b'c', true);
    broker.answer_all_but(Some(late));
    broker.send(clean, &[0xE0, 0]);
    let other = broker.connect(2, b'd', false);
    broker.answer_all_but(Some(late));
    let due = broker.deliver_to_itself(other, b'b', Some(late));
    broker.read(other);

    broker.committed(late);
    assert_eq!(broker.read(other), [0_u8; 0], "a message of somebody else");
    broker.committed(due);
    assert_eq!(broker.read(other), [0x34, 6, 0, 1, b'b', 0, 1, b'!']);
}

/// A link that breaks the protocol before its CONNACK has left is refused; its session goes on without it.
#[test]
fn a_late_answer_for_a_refused_link_does_not_bring_it_back() {
    let mut broker = Broker::new();
    let before = broker.connect_v5(0, b'c');
    broker.answer_all_but(None);
    broker.send(before, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0]);
    broker.answer_all_but(None);
    broker.send(before, &[0xE0, 0]);
    broker.answer_all_but(None);
    broker.read(before);

    let refused = broker.connect_v5(0, b'c');
    let late = *broker.asked.last().expect("the session is stored before CONNACK");
    let closed = broker.closed;
    broker.send(refused, &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
    assert_eq!(broker.read(refused)[..2], [0x20, 3], "CONNACK with a reason");
    broker.answer_all_but(Some(late));
    broker.committed(late);
    assert_eq!(broker.closed, closed + 1);
    assert_eq!(broker.read(refused), [0_u8; 0]);

    let other = broker.connect(0, b'd', true);
    broker.answer_all_but(None);
    assert_eq!(broker.read(other), [0x20, 2, 0, 0]);
    broker.send(other, &[0x30, 4, 0, 1, b'a', b'!']);
    assert_eq!(broker.read(other), [0_u8; 0], "a message of the session that had the link's place before");
    broker.connect_v5(1, b'c');
    broker.answer_all_but(None);
    broker.send(other, &[0xC0, 0]);
    assert_eq!(broker.read(other), [0xD0, 0], "nobody takes its link over");
}
