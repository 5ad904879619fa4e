//! MQTT packets as bytes, for tests that must not trust our own codec.
//!
//! Builders write what they are told, right or wrong: nothing here validates. The reading side splits a packet into
//! its fields and panics on bytes a conforming server never sends, so a malformed answer fails the test that got it.
//! `version` is the protocol level byte of CONNECT: 3 (MQTT 3.1), 4 (3.1.1) or 5.

/// Packet types as the high nibble of the first byte.
pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBSCRIBE: u8 = 0xA2;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: u8 = 0xE0;
pub(crate) const AUTH: u8 = 0xF0;

/// A whole PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0x00];

/// `body` behind its fixed header, the length in its shortest form.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(varint(body.len()));
    out.extend_from_slice(body);
    out
}

/// A variable byte integer in its shortest form.
pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value % 128).unwrap();
        value /= 128;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return out;
        }
    }
}

/// Bytes behind their two-byte length.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A property list behind its length; empty for versions that have none.
fn property_block(version: u8, properties: &[u8]) -> Vec<u8> {
    if version != 5 {
        assert!(properties.is_empty(), "only MQTT 5 has properties");
        return Vec::new();
    }
    let mut out = varint(properties.len());
    out.extend_from_slice(properties);
    out
}

/// One property each: identifier and value.
pub(crate) fn prop_byte(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}
pub(crate) fn prop_u16(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}
pub(crate) fn prop_u32(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}
pub(crate) fn prop_field(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![id], field(value)].concat()
}
pub(crate) fn prop_user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], field(name), field(value)].concat()
}
pub(crate) fn prop_varint(id: u8, value: usize) -> Vec<u8> {
    [vec![id], varint(value)].concat()
}

/// A will as CONNECT carries it.
#[derive(Clone)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        let (topic, payload) = (topic.into(), payload.into());
        Self { topic, payload, qos: 0, retain: false, properties: Vec::new() }
    }

    pub(crate) fn qos(self, qos: u8) -> Self {
        Self { qos, ..self }
    }

    pub(crate) fn retain(self) -> Self {
        Self { retain: true, ..self }
    }

    pub(crate) fn properties(self, properties: Vec<u8>) -> Self {
        Self { properties, ..self }
    }
}

/// A CONNECT in the making: clean, keep-alive 60 s, until told otherwise.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    name: Vec<u8>,
    level: u8,
    flags: u8,
    keep_alive: u16,
    properties: Vec<u8>,
    id: Vec<u8>,
    will: Option<Will>,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
}

