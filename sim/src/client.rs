//! A client: what it sends, and its half of the session (unfinished messages in both directions).
//!
//! It acknowledges when it is told to, sends unfinished messages again with DUP when its session goes on, and holds the
//! broker to the rules for packet identifiers.

use crate::dice::Dice;
use crate::oracle::{Oracle, SECRET};
use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut, UnsubscribeOut};
use bitsim_protocol::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, Qos, SubscribeOptions, Version, Will,
    WillProperties, decode, split_frame,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) const TOPICS: [&str; 7] = ["t/0", "t/1", "t/0/a", "u/0", "s/0", "s/1", SECRET];
/// By client: filters of one session do not overlap, but for shared ones.
const FILTERS: [[&str; 4]; 3] = [
    ["t/0", "t/1", "u/0", "$share/g/s/+"],
    ["t/#", "u/+", "$share/h/s/0", "$share/g/s/+"],
    ["t/+", "t/0/a", "u/#", "$share/h/s/0"],
];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
/// Identifiers that a client has unfinished at most.
const UNFINISHED_MAX: usize = 16;

/// See the module.
pub(crate) struct Client {
    at: usize,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) online: bool,
    pub(crate) linked: bool,
    durable: bool,
    /// There is a session that outlives its link.
    pub(crate) session: bool,
    /// The broker may or may not have handled a CONNECT that changes the session.
    uncertain: bool,
    /// MQTT 3.1.1 cannot begin anew and stay: such a client never changes its mind.
    always_clean: bool,
    next_id: u16,
    input: Vec<u8>,
    /// By serial number: identifier, QoS, PUBREL sent.
    outgoing: BTreeMap<u32, (u16, Qos, bool)>,
    acks: VecDeque<(u8, u16)>,
    received: BTreeSet<u16>,
    /// What came under an identifier and is not finished.
    unfinished: BTreeMap<u16, u32>,
    subscribing: BTreeMap<u16, (String, Qos)>,
}

