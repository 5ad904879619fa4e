//! The properties of MQTT 5 (section 2.2.2): one table of identifiers, one walk over them, one writer.
//!
//! The walk checks everything that does not depend on the packet's meaning: the identifier is known and belongs to the
//! packet, it appears once (except User Property, and Subscription Identifier in PUBLISH), its value is complete and in
//! range. A set of identifiers is a bit mask, since the largest identifier is 0x2A.

use crate::reader::Reader;
use crate::violation::Violation;

pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(crate) const RESPONSE_INFO: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAX: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAX: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const QOS_MAX: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER: u8 = 0x26;
    pub(crate) const PACKET_MAX: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdSet(u64);

impl IdSet {
    pub(crate) const CONNECT: Self = Self::of(&[
        id::SESSION_EXPIRY,
        id::AUTH_METHOD,
        id::AUTH_DATA,
        id::REQUEST_PROBLEM_INFO,
        id::REQUEST_RESPONSE_INFO,
        id::RECEIVE_MAX,
        id::TOPIC_ALIAS_MAX,
        id::USER,
        id::PACKET_MAX,
    ]);
    pub(crate) const WILL: Self = Self::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::WILL_DELAY,
        id::USER,
    ]);
    pub(crate) const CONNACK: Self = Self::of(&[
        id::SESSION_EXPIRY,
        id::ASSIGNED_CLIENT_ID,
        id::SERVER_KEEP_ALIVE,
        id::AUTH_METHOD,
        id::AUTH_DATA,
        id::RESPONSE_INFO,
        id::SERVER_REFERENCE,
        id::REASON_STRING,
        id::RECEIVE_MAX,
        id::TOPIC_ALIAS_MAX,
        id::QOS_MAX,
        id::RETAIN_AVAILABLE,
        id::USER,
        id::PACKET_MAX,
        id::WILDCARD_AVAILABLE,
        id::SUBSCRIPTION_IDS_AVAILABLE,
        id::SHARED_AVAILABLE,
    ]);
    pub(crate) const PUBLISH: Self = Self::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::SUBSCRIPTION_ID,
        id::TOPIC_ALIAS,
        id::USER,
    ]);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(crate) const ACK: Self = Self::of(&[id::REASON_STRING, id::USER]);
    pub(crate) const SUBSCRIBE: Self = Self::of(&[id::SUBSCRIPTION_ID, id::USER]);
    pub(crate) const UNSUBSCRIBE: Self = Self::of(&[id::USER]);
    pub(crate) const DISCONNECT: Self =
        Self::of(&[id::SESSION_EXPIRY, id::SERVER_REFERENCE, id::REASON_STRING, id::USER]);
    pub(crate) const AUTH: Self = Self::of(&[id::AUTH_METHOD, id::AUTH_DATA, id::REASON_STRING, id::USER]);

    const EVERY: Self = Self(u64::MAX);
    const NONE: Self = Self(0);
    /// May be repeated in PUBLISH (and in nothing else that may carry them, bar User Property).
    const PUBLISH_REPEATABLE: Self = Self::of(&[id::SUBSCRIPTION_ID, id::USER]);
    const REPEATABLE: Self = Self::of(&[id::USER]);

    const fn of(mut ids: &[u8]) -> Self {
        let mut bits = 0;
        while let Some((first, rest)) = ids.split_first() {
            bits |= 1 << *first;
            ids = rest;
        }
        Self(bits)
    }

    /// `id` is below 64.
    #[inline]
    const fn contains(self, id: u8) -> bool {
        self.0 & (1 << id) != 0
    }

    #[inline]
    const fn insert(&mut self, id: u8) {
        self.0 |= 1 << id;
    }
}

