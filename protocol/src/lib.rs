//! Bytes to MQTT 3.1, 3.1.1 and 5 packets and back, and the rules of one connection.
//!
//! Everything here is a pure function of bytes and values: no IO, no clock, no task, no lock, so it lives on whatever
//! thread calls it. Decoded packets borrow from the frame they came from; decoding never allocates. Encoders append to
//! a `Vec<u8>` that the caller owns.
//!
//! A packet that [`decode`] returned obeys every rule that can be checked without knowing the session: lengths,
//! reserved bits, UTF-8, properties, topic syntax. What depends on the connection (order of packets, the inbound
//! window, topic aliases) is in [`Connection`]. What depends on the session or on policy is the engine's.

mod ack;
mod aliases;
mod auth;
mod connack;
mod connect;
mod connection;
mod disconnect;
pub mod encode;
mod frame;
mod packet;
mod property;
mod publish;
mod qos;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod topic;
mod unsubscribe;
mod user_properties;
mod version;
mod violation;

pub use ack::Ack;
pub use aliases::InboundAliases;
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties, decode_connect};
pub use connection::{Admission, Connected, Connection, Terms};
pub use disconnect::Disconnect;
pub use frame::{Frame, PACKET_BYTES_MAX, first_byte_ok, split_frame};
pub use packet::{Packet, PacketKind, decode};
pub use publish::{
    Publish, PublishProperties, decode_publish, forwardable_properties, is_forwardable, payload_is_valid_utf8,
};
pub use qos::{InvalidQos, Qos};
pub use reason::{ReasonCode, UnknownReasonCode};
pub use suback::SubAck;
pub use subscribe::{RetainHandling, Subscribe, SubscribeOptions};
pub use topic::{Filter, TopicLimits, filter_matches, validate_filter, validate_topic_name};
pub use unsubscribe::Unsubscribe;
pub use user_properties::UserProperties;
pub use version::Version;
pub use violation::Violation;
