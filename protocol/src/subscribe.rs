//! SUBSCRIBE: topic filters with their options.
//!
//! Decoding checks every filter once and keeps only the bytes; the iterator reads them again.

use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::qos::Qos;
use crate::reader::Reader;
use crate::topic::{TopicLimits, validate_filter};
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// When a subscription receives the retained messages that match it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE [MQTT-3.3.1-9].
    #[default]
    Send = 0,
    /// If the subscription did not exist [MQTT-3.3.1-10].
    SendIfNew = 1,
    /// Never [MQTT-3.3.1-11].
    DoNotSend = 2,
}

/// The options of one subscription; 3.x has only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// The highest QoS at which messages are sent.
    pub qos: Qos,
    /// Messages of the same client are not sent back to it [MQTT-3.8.3-3].
    pub no_local: bool,
    /// The retain flag is passed on as it was published [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// Retained messages at the time of subscribing.
    pub retain_handling: RetainHandling,
}

impl SubscribeOptions {
    /// `qos` with the defaults of MQTT 5.
    #[must_use]
    pub const fn at(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// The options byte of MQTT 5.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// The options byte of `version`.
    ///
    /// # Errors
    /// QoS 3, reserved bits, Retain Handling 3.
    pub const fn from_byte(version: Version, byte: u8) -> Result<Self, Violation> {
        // [MQTT-3.8.3-5]; 3.1.1 has six reserved bits.
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if byte & reserved != 0 {
            return Err(Violation::SubscribeOptionsReserved);
        }
        let Some(qos) = Qos::from_bits(byte) else { return Err(Violation::QosInvalid) };
        let retain_handling = match byte >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Violation::RetainHandlingInvalid),
        };
        Ok(Self { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
    }
}

/// A request for subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// 1 to 268,435,455; goes with every message of these subscriptions.
    pub subscription_id: Option<u32>,
    /// MQTT 5.
    pub user: UserProperties<'a>,
    /// Filters in the packet, at least 1.
    pub filter_count: usize,
    version: Version,
    payload: &'a [u8],
}

impl<'a> Subscribe<'a> {
    /// Filters as sent (`$share/..` included) and their options, in order. Their syntax was checked; limits were not.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + use<'a> {
        let mut reader = Reader::new(self.payload);
        let version = self.version;
        // Everything was checked when the packet was decoded: an error can only be the end.
        std::iter::from_fn(move || {
            let filter = reader.utf8().ok()?;
            let options = SubscribeOptions::from_byte(version, reader.u8().ok()?).ok()?;
            Some((filter, options))
        })
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let raw = if version.is_v5() { take_properties(&mut reader)? } else { &[] };
        let mut subscribe = Self {
            packet_id,
            subscription_id: None,
            user: UserProperties::over(raw),
            filter_count: 0,
            version,
            payload: reader.rest(),
        };
        let mut walk = PropertyWalk::new(raw, IdSet::SUBSCRIBE);
        while let Some(property) = walk.next()? {
            match property {
                Property::SubscriptionId(id) => subscribe.subscription_id = Some(id),
                Property::User(name, value) => subscribe.user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        subscribe.check_filters()?;
        Ok(subscribe)
    }

    fn check_filters(&mut self) -> Result<(), Violation> {
        let mut reader = Reader::new(self.payload);
        while !reader.is_empty() {
            // [MQTT-3.8.3-1]
            let filter = validate_filter(reader.utf8()?, &TopicLimits::MQTT)?;
            let options = SubscribeOptions::from_byte(self.version, reader.u8()?)?;
            // [MQTT-3.8.3-4]
            if options.no_local && filter.share.is_some() {
                return Err(Violation::NoLocalOnShared);
            }
            self.filter_count += 1;
        }
        // [MQTT-3.8.3-2]
        if self.filter_count == 0 { Err(Violation::NoTopicFilter) } else { Ok(()) }
    }
}
