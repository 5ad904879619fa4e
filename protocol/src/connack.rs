//! CONNACK: the answer to CONNECT, and the terms of the server.

use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::qos::Qos;
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// The answer to CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server goes on with a stored session; never with a refusal [MQTT-3.2.2-6]. MQTT 3.1 has no such flag.
    pub session_present: bool,
    /// Success or why not. The return codes 1 to 5 of 3.x stand for 0x84, 0x85, 0x88, 0x86 and 0x87.
    pub reason: ReasonCode,
    /// MQTT 5.
    pub properties: ConnAckProperties<'a>,
}

/// What a server tells a client in CONNACK. A default stands for a property that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// Replaces what the client asked for.
    pub session_expiry_secs: Option<u32>,
    /// QoS 1 and 2 messages the server takes at once.
    pub receive_max: u16,
    /// The highest QoS of a message the server takes.
    pub qos_max: Qos,
    /// Whether the server takes retained messages.
    pub retain_available: bool,
    /// The largest packet the server takes, in bytes.
    pub packet_max: Option<u32>,
    /// Set if the client sent an empty client identifier [MQTT-3.2.2-16].
    pub assigned_client_id: Option<&'a str>,
    /// Topic aliases the server takes.
    pub topic_alias_max: u16,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// Whether wildcard subscriptions are possible.
    pub wildcard_available: bool,
    /// Whether subscription identifiers are possible.
    pub subscription_ids_available: bool,
    /// Whether shared subscriptions are possible.
    pub shared_available: bool,
    /// The client has to use this keep-alive [MQTT-3.1.2-21].
    pub server_keep_alive_secs: Option<u16>,
    /// Basis for response topics.
    pub response_info: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// That of CONNECT.
    pub auth_method: Option<&'a str>,
    /// Meaning given by the method.
    pub auth_data: Option<&'a [u8]>,
    /// As sent.
    pub user: UserProperties<'a>,
}

impl Default for ConnAckProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_secs: None,
            receive_max: u16::MAX,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
            packet_max: None,
            assigned_client_id: None,
            topic_alias_max: 0,
            reason_string: None,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive_secs: None,
            response_info: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
            user: UserProperties::default(),
        }
    }
}

impl<'a> ConnAck<'a> {
    /// A refusal, without properties.
    #[must_use]
    pub fn refusal(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: ConnAckProperties::default() }
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        // [MQTT-3.2.2-1]; in MQTT 3.1 the byte is reserved and says nothing.
        if flags > 1 && version != Version::V31 {
            return Err(Violation::SessionPresentInvalid);
        }
        let session_present = flags == 1 && version != Version::V31;
        let code = reader.u8()?;
        let reason = if version.is_v5() { v5_reason(code) } else { v3_reason(code) };
        let reason = reason.ok_or(Violation::ReasonCodeInvalid)?;
        // [MQTT-3.2.2-6]
        if session_present && reason != ReasonCode::Success {
            return Err(Violation::SessionPresentInvalid);
        }
        let mut properties = ConnAckProperties::default();
        if version.is_v5() {
            properties.read(take_properties(&mut reader)?)?;
        }
        reader.finish()?;
        Ok(Self { session_present, reason, properties })
    }
}

impl<'a> ConnAckProperties<'a> {
    fn read(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::CONNACK);
        while let Some(property) = walk.next()? {
            match property {
                Property::SessionExpiry(secs) => self.session_expiry_secs = Some(secs),
                Property::ReceiveMax(max) => self.receive_max = max,
                Property::QosMax(one) => self.qos_max = if one { Qos::AtLeastOnce } else { Qos::AtMostOnce },
                Property::RetainAvailable(available) => self.retain_available = available,
                Property::PacketMax(bytes) => self.packet_max = Some(bytes),
                Property::AssignedClientId(client_id) => self.assigned_client_id = Some(client_id),
                Property::TopicAliasMax(max) => self.topic_alias_max = max,
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::WildcardAvailable(available) => self.wildcard_available = available,
                Property::SubscriptionIdsAvailable(available) => self.subscription_ids_available = available,
                Property::SharedAvailable(available) => self.shared_available = available,
                Property::ServerKeepAlive(secs) => self.server_keep_alive_secs = Some(secs),
                Property::ResponseInfo(info) => self.response_info = Some(info),
                Property::ServerReference(server) => self.server_reference = Some(server),
                Property::AuthMethod(method) => self.auth_method = Some(method),
                Property::AuthData(data) => self.auth_data = Some(data),
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        Ok(())
    }
}

/// [MQTT-3.2.2-8]
fn v5_reason(code: u8) -> Option<ReasonCode> {
    let reason = ReasonCode::try_from(code).ok()?;
    reason.allowed_in(crate::packet::PacketKind::ConnAck).then_some(reason)
}

const fn v3_reason(code: u8) -> Option<ReasonCode> {
    Some(match code {
        0 => ReasonCode::Success,
        1 => ReasonCode::UnsupportedProtocolVersion,
        2 => ReasonCode::ClientIdentifierNotValid,
        3 => ReasonCode::ServerUnavailable,
        4 => ReasonCode::BadUserNameOrPassword,
        5 => ReasonCode::NotAuthorized,
        _ => return None,
    })
}
