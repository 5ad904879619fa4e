//! The last events of a run, for people: what clients do, and each input and effect of each engine.
//!
//! Lines are made only while a failing seed is run again, since most runs need none.

use bitsim_protocol::{Packet, Version, decode, split_frame};
use std::collections::VecDeque;

/// Lines that are kept.
const LINES_MAX: usize = 1_000;

/// See the module.
pub(crate) struct Transcript {
    lines: VecDeque<String>,
    pub(crate) events: u64,
    wanted: bool,
}

impl Transcript {
    /// `wanted`: lines are kept.
    pub(crate) fn new(wanted: bool) -> Transcript {
        Transcript { lines: VecDeque::new(), events: 0, wanted }
    }

    /// Something that a client does, or that is done to it.
    pub(crate) fn event(&mut self, now: u64, line: impl FnOnce() -> String) {
        self.events += 1;
        self.note(now, line);
    }

    /// What follows from it.
    pub(crate) fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if !self.wanted {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{now:>8} {}", line()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Packets in words, with the serial number of a message in place of its bytes.
pub(crate) fn packets(version: Version, mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Ok(Some(frame)) = split_frame(bytes, u32::MAX) {
        words.push(match decode(version, &frame) {
            Ok(Packet::Publish(p)) => format!(
                "PUBLISH #{} {} {:?} id {} dup {} retain {}",
                p.payload.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b)),
                p.topic,
                p.qos,
                p.packet_id,
                p.dup,
                p.retain
            ),
            Ok(Packet::PubAck(a)) => format!("PUBACK {}", a.packet_id),
            Ok(Packet::PubRec(a)) => format!("PUBREC {}", a.packet_id),
            Ok(Packet::PubRel(a)) => format!("PUBREL {}", a.packet_id),
            Ok(Packet::PubComp(a)) => format!("PUBCOMP {}", a.packet_id),
            Ok(Packet::Connect(c)) => format!("CONNECT clean {}", c.clean_start),
            Ok(Packet::ConnAck(a)) => format!("CONNACK {:?} present {}", a.reason, a.session_present),
            Ok(Packet::SubAck(a)) => format!("SUBACK {}", a.packet_id),
            Ok(Packet::UnsubAck(a)) => format!("UNSUBACK {}", a.packet_id),
            Ok(Packet::Subscribe(s)) => format!("SUBSCRIBE {}", s.packet_id),
            Ok(Packet::Unsubscribe(s)) => format!("UNSUBSCRIBE {}", s.packet_id),
            Ok(Packet::Disconnect(d)) => format!("DISCONNECT {:?}", d.reason),
            Ok(other) => format!("{other:?}"),
            Err(violation) => violation.to_string(),
        });
        bytes = &bytes[frame.total..];
    }
    if !bytes.is_empty() {
        words.push(format!("{} bytes of a packet", bytes.len()));
    }
    words.join(", ")
}
