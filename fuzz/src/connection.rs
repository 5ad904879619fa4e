//! The rules of one connection, against a model that keeps lists: packets in any order, acknowledgements of the server in
//! between.

use std::collections::HashMap;

use bitsim_protocol::{
    Ack, Admission, Auth, ConnAck, Connect, ConnectProperties, Connection, Disconnect, Packet, Publish,
    PublishProperties, Qos, ReasonCode, SubAck, Terms, Version, Violation,
};

use crate::source::Source;

/// First bytes: the terms and the CONNECT; then one event after the other.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let terms = Terms {
        receive_max: 1 + source.below(4) as u16,
        topic_alias_max: source.below(5) as u16,
        topic_alias_bytes_max: 12,
    };
    let mut connection = Connection::new();
    let mut model = Model { state: State::New, terms, unacknowledged: 0, aliases: HashMap::new() };
    while !source.is_empty() {
        step(&mut connection, &mut model, &mut source);
    }
}

struct Model {
    state: State,
    terms: Terms,
    unacknowledged: u16,
    aliases: HashMap<u16, String>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Connected { version: Version, auth: bool, ends_at_once: bool },
    Closed,
}

fn step(connection: &mut Connection, model: &mut Model, source: &mut Source<'_>) {
    match source.below(12) {
        0 => connect(connection, model, source),
        1 => {
            if let Some(connected) = connection.connected() {
                connected.acknowledged();
            }
            model.unacknowledged = model.unacknowledged.saturating_sub(1);
        }
        2 if source.chance(8) => {
            connection.close();
            model.state = State::Closed;
        }
        3 => expect(
            connection,
            model,
            &Packet::Auth(Auth { method: source.chance(2).then_some("m"), ..Auth::default() }),
        ),
        4 => {
            let session_expiry_secs = source.pick(&[None, Some(0), Some(9)]);
            let disconnect = Disconnect { session_expiry_secs, ..Disconnect::default() };
            if source.chance(4) {
                expect(connection, model, &Packet::Disconnect(disconnect));
            }
        }
        5 => {
            let packet = other(source);
            expect(connection, model, &packet);
        }
        _ => publish(connection, model, source),
    }
    if let Some(connected) = connection.connected() {
        assert_eq!(connected.unacknowledged(), model.unacknowledged);
        assert_eq!(connected.has_room(), model.unacknowledged < model.terms.receive_max);
        assert!(connected.alias_bytes() <= model.terms.topic_alias_bytes_max as usize);
    }
    assert_eq!(connection.connected().is_some(), matches!(model.state, State::Connected { .. }));
}

fn connect(connection: &mut Connection, model: &mut Model, source: &mut Source<'_>) {
    let version = source.pick(&[Version::V31, Version::V311, Version::V5]);
    let v5 = version == Version::V5;
    let properties = ConnectProperties {
        session_expiry_secs: if v5 { source.pick(&[0, 60]) } else { 0 },
        auth_method: (v5 && source.chance(2)).then_some("m"),
        ..ConnectProperties::default()
    };
    let connect = Connect {
        version,
        clean_start: source.chance(2),
        keep_alive_secs: 0,
        client_id: "c",
        will: None,
        username: None,
        password: None,
        properties,
    };
    let wanted = match model.state {
        State::New => Ok(()),
        State::Connected { .. } => Err(Violation::ConnectRepeated),
        State::Closed => Err(Violation::PacketAfterDisconnect),
    };
    assert_eq!(connection.connect(&connect, &model.terms), wanted);
    if wanted.is_ok() {
        let ends_at_once = if v5 { properties.session_expiry_secs == 0 } else { connect.clean_start };
        model.state = State::Connected { version, auth: properties.auth_method.is_some(), ends_at_once };
    }
    expect(connection, model, &Packet::PingReq);
}

