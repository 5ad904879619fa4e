//! Sessions against a model: clients of all versions that connect, subscribe, publish, stop acknowledging, go away and
//! come back. After each step everybody has received exactly what the model says: each message once, in order, at the
//! right QoS; what was not acknowledged comes again with DUP under its identifier when a durable session goes on.
//!
//! The store answers at once here and time stands still: what delays, reordering and crashes do is for the simulator.

use std::collections::BTreeMap;

use bitsim_engine::identity::LinkId;
use bitsim_engine::limits::Limits;
use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut, UnsubscribeOut};
use bitsim_protocol::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Qos, ReasonCode, SubscribeOptions, Version, decode,
    filter_matches, split_frame,
};

use crate::shard::Shard;
use crate::source::{Source, trace};

const TOPICS: [&str; 4] = ["a", "a/b", "a/b/c", "b/b"];
const FILTERS: [&str; 8] = ["a", "a/b", "#", "+/b", "a/#", "a/b/#", "$x/+", "b/b"];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
const VERSIONS: [Version; 4] = [Version::V31, Version::V311, Version::V5, Version::V5];

/// A longer input says nothing new and takes too long.
const STEPS_MAX: usize = 200;

/// Each byte decides something about the next step.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    world.end();
}

/// A message as a subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    topic: String,
    payload: Vec<u8>,
    qos: Qos,
    retain: bool,
    dup: bool,
    packet_id: u16,
}

struct Client {
    version: Version,
    name: String,
    link: Option<LinkId>,
    /// The session outlives its link.
    durable: bool,
    /// There is a session: online, or durable.
    session: bool,
    subscriptions: BTreeMap<&'static str, Qos>,
    /// Does not acknowledge for now.
    holds: bool,
    held: Vec<Seen>,
    /// Waits for the session's return.
    owed: Vec<(String, Vec<u8>, Qos)>,
    next_id: u16,
    inbox: Vec<Seen>,
    answers: Vec<Answer>,
}

/// What came besides messages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Connected { session_present: bool },
    Subscribed(Vec<u8>),
    Unsubscribed,
    Published(u16),
}

struct World {
    shard: Shard,
    clients: Vec<Client>,
    retained: BTreeMap<&'static str, (Vec<u8>, Qos)>,
    messages: u32,
}

impl World {
    fn new() -> World {
        let client = |(at, version): (usize, &Version)| Client {
            version: *version,
            name: format!("client-{at}"),
            link: None,
            durable: false,
            session: false,
            subscriptions: BTreeMap::new(),
            holds: false,
            held: Vec::new(),
            owed: Vec::new(),
            next_id: 1,
            inbox: Vec::new(),
            answers: Vec::new(),
        };
        let clients = VERSIONS.iter().enumerate().map(client).collect();
        let limits = Limits { connect_timeout_ms: 1 << 40, ..Limits::default() };
        World { shard: Shard::new(limits), clients, retained: BTreeMap::new(), messages: 0 }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let at = source.below(VERSIONS.len());
        let online = self.clients[at].link.is_some();
        match source.below(10) {
            0 | 1 => self.connect(at, source),
            2 if online => self.leave(at, source),
            3 if online => self.hold(at),
            4 | 5 if online => self.subscribe(at, source),
            6 if online => self.unsubscribe(at, source),
            _ if online => self.publish(at, source),
            _ => self.connect(at, source),
        }
    }

