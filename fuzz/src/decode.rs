//! Decoding: cut anywhere, a stream gives the same packets and ends in the same violation as in one piece; nothing panics,
//! and what was decoded keeps what the decoder promises.

use bitsim_protocol::{
    Packet, Qos, TopicLimits, Version, Violation, decode, decode_publish, filter_matches,
    forwardable_properties, split_frame, validate_topic_name,
};

use crate::source::Source;

/// Longest packet taken, small enough for a fuzzer to meet it.
const PACKET_MAX: u32 = 2_000;

/// First byte: version. Second: how chunks are cut. Then the stream.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.pick(&[Version::V31, Version::V311, Version::V5]);
    let cuts = source.byte();
    let stream = source.rest();
    let whole = in_one_piece(version, stream);
    assert_eq!(in_chunks(version, stream, cuts), whole, "cut by {cuts}");
}

/// The packets of a stream, and what was wrong with it in the end.
type Seen = (Vec<String>, Option<Violation>);

fn in_one_piece(version: Version, mut stream: &[u8]) -> Seen {
    let mut seen = Vec::new();
    loop {
        match step(version, stream, &mut seen) {
            Ok(Some(total)) => stream = &stream[total..],
            Ok(None) => return (seen, None),
            Err(violation) => return (seen, Some(violation)),
        }
    }
}

fn in_chunks(version: Version, mut stream: &[u8], cuts: u8) -> Seen {
    let mut seen = Vec::new();
    let mut held = Vec::new();
    let mut state = u32::from(cuts) | 1 << 9;
    while !stream.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (1 + (state >> 24) as usize % (1 + usize::from(cuts >> 2))).min(stream.len());
        held.extend_from_slice(&stream[..len]);
        stream = &stream[len..];
        loop {
            match step(version, &held, &mut seen) {
                Ok(Some(total)) => drop(held.drain(..total)),
                Ok(None) => break,
                Err(violation) => return (seen, Some(violation)),
            }
        }
    }
    (seen, None)
}

/// Takes one packet; its length.
fn step(version: Version, bytes: &[u8], seen: &mut Vec<String>) -> Result<Option<usize>, Violation> {
    let Some(frame) = split_frame(bytes, PACKET_MAX)? else { return Ok(None) };
    assert_eq!(frame.bytes, &bytes[..frame.total]);
    assert!(frame.total <= PACKET_MAX as usize && frame.bytes.ends_with(frame.body));
    let packet = decode(version, &frame)?;
    keeps_promises(version, &packet);
    if let Packet::Publish(publish) = &packet {
        let strict = TopicLimits { bytes_max: 20, levels_max: 3 };
        if decode_publish(version, &frame, &strict).is_ok() {
            assert!(publish.topic.len() <= 20 && publish.topic.split('/').count() <= 3);
        }
    }
    seen.push(format!("{packet:?}"));
    Ok(Some(frame.total))
}

/// What holds for every packet that was decoded.
pub fn keeps_promises(version: Version, packet: &Packet<'_>) {
    match packet {
        Packet::Publish(publish) => {
            assert_eq!(publish.packet_id == 0, publish.qos == Qos::AtMostOnce, "[MQTT-2.2.1-3]");
            let has_alias = publish.properties.topic_alias.is_some_and(|alias| alias > 0);
            assert!(!publish.topic.is_empty() || (has_alias && version == Version::V5), "[MQTT-4.7.3-1]");
            assert!(!publish.topic.contains(['+', '#', '\0']), "[MQTT-3.3.2-2]");
            assert!(publish.topic.is_empty() || filter_matches(publish.topic, publish.topic));
            assert_eq!(publish.properties.user.iter().count(), publish.properties.user.count() as usize);
            let mut forwarded = Vec::new();
            forwardable_properties(publish.properties.raw, &mut forwarded);
            assert_eq!(publish.properties.is_forwardable(), forwarded == publish.properties.raw);
            assert_eq!(
                bitsim_protocol::is_forwardable(publish.properties.raw),
                forwarded == publish.properties.raw
            );
            assert!(bitsim_protocol::is_forwardable(&forwarded));
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            assert_ne!(ack.packet_id, 0, "[MQTT-2.2.1-3]");
            assert_eq!(ack.user.iter().count(), ack.user.count() as usize);
        }
        Packet::Subscribe(subscribe) => {
            assert_ne!(subscribe.packet_id, 0);
            assert!(subscribe.filter_count > 0, "[MQTT-3.8.3-2]");
            assert_eq!(subscribe.filters().count(), subscribe.filter_count);
            assert_ne!(subscribe.subscription_id, Some(0), "section 3.8.2.1.2");
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filter_count > 0, "[MQTT-3.10.3-2]");
            assert_eq!(unsubscribe.filters().count(), unsubscribe.filter_count);
        }
        Packet::Connect(connect) => {
            assert!(connect.properties.receive_max > 0, "section 3.1.2.11.3");
            assert_ne!(connect.properties.packet_max, Some(0));
            assert!(
                connect.version == Version::V5 || connect.password.is_none() || connect.username.is_some()
            );
            if let Some(will) = &connect.will {
                assert!(validate_topic_name(will.topic, &TopicLimits::MQTT).is_ok());
            }
        }
        Packet::Auth(_) => assert_eq!(version, Version::V5),
        _ => {}
    }
}
