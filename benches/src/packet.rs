//! Decoding and encoding one packet of each kind, in 3.1.1 and 5, the latter with the properties such a packet often has.
//!
//! Decoding is what a shard does with received bytes: split off the frame, then read it. Encoding appends to a buffer
//! that is empty and large enough. Before anything is timed, what was encoded has to decode to the packet it was made
//! from; each timed decoding has to give a packet of the kind and length, each timed encoding the same number of
//! bytes, and the last one the same bytes.

use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut, TooLarge, UnsubscribeOut};
use bitsim_protocol::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketKind, Qos,
    ReasonCode, SubAck, SubscribeOptions, UserProperties, Version, decode, split_frame,
};
use criterion::Criterion;
use std::hint::black_box;

const TOPIC: &str = "plant/7/line/3/temperature";
const PAYLOAD: [u8; 64] = [0x5A; 64];

pub(crate) fn bench(criterion: &mut Criterion) {
    for version in [Version::V311, Version::V5] {
        let mut user = Vec::new();
        if version.is_v5() {
            UserProperties::append(&mut user, "trace", "4bf92f3577b34da6");
        }
        let user = UserProperties::from_raw(&user).unwrap();
        let mut codec = Codec { criterion: &mut *criterion, version };
        codec.connections(user);
        codec.publish(user);
        codec.acknowledgements();
        codec.subscriptions(user);
        codec.others(user);
    }
}

struct Codec<'c> {
    criterion: &'c mut Criterion,
    version: Version,
}

