//! Packet by packet against `fixtures/*.txt`.

use std::collections::BTreeSet;

use bitsim_protocol::{PACKET_BYTES_MAX, Version, Violation, decode, split_frame};

use crate::notation::{bytes, read, versions};

const REFUSED: &str = include_str!("../fixtures/refused.txt");
const ACCEPTED: &str = include_str!("../fixtures/accepted.txt");

/// Violations of a connection's rules or of configured limits, which no single packet shows.
const NOT_IN_A_PACKET: &[Violation] = &[
    Violation::PacketTooLarge,
    Violation::QosAboveMaximum,
    Violation::TopicTooLong,
    Violation::TopicTooDeep,
    Violation::FilterTooLong,
    Violation::FilterTooDeep,
    Violation::ConnectExpected,
    Violation::ConnectRepeated,
    Violation::TopicAliasUnset,
    Violation::TopicAliasBytes,
    Violation::SubscriptionIdFromClient,
    Violation::ServerOnlyPacket,
    Violation::ReceiveMaximumExceeded,
    Violation::AuthUnexpected,
    Violation::AuthMethodChanged,
    Violation::SessionExpiryFromZero,
    Violation::PacketAfterDisconnect,
];

fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(" | ").map(str::trim).collect())
}

#[test]
fn every_refused_packet_is_refused_for_its_reason() {
    for line in lines(REFUSED) {
        let [digits, packet, label, rule] = line[..] else { panic!("four columns in {line:?}") };
        let bytes = bytes(packet);
        for version in versions(digits) {
            let refused = read_partial(version, &bytes);
            assert_eq!(refused.map_err(Violation::label), Err(label), "{version:?} {packet}: {rule}");
        }
    }
}

#[test]
fn every_accepted_packet_is_accepted() {
    for line in lines(ACCEPTED) {
        let [digits, packet, rule] = line[..] else { panic!("three columns in {line:?}") };
        let bytes = bytes(packet);
        for version in versions(digits) {
            if let Err(violation) = read(version, &bytes) {
                panic!("{version:?} {packet}: {violation} ({rule})");
            }
        }
    }
}

#[test]
fn every_violation_of_a_packet_has_a_fixture() {
    let mut shown: BTreeSet<&str> = lines(REFUSED).map(|line| line[2]).collect();
    shown.extend(NOT_IN_A_PACKET.iter().map(|violation| violation.label()));
    let all: BTreeSet<&str> = Violation::ALL.iter().map(|violation| violation.label()).collect();
    assert_eq!(shown, all);
}

/// As [`read`], but `Ok` where the bytes are no whole packet, which no fixture expects.
fn read_partial(version: Version, bytes: &[u8]) -> Result<(), Violation> {
    match split_frame(bytes, PACKET_BYTES_MAX)? {
        Some(frame) => decode(version, &frame).map(drop),
        None => Ok(()),
    }
}