impl Connect {
    pub(crate) fn new(version: u8, id: &str) -> Self {
        Self {
            version,
            name: if version == 3 { b"MQIsdp".to_vec() } else { b"MQTT".to_vec() },
            level: version,
            flags: 0x02,
            keep_alive: 60,
            properties: Vec::new(),
            id: id.into(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// Clean Session or Clean Start 0.
    pub(crate) fn resume(mut self) -> Self {
        self.flags &= !0x02;
        self
    }

    /// A session that outlives its connection: resume, and for MQTT 5 an expiry of five minutes.
    pub(crate) fn durable(self) -> Self {
        let version = self.version;
        let this = self.resume();
        if version == 5 { this.property(prop_u32(0x11, 300)) } else { this }
    }

    /// Appends one encoded property.
    pub(crate) fn property(mut self, encoded: Vec<u8>) -> Self {
        self.properties.extend(encoded);
        self
    }

    pub(crate) fn keep_alive(self, seconds: u16) -> Self {
        Self { keep_alive: seconds, ..self }
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        self.will = Some(will);
        self
    }

    pub(crate) fn user(mut self, user: impl Into<Vec<u8>>) -> Self {
        self.flags |= 0x80;
        self.user = Some(user.into());
        self
    }

    pub(crate) fn password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.flags |= 0x40;
        self.password = Some(password.into());
        self
    }

    /// Replaces the client identifier by any bytes.
    pub(crate) fn raw_id(self, id: impl Into<Vec<u8>>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Replaces protocol name and level.
    pub(crate) fn protocol(self, name: &str, level: u8) -> Self {
        Self { name: name.into(), level, ..self }
    }

    /// Sets flag bits without the fields they announce.
    pub(crate) fn flags(mut self, set: u8) -> Self {
        self.flags |= set;
        self
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = field(&self.name);
        body.extend([self.level, self.flags]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(property_block(self.version, &self.properties));
        body.extend(field(&self.id));
        if let Some(will) = &self.will {
            body.extend(property_block(self.version, &will.properties));
            body.extend(field(&will.topic));
            body.extend(field(&will.payload));
        }
        body.extend(self.user.iter().flat_map(field));
        body.extend(self.password.iter().flat_map(field));
        body
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        frame(CONNECT, &self.body())
    }
}

/// A PUBLISH in the making: QoS 0 until told otherwise.
#[derive(Clone)]
pub(crate) struct Publish {
    version: u8,
    flags: u8,
    topic: Vec<u8>,
    id: Option<u16>,
    properties: Vec<u8>,
    payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(version: u8, topic: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            version,
            flags: 0,
            topic: topic.into(),
            id: None,
            properties: Vec::new(),
            payload: payload.into(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8, id: u16) -> Self {
        self.flags |= qos << 1;
        self.id = (qos > 0).then_some(id);
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.flags |= 0x01;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.flags |= 0x08;
        self
    }

    pub(crate) fn property(mut self, encoded: Vec<u8>) -> Self {
        self.properties.extend(encoded);
        self
    }

    pub(crate) fn raw_topic(self, topic: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), ..self }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = field(&self.topic);
        body.extend(self.id.iter().flat_map(|id| id.to_be_bytes()));
        body.extend(property_block(self.version, &self.properties));
        body.extend_from_slice(&self.payload);
        body
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        frame(PUBLISH | self.flags, &self.body())
    }
}

/// A SUBSCRIBE for filters with their options bytes.
pub(crate) fn subscribe(version: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

/// A SUBSCRIBE with encoded properties.
pub(crate) fn subscribe_with(version: u8, id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(property_block(version, properties));
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    frame(SUBSCRIBE, &body)
}

/// An UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(property_block(version, &[]));
    body.extend(filters.iter().flat_map(field));
    frame(UNSUBSCRIBE, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in the two-byte form that means success.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// The same with a reason code (MQTT 5).
pub(crate) fn ack_reason(first: u8, id: u16, reason: u8) -> Vec<u8> {
    frame(first, &[&id.to_be_bytes()[..], &[reason]].concat())
}

/// A DISCONNECT with success.
pub(crate) fn disconnect() -> Vec<u8> {
    frame(DISCONNECT, &[])
}

/// An MQTT 5 DISCONNECT with reason and encoded properties.
pub(crate) fn disconnect_with(reason: u8, properties: &[u8]) -> Vec<u8> {
    frame(DISCONNECT, &[vec![reason], property_block(5, properties)].concat())
}

/// A received packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// The type nibble, and for all but PUBLISH the flags, as in the constants above.
    pub(crate) fn kind(&self) -> u8 {
        if self.first & 0xF0 == PUBLISH { PUBLISH } else { self.first }
    }

    /// The packet identifier of an acknowledgement.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason code of PUBACK, PUBREC, PUBREL, PUBCOMP: 0 when left out.
    pub(crate) fn ack_reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }

    /// The reason code of an MQTT 5 DISCONNECT: 0 when left out.
    pub(crate) fn disconnect_reason(&self) -> u8 {
        assert_eq!(self.first, DISCONNECT, "expected DISCONNECT, got {self:?}");
        self.body.first().copied().unwrap_or(0)
    }

    pub(crate) fn connack(&self, version: u8) -> Connack {
        assert_eq!(self.first, CONNACK, "expected CONNACK, got {self:?}");
        let properties = if version == 5 {
            let (properties, rest) = read_properties(&self.body[2..]);
            assert!(rest.is_empty(), "bytes left over in CONNACK: {self:?}");
            properties
        } else {
            assert_eq!(self.body.len(), 2, "CONNACK of two bytes expected: {self:?}");
            Properties::default()
        };
        Connack { flags: self.body[0], reason: self.body[1], properties }
    }

    /// Reason codes and properties of SUBACK and UNSUBACK.
    pub(crate) fn reasons(&self, version: u8) -> Vec<u8> {
        assert!(self.first == SUBACK || self.first == UNSUBACK, "expected SUBACK or UNSUBACK, got {self:?}");
        if version == 5 { read_properties(&self.body[2..]).1.to_vec() } else { self.body[2..].to_vec() }
    }

    pub(crate) fn publish(&self, version: u8) -> Delivery {
        assert_eq!(self.kind(), PUBLISH, "expected PUBLISH, got {self:?}");
        let qos = (self.first >> 1) & 3;
        assert!(qos < 3, "QoS 3 from the server: {self:?}");
        let (topic, mut rest) = read_field(&self.body);
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            assert_ne!(id, 0, "packet identifier 0 from the server");
            rest = &rest[2..];
        }
        let (properties, payload) =
            if version == 5 { read_properties(rest) } else { (Properties::default(), rest) };
        Delivery {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: payload.to_vec(),
            qos,
            id,
            retain: self.first & 1 != 0,
            dup: self.first & 8 != 0,
            properties,
        }
    }
}

/// The fields of a CONNACK.
#[derive(Debug)]
pub(crate) struct Connack {
    pub(crate) flags: u8,
    pub(crate) reason: u8,
    pub(crate) properties: Properties,
}

/// The fields of a PUBLISH from the server.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: Properties,
}

impl Delivery {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// Properties in the order received: identifier and value bytes without length prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Vec<u8>)>);

impl Properties {
    /// The value of a property that must be there at most once.
    pub(crate) fn get(&self, id: u8) -> Option<&[u8]> {
        let mut found = self.0.iter().filter(|(each, _)| *each == id);
        let first = found.next().map(|(_, value)| value.as_slice());
        assert!(found.next().is_none(), "property {id:#04x} more than once: {self:?}");
        first
    }

