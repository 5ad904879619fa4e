//! What must arrive, and what must not.
//!
//! Every message has a serial number, which is its payload with a checksum. A delivery must be of a message that was sent, to
//! a topic that the session asked for and may read, in the order of its publisher's connection, topic and QoS; at QoS 2 once. A message
//! that was acknowledged must reach each session that was subscribed before it was sent and stayed so.

use bitsim_protocol::{Publish, Qos, TopicLimits, filter_matches, validate_filter};
use std::collections::{BTreeMap, BTreeSet};

/// Topics below this may be written and not read.
pub(crate) const SECRET: &str = "t/secret";

struct Sent {
    publisher: usize,
    topic: String,
    qos: Qos,
    acknowledged: bool,
    will: bool,
    /// Sent again on a later connection at QoS 1: another publish, which may come behind newer ones.
    repeated: bool,
}

#[derive(Default)]
struct Session {
    /// Filters with their QoS, as SUBACK confirmed them.
    confirmed: BTreeMap<String, Qos>,
    /// Filters that were ever asked for.
    asked: BTreeSet<String>,
    seen: BTreeSet<u32>,
    /// Messages of QoS 2 that are not retained ones, fresh deliveries.
    exactly: BTreeSet<u32>,
    /// Latest message by publisher, topic, QoS as sent and as delivered, and which subscription it was sent under.
    latest: BTreeMap<(usize, String, Qos, Qos, usize), u32>,
    /// Filters that were left, and what had been sent by then: order holds within a subscription.
    left: Vec<(String, u32)>,
    expected: BTreeSet<u32>,
    /// Sent while a subscription was confirmed: between an unsubscribe and the next SUBACK nobody knows which one takes a message.
    ordered: BTreeSet<u32>,
}

/// See the module.
pub(crate) struct Oracle {
    sent: Vec<Sent>,
    sessions: Vec<Session>,
    pub(crate) deliveries: u64,
}

fn plain(filter: &str) -> (&str, bool) {
    validate_filter(filter, &TopicLimits::MQTT).map_or((filter, false), |f| (f.filter, f.share.is_some()))
}

fn checksum(serial: u32) -> u32 {
    serial.wrapping_mul(0x9E37_79B1).rotate_left(13) ^ 0x5bd1_e995
}

impl Oracle {
    pub(crate) fn new(clients: usize) -> Oracle {
        let sessions = (0..clients).map(|_| Session::default()).collect();
        Oracle { sent: Vec::new(), sessions, deliveries: 0 }
    }

    pub(crate) fn messages(&self) -> u64 {
        self.sent.len() as u64
    }

    /// A message is about to be sent: its serial number and payload.
    pub(crate) fn send(&mut self, publisher: usize, topic: &str, qos: Qos, will: bool) -> (u32, Vec<u8>) {
        self.sent.push(Sent {
            publisher,
            topic: topic.to_owned(),
            qos,
            acknowledged: false,
            will,
            repeated: false,
        });
        let serial = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        for session in self.sessions.iter_mut().filter(|_| topic != SECRET && !will) {
            let matching = session.confirmed.iter().filter(|(filter, _)| {
                let (filter, shared) = plain(filter);
                !shared && filter_matches(filter, topic)
            });
            if let Some(granted) = matching.map(|(_, granted)| *granted).max() {
                session.ordered.insert(serial);
                if granted.min(qos) > Qos::AtMostOnce {
                    session.expected.insert(serial);
                }
            }
        }
        let mut payload = serial.to_be_bytes().to_vec();
        payload.extend(checksum(serial).to_be_bytes());
        (serial, payload)
    }

    /// A message is sent again: its topic and payload.
    pub(crate) fn repeat(&mut self, serial: u32) -> (&str, Vec<u8>) {
        let sent = &mut self.sent[serial as usize - 1];
        sent.repeated |= sent.qos == Qos::AtLeastOnce;
        (&sent.topic, Oracle::payload(serial))
    }

    fn payload(serial: u32) -> Vec<u8> {
        let mut payload = serial.to_be_bytes().to_vec();
        payload.extend(checksum(serial).to_be_bytes());
        payload
    }