/// One property with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Property<'a> {
    PayloadFormat(bool),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    ServerKeepAlive(u16),
    AuthMethod(&'a str),
    AuthData(&'a [u8]),
    RequestProblemInfo(bool),
    WillDelay(u32),
    RequestResponseInfo(bool),
    ResponseInfo(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMax(u16),
    TopicAliasMax(u16),
    TopicAlias(u16),
    QosMax(bool),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    PacketMax(u32),
    WildcardAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedAvailable(bool),
}

/// A walk over the properties of one packet.
pub(crate) struct PropertyWalk<'a> {
    reader: Reader<'a>,
    allowed: IdSet,
    repeatable: IdSet,
    seen: IdSet,
}

impl<'a> PropertyWalk<'a> {
    /// Properties of a packet that may carry `allowed`, `raw` being what follows their length.
    #[inline]
    pub(crate) const fn new(raw: &'a [u8], allowed: IdSet) -> Self {
        Self { reader: Reader::new(raw), allowed, repeatable: IdSet::REPEATABLE, seen: IdSet::NONE }
    }

    /// Properties of a PUBLISH: a server may send several subscription identifiers.
    #[inline]
    pub(crate) const fn publish(raw: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(raw),
            allowed: IdSet::PUBLISH,
            repeatable: IdSet::PUBLISH_REPEATABLE,
            seen: IdSet::NONE,
        }
    }

    /// Properties that were checked before, of any packet.
    pub(crate) const fn lenient(raw: &'a [u8]) -> Self {
        Self { reader: Reader::new(raw), allowed: IdSet::EVERY, repeatable: IdSet::EVERY, seen: IdSet::NONE }
    }

    /// What has not been walked yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// The next property, or `None` after the last one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, Violation> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.u8()?;
        if id > id::SHARED_AVAILABLE {
            return Err(Violation::PropertyUnknown);
        }
        let property = value(id, &mut self.reader, self.allowed)?;
        if self.seen.contains(id) && !self.repeatable.contains(id) {
            return Err(Violation::PropertyRepeated);
        }
        self.seen.insert(id);
        Ok(Some(property))
    }
}

/// Takes the properties of a packet, length and all, from `reader`.
#[inline]
pub(crate) fn take_properties<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Violation> {
    let len = reader.varint()?;
    reader.take(len as usize)
}

/// The value of the property `id`, read if `allowed` contains it.
fn value<'a>(id: u8, reader: &mut Reader<'a>, allowed: IdSet) -> Result<Property<'a>, Violation> {
    use Property as P;
    if !allowed.contains(id) {
        return Err(if IdSet::KNOWN.contains(id) {
            Violation::PropertyMisplaced
        } else {
            Violation::PropertyUnknown
        });
    }
    Ok(match id {
        id::PAYLOAD_FORMAT => P::PayloadFormat(boolean(reader)?),
        id::MESSAGE_EXPIRY => P::MessageExpiry(reader.u32()?),
        // [MQTT-3.3.2-19]
        id::CONTENT_TYPE => P::ContentType(reader.string()?),
        // [MQTT-3.3.2-13]
        id::RESPONSE_TOPIC => P::ResponseTopic(reader.string()?),
        id::CORRELATION_DATA => P::CorrelationData(reader.binary()?),
        id::SUBSCRIPTION_ID => P::SubscriptionId(nonzero(reader.varint()?)?),
        id::SESSION_EXPIRY => P::SessionExpiry(reader.u32()?),
        id::ASSIGNED_CLIENT_ID => P::AssignedClientId(reader.string()?),
        id::SERVER_KEEP_ALIVE => P::ServerKeepAlive(reader.u16()?),
        id::AUTH_METHOD => P::AuthMethod(reader.string()?),
        id::AUTH_DATA => P::AuthData(reader.binary()?),
        id::REQUEST_PROBLEM_INFO => P::RequestProblemInfo(boolean(reader)?),
        id::WILL_DELAY => P::WillDelay(reader.u32()?),
        id::REQUEST_RESPONSE_INFO => P::RequestResponseInfo(boolean(reader)?),
        id::RESPONSE_INFO => P::ResponseInfo(reader.string()?),
        id::SERVER_REFERENCE => P::ServerReference(reader.string()?),
        id::REASON_STRING => P::ReasonString(reader.string()?),
        id::RECEIVE_MAX => P::ReceiveMax(nonzero(reader.u16()?)?),
        id::TOPIC_ALIAS_MAX => P::TopicAliasMax(reader.u16()?),
        id::TOPIC_ALIAS => P::TopicAlias(alias(reader.u16()?)?),
        id::QOS_MAX => P::QosMax(boolean(reader)?),
        id::RETAIN_AVAILABLE => P::RetainAvailable(boolean(reader)?),
        // [MQTT-1.5.7-1]: both halves.
        id::USER => P::User(reader.string()?, reader.string()?),
        id::PACKET_MAX => P::PacketMax(nonzero(reader.u32()?)?),
        id::WILDCARD_AVAILABLE => P::WildcardAvailable(boolean(reader)?),
        id::SUBSCRIPTION_IDS_AVAILABLE => P::SubscriptionIdsAvailable(boolean(reader)?),
        id::SHARED_AVAILABLE => P::SharedAvailable(boolean(reader)?),
        _ => return Err(Violation::PropertyUnknown),
    })
}