    /// A one, two or four byte integer.
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        self.get(id).map(|bytes| bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
    }

    /// All values of a property that may repeat (0x0B as its varint bytes, 0x26 as both fields with their lengths).
    pub(crate) fn all(&self, id: u8) -> Vec<&[u8]> {
        self.0.iter().filter(|(each, _)| *each == id).map(|(_, value)| value.as_slice()).collect()
    }

    /// User properties in order.
    pub(crate) fn user(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pair = |value: &[u8]| {
            let (name, rest) = read_field(value);
            (text(name), text(read_field(rest).0))
        };
        self.all(0x26).into_iter().map(pair).collect()
    }

    /// Subscription identifiers, sorted.
    pub(crate) fn subscription_ids(&self) -> Vec<usize> {
        let mut ids: Vec<usize> = self.all(0x0B).into_iter().map(|value| read_varint(value).0).collect();
        ids.sort_unstable();
        ids
    }
}

fn read_field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(len)
}

fn read_varint(bytes: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (value, &bytes[at + 1..]);
        }
    }
    panic!("not a variable byte integer: {bytes:?}");
}

/// Splits a property block from what follows; panics on an unknown identifier.
pub(crate) fn read_properties(bytes: &[u8]) -> (Properties, &[u8]) {
    let (len, rest) = read_varint(bytes);
    let (mut block, after) = rest.split_at(len);
    let mut found = Vec::new();
    while let Some((&id, value)) = block.split_first() {
        let width = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x21 | 0x22 | 0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            0x0B => value.len() - read_varint(value).1.len(),
            0x26 => value.len() - read_field(read_field(value).1).1.len(),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => 2 + read_field(value).0.len(),
            other => panic!("property {other:#04x} is none of MQTT 5"),
        };
        let (value, next) = value.split_at(width);
        let prefixed = matches!(id, 0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F);
        found.push((id, if prefixed { value[2..].to_vec() } else { value.to_vec() }));
        block = next;
    }
    (Properties(found), after)
}
