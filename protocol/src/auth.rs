//! AUTH, the exchange of enhanced authentication (MQTT 5, section 3.15).

use crate::ack::reason;
use crate::packet::PacketKind;
use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::user_properties::UserProperties;
use crate::violation::Violation;

/// One step of enhanced authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Has to be that of CONNECT [MQTT-4.12.0-5].
    pub method: Option<&'a str>,
    /// Meaning given by the method.
    pub data: Option<&'a [u8]>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// As sent.
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut auth = Self::default();
        // Without reason and properties: Success (section 3.15.2.1).
        if body.is_empty() {
            return Ok(auth);
        }
        let mut reader = Reader::new(body);
        auth.reason = reason(&mut reader, PacketKind::Auth)?;
        if !reader.is_empty() {
            auth.read_properties(take_properties(&mut reader)?)?;
        }
        reader.finish()?;
        Ok(auth)
    }

    fn read_properties(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::AUTH);
        while let Some(property) = walk.next()? {
            match property {
                Property::AuthMethod(method) => self.method = Some(method),
                Property::AuthData(data) => self.data = Some(data),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        // Authentication Data without a method is a protocol error (section 3.15.2.2.3 with 3.1.2.11.10).
        if self.data.is_some() && self.method.is_none() {
            return Err(Violation::AuthDataWithoutMethod);
        }
        Ok(())
    }
}