    fn connect(&mut self, at: usize, source: &mut Source<'_>) {
        let clean_start = source.chance(3);
        let client = &self.clients[at];
        let durable = if client.version == Version::V5 { source.chance(2) } else { !clean_start };
        let (old, slot) = (client.link, at as u32 + if source.chance(2) { 10 } else { 20 });
        let connect = Connect {
            version: client.version,
            clean_start,
            keep_alive_secs: 0,
            client_id: &client.name,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_secs: if durable && client.version == Version::V5 { 1_000 } else { 0 },
                ..ConnectProperties::default()
            },
        };
        let mut out = Vec::new();
        encode::connect(&connect, u32::MAX, &mut out).unwrap();
        trace(|| {
            format!(
                "{} connects, clean start {clean_start}, durable {durable}, before on {old:?}",
                client.name
            )
        });
        // A takeover comes on another slot than the link that it ends.
        let slot = if old.is_some_and(|old| old.slot == slot) { slot + 100 } else { slot };
        let link = self.shard.open(slot, 0);
        self.shard.send(link, &out);
        if let Some(old) = old {
            assert!(!self.shard.is_open(old), "[MQTT-3.1.4-3]");
            self.clients[at].gone();
            self.shard.cut(old);
        }
        self.connected(at, link, clean_start, durable);
    }

    fn connected(&mut self, at: usize, link: LinkId, clean_start: bool, durable: bool) {
        let client = &mut self.clients[at];
        let session_present = client.session && !clean_start;
        if !session_present {
            client.forget();
        }
        (client.link, client.session, client.durable, client.holds) = (Some(link), true, durable, false);
        let (held, owed) = (std::mem::take(&mut client.held), std::mem::take(&mut client.owed));
        self.exchange();
        let client = &mut self.clients[at];
        // MQTT 3.1 has no such flag.
        let told = session_present && client.version != Version::V31;
        assert_eq!(client.answers, [Answer::Connected { session_present: told }], "{}", client.name);
        client.answers.clear();
        let inbox = std::mem::take(&mut client.inbox);
        let (again, news) = inbox.split_at(held.len().min(inbox.len()));
        let held: Vec<Seen> = held.into_iter().map(|seen| Seen { dup: true, ..seen }).collect();
        assert_eq!(again, held, "[MQTT-4.4.0-1]");
        // [MQTT-4.6.0-5]: the order of a topic is promised for each QoS by itself.
        for (topic, qos) in TOPICS.into_iter().flat_map(|topic| QOS.map(|qos| (topic, qos))) {
            let came: Vec<_> =
                news.iter().filter(|s| s.topic == topic && s.qos == qos).map(|s| &s.payload).collect();
            let waited: Vec<_> = owed
                .iter()
                .filter(|(t, _, q)| t == topic && *q == qos)
                .map(|(_, payload, _)| payload)
                .collect();
            assert_eq!(came, waited, "{} comes back to {topic} at {qos:?}", client.name);
        }
        assert!(news.iter().all(|seen| !seen.dup && !seen.retain));
        self.nothing_else();
    }

    fn leave(&mut self, at: usize, source: &mut Source<'_>) {
        let client = &mut self.clients[at];
        let Some(link) = client.link.take() else { return };
        trace(|| format!("{} leaves", client.name));
        if source.chance(2) {
            let mut out = Vec::new();
            encode::disconnect(Peer::new(client.version), &Disconnect::default(), &mut out).unwrap();
            self.shard.send(link, &out);
            assert!(!self.shard.is_open(link), "[MQTT-3.14.4-1]");
        }
        self.shard.cut(link);
        self.clients[at].gone();
        self.exchange();
        self.nothing_else();
    }

    /// Stops to acknowledge, or acknowledges all that was held.
    fn hold(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.holds = !client.holds;
        trace(|| format!("{} holds back acknowledgements: {}", client.name, client.holds));
        if !client.holds {
            let mut out = Vec::new();
            for seen in std::mem::take(&mut client.held) {
                acknowledge(client.version, &seen, &mut out);
            }
            if let Some(link) = client.link {
                self.shard.send(link, &out);
            }
        }
        self.exchange();
        self.nothing_else();
    }

    fn subscribe(&mut self, at: usize, source: &mut Source<'_>) {
        let (filter, qos) = (source.pick(&FILTERS), source.pick(&QOS));
        let client = &mut self.clients[at];
        trace(|| format!("{} subscribes to {filter} at {qos:?}", client.name));
        let filters = [(filter, SubscribeOptions::at(qos))];
        let subscribe = SubscribeOut { packet_id: client.id(), filters: &filters, ..SubscribeOut::default() };
        let mut out = Vec::new();
        encode::subscribe(Peer::new(client.version), &subscribe, &mut out).unwrap();
        client.subscriptions.insert(filter, qos);
        self.shard.send(client.link.unwrap(), &out);
        self.exchange();
        let retained = self.retained.iter().filter(|(topic, _)| filter_matches(filter, topic));
        let wanted: Vec<_> = retained
            .map(|(topic, (payload, q))| ((*topic).to_owned(), payload.clone(), qos.min(*q)))
            .collect();
        let client = &mut self.clients[at];
        assert_eq!(client.answers, [Answer::Subscribed(vec![qos as u8])]);
        client.answers.clear();
        let inbox = std::mem::take(&mut client.inbox);
        assert!(inbox.iter().all(|seen| seen.retain && !seen.dup), "[MQTT-3.3.1-8]");
        let mut came: Vec<_> = inbox.into_iter().map(|seen| (seen.topic, seen.payload, seen.qos)).collect();
        came.sort();
        assert_eq!(came, wanted, "[MQTT-3.3.1-9]");
        self.nothing_else();
    }

    fn unsubscribe(&mut self, at: usize, source: &mut Source<'_>) {
        let filter = source.pick(&FILTERS);
        let client = &mut self.clients[at];
        trace(|| format!("{} unsubscribes from {filter}", client.name));
        let unsubscribe =
            UnsubscribeOut { packet_id: client.id(), filters: &[filter], ..UnsubscribeOut::default() };
        let mut out = Vec::new();
        encode::unsubscribe(Peer::new(client.version), &unsubscribe, &mut out).unwrap();
        client.subscriptions.remove(filter);
        self.shard.send(client.link.unwrap(), &out);
        self.exchange();
        assert_eq!(self.clients[at].answers, [Answer::Unsubscribed]);
        self.clients[at].answers.clear();
        self.nothing_else();
    }

    fn publish(&mut self, at: usize, source: &mut Source<'_>) {
        let (topic, qos, retain) = (source.pick(&TOPICS), source.pick(&QOS), source.chance(5));
        self.messages += 1;
        let empty = retain && source.chance(3);
        let payload = if empty { Vec::new() } else { self.messages.to_be_bytes().to_vec() };
        let client = &mut self.clients[at];
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { client.id() };
        trace(|| format!("{} publishes {payload:?} to {topic} at {qos:?}, retain {retain}", client.name));
        let publish =
            PublishOut { qos, retain, packet_id, ..PublishOut::new(client.version, topic, &payload) };
        let mut out = Vec::new();
        encode::publish(&publish, u32::MAX, &mut out).unwrap();
        self.shard.send(client.link.unwrap(), &out);
        if retain && empty {
            self.retained.remove(topic);
        } else if retain {
            self.retained.insert(topic, (payload.clone(), qos));
        }
        self.exchange();
        let told: &[Answer] = if packet_id == 0 { &[] } else { &[Answer::Published(packet_id)] };
        assert_eq!(self.clients[at].answers, told);
        self.clients[at].answers.clear();
        for client in &mut self.clients {
            client.expect(topic, &payload, qos);
        }
        self.nothing_else();
    }

    /// Clients answer what the broker says until nobody has anything to say.
    fn exchange(&mut self) {
        loop {
            let mut silent = true;
            for client in &mut self.clients {
                let Some(link) = client.link else { continue };
                let bytes = self.shard.received(link);
                if bytes.is_empty() {
                    continue;
                }
                silent = false;
                let reply = client.read(&bytes);
                self.shard.send(link, &reply);
            }
            if silent {
                return;
            }
        }
    }

    /// What was not asked for did not come, and who is online stays so.
    fn nothing_else(&self) {
        for client in &self.clients {
            assert_eq!(
                (client.inbox.as_slice(), client.answers.as_slice()),
                (&[][..], &[][..]),
                "{}",
                client.name
            );
            assert!(client.link.is_none_or(|link| self.shard.is_open(link)), "{} was closed", client.name);
        }
    }

    fn end(mut self) {
        let online = self.clients.iter().filter(|client| client.link.is_some()).count() as u64;
        let sessions = self.clients.iter().filter(|client| client.session).count() as u64;
        let subscriptions = self.clients.iter().map(|client| client.subscriptions.len() as u64).sum::<u64>();
        let retained = self.retained.len() as u64;
        let counters = self.shard.engine.counters();
        let counted = (counters.links, counters.sessions, counters.subscriptions, counters.retained);
        assert_eq!(counted, (online, sessions, subscriptions, retained));
    }
}

