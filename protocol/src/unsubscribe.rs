//! UNSUBSCRIBE: topic filters, compared with those of subscriptions byte for byte [MQTT-3.10.4-1].

use crate::property::{IdSet, Property, PropertyWalk, take_properties};
use crate::reader::Reader;
use crate::topic::{TopicLimits, validate_filter};
use crate::user_properties::UserProperties;
use crate::version::Version;
use crate::violation::Violation;

/// A request to end subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// MQTT 5.
    pub user: UserProperties<'a>,
    /// Filters in the packet, at least 1.
    pub filter_count: usize,
    payload: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// Filters as sent (`$share/..` included), in order. Their syntax was checked; limits were not.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.payload);
        // Everything was checked when the packet was decoded: an error can only be the end.
        std::iter::from_fn(move || reader.utf8().ok())
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let raw = if version.is_v5() { take_properties(&mut reader)? } else { &[] };
        let mut user = UserProperties::over(raw);
        let mut walk = PropertyWalk::new(raw, IdSet::UNSUBSCRIBE);
        while let Some(property) = walk.next()? {
            match property {
                Property::User(name, value) => user.note(name, value),
                _ => return Err(Violation::PropertyMisplaced),
            }
        }
        let payload = reader.rest();
        let mut filter_count = 0;
        while !reader.is_empty() {
            // [MQTT-3.10.3-1]
            validate_filter(reader.utf8()?, &TopicLimits::MQTT)?;
            filter_count += 1;
        }
        // [MQTT-3.10.3-2]
        if filter_count == 0 {
            return Err(Violation::NoTopicFilter);
        }
        Ok(Self { packet_id, user, filter_count, payload })
    }
}
