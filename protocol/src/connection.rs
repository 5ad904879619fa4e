//! The rules of one connection, seen from the server: which packet may come when, how many messages may wait for their
//! acknowledgement, what a topic alias stands for.
//!
//! A connection lives with its session's shard and is touched by nothing else. States own only their data. What needs
//! the session (packet identifiers, subscriptions) is the engine's. Once a packet was refused, the connection has to be
//! closed: [`Connection::close`].

use crate::aliases::InboundAliases;
use crate::auth::Auth;
use crate::connect::Connect;
use crate::disconnect::Disconnect;
use crate::packet::{Packet, PacketKind};
use crate::publish::Publish;
use crate::qos::Qos;
use crate::version::Version;
use crate::violation::Violation;

/// What the server allows a client, as told in CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// QoS 1 and 2 messages the server takes at once, at least 1.
    pub receive_max: u16,
    /// Topic aliases the server takes.
    pub topic_alias_max: u16,
    /// Bytes of all topics with an alias.
    pub topic_alias_bytes_max: u32,
}

/// What to do with a packet that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Act on it.
    Go,
    /// Act on it, then read no further messages until some were acknowledged: a 3.x client, which has no Receive
    /// Maximum to obey, has as many outstanding as an MQTT 5 client may have.
    Pause,
}

/// One connection.
#[derive(Debug, Default)]
pub enum Connection {
    /// Nothing but CONNECT may come [MQTT-3.1.0-1].
    #[default]
    AwaitingConnect,
    /// CONNECT was admitted.
    Connected(Connected),
    /// After DISCONNECT, or closed by the server: nothing may come [MQTT-3.14.4-1].
    Closed,
}

/// What a connection knows after CONNECT.
#[derive(Debug)]
pub struct Connected {
    version: Version,
    has_auth_method: bool,
    session_expires_at_once: bool,
    /// QoS 1 and 2 messages that wait for PUBACK, PUBCOMP, or a PUBREC that refuses.
    unacknowledged: u16,
    receive_max: u16,
    topic_alias_max: u16,
    topic_alias_bytes_max: u32,
    aliases: Option<Box<InboundAliases>>,
}

impl Connection {
    /// A connection before its first packet.
    #[must_use]
    pub const fn new() -> Self {
        Self::AwaitingConnect
    }

    /// Admits the CONNECT; later packets are judged by `terms`.
    ///
    /// # Errors
    /// [`Violation::ConnectRepeated`] for a second one [MQTT-3.1.0-2].
    pub fn connect(&mut self, connect: &Connect<'_>, terms: &Terms) -> Result<(), Violation> {
        match self {
            Self::AwaitingConnect => {
                *self = Self::Connected(Connected::new(connect, terms));
                Ok(())
            }
            Self::Connected(_) => Err(Violation::ConnectRepeated),
            Self::Closed => Err(Violation::PacketAfterDisconnect),
        }
    }

    /// Admits a packet after CONNECT. A DISCONNECT closes the connection.
    ///
    /// # Errors
    /// The rule of the connection that the packet breaks.
    pub fn admit(&mut self, packet: &Packet<'_>) -> Result<Admission, Violation> {
        let connected = match self {
            Self::AwaitingConnect => return Err(Violation::ConnectExpected),
            Self::Closed => return Err(Violation::PacketAfterDisconnect),
            Self::Connected(connected) => connected,
        };
        match packet {
            Packet::Publish(publish) => connected.admit_publish(publish),
            Packet::Auth(auth) => connected.admit_auth(auth),
            Packet::Disconnect(disconnect) => {
                connected.admit_disconnect(disconnect)?;
                *self = Self::Closed;
                Ok(Admission::Go)
            }
            other => admit_kind(other.kind()),
        }
    }

    /// The state after CONNECT, if that is where the connection is.
    #[inline]
    #[must_use]
    pub const fn connected(&mut self) -> Option<&mut Connected> {
        match self {
            Self::Connected(connected) => Some(connected),
            Self::AwaitingConnect | Self::Closed => None,
        }
    }

    /// Ends the connection: no further packet is admitted.
    pub fn close(&mut self) {
        *self = Self::Closed;
    }
}

impl Connected {
    fn new(connect: &Connect<'_>, terms: &Terms) -> Self {
        let session_expires_at_once = if connect.version.is_v5() {
            connect.properties.session_expiry_secs == 0
        } else {
            connect.clean_start
        };
        Self {
            version: connect.version,
            has_auth_method: connect.properties.auth_method.is_some(),
            session_expires_at_once,
            unacknowledged: 0,
            receive_max: terms.receive_max,
            topic_alias_max: terms.topic_alias_max,
            topic_alias_bytes_max: terms.topic_alias_bytes_max,
            aliases: None,
        }
    }

