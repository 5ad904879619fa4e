//! Acknowledgements, DISCONNECT and AUTH.
//!
//! MQTT 3.x has no reason codes in them: failures become what it knows, or nothing.

use super::{Peer, TooLarge, packet, properties};
use crate::ack::Ack;
use crate::auth::Auth;
use crate::disconnect::Disconnect;
use crate::packet::PacketKind;
use crate::property::{id, put};
use crate::reason::ReasonCode;
use crate::suback::SubAck;
use crate::user_properties::UserProperties;

/// Appends a PUBACK.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn puback(peer: Peer, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    acknowledgement(PacketKind::PubAck, peer, ack, out)
}

/// Appends a PUBREC.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn pubrec(peer: Peer, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    acknowledgement(PacketKind::PubRec, peer, ack, out)
}

/// Appends a PUBREL.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn pubrel(peer: Peer, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    acknowledgement(PacketKind::PubRel, peer, ack, out)
}

/// Appends a PUBCOMP.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn pubcomp(peer: Peer, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    acknowledgement(PacketKind::PubComp, peer, ack, out)
}

/// Appends a SUBACK; 3.x is told 0x80 for every failure.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn suback(peer: Peer, answer: &SubAck<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let codes = |out: &mut Vec<u8>| {
        if peer.version.is_v5() {
            out.extend_from_slice(answer.codes);
        } else {
            out.extend(answer.codes.iter().map(|&code| code.min(0x80)));
        }
    };
    subscription_answer(PacketKind::SubAck, peer, answer, out, codes)
}

/// Appends an UNSUBACK; that of 3.x has no codes.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without properties.
pub fn unsuback(peer: Peer, answer: &SubAck<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let codes = |out: &mut Vec<u8>| {
        if peer.version.is_v5() {
            out.extend_from_slice(answer.codes);
        }
    };
    subscription_answer(PacketKind::UnsubAck, peer, answer, out, codes)
}

/// Appends a DISCONNECT. A server sends none to 3.x peers; a client's has no reason there.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without reason string and user properties.
pub fn disconnect(peer: Peer, disconnect: &Disconnect<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let first = PacketKind::Disconnect.first_byte();
    if !peer.version.is_v5() {
        return packet(out, first, peer.packet_max, |_| {});
    }
    let bare = disconnect.session_expiry_secs.is_none() && disconnect.server_reference.is_none();
    let said = Said { reason_string: disconnect.reason_string, user: disconnect.user };
    if bare && said.is_empty() {
        // Section 3.14.2.1: Normal disconnection without properties needs no body.
        let silent = disconnect.reason == ReasonCode::NORMAL_DISCONNECTION;
        let code = [disconnect.reason as u8];
        return packet(out, first, peer.packet_max, |out| {
            out.extend_from_slice(if silent { &[] } else { &code });
        });
    }
    said.or_less(out, |out, said| {
        packet(out, first, peer.packet_max, |out| {
            out.push(disconnect.reason as u8);
            properties(out, |out| {
                if let Some(secs) = disconnect.session_expiry_secs {
                    put::property_u32(out, id::SESSION_EXPIRY, secs);
                }
                put::property_string(out, id::SERVER_REFERENCE, disconnect.server_reference);
                said.put(out);
            });
        })
    })
}

/// Appends an AUTH; only MQTT 5 has it.
///
/// # Errors
/// [`TooLarge`] if the peer cannot take it even without reason string and user properties.
pub fn auth(peer: Peer, auth: &Auth<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let first = PacketKind::Auth.first_byte();
    let said = Said { reason_string: auth.reason_string, user: auth.user };
    let bare = auth.method.is_none() && auth.data.is_none() && said.is_empty();
    // Section 3.15.2.1: Success without properties needs no body.
    if bare && auth.reason == ReasonCode::Success {
        return packet(out, first, peer.packet_max, |_| {});
    }
    said.or_less(out, |out, said| {
        packet(out, first, peer.packet_max, |out| {
            out.push(auth.reason as u8);
            properties(out, |out| {
                put::property_string(out, id::AUTH_METHOD, auth.method);
                put::property_binary(out, id::AUTH_DATA, auth.data);
                said.put(out);
            });
        })
    })
}

#[inline]
fn acknowledgement(kind: PacketKind, peer: Peer, ack: &Ack<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    // [MQTT-2.2.1-5]
    let [high, low] = ack.packet_id.to_be_bytes();
    let said = Said { reason_string: ack.reason_string, user: ack.user };
    // Section 3.4.2.1: Success without properties is left out.
    let short = !peer.version.is_v5() || (ack.reason == ReasonCode::Success && said.is_empty());
    if short {
        if peer.packet_max < 4 {
            return Err(TooLarge);
        }
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
        return Ok(());
    }
    said.or_less(out, |out, said| {
        packet(out, kind.first_byte(), peer.packet_max, |out| {
            out.extend_from_slice(&[high, low, ack.reason as u8]);
            if !said.is_empty() {
                properties(out, |out| said.put(out));
            }
        })
    })
}

fn subscription_answer(
    kind: PacketKind,
    peer: Peer,
    answer: &SubAck<'_>,
    out: &mut Vec<u8>,
    codes: impl Fn(&mut Vec<u8>),
) -> Result<(), TooLarge> {
    let said = Said { reason_string: answer.reason_string, user: answer.user };
    said.or_less(out, |out, said| {
        packet(out, kind.first_byte(), peer.packet_max, |out| {
            // [MQTT-2.2.1-6]
            out.extend_from_slice(&answer.packet_id.to_be_bytes());
            if peer.version.is_v5() {
                properties(out, |out| said.put(out));
            }
            codes(out);
        })
    })
}

/// What an answer says beyond its code; may be left out.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) reason_string: Option<&'a str>,
    pub(super) user: UserProperties<'a>,
}

impl Said<'_> {
    const NOTHING: Self = Self { reason_string: None, user: UserProperties::over(&[]) };

    pub(super) const fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user.is_empty()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put::property_string(out, id::REASON_STRING, self.reason_string);
        for (name, value) in self.user.iter() {
            put::user(out, name, value);
        }
    }

    /// Writes with all of it; if that is too large without user properties; else with nothing of it. Reason string and
    /// user properties of PUBACK [MQTT-3.4.2-2] [MQTT-3.4.2-3], PUBREC [MQTT-3.5.2-2] [MQTT-3.5.2-3], PUBREL [MQTT-3.6.2-2]
    /// [MQTT-3.6.2-3], PUBCOMP [MQTT-3.7.2-2] [MQTT-3.7.2-3], SUBACK [MQTT-3.9.2-1] [MQTT-3.9.2-2], UNSUBACK
    /// [MQTT-3.11.2-1] [MQTT-3.11.2-2], DISCONNECT [MQTT-3.14.2-3] [MQTT-3.14.2-4] and AUTH [MQTT-3.15.2-2]
    /// [MQTT-3.15.2-3].
    pub(super) fn or_less(
        &self,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut Vec<u8>, &Self) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        if write(out, self).is_ok() {
            return Ok(());
        }
        if !self.user.is_empty() && self.reason_string.is_some() {
            let text = Self { user: UserProperties::over(&[]), ..*self };
            if write(out, &text).is_ok() {
                return Ok(());
            }
        }
        write(out, &Self::NOTHING)
    }
}