    pub(crate) fn acknowledged(&mut self, serial: u32) {
        self.sent[serial as usize - 1].acknowledged = true;
    }

    /// A client's session ended, or may have.
    pub(crate) fn reset(&mut self, client: usize) {
        self.sessions[client] = Session::default();
    }

    pub(crate) fn asks(&mut self, client: usize, filter: &str, qos: Qos) {
        self.sessions[client].asked.insert(filter.to_owned());
        if qos == Qos::AtMostOnce {
            self.leaves(client, filter);
        }
    }

    pub(crate) fn granted(&mut self, client: usize, filter: &str, qos: Qos) {
        self.sessions[client].confirmed.insert(filter.to_owned(), qos);
    }

    /// An UNSUBSCRIBE goes out: nothing of the filter is owed any more.
    pub(crate) fn leaves(&mut self, client: usize, filter: &str) {
        let (sent, session) = (&self.sent, &mut self.sessions[client]);
        session.confirmed.remove(filter);
        let filter = plain(filter).0;
        session.left.push((filter.to_owned(), u32::try_from(sent.len()).unwrap_or(u32::MAX)));
        // What the broker may not have handled yet is not certainly under this subscription.
        session.ordered.retain(|serial| {
            let message = &sent[*serial as usize - 1];
            message.acknowledged || !filter_matches(filter, &message.topic)
        });
        session.expected.retain(|serial| !filter_matches(filter, &sent[*serial as usize - 1].topic));
    }

    pub(crate) fn filters(&self, client: usize) -> Vec<String> {
        self.sessions[client].asked.iter().cloned().collect()
    }

    /// A message came. `fresh`: it is not the repetition of an unfinished one. Its serial number.
    pub(crate) fn delivered(
        &mut self,
        client: usize,
        came: &Publish<'_>,
        fresh: bool,
    ) -> Result<u32, String> {
        self.deliveries += 1;
        let serial = came.payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let Some(sent) = (serial as usize).checked_sub(1).and_then(|at| self.sent.get(at)) else {
            return Err(format!("client {client} was sent a message that nobody sent: {came:?}"));
        };
        if Oracle::payload(serial) != came.payload || sent.topic != came.topic {
            return Err(format!("client {client} was sent #{serial} in another form: {came:?}"));
        }
        let session = &mut self.sessions[client];
        let asked = session.asked.iter().map(|f| plain(f)).filter(|(f, _)| filter_matches(f, came.topic));
        let (plains, shares) =
            asked.fold((0, 0), |(p, s), (_, shared)| if shared { (p, s + 1) } else { (p + 1, s) });
        if plains + shares == 0 || came.topic == SECRET {
            return Err(format!("client {client} has no right to #{serial} of {}", came.topic));
        }
        let known = !session.seen.insert(serial);
        if came.retain || shares > 0 || sent.will {
            return Ok(serial);
        }
        if fresh && came.qos == Qos::ExactlyOnce && !session.exactly.insert(serial) {
            return Err(format!("client {client} was sent #{serial} twice at QoS 2"));
        }
        if !known && session.ordered.contains(&serial) && came.qos.min(sent.qos) == came.qos {
            let ended =
                |(filter, last): &&(String, u32)| *last < serial && filter_matches(filter, &sent.topic);
            let subscription = session.left.iter().filter(ended).count();
            let way = (sent.publisher, sent.topic.clone(), sent.qos, came.qos, subscription);
            let latest = session.latest.entry(way).or_default();
            if *latest > serial && !sent.repeated {
                return Err(format!("client {client} was sent #{serial} after #{latest} of {}", sent.topic));
            }
            *latest = (*latest).max(serial);
        }
        Ok(serial)
    }

    /// Everything is at rest and everybody was there: what was acknowledged has arrived.
    pub(crate) fn settled(&self) -> Result<(), String> {
        for (client, session) in self.sessions.iter().enumerate() {
            for serial in session.expected.difference(&session.seen) {
                let sent = &self.sent[*serial as usize - 1];
                if sent.acknowledged {
                    return Err(format!(
                        "#{serial} on {} at {:?} was acknowledged and never reached client {client}",
                        sent.topic, sent.qos
                    ));
                }
            }
        }
        Ok(())
    }
}
