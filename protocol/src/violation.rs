//! Every way in which a peer can break the protocol.
//!
//! The enum is closed: a metric counts per [`Violation::label`], an MQTT 5 peer is told [`Violation::reason_code`], and
//! a 3.x peer sees the connection close. Limits of policy that the specification has a code for (topic bytes and
//! levels, alias bytes) are here too, because they are found while decoding.

use crate::reason::ReasonCode;

macro_rules! violations {
    ($($name:ident $({ $field:ident: $type:ty = $default:expr })? $label:literal $reason:ident $doc:literal;)+) => {
        /// A rule of the protocol that the peer broke. The connection it came on has to be closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Violation {
            $(
                #[doc = $doc]
                $name $({
                    /// As the peer sent it.
                    $field: $type
                })?,
            )+
        }

        impl Violation {
            /// Every violation once, for metrics.
            pub const ALL: &[Self] = &[$(Self::$name $({ $field: $default })?,)+];

            /// The reason code of the CONNACK or DISCONNECT that an MQTT 5 peer is told.
            #[must_use]
            pub const fn reason_code(self) -> ReasonCode {
                match self {
                    $(Self::$name $({ $field: _ })? => ReasonCode::$reason,)+
                }
            }

            /// A fixed name for metrics and logs, in snake case.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name $({ $field: _ })? => $label,)+
                }
            }

            /// What the peer did, in words.
            const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name $({ $field: _ })? => $doc,)+
                }
            }
        }
    };
}