impl Client {
    pub(crate) fn new(at: usize, dice: &mut Dice) -> Client {
        let version = dice.pick(&[Version::V311, Version::V5, Version::V5]);
        Client {
            at,
            name: format!("client-{at}"),
            version,
            always_clean: version == Version::V311 && dice.chance(2),
            online: false,
            linked: false,
            durable: false,
            session: false,
            uncertain: false,
            next_id: 1,
            input: Vec::new(),
            outgoing: BTreeMap::new(),
            acks: VecDeque::new(),
            received: BTreeSet::new(),
            unfinished: BTreeMap::new(),
            subscribing: BTreeMap::new(),
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    fn peer(&self) -> Peer {
        Peer::new(self.version)
    }

    pub(crate) fn unfinished(&self) -> Vec<u32> {
        self.outgoing.keys().copied().collect()
    }

    /// Its CONNECT. `clean`: nothing shall be left of its session afterwards.
    pub(crate) fn connect(
        &mut self,
        clean: bool,
        will: bool,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Vec<u8> {
        // Who does not know what the broker has of its session begins anew.
        let start = clean || self.uncertain || self.always_clean;
        self.durable = !clean && (!start || self.version.is_v5()) && !self.always_clean;
        (self.linked, self.online) = (true, false);
        if start {
            self.forget(oracle);
            self.uncertain = true;
        }
        let topic = dice.pick(&TOPICS);
        let qos = dice.pick(&QOS);
        let payload = if will { oracle.send(self.at, topic, qos, true).1 } else { Vec::new() };
        let properties = WillProperties::default();
        let connect = Connect {
            version: self.version,
            clean_start: start,
            keep_alive_secs: if dice.chance(3) { 10 } else { 0 },
            client_id: &self.name,
            will: will.then_some(Will { qos, retain: false, topic, payload: &payload, properties }),
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_secs: if self.durable && self.version.is_v5() { 100_000 } else { 0 },
                receive_max: if self.version.is_v5() && dice.chance(2) { 3 } else { u16::MAX },
                ..ConnectProperties::default()
            },
        };
        let mut out = Vec::new();
        encode::connect(&connect, u32::MAX, &mut out).unwrap();
        out
    }

    /// The link is gone.
    pub(crate) fn lost(&mut self, oracle: &mut Oracle) {
        (self.linked, self.online) = (false, false);
        self.input.clear();
        self.acks.clear();
        self.subscribing.clear();
        if !self.durable {
            self.forget(oracle);
            self.uncertain = true;
        }
    }

    fn forget(&mut self, oracle: &mut Oracle) {
        self.session = false;
        self.outgoing.clear();
        self.received.clear();
        self.unfinished.clear();
        oracle.reset(self.at);
    }

    /// Something that a client does while it is online; what it is, and its bytes.
    pub(crate) fn act(&mut self, dice: &mut Dice, oracle: &mut Oracle) -> (String, Vec<u8>) {
        let mut out = Vec::new();
        let line = match dice.below(12) {
            0 | 1 => self.subscribe(dice, oracle, &mut out),
            2 => {
                let filter = dice.pick(&FILTERS[self.at % FILTERS.len()]);
                self.unsubscribe(filter, oracle, &mut out);
                format!("unsubscribes from {filter}")
            }
            3..=5 => {
                self.acknowledge(dice.below(4), &mut out);
                "acknowledges".to_owned()
            }
            6 => {
                encode::pingreq(&mut out);
                "pings".to_owned()
            }
            _ => self.publish(dice, oracle, &mut out),
        };
        (line, out)
    }

    fn subscribe(&mut self, dice: &mut Dice, oracle: &mut Oracle, out: &mut Vec<u8>) -> String {
        let (filter, packet_id) = (dice.pick(&FILTERS[self.at % FILTERS.len()]), self.id());
        let qos = QOS[(self.at + filter.len()) % QOS.len()];
        oracle.asks(self.at, filter, qos);
        self.subscribing.insert(packet_id, (filter.to_owned(), qos));
        let filters = [(filter, SubscribeOptions::at(qos))];
        let subscribe = SubscribeOut { packet_id, filters: &filters, ..SubscribeOut::default() };
        encode::subscribe(self.peer(), &subscribe, out).unwrap();
        format!("subscribes to {filter} at {qos:?}")
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str, oracle: &mut Oracle, out: &mut Vec<u8>) {
        oracle.leaves(self.at, filter);
        self.subscribing.retain(|_, (pending, _)| pending != filter);
        let unsubscribe =
            UnsubscribeOut { packet_id: self.id(), filters: &[filter], ..UnsubscribeOut::default() };
        encode::unsubscribe(self.peer(), &unsubscribe, out).unwrap();
    }

    fn publish(&mut self, dice: &mut Dice, oracle: &mut Oracle, out: &mut Vec<u8>) -> String {
        let (topic, retain) = (dice.pick(&TOPICS), dice.chance(6));
        let full = self.outgoing.len() >= UNFINISHED_MAX;
        let qos = if full { Qos::AtMostOnce } else { dice.pick(&QOS) };
        let (serial, payload) = oracle.send(self.at, topic, qos, false);
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { self.id() };
        if packet_id != 0 {
            self.outgoing.insert(serial, (packet_id, qos, false));
        }
        let publish = PublishOut { qos, retain, packet_id, ..PublishOut::new(self.version, topic, &payload) };
        encode::publish(&publish, u32::MAX, out).unwrap();
        format!("publishes #{serial} to {topic} at {qos:?} as {packet_id}, retain {retain}")
    }

    /// A retained message with no bytes takes the retained one away.
    pub(crate) fn clear(&self, topic: &str, out: &mut Vec<u8>) {
        let publish = PublishOut { retain: true, ..PublishOut::new(self.version, topic, &[]) };
        encode::publish(&publish, u32::MAX, out).unwrap();
    }

    pub(crate) fn disconnect(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode::disconnect(self.peer(), &Disconnect::default(), &mut out).unwrap();
        out
    }

    /// Sends some of the answers it owes, in order.
    pub(crate) fn acknowledge(&mut self, count: usize, out: &mut Vec<u8>) {
        let peer = self.peer();
        for _ in 0..count.min(self.acks.len()) {
            let Some((kind, id)) = self.acks.pop_front() else { return };
            let ack = Ack::success(id);
            match kind {
                4 => encode::puback(peer, &ack, out),
                5 => encode::pubrec(peer, &ack, out),
                6 => encode::pubrel(peer, &ack, out),
                _ => encode::pubcomp(peer, &ack, out),
            }
            .unwrap();
            if kind == 4 || kind == 7 {
                self.unfinished.remove(&id);
            }
        }
    }

    /// Reads what the broker sent; what it says at once.
    pub(crate) fn read(&mut self, bytes: &[u8], oracle: &mut Oracle) -> Result<Vec<u8>, String> {
        let mut reply = Vec::new();
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some(frame) = split_frame(rest, u32::MAX).map_err(|v| v.to_string())? {
            let packet = decode(self.version, &frame).map_err(|v| v.to_string())?;
            self.take(&packet, oracle, &mut reply)?;
            rest = &rest[frame.total..];
        }
        self.input = rest.to_vec();
        Ok(reply)
    }

    fn take(&mut self, packet: &Packet<'_>, oracle: &mut Oracle, reply: &mut Vec<u8>) -> Result<(), String> {
        if self.online == matches!(packet, Packet::ConnAck(_)) {
            return Err(format!("{} was sent {packet:?}, online: {}", self.name, self.online));
        }
        match packet {
            Packet::ConnAck(answer) if answer.reason as u8 == 0 => {
                self.connected(answer.session_present, oracle, reply)?;
            }
            Packet::Publish(publish) => self.published(publish, oracle)?,
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                let found =
                    self.outgoing.iter().find(|(_, o)| o.0 == ack.packet_id).map(|(serial, _)| *serial);
                if let Some(serial) = found {
                    self.outgoing.remove(&serial);
                    oracle.acknowledged(serial);
                }
            }
            Packet::PubRec(ack) => {
                let found = self.outgoing.iter_mut().find(|(_, o)| o.0 == ack.packet_id);
                if let Some((serial, state)) = found {
                    state.2 = true;
                    oracle.acknowledged(*serial);
                }
                self.acks.push_back((6, ack.packet_id));
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                self.acks.push_back((7, ack.packet_id));
            }
            Packet::SubAck(answer) => {
                if let Some((filter, qos)) = self.subscribing.remove(&answer.packet_id) {
                    if answer.codes != [qos as u8] {
                        return Err(format!(
                            "{} asked for {filter} at {qos:?}: {:?}",
                            self.name, answer.codes
                        ));
                    }
                    oracle.granted(self.at, &filter, qos);
                }
            }
            Packet::UnsubAck(_) | Packet::PingResp | Packet::Disconnect(_) => {}
            other => return Err(format!("{} was sent {other:?}", self.name)),
        }
        Ok(())
    }

    fn connected(&mut self, present: bool, oracle: &mut Oracle, reply: &mut Vec<u8>) -> Result<(), String> {
        if self.session && !self.uncertain && !present {
            return Err(format!("the session of {} is lost", self.name));
        }
        if !present {
            self.forget(oracle);
        }
        (self.online, self.session, self.uncertain) = (true, true, false);
        for (serial, (packet_id, qos, released)) in &self.outgoing {
            if *released {
                encode::pubrel(self.peer(), &Ack::success(*packet_id), reply).unwrap();
                continue;
            }
            let (topic, payload) = oracle.repeat(*serial);
            let again = PublishOut {
                dup: true,
                qos: *qos,
                packet_id: *packet_id,
                ..PublishOut::new(self.version, topic, &payload)
            };
            encode::publish(&again, u32::MAX, reply).unwrap();
        }
        Ok(())
    }

    fn published(&mut self, publish: &Publish<'_>, oracle: &mut Oracle) -> Result<(), String> {
        let id = publish.packet_id;
        let fresh = publish.qos != Qos::ExactlyOnce || !self.received.contains(&id);
        let serial = oracle.delivered(self.at, publish, fresh)?;
        if publish.qos == Qos::AtMostOnce {
            return Ok(());
        }
        if let Some(other) = self.unfinished.insert(id, serial)
            && (other != serial || !publish.dup)
        {
            return Err(format!("{} was sent #{serial} as {id}, which #{other} has", self.name));
        }
        if publish.qos == Qos::ExactlyOnce {
            self.received.insert(id);
            self.acks.push_back((5, id));
        } else {
            self.acks.push_back((4, id));
        }
        Ok(())
    }
}