fn boolean(reader: &mut Reader<'_>) -> Result<bool, Violation> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::PropertyValue),
    }
}

fn nonzero<T: Default + PartialEq>(number: T) -> Result<T, Violation> {
    if number == T::default() { Err(Violation::PropertyValue) } else { Ok(number) }
}

/// [MQTT-3.3.2-8]: a topic alias is never 0.
const fn alias(alias: u16) -> Result<u16, Violation> {
    if alias == 0 { Err(Violation::TopicAliasInvalid) } else { Ok(alias) }
}

impl IdSet {
    const KNOWN: Self = Self(
        Self::CONNECT.0
            | Self::WILL.0
            | Self::CONNACK.0
            | Self::PUBLISH.0
            | Self::ACK.0
            | Self::DISCONNECT.0
            | Self::AUTH.0,
    );
}

/// Appending fields and properties to a packet.
pub(crate) mod put {
    use super::id;

    pub(crate) fn varint(out: &mut Vec<u8>, mut value: u32) {
        loop {
            let low = value.to_le_bytes()[0] & 0x7F;
            value >>= 7;
            if value == 0 {
                out.push(low);
                return;
            }
            out.push(low | 0x80);
        }
    }

    /// Bytes that [`varint`] appends.
    pub(crate) const fn varint_len(value: u32) -> usize {
        match value {
            0..=0x7F => 1,
            0x80..=0x3FFF => 2,
            0x4000..=0x1F_FFFF => 3,
            _ => 4,
        }
    }

    /// Binary data with its length; over 65,535 bytes it is cut there.
    pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(bytes.get(..usize::from(len)).unwrap_or(bytes));
    }

    /// A string with its length; over 65,535 bytes it is cut at the last whole character.
    pub(crate) fn string(out: &mut Vec<u8>, string: &str) {
        let end = string.floor_char_boundary(usize::from(u16::MAX));
        binary(out, string.get(..end).unwrap_or(string).as_bytes());
    }

    pub(crate) fn property_u8(out: &mut Vec<u8>, id: u8, value: u8) {
        out.extend_from_slice(&[id, value]);
    }

    pub(crate) fn property_u16(out: &mut Vec<u8>, id: u8, value: u16) {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn property_u32(out: &mut Vec<u8>, id: u8, value: u32) {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn property_string(out: &mut Vec<u8>, id: u8, value: Option<&str>) {
        if let Some(value) = value {
            out.push(id);
            string(out, value);
        }
    }

    pub(crate) fn property_binary(out: &mut Vec<u8>, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            out.push(id);
            binary(out, value);
        }
    }

    pub(crate) fn user(out: &mut Vec<u8>, name: &str, value: &str) {
        out.push(id::USER);
        string(out, name);
        string(out, value);
    }
}