impl Codec<'_> {
    fn connections(&mut self, user: UserProperties<'_>) {
        let (version, v5) = (self.version, self.version.is_v5());
        let properties = ConnectProperties {
            session_expiry_secs: if v5 { 3_600 } else { 0 },
            receive_max: if v5 { 100 } else { u16::MAX },
            user,
            ..ConnectProperties::default()
        };
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_secs: 60,
            client_id: "device-000042",
            will: None,
            username: Some("device"),
            password: Some(b"correct horse"),
            properties,
        };
        self.both(&Packet::Connect(connect), |_, out| encode::connect(&connect, u32::MAX, out));
        let mut connack = ConnAck::default();
        if v5 {
            connack.properties = ConnAckProperties {
                receive_max: 1_024,
                topic_alias_max: 10,
                server_keep_alive_secs: Some(60),
                ..ConnAckProperties::default()
            };
        }
        self.both(&Packet::ConnAck(connack), |peer, out| encode::connack(peer, &connack, out));
    }

    /// With one user property in MQTT 5.
    fn publish(&mut self, user: UserProperties<'_>) {
        let version = self.version;
        let mut properties = Vec::new();
        for (name, value) in user.iter() {
            UserProperties::append(&mut properties, name, value);
        }
        let parts = PublishOut {
            qos: Qos::AtLeastOnce,
            packet_id: 513,
            properties: &properties,
            ..PublishOut::new(version, TOPIC, &PAYLOAD)
        };
        // A received PUBLISH has its properties as they were on the wire: the bytes say what it is.
        let mut bytes = Vec::new();
        encode::publish(&parts, u32::MAX, &mut bytes).unwrap();
        let frame = split_frame(&bytes, u32::MAX).unwrap().unwrap();
        let packet = decode(version, &frame).unwrap();
        let Packet::Publish(publish) = &packet else { panic!("{packet:?} is no PUBLISH") };
        assert_eq!((publish.topic, publish.qos, publish.packet_id), (TOPIC, Qos::AtLeastOnce, 513));
        assert_eq!((publish.payload, publish.properties.raw), (PAYLOAD.as_slice(), properties.as_slice()));
        self.both(&packet, |_, out| encode::publish(&parts, u32::MAX, out).map(|_| ()));
    }

    /// As they are nearly always: success, without properties.
    fn acknowledgements(&mut self) {
        let ack = Ack::success(513);
        self.both(&Packet::PubAck(ack), |peer, out| encode::puback(peer, &ack, out));
        self.both(&Packet::PubRec(ack), |peer, out| encode::pubrec(peer, &ack, out));
        self.both(&Packet::PubRel(ack), |peer, out| encode::pubrel(peer, &ack, out));
        self.both(&Packet::PubComp(ack), |peer, out| encode::pubcomp(peer, &ack, out));
    }

    /// Three filters, as many codes.
    fn subscriptions(&mut self, user: UserProperties<'_>) {
        let (version, v5) = (self.version, self.version.is_v5());
        let options = SubscribeOptions::at(Qos::AtLeastOnce);
        let wanted = [("plant/+/line/#", options), (TOPIC, options), ("alarm/#", options)];
        let parts = SubscribeOut { packet_id: 3, subscription_id: v5.then_some(300), filters: &wanted, user };
        self.decoded(
            PacketKind::Subscribe,
            |peer, out| encode::subscribe(peer, &parts, out),
            |bytes| {
                let frame = split_frame(bytes, u32::MAX).unwrap().unwrap();
                let Packet::Subscribe(subscribe) = decode(version, &frame).unwrap() else { return false };
                subscribe.filters().eq(wanted.iter().copied()) && subscribe.user == user
            },
        );
        let filters = wanted.map(|(filter, _)| filter);
        let parts = UnsubscribeOut { packet_id: 4, filters: &filters, user };
        self.decoded(
            PacketKind::Unsubscribe,
            |peer, out| encode::unsubscribe(peer, &parts, out),
            |bytes| {
                let frame = split_frame(bytes, u32::MAX).unwrap().unwrap();
                let Packet::Unsubscribe(unsubscribe) = decode(version, &frame).unwrap() else { return false };
                unsubscribe.filters().eq(filters.iter().copied()) && unsubscribe.user == user
            },
        );
        let suback = SubAck::new(3, &[1, 1, 1]);
        self.both(&Packet::SubAck(suback), |peer, out| encode::suback(peer, &suback, out));
        let unsuback = SubAck::new(4, if v5 { &[0, 0, 0] } else { &[] });
        self.both(&Packet::UnsubAck(unsuback), |peer, out| encode::unsuback(peer, &unsuback, out));
    }

    fn others(&mut self, user: UserProperties<'_>) {
        self.both(&Packet::PingReq, |_, out| {
            encode::pingreq(out);
            Ok(())
        });
        self.both(&Packet::PingResp, |_, out| {
            encode::pingresp(out);
            Ok(())
        });
        let mut disconnect = Disconnect::default();
        if self.version.is_v5() {
            disconnect.session_expiry_secs = Some(60);
            let auth = Auth {
                reason: ReasonCode::ContinueAuthentication,
                method: Some("SCRAM-SHA-256"),
                data: Some(b"n,,n=user,r=fyko"),
                user,
                ..Auth::default()
            };
            self.both(&Packet::Auth(auth), |peer, out| encode::auth(peer, &auth, out));
        }
        self.both(&Packet::Disconnect(disconnect), |peer, out| encode::disconnect(peer, &disconnect, out));
    }

    /// Both ways, for a packet that is equal to itself once encoded and decoded.
    fn both(&mut self, packet: &Packet<'_>, encode: impl Fn(Peer, &mut Vec<u8>) -> Result<(), TooLarge>) {
        let version = self.version;
        self.decoded(packet.kind(), encode, |bytes| {
            let frame = split_frame(bytes, u32::MAX).unwrap().unwrap();
            decode(version, &frame).unwrap() == *packet
        });
    }

    /// Both ways; `is_right` judges the encoded bytes.
    fn decoded(
        &mut self,
        kind: PacketKind,
        encode: impl Fn(Peer, &mut Vec<u8>) -> Result<(), TooLarge>,
        is_right: impl Fn(&[u8]) -> bool,
    ) {
        let (version, peer) = (self.version, Peer::new(self.version));
        let mut bytes = Vec::new();
        encode(peer, &mut bytes).unwrap();
        assert!(is_right(&bytes), "{} of {version:?} is {bytes:?}", kind.name());
        let number = if version.is_v5() { "5" } else { "3.1.1" };
        self.criterion.bench_function(&format!("decode/{number}/{}", kind.name()), |bencher| {
            bencher.iter(|| {
                let frame = split_frame(black_box(&bytes), u32::MAX).unwrap().unwrap();
                let packet = decode(version, &frame).unwrap();
                assert!(packet.kind() == kind && frame.total == bytes.len());
                black_box(&packet);
            });
        });
        let mut out = Vec::with_capacity(bytes.len());
        self.criterion.bench_function(&format!("encode/{number}/{}", kind.name()), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(black_box(peer), &mut out).unwrap();
                assert_eq!(black_box(&out).len(), bytes.len());
            });
            assert_eq!(out, bytes);
        });
    }
}
