//! Publishing through an engine, from one client's bytes to the others' bytes, in memory.
//!
//! One message per turn is the price when nothing can be batched; a hundred per turn, as a busy link delivers them, shows
//! what batching saves. At QoS 1 a round holds both acknowledgements: the publisher gets its PUBACK, and every subscriber's
//! PUBACK comes back. Each round counts its deliveries, looks at every byte but the packet identifiers, and has to
//! leave nothing unacknowledged: else the window closes and the next round falls short.

use crate::shard::Shard;
use bitsim_engine::identity::LinkId;
use bitsim_protocol::encode::{self, PublishOut};
use bitsim_protocol::{Qos, Version};
use criterion::{Criterion, Throughput};

const TOPIC: &str = "plant/7/line/3/temperature";
const PAYLOAD: [u8; 64] = [0x5A; 64];
const PUBACK_BYTES: usize = 4;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for (name, qos) in [("QoS 0", Qos::AtMostOnce), ("QoS 1", Qos::AtLeastOnce)] {
        for (subscribers, messages) in [(1, 1), (1, 100), (1_000, 1)] {
            group.throughput(Throughput::Elements((subscribers * messages) as u64));
            let mut rounds = Rounds::new(qos, subscribers, messages);
            group.bench_function(format!("{name}/1 to {subscribers}, {messages} per turn"), |bencher| {
                bencher.iter(|| rounds.round());
            });
        }
    }
    group.finish();
}

struct Rounds {
    shard: Shard,
    publisher: LinkId,
    deliveries: usize,
    messages: usize,
    /// What the publisher sends in a round.
    bytes: Vec<u8>,
    /// One message, with the packet identifier of its first.
    message: Vec<u8>,
    id_at: Option<usize>,
    /// What subscribers answer.
    answers: Vec<(LinkId, Vec<u8>)>,
}

impl Rounds {
    fn new(qos: Qos, subscribers: usize, messages: usize) -> Rounds {
        let mut shard = Shard::new();
        let publisher = shard.client();
        let answers = (0..subscribers).map(|_| (shard.subscriber(TOPIC, qos), Vec::new())).collect();
        let (mut bytes, mut message, mut id_at) = (Vec::new(), Vec::new(), None);
        for packet_id in 1..=u16::try_from(messages).unwrap() {
            let packet_id = if qos == Qos::AtMostOnce { 0 } else { packet_id };
            let publish = PublishOut { qos, packet_id, ..PublishOut::new(Version::V311, TOPIC, &PAYLOAD) };
            message.clear();
            id_at = encode::publish(&publish, u32::MAX, &mut message).unwrap().packet_id_at;
            bytes.extend_from_slice(&message);
        }
        let deliveries = subscribers * messages;
        Rounds { shard, publisher, deliveries, messages, bytes, message, id_at, answers }
    }

    fn round(&mut self) {
        let Rounds { shard, publisher, answers, message, id_at, .. } = self;
        shard.received(*publisher, &self.bytes);
        let (mut delivered, mut told) = (0, 0);
        shard.turn(|link, bytes| {
            if link == *publisher {
                told += bytes.len();
                return;
            }
            // Subscribers have the slots after the publisher's.
            let answer = &mut answers[link.slot as usize - 1].1;
            for copy in bytes.chunks(message.len()) {
                delivered += usize::from(is_copy(copy, message, *id_at, answer));
            }
        });
        assert_eq!(delivered, self.deliveries);
        assert_eq!(told, if id_at.is_some() { self.messages * PUBACK_BYTES } else { 0 });
        if id_at.is_some() {
            for (link, answer) in answers {
                shard.received(*link, answer);
                answer.clear();
            }
            shard.turn(|link, bytes| panic!("{link:?} is sent {bytes:?}"));
        }
    }
}

/// Whether these are the bytes of the message; acknowledges them.
fn is_copy(copy: &[u8], message: &[u8], id_at: Option<usize>, answer: &mut Vec<u8>) -> bool {
    let Some(at) = id_at else { return copy == message };
    if copy.len() != message.len() || copy[..at] != message[..at] || copy[at + 2..] != message[at + 2..] {
        return false;
    }
    answer.extend_from_slice(&[0x40, 2, copy[at], copy[at + 1]]);
    true
}