violations! {
    LengthMalformed "length_malformed" MalformedPacket "A remaining length of more than four bytes.";
    LengthNotMinimal "length_not_minimal" MalformedPacket
        "A variable byte integer in more bytes than its value needs [MQTT-1.5.5-1].";
    PacketTooLarge "packet_too_large" PacketTooLarge
        "A packet over the Maximum Packet Size of its receiver [MQTT-3.2.2-15].";
    PacketTypeReserved "packet_type_reserved" MalformedPacket "Packet type 0, or type 15 before MQTT 5.";
    FlagsReserved "flags_reserved" MalformedPacket
        "Fixed header flags other than the specification fixes for the type [MQTT-2.1.3-1].";
    Truncated "truncated" MalformedPacket "A field that reaches past the end of its packet.";
    LeftOver "left_over" MalformedPacket "Bytes after the last field of a packet.";
    Utf8Malformed "utf8_malformed" MalformedPacket
        "A string that is not well-formed UTF-8, surrogates included [MQTT-1.5.4-1].";
    Utf8Null "utf8_null" MalformedPacket "A string that contains U+0000 [MQTT-1.5.4-2].";
    PacketIdZero "packet_id_zero" ProtocolError "Packet identifier 0 [MQTT-2.2.1-3].";
    PropertyUnknown "property_unknown" MalformedPacket "A property identifier that MQTT 5 does not define.";
    PropertyMisplaced "property_misplaced" MalformedPacket
        "A property in a packet that may not carry it (section 2.2.2.2).";
    PropertyRepeated "property_repeated" ProtocolError "A property twice that may appear once.";
    PropertyValue "property_value" ProtocolError
        "A property with a value outside of its range: a boolean that is not 0 or 1, a zero that is not allowed.";
    ReasonCodeInvalid "reason_code_invalid" ProtocolError
        "A reason or return code that the packet may not carry.";
    ConnectExpected "connect_expected" ProtocolError "A first packet other than CONNECT [MQTT-3.1.0-1].";
    ConnectRepeated "connect_repeated" ProtocolError "A second CONNECT [MQTT-3.1.0-2].";
    ProtocolName "protocol_name" UnsupportedProtocolVersion
        "A protocol name other than `MQTT` or `MQIsdp` [MQTT-3.1.2-1].";
    UnsupportedVersion { level: u8 = 0 } "unsupported_version" UnsupportedProtocolVersion
        "A protocol level that the server does not speak, or a bridge's level with bit 7 set [MQTT-3.1.2-2].";
    ConnectFlagReserved "connect_flag_reserved" MalformedPacket
        "The reserved bit of the connect flags set [MQTT-3.1.2-3].";
    WillFlags "will_flags" MalformedPacket
        "Will QoS or Will Retain without a will, or Will QoS 3 [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13].";
    PasswordWithoutUsername "password_without_username" MalformedPacket
        "MQTT 3.x: a password without a user name [MQTT-3.1.2-22@3.1.1].";
    AuthDataWithoutMethod "auth_data_without_method" ProtocolError
        "Authentication Data without Authentication Method.";
    QosInvalid "qos_invalid" MalformedPacket "QoS 3 [MQTT-3.3.1-4] [MQTT-3.8.3-5].";
    QosAboveMaximum "qos_above_maximum" QosNotSupported "A QoS above the Maximum QoS of CONNACK [MQTT-3.2.2-11].";
    DupAtMostOnce "dup_at_most_once" MalformedPacket "DUP set on a QoS 0 message [MQTT-3.3.1-2].";
    TopicEmpty "topic_empty" ProtocolError "An empty topic name, without a topic alias [MQTT-4.7.3-1].";
    TopicWildcard "topic_wildcard" TopicNameInvalid "A wildcard in a topic name [MQTT-3.3.2-2].";
    TopicTooLong "topic_too_long" TopicNameInvalid "A topic name over the configured bytes.";
    TopicTooDeep "topic_too_deep" TopicNameInvalid "A topic name over the configured levels.";
    TopicAliasInvalid "topic_alias_invalid" TopicAliasInvalid
        "Topic alias 0, or above the Topic Alias Maximum of the receiver [MQTT-3.3.2-8] [MQTT-3.3.2-9].";
    TopicAliasUnset "topic_alias_unset" ProtocolError
        "An empty topic with an alias that was never given a topic (section 3.3.2.3.4).";
    TopicAliasBytes "topic_alias_bytes" QuotaExceeded
        "Topic aliases whose topics together are over the configured bytes.";
    SubscriptionIdFromClient "subscription_id_from_client" ProtocolError
        "A Subscription Identifier in a PUBLISH from a client [MQTT-3.3.4-6].";
    ResponseTopicInvalid "response_topic_invalid" ProtocolError
        "A response topic that is empty or has wildcards [MQTT-3.3.2-14].";
    NoTopicFilter "no_topic_filter" ProtocolError
        "SUBSCRIBE or UNSUBSCRIBE without a topic filter, or SUBACK without a code [MQTT-3.8.3-2] [MQTT-3.10.3-2].";
    FilterEmpty "filter_empty" TopicFilterInvalid "An empty topic filter [MQTT-4.7.3-1].";
    FilterWildcard "filter_wildcard" TopicFilterInvalid
        "`#` or `+` where it may not stand [MQTT-4.7.1-1] [MQTT-4.7.1-2].";
    FilterTooLong "filter_too_long" TopicFilterInvalid "A topic filter over the configured bytes.";
    FilterTooDeep "filter_too_deep" TopicFilterInvalid "A topic filter over the configured levels.";
    ShareInvalid "share_invalid" TopicFilterInvalid
        "`$share` with an empty name, a wildcard in its name, or no filter [MQTT-4.8.2-1] [MQTT-4.8.2-2].";
    SubscribeOptionsReserved "subscribe_options_reserved" MalformedPacket
        "Reserved bits of the subscription options set [MQTT-3.8.3-5].";
    RetainHandlingInvalid "retain_handling_invalid" ProtocolError "Retain Handling 3 (section 3.8.3.1).";
    NoLocalOnShared "no_local_on_shared" ProtocolError "No Local on a shared subscription [MQTT-3.8.3-4].";
    SessionPresentInvalid "session_present_invalid" ProtocolError
        "CONNACK flags other than Session Present, or Session Present with a refusal [MQTT-3.2.2-1] [MQTT-3.2.2-6].";
    ServerOnlyPacket "server_only_packet" ProtocolError "A packet from a client that only a server may send.";
    ReceiveMaximumExceeded "receive_maximum_exceeded" ReceiveMaximumExceeded
        "More unacknowledged QoS 1 and 2 messages than the Receive Maximum [MQTT-3.3.4-7].";
    AuthUnexpected "auth_unexpected" ProtocolError
        "AUTH on a connection whose CONNECT had no Authentication Method [MQTT-4.12.0-6].";
    AuthMethodChanged "auth_method_changed" ProtocolError
        "AUTH without the Authentication Method of its CONNECT [MQTT-4.12.0-5].";
    SessionExpiryFromZero "session_expiry_from_zero" ProtocolError
        "DISCONNECT that raises a session expiry that was 0 at CONNECT (section 3.14.2.2.2).";
    PacketAfterDisconnect "packet_after_disconnect" ProtocolError
        "A packet after DISCONNECT [MQTT-3.14.4-1].";
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sentence())?;
        if let Self::UnsupportedVersion { level } = self {
            write!(f, " Level {level}.")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}
