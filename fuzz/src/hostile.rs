//! A broker between bytes from anybody and two clients that behave: whatever comes on some links, the engine does not
//! panic, says only whole packets that a server may say, stays within its limits, and the two still reach each other.

use bitsim_engine::identity::LinkId;
use bitsim_engine::limits::Limits;
use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut};
use bitsim_protocol::{
    Connect, ConnectProperties, Packet, Qos, SubscribeOptions, TopicLimits, Version, decode, decode_connect,
    split_frame,
};

use crate::shard::Shard;
use crate::source::Source;

const HOSTILE: usize = 3;
const HONEST: u8 = 1;

/// Heap bytes of the engine's tables that small limits and an input of 4 KiB leave no reason to pass.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// Each byte decides something, or is sent.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let mut world = World::new();
    while !source.is_empty() {
        world.step(&mut source);
    }
    world.honest_message();
    world.end();
}

/// An input in which one client sends these packets one after the other.
pub fn scripted(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut script = vec![0, 0];
    for packet in packets {
        script.extend([4, 0, u8::try_from(packet.len()).unwrap_or(u8::MAX)]);
        script.extend_from_slice(packet);
    }
    script
}

struct World {
    shard: Shard,
    hostile: [Option<Hostile>; HOSTILE],
    publisher: LinkId,
    subscriber: LinkId,
}

struct Hostile {
    link: LinkId,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl World {
    fn new() -> World {
        let limits = Limits {
            packet_bytes_max: 2_000,
            topic: TopicLimits { bytes_max: 64, levels_max: 8 },
            receive_max: 4,
            inflight_max: 4,
            inflight_max_v3: 4,
            subscriptions_max: 8,
            queue_messages_max: 16,
            user_properties_max: 4,
            outbox_bytes_max: 16 << 10,
            retained_messages_max: 16,
            short_wildcards_max: 8,
            ..Limits::default()
        };
        let mut shard = Shard::new(limits);
        let subscriber = honest(&mut shard, 10, "subscriber");
        let publisher = honest(&mut shard, 11, "publisher");
        let mut out = Vec::new();
        let filters = [("honest", SubscribeOptions::default())];
        let subscribe = SubscribeOut { packet_id: 1, filters: &filters, ..SubscribeOut::default() };
        encode::subscribe(Peer::new(Version::V311), &subscribe, &mut out).unwrap();
        shard.send(subscriber, &out);
        shard.received(subscriber);
        shard.received(publisher);
        World { shard, hostile: Default::default(), publisher, subscriber }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let op = source.below(8);
        let at = source.below(HOSTILE);
        match op {
            0 => {
                self.cut(at);
                let link = self.shard.open(at as u32, 0);
                self.hostile[at] = Some(Hostile { link, sent: Vec::new(), received: Vec::new() });
            }
            1 => self.cut(at),
            2 => self.shard.pass(u64::from(source.byte()) * 100),
            _ => {
                let len = usize::from(source.byte());
                let bytes = source.take(len);
                if let Some(hostile) = &mut self.hostile[at]
                    && self.shard.is_open(hostile.link)
                    && !self.shard.is_paused(hostile.link)
                {
                    hostile.sent.extend_from_slice(bytes);
                    self.shard.send(hostile.link, bytes);
                }
            }
        }
        self.collect();
    }

    fn cut(&mut self, at: usize) {
        if let Some(hostile) = self.hostile[at].take() {
            judge(&hostile);
            self.shard.cut(hostile.link);
        }
    }

    fn collect(&mut self) {
        for hostile in self.hostile.iter_mut().flatten() {
            hostile.received.extend(self.shard.received(hostile.link));
        }
    }

    /// Other connections keep working.
    fn honest_message(&mut self) {
        let ping = [0xC0, 0];
        for (name, slot) in [("subscriber", 10), ("publisher", 11)] {
            let link = if slot == 10 { self.subscriber } else { self.publisher };
            assert!(self.shard.is_open(link), "the {name} was closed");
            self.shard.send(link, &ping);
        }
        self.shard.received(self.subscriber);
        let mut out = Vec::new();
        let publish = PublishOut::new(Version::V311, "honest", b"a message of the honest");
        encode::publish(&publish, u32::MAX, &mut out).unwrap();
        self.shard.send(self.publisher, &out);
        assert_eq!(self.shard.received(self.subscriber), out, "the honest message");
    }

    fn end(&mut self) {
        assert!(self.shard.engine.table_bytes() < TABLE_BYTES_MAX);
        self.collect();
        for at in 0..HOSTILE {
            self.cut(at);
        }
        assert_eq!(self.shard.engine.counters().links, 2, "links that are gone are counted");
    }
}

/// A client without keep-alive, connected.
fn honest(shard: &mut Shard, slot: u32, client_id: &str) -> LinkId {
    let link = shard.open(slot, HONEST);
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_secs: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let mut out = Vec::new();
    encode::connect(&connect, u32::MAX, &mut out).unwrap();
    shard.send(link, &out);
    link
}

/// What the broker said on a link is whole packets of the client's version, of kinds that a server sends.
fn judge(hostile: &Hostile) {
    let spoken =
        split_frame(&hostile.sent, u32::MAX).ok().flatten().and_then(|frame| decode_connect(&frame).ok());
    let versions = match spoken {
        Some(connect) => vec![connect.version],
        None => vec![Version::V31, Version::V311, Version::V5],
    };
    let told = versions.iter().map(|version| read(*version, &hostile.received)).find(Result::is_ok);
    assert!(told.is_some(), "{:?} was answered {:?}", hostile.sent, read(versions[0], &hostile.received));
}

fn read(version: Version, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let frame = split_frame(bytes, u32::MAX).map_err(|violation| format!("{violation} in {bytes:?}"))?;
        let frame = frame.ok_or_else(|| format!("half a packet: {bytes:?}"))?;
        let packet =
            decode(version, &frame).map_err(|violation| format!("{violation} in {:?}", frame.bytes))?;
        let from_server = match packet {
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => false,
            Packet::Disconnect(_) => version == Version::V5,
            Packet::Publish(publish) => publish.qos == Qos::AtMostOnce || publish.packet_id != 0,
            _ => true,
        };
        if !from_server {
            return Err(format!("{packet:?} from a server"));
        }
        bytes = &bytes[frame.total..];
    }
    Ok(())
}
