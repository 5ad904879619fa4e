//! Cutting packets from a stream.

use bitsim_protocol::{PACKET_BYTES_MAX, Violation, first_byte_ok, split_frame};

use crate::hostile::Dice;
use crate::notation::bytes;

/// A packet of `body` bytes with its length in the shortest form.
fn packet(body: usize) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut rest = body;
    while rest > 127 {
        packet.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    packet.push(u8::try_from(rest).unwrap());
    packet.resize(packet.len() + body, 7);
    packet
}

/// Section 1.5.5: the sizes at which the length takes one more byte.
#[test]
fn lengths_of_each_form_are_read() {
    for (body, header) in
        [(0, 2), (127, 2), (128, 3), (16_383, 3), (16_384, 4), (2_097_151, 4), (2_097_152, 5)]
    {
        let packet = packet(body);
        let frame = split_frame(&packet, PACKET_BYTES_MAX).unwrap().unwrap();
        assert_eq!((frame.first, frame.body.len(), frame.total), (0x30, body, header + body));
        assert_eq!(frame.bytes, packet);
    }
}

/// [MQTT-3.2.2-15]: the whole packet counts, and its length is enough to refuse it.
#[test]
fn a_packet_over_the_maximum_is_refused_before_it_is_there() {
    let packet = packet(200);
    assert_eq!(split_frame(&packet, 203).unwrap().unwrap().total, 203);
    for had in 3..packet.len() {
        assert_eq!(split_frame(&packet[..had], 202), Err(Violation::PacketTooLarge));
    }
    assert_eq!(split_frame(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1 << 20), Err(Violation::PacketTooLarge));
    assert_eq!(split_frame(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], PACKET_BYTES_MAX), Ok(None));
}

/// A fifth length byte is not waited for: the fourth says that there would be one.
#[test]
fn a_length_of_five_bytes_is_refused_at_its_fourth() {
    assert_eq!(split_frame(&[0x10, 0xFF, 0xFF, 0xFF], PACKET_BYTES_MAX), Ok(None));
    let refused = split_frame(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF], PACKET_BYTES_MAX);
    assert_eq!(refused, Err(Violation::LengthMalformed));
}

/// [MQTT-3.1.0-1]
#[test]
fn only_connect_may_start() {
    let starts: Vec<u8> = (0..=u8::MAX).filter(|&first| first_byte_ok(first)).collect();
    assert_eq!(starts, [0x10]);
}

#[test]
fn chunks_of_any_size_give_the_packets_of_the_whole() {
    let mut dice = Dice::new(1);
    let sizes = [0, 1, 2, 126, 127, 128, 300, 16_383, 16_384, 20_000];
    let whole: Vec<u8> = sizes.iter().flat_map(|&size| packet(size)).collect();
    for _ in 0..50 {
        let (mut held, mut seen) = (Vec::new(), Vec::new());
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let longest = [3, 200, 9_000][dice.below(3)];
            let chunk = (dice.below(longest) + 1).min(rest.len());
            held.extend_from_slice(&rest[..chunk]);
            rest = &rest[chunk..];
            while let Some(frame) = split_frame(&held, PACKET_BYTES_MAX).unwrap() {
                seen.push(frame.body.len());
                let total = frame.total;
                held.drain(..total);
            }
        }
        assert!(held.is_empty());
        assert_eq!(seen, sizes);
    }
}

#[test]
fn what_follows_a_packet_is_left_alone() {
    let two = bytes("C0 00 E0 00");
    let frame = split_frame(&two, PACKET_BYTES_MAX).unwrap().unwrap();
    assert_eq!((frame.first, frame.bytes), (0xC0, &two[..2]));
}
