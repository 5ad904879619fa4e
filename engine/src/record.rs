//! The values of logs and tables, as rkyv archives behind a version byte.
//!
//! The formats (little-endian, unaligned, 32-bit pointers) are fixed by the workspace's features of rkyv. A value is validated
//! when it is read; one that does not fit is damage, never a panic.

use bytes::Bytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// First byte of every value.
const FORMAT: u8 = 1;

/// A message in a topic log, or a retained one. Times are milliseconds UTC.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Topic name.
    pub topic: String,
    /// Forwardable v5 properties.
    pub properties: Vec<u8>,
    /// Application bytes.
    pub payload: Vec<u8>,
    /// As published.
    pub qos: u8,
    /// As published.
    pub retain: bool,
    /// `u64::MAX`: never.
    pub expires_at_ms: u64,
    /// Publisher's session.
    pub publisher: u64,
    /// Subscribers whose exact cursor passes over it, since a reference at a higher QoS was written for them.
    pub skip: Vec<u64>,
    /// Retained: the home's arrival number.
    pub arrival: u64,
}

/// A record of a reference log: where the message is.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReferenceRecord {
    /// `LogId`, encoded.
    pub log: [u8; 11],
    /// Its offset there.
    pub offset: u64,
}

/// A subscription of a durable session.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// Whole filter, share prefix included.
    pub filter: String,
    /// Packed options.
    pub options: u8,
    /// Subscription Identifier, 0: none.
    pub id: u32,
    /// Exact filters at QoS 1 and 2: the topic's log, encoded; else zeros.
    pub log: [u8; 11],
    /// Where reading began.
    pub start: u64,
}

/// A will message.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WillRecord {
    /// Topic name.
    pub topic: String,
    /// Forwardable v5 properties.
    pub properties: Vec<u8>,
    /// Application bytes.
    pub payload: Vec<u8>,
    /// As given.
    pub qos: u8,
    /// As given.
    pub retain: bool,
    /// Will Delay Interval.
    pub delay_secs: u32,
    /// Message Expiry Interval; `u32::MAX`: none.
    pub expiry_secs: u32,
}

/// A durable session.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its incarnation.
    pub uid: u64,
    /// The account that owns it; empty: anonymous.
    pub account: String,
    /// Session Expiry Interval.
    pub expiry_secs: u32,
    /// When its link went away; 0: connected.
    pub away_since_ms: u64,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionRecord>,
    /// Its will.
    pub will: Option<WillRecord>,
}

/// A message that was sent and is not finished.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct InflightRecord {
    /// Packet identifier.
    pub packet_id: u16,
    /// 1: QoS 1 sent; 2: QoS 2 sent; 3: PUBREC received.
    pub state: u8,
    /// Its offset in the cursor's log.
    pub offset: u64,
}

/// A cursor of a durable subscriber in one log.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct CursorRecord {
    /// Lowest offset that is still needed.
    pub cursor: u64,
    /// After an unsubscribe: last offset that is delivered; 0: goes on.
    pub end: u64,
    /// Granted QoS.
    pub qos: u8,
    /// What is above the cursor and was sent, in the order sent.
    pub inflight: Vec<InflightRecord>,
    /// Offsets above the cursor that are finished.
    pub done: Vec<u64>,
}

macro_rules! codec {
    ($($type:ty),+) => {$(
        impl $type {
            /// The value's bytes.
            pub fn encode(&self) -> Bytes {
                let archived: Result<AlignedVec, Error> = rkyv::to_bytes(self);
                let Ok(archived) = archived else { unreachable!("serialising to memory cannot fail") };
                let mut out = Vec::with_capacity(archived.len() + 1);
                out.extend_from_slice(&archived);
                out.push(FORMAT);
                out.into()
            }

            /// `None`: these bytes are damaged or of another format.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                let (version, archived) = bytes.split_last()?;
                if *version != FORMAT {
                    return None;
                }
                let value: Result<Self, Error> = rkyv::from_bytes(archived);
                value.ok()
            }
        }
    )+};
}

codec!(MessageRecord, ReferenceRecord, SessionRecord, CursorRecord);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_damage_is_noticed_or_harmless() {
        let record = MessageRecord {
            topic: "a/b".into(),
            properties: vec![1, 2],
            payload: vec![9; 70],
            qos: 1,
            retain: false,
            expires_at_ms: u64::MAX,
            publisher: 7,
            skip: vec![3],
            arrival: 0,
        };
        let bytes = record.encode();
        assert_eq!(MessageRecord::decode(&bytes), Some(record));
        for cut in 0..bytes.len() {
            // Either refused or decoded to something; never a panic.
            let _ = MessageRecord::decode(bytes.get(..cut).unwrap_or_default());
        }
        let mut other = bytes.to_vec();
        other[bytes.len() - 1] = 9;
        assert_eq!(MessageRecord::decode(&other), None, "another format is refused");
    }
}
