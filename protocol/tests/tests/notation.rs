//! The notation in which packets are written down: hex, `"string"`, `'bytes'`, `[ length-prefixed ]`.

use bitsim_protocol::{PACKET_BYTES_MAX, Packet, Version, Violation, decode, split_frame};

/// The bytes of a packet in the notation of the fixtures.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut open: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '"' | '\'' => {
                let end = rest[1..].find(first).expect("a closing quote") + 1;
                (&rest[..=end], &rest[end + 1..])
            }
            _ => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        match first {
            '[' => open.push(Vec::new()),
            ']' => {
                let inner = open.pop().expect("an open bracket");
                let outer = open.last_mut().expect("an open bracket");
                outer.extend(length(inner.len()));
                outer.extend(inner);
            }
            '"' => {
                let inner = &token[1..token.len() - 1];
                let top = open.last_mut().unwrap();
                top.extend(u16::try_from(inner.len()).unwrap().to_be_bytes());
                top.extend(inner.as_bytes());
            }
            '\'' => open.last_mut().unwrap().extend(&token.as_bytes()[1..token.len() - 1]),
            _ => open.last_mut().unwrap().extend(hex(token)),
        }
        rest = after.trim_start();
    }
    assert_eq!(open.len(), 1, "unbalanced brackets in {text}");
    open.remove(0)
}

/// Frames and decodes one packet that is all of `bytes`.
pub(crate) fn read(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Violation> {
    let frame = split_frame(bytes, PACKET_BYTES_MAX)?.expect("a whole packet");
    assert_eq!(frame.total, bytes.len());
    decode(version, &frame)
}

/// The versions that digits name.
pub(crate) fn versions(digits: &str) -> impl Iterator<Item = Version> + '_ {
    digits.trim().chars().map(|digit| match digit {
        '3' => Version::V31,
        '4' => Version::V311,
        '5' => Version::V5,
        other => panic!("no version {other}"),
    })
}

fn hex(token: &str) -> Vec<u8> {
    assert!(token.len().is_multiple_of(2), "half a byte in {token}");
    (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).expect(token)).collect()
}

fn length(mut len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(len % 128).unwrap();
        len /= 128;
        if len == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