fn publish(connection: &mut Connection, model: &mut Model, source: &mut Source<'_>) {
    let State::Connected { version, .. } = model.state else {
        return expect(connection, model, &Packet::PingReq);
    };
    let qos = source.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
    let topic_alias = (version == Version::V5 && source.chance(2)).then(|| 1 + source.below(5) as u16);
    let topic = source.pick(&["a", "topic", "longer/topic", ""]);
    let topic = if topic_alias.is_none() && topic.is_empty() { "a" } else { topic };
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: u16::from(qos != Qos::AtMostOnce),
        properties: PublishProperties {
            topic_alias,
            subscription_id_present: source.chance(30),
            ..PublishProperties::default()
        },
        payload: b"",
    };
    let before = model.unacknowledged;
    expect(connection, model, &Packet::Publish(publish));
    let admitted = model.unacknowledged > before || qos == Qos::AtMostOnce;
    let beyond = topic_alias.is_some_and(|alias| alias > model.terms.topic_alias_max);
    let Some(connected) = connection.connected() else { return };
    if !admitted || beyond || publish.properties.subscription_id_present {
        return;
    }
    let resolved = connected.resolve_topic(&publish).map(str::to_owned);
    assert_eq!(resolved, model.resolve(topic_alias, topic));
}

fn other(source: &mut Source<'_>) -> Packet<'static> {
    let ack = Ack::new(1, ReasonCode::Success);
    source.pick(&[
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
        Packet::PingReq,
        Packet::PingResp,
        Packet::ConnAck(ConnAck::default()),
        Packet::SubAck(SubAck::new(1, &[0])),
        Packet::UnsubAck(SubAck::new(1, &[0])),
    ])
}

fn expect(connection: &mut Connection, model: &mut Model, packet: &Packet<'_>) {
    let wanted = model.admit(packet);
    assert_eq!(connection.admit(packet), wanted, "{packet:?}");
}

impl Model {
    fn admit(&mut self, packet: &Packet<'_>) -> Result<Admission, Violation> {
        let (version, auth, ends_at_once) = match self.state {
            State::New => return Err(Violation::ConnectExpected),
            State::Closed => return Err(Violation::PacketAfterDisconnect),
            State::Connected { version, auth, ends_at_once } => (version, auth, ends_at_once),
        };
        match packet {
            Packet::Publish(publish) => self.admit_publish(version, publish),
            Packet::Auth(_) if !auth => Err(Violation::AuthUnexpected),
            Packet::Auth(auth) if auth.method.is_none() => Err(Violation::AuthMethodChanged),
            Packet::Disconnect(disconnect) => {
                if ends_at_once && disconnect.session_expiry_secs.is_some_and(|secs| secs > 0) {
                    return Err(Violation::SessionExpiryFromZero);
                }
                self.state = State::Closed;
                Ok(Admission::Go)
            }
            Packet::Connect(_) => Err(Violation::ConnectRepeated),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::ServerOnlyPacket)
            }
            _ => Ok(Admission::Go),
        }
    }

    fn admit_publish(&mut self, version: Version, publish: &Publish<'_>) -> Result<Admission, Violation> {
        if publish.properties.subscription_id_present {
            return Err(Violation::SubscriptionIdFromClient);
        }
        if publish.properties.topic_alias.is_some_and(|alias| alias > self.terms.topic_alias_max) {
            return Err(Violation::TopicAliasInvalid);
        }
        if publish.qos == Qos::AtMostOnce {
            return Ok(Admission::Go);
        }
        let full = self.unacknowledged >= self.terms.receive_max;
        if version == Version::V5 && full {
            return Err(Violation::ReceiveMaximumExceeded);
        }
        self.unacknowledged += 1;
        let pause = version != Version::V5 && self.unacknowledged >= self.terms.receive_max;
        Ok(if pause { Admission::Pause } else { Admission::Go })
    }

    fn resolve(&mut self, alias: Option<u16>, topic: &str) -> Result<String, Violation> {
        let Some(alias) = alias else { return Ok(topic.to_owned()) };
        if topic.is_empty() {
            return self.aliases.get(&alias).cloned().ok_or(Violation::TopicAliasUnset);
        }
        let mut after = self.aliases.clone();
        after.insert(alias, topic.to_owned());
        let unchanged = self.aliases.get(&alias).is_some_and(|before| before == topic);
        if !unchanged
            && after.values().map(String::len).sum::<usize>() > self.terms.topic_alias_bytes_max as usize
        {
            return Err(Violation::TopicAliasBytes);
        }
        self.aliases = after;
        Ok(topic.to_owned())
    }
}
