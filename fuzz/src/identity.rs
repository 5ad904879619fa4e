//! Decode after encode is the identity: a packet that decodes, encoded and decoded again, is the same packet; and its
//! encoding is stable from then on.

use bitsim_protocol::encode::{self, Peer, PublishOut, SubscribeOut, UnsubscribeOut};
use bitsim_protocol::{Packet, Publish, Qos, Version, decode, forwardable_properties, split_frame};

use crate::source::Source;

/// First byte: version. Second: first byte of the packet. Then its body.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.pick(&[Version::V31, Version::V311, Version::V5]);
    let first = source.byte();
    let frame = framed(first, source.rest());
    let Ok(Some(whole)) = split_frame(&frame, u32::MAX) else { return };
    let Ok(packet) = decode(version, &whole) else { return };
    let once = encoded(version, &packet);
    let again = split_frame(&once, u32::MAX).unwrap().unwrap();
    assert_eq!(again.total, once.len());
    let same =
        decode(version, &again).unwrap_or_else(|violation| panic!("{packet:?} encodes to {violation}"));
    assert_same(&packet, &same);
    assert_eq!(encoded(version, &same), once, "{packet:?}");
}

/// A packet of this body.
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut rest = body.len();
    loop {
        let byte = (rest % 128) as u8;
        rest /= 128;
        frame.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    frame.extend_from_slice(body);
    frame
}

/// Equal, but that the properties of a message may stand in another order, and a default need not be said.
fn assert_same(packet: &Packet<'_>, same: &Packet<'_>) {
    match (packet, same) {
        (Packet::Publish(packet), Packet::Publish(same)) => {
            assert_eq!(forwarded(packet.properties.raw), forwarded(same.properties.raw));
            let ids = |publish: &Publish<'_>| publish.properties.subscription_ids().collect::<Vec<_>>();
            assert_eq!(ids(packet), ids(same));
            let mut same = *same;
            same.properties.raw = packet.properties.raw;
            // MQTT 3.1 lets a client set DUP at QoS 0; nobody writes it [MQTT-3.3.1-2].
            same.dup |= packet.dup && packet.qos == Qos::AtMostOnce;
            // Their bytes are elsewhere in `raw`: compared as lists.
            assert!(packet.properties.user.iter().eq(same.properties.user.iter()));
            assert_eq!(*packet, same);
        }
        (Packet::Connect(packet), Packet::Connect(same)) => {
            let mut same = *same;
            if let (Some(will), Some(same)) = (&packet.will, &mut same.will) {
                same.properties.raw = will.properties.raw;
            }
            assert_eq!(*packet, same);
        }
        (packet, same) => assert_eq!(packet, same),
    }
}

fn forwarded(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    forwardable_properties(raw, &mut out);
    out
}

/// The packet as the encoders write it.
pub fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let peer = Peer::new(version);
    let written = match packet {
        Packet::Connect(connect) => encode::connect(connect, u32::MAX, &mut out),
        Packet::ConnAck(connack) => encode::connack(peer, connack, &mut out),
        Packet::Publish(publish) => {
            encode_publish(version, publish, &mut out);
            Ok(())
        }
        Packet::PubAck(ack) => encode::puback(peer, ack, &mut out),
        Packet::PubRec(ack) => encode::pubrec(peer, ack, &mut out),
        Packet::PubRel(ack) => encode::pubrel(peer, ack, &mut out),
        Packet::PubComp(ack) => encode::pubcomp(peer, ack, &mut out),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> = subscribe.filters().collect();
            let parts = SubscribeOut {
                packet_id: subscribe.packet_id,
                subscription_id: subscribe.subscription_id,
                filters: &filters,
                user: subscribe.user,
            };
            encode::subscribe(peer, &parts, &mut out)
        }
        Packet::SubAck(answer) => encode::suback(peer, answer, &mut out),
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<_> = unsubscribe.filters().collect();
            let parts = UnsubscribeOut {
                packet_id: unsubscribe.packet_id,
                filters: &filters,
                user: unsubscribe.user,
            };
            encode::unsubscribe(peer, &parts, &mut out)
        }
        Packet::UnsubAck(answer) => encode::unsuback(peer, answer, &mut out),
        Packet::PingReq => {
            encode::pingreq(&mut out);
            Ok(())
        }
        Packet::PingResp => {
            encode::pingresp(&mut out);
            Ok(())
        }
        Packet::Disconnect(disconnect) => encode::disconnect(peer, disconnect, &mut out),
        Packet::Auth(auth) => encode::auth(peer, auth, &mut out),
    };
    written.expect("a packet that was framed can be framed");
    out
}

fn encode_publish(version: Version, publish: &Publish<'_>, out: &mut Vec<u8>) {
    let ids: Vec<u32> = publish.properties.subscription_ids().collect();
    let properties = forwarded(publish.properties.raw);
    let parts = PublishOut {
        version,
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        topic_alias: publish.properties.topic_alias,
        packet_id: publish.packet_id,
        message_expiry: publish.properties.message_expiry,
        subscription_ids: &ids,
        properties: &properties,
        payload: publish.payload,
    };
    let written = encode::publish(&parts, u32::MAX, out).expect("a packet that was framed can be framed");
    assert_eq!((written.total, encode::publish_len(&parts)), (out.len(), out.len()));
    if let Some(at) = written.packet_id_at {
        assert_eq!(out[at..at + 2], publish.packet_id.to_be_bytes());
    }
}
