//! Bytes that nobody meant: packets cut short, changed, and made up. Nothing may panic, and a packet cut short is never
//! taken for one that is whole.

use bitsim_protocol::{
    Frame, PACKET_BYTES_MAX, Packet, TopicLimits, Version, decode, decode_connect, decode_publish,
    forwardable_properties, is_forwardable, split_frame,
};

use crate::round_trip::samples;

/// A fixed sequence of numbers that look random (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[3]
    }
}

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Reads everything a packet offers.
fn exhaust(packet: &Packet<'_>) -> usize {
    match packet {
        Packet::Subscribe(subscribe) => {
            assert_eq!(subscribe.filters().count(), subscribe.filter_count);
            subscribe.user.iter().count()
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.filters().count(), unsubscribe.filter_count);
            unsubscribe.user.iter().count()
        }
        Packet::Publish(publish) => {
            let mut passed_on = Vec::new();
            forwardable_properties(publish.properties.raw, &mut passed_on);
            assert_eq!(is_forwardable(publish.properties.raw), passed_on == publish.properties.raw);
            assert_eq!(publish.properties.is_forwardable(), passed_on == publish.properties.raw);
            publish.properties.subscription_ids().count() + publish.properties.user.iter().count()
        }
        Packet::SubAck(answer) | Packet::UnsubAck(answer) => answer.reasons().count(),
        _ => 0,
    }
}

/// Decodes `bytes` as far as they go, in every version.
fn feed(bytes: &[u8]) {
    for version in VERSIONS {
        let mut rest = bytes;
        while let Ok(Some(frame)) = split_frame(rest, PACKET_BYTES_MAX) {
            if let Ok(packet) = decode(version, &frame) {
                exhaust(&packet);
            }
            let _ = decode_connect(&frame);
            let _ = decode_publish(version, &frame, &TopicLimits::default());
            rest = &rest[frame.total..];
        }
    }
}

/// Bodies whose end is where it says: the payload of a PUBLISH and the list of a SUBACK end with the packet, so a
/// shorter one is another packet. All others are refused when cut.
#[test]
fn a_body_cut_anywhere_is_refused() {
    for (version, bytes) in samples() {
        let whole = split_frame(&bytes, PACKET_BYTES_MAX).unwrap().unwrap();
        for len in 0..whole.body.len() {
            let cut = Frame { body: &whole.body[..len], ..whole };
            if let Ok(packet) = decode(version, &cut) {
                assert!(may_end_early(&packet, version, &cut), "{version:?} {packet:?} cut at {len}");
                exhaust(&packet);
            }
        }
        for len in 0..bytes.len() {
            assert_eq!(split_frame(&bytes[..len], PACKET_BYTES_MAX), Ok(None));
        }
    }
}

fn may_end_early(packet: &Packet<'_>, version: Version, cut: &Frame<'_>) -> bool {
    match packet {
        // The payload, and lists whose entry ended, have no length of their own.
        Packet::Publish(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_) => true,
        // The short forms of sections 3.4.2.1, 3.14.2.1 and 3.15.2.1.
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => cut.body.len() <= 3,
        Packet::Disconnect(_) | Packet::Auth(_) => cut.body.len() <= 1,
        // MQTT 3.1 lets user name and password be left out.
        Packet::Connect(connect) => version == Version::V31 && connect.password.is_none(),
        _ => false,
    }
}

#[test]
fn any_byte_changed_to_anything_never_panics() {
    for (_, bytes) in samples() {
        let mut changed = bytes.clone();
        for at in 0..bytes.len().min(600) {
            for to in 0..=u8::MAX {
                changed[at] = to;
                feed(&changed);
            }
            changed[at] = bytes[at];
        }
    }
}

#[test]
fn made_up_packets_never_panic() {
    let mut dice = Dice::new(2);
    for _ in 0..100_000 {
        let len = dice.below(60);
        let mut bytes = vec![dice.byte(), u8::try_from(len).unwrap()];
        // Small numbers are what lengths and identifiers are made of.
        bytes.extend((0..len).map(|_| if dice.below(3) == 0 { dice.byte() } else { dice.byte() % 48 }));
        feed(&bytes);
    }
}

/// A whole packet that was accepted is the same packet after encoding and decoding it again: see `round_trip`. Here:
/// splices of two samples.
#[test]
fn splices_never_panic() {
    let samples = samples();
    let mut dice = Dice::new(3);
    for _ in 0..20_000 {
        let (_, left) = &samples[dice.below(samples.len())];
        let (_, right) = &samples[dice.below(samples.len())];
        let mut bytes = left[..dice.below(left.len().min(200))].to_vec();
        bytes.extend_from_slice(&right[dice.below(right.len().min(200))..]);
        feed(&bytes);
    }
}
