//! PUBLISH, the packet everything is about: decoded in place, without allocation, in one pass over topic and
//! properties. The payload is not looked at.

use crate::frame::Frame;
use crate::property::{Property, PropertyWalk, take_properties};
use crate::qos::Qos;
use crate::reader::Reader;
use crate::topic::{TopicLimits, validate_topic_name};
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The sender may have sent it before.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// To be retained, or sent because it was.
    pub retain: bool,
    /// Empty only if a topic alias stands for it.
    pub topic: &'a str,
    /// 0 for QoS 0, which has none.
    pub packet_id: u16,
    /// MQTT 5.
    pub properties: PublishProperties<'a>,
    /// What is left of the packet.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties<'a> {
    /// As on the wire, without their length.
    pub raw: &'a [u8],
    /// Stands for a topic name, never 0.
    pub topic_alias: Option<u16>,
    /// Lifetime in seconds.
    pub message_expiry: Option<u32>,
    /// Payload Format Indicator 1: the payload claims to be UTF-8, see [`payload_is_valid_utf8`].
    pub payload_is_utf8: bool,
    /// Type of the payload.
    pub content_type: Option<&'a str>,
    /// Where to answer; no wildcards [MQTT-3.3.2-14].
    pub response_topic: Option<&'a str>,
    /// For the requester of the response.
    pub correlation_data: Option<&'a [u8]>,
    /// Whether subscription identifiers are there; only a server may send them [MQTT-3.3.4-6].
    pub subscription_id_present: bool,
    /// Names and values in their order [MQTT-3.3.2-18].
    pub user: UserProperties<'a>,
}

impl<'a> PublishProperties<'a> {
    /// The subscription identifiers, in order.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut walk = PropertyWalk::lenient(if self.subscription_id_present { self.raw } else { &[] });
        std::iter::from_fn(move || {
            while let Ok(Some(property)) = walk.next() {
                if let Property::SubscriptionId(id) = property {
                    return Some(id);
                }
            }
            None
        })
    }

    /// Whether a server passes on `raw` as it is; else see [`forwardable_properties`].
    #[inline]
    #[must_use]
    pub const fn is_forwardable(&self) -> bool {
        self.topic_alias.is_none() && self.message_expiry.is_none() && !self.subscription_id_present
    }

    fn read(&mut self, raw: &'a [u8]) -> Result<(), Violation> {
        self.raw = raw;
        self.user = UserProperties::over(raw);
        let mut walk = PropertyWalk::publish(raw);
        while let Some(property) = walk.next()? {
            match property {
                Property::TopicAlias(alias) => self.topic_alias = Some(alias),
                Property::MessageExpiry(secs) => self.message_expiry = Some(secs),
                Property::PayloadFormat(utf8) => self.payload_is_utf8 = utf8,
                Property::ContentType(content) => self.content_type = Some(content),
                Property::ResponseTopic(topic) => self.response_topic = Some(response_topic(topic)?),
                Property::CorrelationData(data) => self.correlation_data = Some(data),
                Property::SubscriptionId(_) => self.subscription_id_present = true,
                Property::User(name, value) => self.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        Ok(())
    }
}

/// Decodes a PUBLISH of a connection that speaks `version`.
///
/// # Errors
/// The first rule of the protocol, or the limit, that the packet breaks.
#[inline]
pub fn decode_publish<'a>(
    version: Version,
    frame: &Frame<'a>,
    limits: &TopicLimits,
) -> Result<Publish<'a>, Violation> {
    // [MQTT-3.3.1-4]
    let qos = Qos::from_bits(frame.first >> 1).ok_or(Violation::QosInvalid)?;
    let dup = frame.first & 0b1000 != 0;
    let retain = frame.first & 0b0001 != 0;
    // [MQTT-3.3.1-2]; MQTT 3.1 does not forbid it.
    if dup && qos == Qos::AtMostOnce && version != Version::V31 {
        return Err(Violation::DupAtMostOnce);
    }
    let mut reader = Reader::new(frame.body);
    // [MQTT-3.3.2-1]
    let topic = reader.utf8()?;
    // [MQTT-2.2.1-2] [MQTT-2.2.1-3]
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { reader.packet_id()? };
    let mut properties = PublishProperties::default();
    if version.is_v5() {
        let raw = take_properties(&mut reader)?;
        if !raw.is_empty() {
            properties.read(raw)?;
        }
    }
    // Section 3.3.2.1: an alias may stand for the topic.
    if !topic.is_empty() || properties.topic_alias.is_none() {
        validate_topic_name(topic, limits)?;
    }
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
}

/// Appends the properties in `raw` that a server passes on, in their order ([MQTT-3.3.2-4], [MQTT-3.3.2-15] to
/// [MQTT-3.3.2-18], [MQTT-3.3.2-20]; among them [MQTT-3.3.2-16] and [MQTT-3.3.2-17]): all but Topic Alias, Message
/// Expiry Interval, Subscription Identifier and, in a will, Will Delay Interval. `raw` was decoded before.
pub fn forwardable_properties(raw: &[u8], out: &mut Vec<u8>) {
    let mut walk = PropertyWalk::lenient(raw);
    let mut before = raw;
    while let Ok(Some(property)) = walk.next() {
        let after = walk.rest();
        if is_passed_on(&property) {
            out.extend_from_slice(before.get(..before.len() - after.len()).unwrap_or_default());
        }
        before = after;
    }
}

/// Whether [`forwardable_properties`] would copy all of `raw`.
#[must_use]
pub fn is_forwardable(raw: &[u8]) -> bool {
    let mut walk = PropertyWalk::lenient(raw);
    while let Ok(Some(property)) = walk.next() {
        if !is_passed_on(&property) {
            return false;
        }
    }
    true
}

/// Whether a payload that claims to be UTF-8 is ([MQTT-3.3.2-4], section 3.3.2.3.2).
#[must_use]
pub fn payload_is_valid_utf8(payload: &[u8]) -> bool {
    std::str::from_utf8(payload).is_ok()
}

const fn is_passed_on(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::TopicAlias(_)
            | Property::MessageExpiry(_)
            | Property::SubscriptionId(_)
            | Property::WillDelay(_)
    )
}

/// [MQTT-3.3.2-14]: a response topic is a topic name without wildcards.
pub(crate) fn response_topic(topic: &str) -> Result<&str, Violation> {
    match validate_topic_name(topic, &TopicLimits::MQTT) {
        Ok(()) => Ok(topic),
        Err(_) => Err(Violation::ResponseTopicInvalid),
    }
}

/// The topic name of a will.
pub(crate) fn will_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Violation> {
    let topic = reader.utf8()?;
    validate_topic_name(topic, &TopicLimits::MQTT)?;
    Ok(topic)
}