    /// The protocol of the connection.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Admits a PUBLISH from the client, and counts it if it will be acknowledged.
    ///
    /// # Errors
    /// More than the Receive Maximum (MQTT 5), a Subscription Identifier, a topic alias above the maximum.
    #[inline]
    pub fn admit_publish(&mut self, publish: &Publish<'_>) -> Result<Admission, Violation> {
        // [MQTT-3.3.4-6]
        if publish.properties.subscription_id_present {
            return Err(Violation::SubscriptionIdFromClient);
        }
        // [MQTT-3.3.2-9] [MQTT-3.2.2-17]: above the maximum; [MQTT-3.3.2-12]: all below are taken.
        if publish.properties.topic_alias.is_some_and(|alias| alias > self.topic_alias_max) {
            return Err(Violation::TopicAliasInvalid);
        }
        if publish.qos == Qos::AtMostOnce {
            return Ok(Admission::Go);
        }
        // [MQTT-3.3.4-7]
        if self.version.is_v5() && self.unacknowledged >= self.receive_max {
            return Err(Violation::ReceiveMaximumExceeded);
        }
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        let full = !self.version.is_v5() && self.unacknowledged >= self.receive_max;
        Ok(if full { Admission::Pause } else { Admission::Go })
    }

    /// Gives back the place of one PUBLISH: for each PUBACK and PUBCOMP sent, for each PUBREC of 0x80 or above, and for
    /// the PUBREC that answers a QoS 2 message whose identifier was already counted. Never below zero, since a PUBCOMP
    /// may end what began on an earlier connection (section 4.9).
    #[inline]
    pub const fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// QoS 1 and 2 messages of the client that the server has not acknowledged.
    #[must_use]
    pub const fn unacknowledged(&self) -> u16 {
        self.unacknowledged
    }

    /// Whether a 3.x client is to be read on after [`Admission::Pause`].
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.unacknowledged < self.receive_max
    }

    /// The topic of an admitted PUBLISH: its own, which its alias if it has one then stands for, or that of its alias.
    ///
    /// # Errors
    /// An alias that stands for nothing, or topics over the bytes for aliases.
    #[inline]
    pub fn resolve_topic<'t>(&'t mut self, publish: &Publish<'t>) -> Result<&'t str, Violation> {
        match publish.properties.topic_alias {
            None => Ok(publish.topic),
            Some(alias) => self.resolve_alias(alias, publish.topic),
        }
    }

    /// Bytes held for topic aliases.
    #[must_use]
    pub fn alias_bytes(&self) -> usize {
        self.aliases.as_ref().map_or(0, |aliases| aliases.bytes())
    }

    fn resolve_alias<'t>(&'t mut self, alias: u16, topic: &'t str) -> Result<&'t str, Violation> {
        // [MQTT-3.3.2-9]
        if alias == 0 || alias > self.topic_alias_max {
            return Err(Violation::TopicAliasInvalid);
        }
        if topic.is_empty() {
            return self.aliases.as_ref().ok_or(Violation::TopicAliasUnset)?.get(alias);
        }
        let bytes_max = self.topic_alias_bytes_max;
        self.aliases.get_or_insert_default().set(alias, topic, bytes_max)?;
        Ok(topic)
    }

    const fn admit_auth(&self, auth: &Auth<'_>) -> Result<Admission, Violation> {
        // [MQTT-4.12.0-6] [MQTT-4.12.0-7]
        if !self.has_auth_method {
            return Err(Violation::AuthUnexpected);
        }
        if auth.method.is_none() {
            return Err(Violation::AuthMethodChanged);
        }
        Ok(Admission::Go)
    }

    const fn admit_disconnect(&self, disconnect: &Disconnect<'_>) -> Result<(), Violation> {
        // Section 3.14.2.2.2
        if self.session_expires_at_once && matches!(disconnect.session_expiry_secs, Some(1..)) {
            return Err(Violation::SessionExpiryFromZero);
        }
        Ok(())
    }
}

/// Packets whose admission needs no state.
const fn admit_kind(kind: PacketKind) -> Result<Admission, Violation> {
    match kind {
        PacketKind::Connect => Err(Violation::ConnectRepeated),
        PacketKind::ConnAck | PacketKind::SubAck | PacketKind::UnsubAck | PacketKind::PingResp => {
            Err(Violation::ServerOnlyPacket)
        }
        _ => Ok(Admission::Go),
    }
}

// A connected client costs this much for its rules.
const _: () = assert!(size_of::<Connection>() <= 32);
