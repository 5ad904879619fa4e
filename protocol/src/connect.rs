//! CONNECT: who the client is, its will, and its terms.
//!
//! Whether an empty client identifier is acceptable (MQTT-3.1.3-6 to 3.1.3-8) and whether credentials are good
//! is the engine's; here the packet is only read.

use crate::frame::Frame;
use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::publish::{response_topic, will_topic};
use crate::qos::Qos;
use crate::reader::Reader;
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The protocol of the connection from here on.
    pub version: Version,
    /// Start without a stored session. Clean Session of 3.x, which also ends the session with the connection.
    pub clean_start: bool,
    /// 0 turns keep-alive off.
    pub keep_alive_secs: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// Published when the connection ends without a normal DISCONNECT.
    pub will: Option<Will<'a>>,
    /// As sent, possibly empty.
    pub username: Option<&'a str>,
    /// As sent, possibly empty.
    pub password: Option<&'a [u8]>,
    /// MQTT 5.
    pub properties: ConnectProperties<'a>,
}

/// A message left with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// QoS to publish with.
    pub qos: Qos,
    /// Publish as a retained message.
    pub retain: bool,
    /// A checked topic name (its limits were not).
    pub topic: &'a str,
    /// At most 65,535 bytes.
    pub payload: &'a [u8],
    /// MQTT 5.
    pub properties: WillProperties<'a>,
}

/// The properties of a will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WillProperties<'a> {
    /// As on the wire, without their length; [`crate::forwardable_properties`] takes from it what goes with the message.
    pub raw: &'a [u8],
    /// How long to wait before publishing.
    pub delay_secs: u32,
    /// Lifetime of the message once published.
    pub message_expiry: Option<u32>,
    /// Payload Format Indicator 1: the payload claims to be UTF-8.
    pub payload_is_utf8: bool,
    /// Type of the payload.
    pub content_type: Option<&'a str>,
    /// Where to answer; no wildcards.
    pub response_topic: Option<&'a str>,
    /// For the requester of the response.
    pub correlation_data: Option<&'a [u8]>,
    /// As sent.
    pub user: UserProperties<'a>,
}

/// What a client tells a server in CONNECT. A default stands for a property that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// 0: the session ends with the connection; `u32::MAX`: never.
    pub session_expiry_secs: u32,
    /// QoS 1 and 2 messages the client takes at once.
    pub receive_max: u16,
    /// The largest packet the client takes, in bytes.
    pub packet_max: Option<u32>,
    /// Topic aliases the client takes.
    pub topic_alias_max: u16,
    /// Whether the client wants Response Information.
    pub request_response_info: bool,
    /// Whether reason strings and user properties may be sent in packets other than PUBLISH, CONNACK and DISCONNECT.
    pub request_problem_info: bool,
    /// Enhanced authentication.
    pub auth_method: Option<&'a str>,
    /// Meaning given by the method.
    pub auth_data: Option<&'a [u8]>,
    /// As sent.
    pub user: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_secs: 0,
            receive_max: u16::MAX,
            packet_max: None,
            topic_alias_max: 0,
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            user: UserProperties::default(),
        }
    }
}

/// The connect flags (section 3.1.2.3).
pub(crate) mod flag {
    pub(crate) const RESERVED: u8 = 0x01;
    pub(crate) const CLEAN_START: u8 = 0x02;
    pub(crate) const WILL: u8 = 0x04;
    pub(crate) const WILL_QOS: u8 = 0x18;
    pub(crate) const WILL_RETAIN: u8 = 0x20;
    pub(crate) const PASSWORD: u8 = 0x40;
    pub(crate) const USERNAME: u8 = 0x80;
}

