//! SUBACK and UNSUBACK: one code per topic filter of the request, in its order.

use crate::ack::AnswerProperties;
use crate::packet::PacketKind;
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// The answer to a SUBSCRIBE or an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The packet identifier of the request.
    pub packet_id: u16,
    /// Reason codes as bytes, one per filter. Empty in an UNSUBACK of 3.x, which has none.
    pub codes: &'a [u8],
    /// For people; MQTT 5.
    pub reason_string: Option<&'a str>,
    /// MQTT 5.
    pub user: UserProperties<'a>,
}

impl<'a> SubAck<'a> {
    /// `codes` without properties.
    #[must_use]
    pub const fn new(packet_id: u16, codes: &'a [u8]) -> Self {
        Self { packet_id, codes, reason_string: None, user: UserProperties::over(&[]) }
    }

    /// The codes, in the order of the filters.
    pub fn reasons(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::try_from(code).ok())
    }

    pub(crate) fn decode_suback(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let answer = Self::decode(version, body)?;
        if answer.codes.is_empty() {
            return Err(Violation::NoTopicFilter);
        }
        let known = if version.is_v5() {
            allowed(answer.codes, PacketKind::SubAck)
        } else {
            // [MQTT-3.9.3-2@3.1.1]: other codes are reserved.
            answer.codes.iter().all(|code| matches!(code, 0..=2 | 0x80))
        };
        if known { Ok(answer) } else { Err(Violation::ReasonCodeInvalid) }
    }

    pub(crate) fn decode_unsuback(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let answer = Self::decode(version, body)?;
        match (version.is_v5(), answer.codes.is_empty()) {
            (false, false) => Err(Violation::LeftOver),
            (false, true) => Ok(answer),
            (true, true) => Err(Violation::NoTopicFilter),
            (true, false) if allowed(answer.codes, PacketKind::UnsubAck) => Ok(answer),
            (true, false) => Err(Violation::ReasonCodeInvalid),
        }
    }

    fn decode(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let mut answer = Self::new(reader.packet_id()?, &[]);
        if version.is_v5() {
            let properties = AnswerProperties::take(&mut reader)?;
            answer.reason_string = properties.reason_string;
            answer.user = properties.user;
        }
        answer.codes = reader.rest();
        Ok(answer)
    }
}

/// [MQTT-3.9.3-2] [MQTT-3.11.3-2]
fn allowed(codes: &[u8], kind: PacketKind) -> bool {
    codes.iter().all(|&code| ReasonCode::try_from(code).is_ok_and(|reason| reason.allowed_in(kind)))
}
