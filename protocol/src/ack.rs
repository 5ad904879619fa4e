//! PUBACK, PUBREC, PUBREL and PUBCOMP, which have one shape.

use crate::packet::PacketKind;
use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// The answer to a PUBLISH, or to such an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier, never 0.
    pub packet_id: u16,
    /// The outcome; Success in 3.x, which has none.
    pub reason: ReasonCode,
    /// For people; MQTT 5.
    pub reason_string: Option<&'a str>,
    /// MQTT 5.
    pub user: UserProperties<'a>,
}

impl Ack<'_> {
    /// Success, without properties.
    #[must_use]
    pub const fn success(packet_id: u16) -> Self {
        Self::new(packet_id, ReasonCode::Success)
    }

    /// `reason`, without properties.
    #[must_use]
    pub const fn new(packet_id: u16, reason: ReasonCode) -> Self {
        Self { packet_id, reason, reason_string: None, user: UserProperties::over(&[]) }
    }
}

/// Reads the body of a packet of `kind`.
#[inline]
pub(crate) fn decode(kind: PacketKind, version: Version, body: &[u8]) -> Result<Ack<'_>, Violation> {
    let mut reader = Reader::new(body);
    let mut ack = Ack::success(reader.packet_id()?);
    if reader.is_empty() {
        return Ok(ack);
    }
    if !version.is_v5() {
        return Err(Violation::LeftOver);
    }
    ack.reason = reason(&mut reader, kind)?;
    // The property length may be left out when there is none (section 3.4.2.2.1).
    if !reader.is_empty() {
        let answer = AnswerProperties::take(&mut reader)?;
        ack.reason_string = answer.reason_string;
        ack.user = answer.user;
    }
    reader.finish()?;
    Ok(ack)
}

/// A reason code that a packet of `kind` may carry: [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1],
/// [MQTT-3.14.2-1], [MQTT-3.15.2-1].
pub(crate) fn reason(reader: &mut Reader<'_>, kind: PacketKind) -> Result<ReasonCode, Violation> {
    match ReasonCode::try_from(reader.u8()?) {
        Ok(reason) if reason.allowed_in(kind) => Ok(reason),
        _ => Err(Violation::ReasonCodeInvalid),
    }
}

/// The properties that every answer may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerProperties<'a> {
    pub(crate) reason_string: Option<&'a str>,
    pub(crate) user: UserProperties<'a>,
}

impl<'a> AnswerProperties<'a> {
    pub(crate) fn take(reader: &mut Reader<'a>) -> Result<Self, Violation> {
        let raw = take_properties(reader)?;
        let mut found = Self { reason_string: None, user: UserProperties::over(raw) };
        let mut walk = PropertyWalk::new(raw, IdSet::ACK);
        while let Some(property) = walk.next()? {
            match property {
                Property::ReasonString(text) => found.reason_string = Some(text),
                Property::User(name, value) => found.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        Ok(found)
    }
}
