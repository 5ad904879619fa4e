//! The closed lists: reason codes, violations, packet types.

use std::collections::BTreeSet;

use bitsim_protocol::{PacketKind, Qos, ReasonCode, Violation};

/// Section 2.4: 43 codes, numbers as in the table.
#[test]
fn reason_codes_are_those_of_the_specification() {
    let numbers: Vec<u8> = ReasonCode::ALL.iter().map(|&code| code.into()).collect();
    let mut expected = vec![0, 1, 2, 4, 0x10, 0x11, 0x18, 0x19];
    expected.extend(0x80..=0xA2);
    assert_eq!(numbers, expected);
    for number in 0..=u8::MAX {
        let code = ReasonCode::try_from(number);
        assert_eq!(code.is_ok(), expected.contains(&number));
        if let Ok(code) = code {
            assert_eq!(u8::from(code), number);
            assert_eq!(code.is_error(), number >= 0x80);
        }
    }
}

/// Section 2.4, column "Packets", by the number of codes that each packet has in its own table.
#[test]
fn packets_have_the_codes_of_their_tables() {
    let counts = [
        (PacketKind::ConnAck, 22),
        (PacketKind::PubAck, 9),
        (PacketKind::PubRec, 9),
        (PacketKind::PubRel, 2),
        (PacketKind::PubComp, 2),
        (PacketKind::SubAck, 12),
        (PacketKind::UnsubAck, 7),
        (PacketKind::Auth, 3),
        (PacketKind::Publish, 0),
        (PacketKind::Connect, 0),
    ];
    for (kind, count) in counts {
        let codes: Vec<_> = ReasonCode::ALL.iter().filter(|code| code.allowed_in(kind)).collect();
        assert_eq!(codes.len(), count, "{kind:?}: {codes:?}");
    }
}

#[test]
fn violations_can_be_told_apart_and_told_to_the_peer() {
    let labels: BTreeSet<&str> = Violation::ALL.iter().map(|violation| violation.label()).collect();
    assert_eq!(labels.len(), Violation::ALL.len());
    for violation in Violation::ALL {
        let reason = violation.reason_code();
        let told = reason.allowed_in(PacketKind::Disconnect) || reason.allowed_in(PacketKind::ConnAck);
        assert!(reason.is_error() && told, "{violation:?}");
        assert!(violation.to_string().ends_with('.'), "{violation}");
    }
    assert!(Violation::UnsupportedVersion { level: 6 }.to_string().ends_with("Level 6."));
}

#[test]
fn packet_types_are_numbered_from_one() {
    for (at, &kind) in PacketKind::ALL.iter().enumerate() {
        let first = u8::try_from(at + 1).unwrap() << 4;
        assert_eq!(PacketKind::of_first_byte(first), Some(kind));
        assert_eq!(PacketKind::of_first_byte(first | 0x0F), Some(kind));
    }
    assert_eq!(PacketKind::of_first_byte(0x0F), None);
}

#[test]
fn qos_is_ordered_and_bounded() {
    assert!(Qos::AtMostOnce < Qos::AtLeastOnce && Qos::AtLeastOnce < Qos::ExactlyOnce);
    assert_eq!(
        (0..5).map(|n| Qos::try_from(n).is_ok()).collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
    assert_eq!(ReasonCode::granted(Qos::ExactlyOnce), ReasonCode::GrantedQos2);
}