impl Client {
    fn id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Its link went away.
    fn gone(&mut self) {
        self.link = None;
        if !self.durable {
            self.forget();
        }
        self.holds = false;
    }

    fn forget(&mut self) {
        self.session = false;
        self.subscriptions.clear();
        self.held.clear();
        self.owed.clear();
    }

    /// A message was published: this client has it, or waits for it, or has no part in it.
    fn expect(&mut self, topic: &str, payload: &[u8], qos: Qos) {
        let matching = self.subscriptions.iter().filter(|(filter, _)| filter_matches(filter, topic));
        let Some(granted) = matching.map(|(_, granted)| *granted).max() else { return };
        let qos = qos.min(granted);
        if self.link.is_none() {
            if qos > Qos::AtMostOnce {
                self.owed.push((topic.to_owned(), payload.to_vec(), qos));
            }
            return;
        }
        let inbox = std::mem::take(&mut self.inbox);
        let came: Vec<_> =
            inbox.iter().map(|s| (s.topic.as_str(), s.payload.as_slice(), s.qos, s.retain, s.dup)).collect();
        assert_eq!(came, [(topic, payload, qos, false, false)], "{}", self.name);
    }

    /// Reads what the broker sent; what to say to it.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        while !bytes.is_empty() {
            let frame = split_frame(bytes, u32::MAX).unwrap().expect("a whole packet");
            let packet = decode(self.version, &frame)
                .unwrap_or_else(|violation| panic!("{violation}: {:?}", frame.bytes));
            self.take(&packet, &mut reply);
            bytes = &bytes[frame.total..];
        }
        reply
    }

    fn take(&mut self, packet: &Packet<'_>, reply: &mut Vec<u8>) {
        trace(|| format!("    {} is sent {packet:?}", self.name));
        let peer = Peer::new(self.version);
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, ReasonCode::Success);
                self.answers.push(Answer::Connected { session_present: connack.session_present });
            }
            Packet::Publish(publish) => {
                let seen = Seen {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    retain: publish.retain,
                    dup: publish.dup,
                    packet_id: publish.packet_id,
                };
                if seen.qos > Qos::AtMostOnce && self.holds {
                    self.held.push(seen.clone());
                } else {
                    acknowledge(self.version, &seen, reply);
                }
                self.inbox.push(seen);
            }
            Packet::PubRel(ack) => encode::pubcomp(peer, &Ack::success(ack.packet_id), reply).unwrap(),
            Packet::PubRec(ack) => {
                assert!((ack.reason as u8) < 0x80);
                encode::pubrel(peer, &Ack::success(ack.packet_id), reply).unwrap();
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                assert!((ack.reason as u8) < 0x80);
                self.answers.push(Answer::Published(ack.packet_id));
            }
            Packet::SubAck(answer) => self.answers.push(Answer::Subscribed(answer.codes.to_vec())),
            Packet::UnsubAck(_) => self.answers.push(Answer::Unsubscribed),
            other => panic!("{} was sent {other:?}", self.name),
        }
    }
}

/// The first answer to a message.
fn acknowledge(version: Version, seen: &Seen, out: &mut Vec<u8>) {
    let (peer, ack) = (Peer::new(version), Ack::success(seen.packet_id));
    match seen.qos {
        Qos::AtMostOnce => Ok(()),
        Qos::AtLeastOnce => encode::puback(peer, &ack, out),
        Qos::ExactlyOnce => encode::pubrec(peer, &ack, out),
    }
    .unwrap();
}
