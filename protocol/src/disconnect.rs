//! DISCONNECT: from a client in every version, from a server in MQTT 5.

use crate::ack::reason;
use crate::packet::PacketKind;
use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// The last packet of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; Normal disconnection in 3.x.
    pub reason: ReasonCode,
    /// Replaces the session expiry of CONNECT; clients only.
    pub session_expiry_secs: Option<u32>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// Another server to use; servers only.
    pub server_reference: Option<&'a str>,
    /// As sent.
    pub user: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// `reason`, without properties: among them the session expiry, which a server never sends [MQTT-3.14.2-2].
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let mut disconnect = Self::default();
        // Without reason and properties: Normal disconnection (section 3.14.2.1).
        if body.is_empty() {
            return Ok(disconnect);
        }
        if !version.is_v5() {
            return Err(Violation::LeftOver);
        }
        let mut reader = Reader::new(body);
        disconnect.reason = reason(&mut reader, PacketKind::Disconnect)?;
        if !reader.is_empty() {
            disconnect.read_properties(take_properties(&mut reader)?)?;
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::DISCONNECT);
        while let Some(property) = walk.next()? {
            match property {
                Property::SessionExpiry(secs) => self.session_expiry_secs = Some(secs),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::ServerReference(server) => self.server_reference = Some(server),
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        Ok(())
    }
}