/// Decodes a CONNECT, which names its version itself.
///
/// # Errors
/// [`Violation::ConnectExpected`] if the frame is another packet, [`Violation::UnsupportedVersion`] for a level that is
/// not 3, 4 or 5 under its name (a bridge's 0x83 and 0x84 too), else the first rule that the packet breaks.
pub fn decode_connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, Violation> {
    if frame.first >> 4 != 1 {
        return Err(Violation::ConnectExpected);
    }
    if frame.first & 0x0F != 0 {
        return Err(Violation::FlagsReserved);
    }
    let mut reader = Reader::new(frame.body);
    let version = version(&mut reader)?;
    let flags = reader.u8()?;
    check_flags(version, flags)?;
    let keep_alive_secs = reader.u16()?;
    let mut properties = ConnectProperties::default();
    if version.is_v5() {
        properties.read(take_properties(&mut reader)?)?;
    }
    // From here on the order of [MQTT-3.1.3-1], beginning with the client identifier [MQTT-3.1.3-3] [MQTT-3.1.3-4].
    let client_id = reader.string()?;
    // [MQTT-3.1.2-9]
    let will = if flags & flag::WILL != 0 { Some(read_will(version, flags, &mut reader)?) } else { None };
    // [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-12]. But MQTT 3.1 lets a client set
    // these flags and leave the fields out.
    let left_out = |reader: &Reader<'_>| version == Version::V31 && reader.is_empty();
    let username =
        if flags & flag::USERNAME == 0 || left_out(&reader) { None } else { Some(reader.string()?) };
    let password =
        if flags & flag::PASSWORD == 0 || left_out(&reader) { None } else { Some(reader.binary()?) };
    reader.finish()?;
    let clean_start = flags & flag::CLEAN_START != 0;
    Ok(Connect { version, clean_start, keep_alive_secs, client_id, will, username, password, properties })
}

/// Protocol name and level [MQTT-3.1.2-1] [MQTT-3.1.2-2].
fn version(reader: &mut Reader<'_>) -> Result<Version, Violation> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Violation::ProtocolName);
    }
    match (name, reader.u8()?) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (_, level) => Err(Violation::UnsupportedVersion { level }),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), Violation> {
    // [MQTT-3.1.2-3]; MQTT 3.1 leaves the bit unused.
    if flags & flag::RESERVED != 0 && version != Version::V31 {
        return Err(Violation::ConnectFlagReserved);
    }
    let will_bits = flags & (flag::WILL_QOS | flag::WILL_RETAIN);
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]; MQTT 3.1 says that they are ignored then.
    if flags & flag::WILL == 0 && will_bits != 0 && version != Version::V31 {
        return Err(Violation::WillFlags);
    }
    // [MQTT-3.1.2-12]
    if flags & flag::WILL != 0 && flags & flag::WILL_QOS == flag::WILL_QOS {
        return Err(Violation::WillFlags);
    }
    // [MQTT-3.1.2-22@3.1.1]. MQTT 5 allows a password alone.
    if !version.is_v5() && flags & flag::PASSWORD != 0 && flags & flag::USERNAME == 0 {
        return Err(Violation::PasswordWithoutUsername);
    }
    Ok(())
}

fn read_will<'a>(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Will<'a>, Violation> {
    let mut properties = WillProperties::default();
    if version.is_v5() {
        properties.read(take_properties(reader)?)?;
    }
    // [MQTT-3.1.3-11]
    let topic = will_topic(reader)?;
    let payload = reader.binary()?;
    // [MQTT-3.1.2-14] [MQTT-3.1.2-15] and the QoS of [MQTT-3.1.2-9]
    let qos = Qos::from_bits(flags >> 3).ok_or(Violation::WillFlags)?;
    Ok(Will { qos, retain: flags & flag::WILL_RETAIN != 0, topic, payload, properties })
}

impl<'a> ConnectProperties<'a> {
    fn read(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::CONNECT);
        while let Some(property) = walk.next()? {
            match property {
                Property::SessionExpiry(secs) => self.session_expiry_secs = secs,
                Property::ReceiveMax(max) => self.receive_max = max,
                Property::PacketMax(bytes) => self.packet_max = Some(bytes),
                Property::TopicAliasMax(max) => self.topic_alias_max = max,
                Property::RequestResponseInfo(wanted) => self.request_response_info = wanted,
                Property::RequestProblemInfo(wanted) => self.request_problem_info = wanted,
                Property::AuthMethod(method) => self.auth_method = Some(method),
                Property::AuthData(data) => self.auth_data = Some(data),
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        // Section 3.1.2.11.10: data without a method is a protocol error.
        if self.auth_data.is_some() && self.auth_method.is_none() {
            return Err(Violation::AuthDataWithoutMethod);
        }
        Ok(())
    }
}

impl<'a> WillProperties<'a> {
    fn read(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.raw = raw;
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::WILL);
        while let Some(property) = walk.next()? {
            match property {
                Property::WillDelay(secs) => self.delay_secs = secs,
                Property::MessageExpiry(secs) => self.message_expiry = Some(secs),
                Property::PayloadFormat(utf8) => self.payload_is_utf8 = utf8,
                Property::ContentType(content) => self.content_type = Some(content),
                Property::ResponseTopic(topic) => self.response_topic = Some(response_topic(topic)?),
                Property::CorrelationData(data) => self.correlation_data = Some(data),
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        Ok(())
    }
}
