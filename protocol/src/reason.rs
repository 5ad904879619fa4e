//! The reason codes of MQTT 5 (section 2.4), and which packet may carry which.
//!
//! One table declares each code once: its number, its name in the specification and its packets. MQTT 3.1 and 3.1.1
//! know only CONNACK return codes and SUBACK failure; the encoders map to those.

use crate::packet::PacketKind;

macro_rules! reason_codes {
    ($($value:literal $name:ident $label:literal in $($kind:ident)+;)+) => {
        /// A reason code of MQTT 5, by its name in the specification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = $label]
                $name = $value,
            )+
        }

        impl ReasonCode {
            /// Every reason code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name of the code as the specification prints it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// Bit n is set when a packet of type n may carry the code.
            const fn packets(self) -> u16 {
                match self {
                    $(Self::$name => 0 $(| 1 << PacketKind::$kind as u16)+,)+
                }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = UnknownReasonCode;

            fn try_from(number: u8) -> Result<Self, UnknownReasonCode> {
                match number {
                    $($value => Ok(Self::$name),)+
                    _ => Err(UnknownReasonCode),
                }
            }
        }
    };
}

reason_codes! {
    0x00 Success "Success; also Normal disconnection and Granted QoS 0" in ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth;
    0x01 GrantedQos1 "Granted QoS 1" in SubAck;
    0x02 GrantedQos2 "Granted QoS 2" in SubAck;
    0x04 DisconnectWithWillMessage "Disconnect with Will Message" in Disconnect;
    0x10 NoMatchingSubscribers "No matching subscribers" in PubAck PubRec;
    0x11 NoSubscriptionExisted "No subscription existed" in UnsubAck;
    0x18 ContinueAuthentication "Continue authentication" in Auth;
    0x19 ReAuthenticate "Re-authenticate" in Auth;
    0x80 UnspecifiedError "Unspecified error" in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x81 MalformedPacket "Malformed Packet" in ConnAck Disconnect;
    0x82 ProtocolError "Protocol Error" in ConnAck Disconnect;
    0x83 ImplementationSpecificError "Implementation specific error" in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version" in ConnAck;
    0x85 ClientIdentifierNotValid "Client Identifier not valid" in ConnAck;
    0x86 BadUserNameOrPassword "Bad User Name or Password" in ConnAck;
    0x87 NotAuthorized "Not authorized" in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x88 ServerUnavailable "Server unavailable" in ConnAck;
    0x89 ServerBusy "Server busy" in ConnAck Disconnect;
    0x8A Banned "Banned" in ConnAck;
    0x8B ServerShuttingDown "Server shutting down" in Disconnect;
    0x8C BadAuthenticationMethod "Bad authentication method" in ConnAck Disconnect;
    0x8D KeepAliveTimeout "Keep Alive timeout" in Disconnect;
    0x8E SessionTakenOver "Session taken over" in Disconnect;
    0x8F TopicFilterInvalid "Topic Filter invalid" in SubAck UnsubAck Disconnect;
    0x90 TopicNameInvalid "Topic Name invalid" in ConnAck PubAck PubRec Disconnect;
    0x91 PacketIdentifierInUse "Packet Identifier in use" in PubAck PubRec SubAck UnsubAck;
    0x92 PacketIdentifierNotFound "Packet Identifier not found" in PubRel PubComp;
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded" in Disconnect;
    0x94 TopicAliasInvalid "Topic Alias invalid" in Disconnect;
    0x95 PacketTooLarge "Packet too large" in ConnAck Disconnect;
    0x96 MessageRateTooHigh "Message rate too high" in Disconnect;
    0x97 QuotaExceeded "Quota exceeded" in ConnAck PubAck PubRec SubAck Disconnect;
    0x98 AdministrativeAction "Administrative action" in Disconnect;
    0x99 PayloadFormatInvalid "Payload format invalid" in ConnAck PubAck PubRec Disconnect;
    0x9A RetainNotSupported "Retain not supported" in ConnAck Disconnect;
    0x9B QosNotSupported "QoS not supported" in ConnAck Disconnect;
    0x9C UseAnotherServer "Use another server" in ConnAck Disconnect;
    0x9D ServerMoved "Server moved" in ConnAck Disconnect;
    0x9E SharedSubscriptionsNotSupported "Shared Subscriptions not supported" in SubAck Disconnect;
    0x9F ConnectionRateExceeded "Connection rate exceeded" in ConnAck Disconnect;
    0xA0 MaximumConnectTime "Maximum connect time" in Disconnect;
    0xA1 SubscriptionIdentifiersNotSupported "Subscription Identifiers not supported" in SubAck Disconnect;
    0xA2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported" in SubAck Disconnect;
}

/// A number that no reason code of MQTT 5 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownReasonCode;

impl ReasonCode {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether the code reports a failure: 0x80 or above.
    #[inline]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether a packet of `kind` may carry the code.
    #[must_use]
    pub const fn allowed_in(self, kind: PacketKind) -> bool {
        self.packets() & (1 << kind as u16) != 0
    }

    /// The SUBACK code that grants `qos`.
    #[must_use]
    pub const fn granted(qos: crate::Qos) -> Self {
        match qos {
            crate::Qos::AtMostOnce => Self::GRANTED_QOS_0,
            crate::Qos::AtLeastOnce => Self::GrantedQos1,
            crate::Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }
}

#[expect(clippy::derivable_impls, reason = "the table that makes the enum has no place for a default")]
impl Default for ReasonCode {
    fn default() -> Self {
        Self::Success
    }
}

impl From<ReasonCode> for u8 {
    fn from(code: ReasonCode) -> Self {
        code as Self
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X} {}", *self as u8, self.name())
    }
}
