//! One connection's rules, packet after packet.

use bitsim_protocol::{Admission, Connection, Packet, Terms, Version, Violation};

use crate::notation::{bytes, read};

const TERMS: Terms = Terms { receive_max: 3, topic_alias_max: 2, topic_alias_bytes_max: 10 };
const CONNECT_V5: &str = "10 [ \"MQTT\" 05 02 0000 [ ] \"c\" ]";
const CONNECT_V311: &str = "10 [ \"MQTT\" 04 02 0000 \"c\" ]";

/// A connection after `connect`.
fn connected(connect: &str) -> (Connection, Version) {
    let bytes = bytes(connect);
    let Ok(Packet::Connect(connect)) = read(Version::V5, &bytes) else { panic!("no CONNECT") };
    let mut connection = Connection::new();
    connection.connect(&connect, &TERMS).unwrap();
    (connection, connect.version)
}

fn admit(connection: &mut Connection, version: Version, packet: &str) -> Result<Admission, Violation> {
    let bytes = bytes(packet);
    connection.admit(&read(version, &bytes).expect(packet))
}

/// The topic that a PUBLISH of MQTT 5 is for, once admitted.
fn topic(connection: &mut Connection, packet: &str) -> Result<String, Violation> {
    let bytes = bytes(packet);
    let Ok(Packet::Publish(publish)) = read(Version::V5, &bytes) else { panic!("no PUBLISH") };
    connection.admit(&Packet::Publish(publish))?;
    connection.connected().expect("connected").resolve_topic(&publish).map(str::to_owned)
}

/// [MQTT-3.1.0-1]
#[test]
fn nothing_comes_before_connect() {
    let mut connection = Connection::new();
    for packet in ["C0 00", "30 [ \"a\" 00 ]", "E0 00", "20 [ 00 00 [ ] ]", "F0 00"] {
        assert_eq!(admit(&mut connection, Version::V5, packet), Err(Violation::ConnectExpected), "{packet}");
    }
}

/// [MQTT-3.1.0-2]
#[test]
fn connect_comes_once() {
    for text in [CONNECT_V5, CONNECT_V311] {
        let (mut connection, version) = connected(text);
        assert_eq!(admit(&mut connection, version, text), Err(Violation::ConnectRepeated));
        let bytes = bytes(text);
        let Ok(Packet::Connect(again)) = read(version, &bytes) else { panic!("no CONNECT") };
        assert_eq!(connection.connect(&again, &TERMS), Err(Violation::ConnectRepeated));
    }
}

#[test]
fn what_a_server_sends_is_refused_from_a_client() {
    let (mut connection, version) = connected(CONNECT_V5);
    for packet in ["20 [ 00 00 [ ] ]", "90 [ 0001 [ ] 00 ]", "B0 [ 0001 [ ] 00 ]", "D0 00"] {
        assert_eq!(admit(&mut connection, version, packet), Err(Violation::ServerOnlyPacket), "{packet}");
    }
    for packet in
        ["C0 00", "40 [ 0001 ]", "50 [ 0001 ]", "62 [ 0001 ]", "70 [ 0001 ]", "A2 [ 0001 [ ] \"a\" ]"]
    {
        assert_eq!(admit(&mut connection, version, packet), Ok(Admission::Go), "{packet}");
    }
}

/// [MQTT-3.14.4-1]
#[test]
fn nothing_comes_after_disconnect() {
    let (mut connection, version) = connected(CONNECT_V311);
    assert_eq!(admit(&mut connection, version, "E0 00"), Ok(Admission::Go));
    assert!(connection.connected().is_none());
    assert_eq!(admit(&mut connection, version, "C0 00"), Err(Violation::PacketAfterDisconnect));
    let (mut connection, version) = connected(CONNECT_V5);
    connection.close();
    assert_eq!(admit(&mut connection, version, "C0 00"), Err(Violation::PacketAfterDisconnect));
}

/// Section 3.14.2.2.2
#[test]
fn session_expiry_cannot_be_raised_from_zero() {
    let ending = "E0 [ 00 [ 11 00000001 ] ]";
    let (mut connection, version) = connected(CONNECT_V5);
    assert_eq!(admit(&mut connection, version, "E0 [ 00 [ 11 00000000 ] ]"), Ok(Admission::Go));
    let (mut connection, version) = connected(CONNECT_V5);
    assert_eq!(admit(&mut connection, version, ending), Err(Violation::SessionExpiryFromZero));
    let (mut connection, version) = connected("10 [ \"MQTT\" 05 02 0000 [ 11 00000005 ] \"c\" ]");
    assert_eq!(admit(&mut connection, version, ending), Ok(Admission::Go));
}

/// [MQTT-3.3.4-7]: QoS 1 and 2 together; QoS 0 is free; an acknowledgement gives a place back.
#[test]
fn receive_maximum_of_mqtt_5() {
    let (mut connection, version) = connected(CONNECT_V5);
    for packet in ["32 [ \"a\" 0001 00 ]", "34 [ \"a\" 0002 00 ]", "32 [ \"a\" 0003 00 ]", "30 [ \"a\" 00 ]"]
    {
        assert_eq!(admit(&mut connection, version, packet), Ok(Admission::Go));
    }
    let over = "32 [ \"a\" 0004 00 ]";
    assert_eq!(admit(&mut connection, version, over), Err(Violation::ReceiveMaximumExceeded));
    connection.connected().unwrap().acknowledged();
    assert_eq!(admit(&mut connection, version, over), Ok(Admission::Go));
    assert_eq!(admit(&mut connection, version, over), Err(Violation::ReceiveMaximumExceeded));
}

/// Section 4.9: a PUBCOMP for what began on an earlier connection gives no place beyond the maximum.
#[test]
fn acknowledgements_never_raise_the_window() {
    let (mut connection, version) = connected(CONNECT_V5);
    connection.connected().unwrap().acknowledged();
    for _ in 0..3 {
        assert_eq!(admit(&mut connection, version, "32 [ \"a\" 0001 00 ]"), Ok(Admission::Go));
    }
    let over = admit(&mut connection, version, "32 [ \"a\" 0001 00 ]");
    assert_eq!(over, Err(Violation::ReceiveMaximumExceeded));
}

/// 3.x has no Receive Maximum: its publishers are paused.
#[test]
fn a_full_window_pauses_3_x() {
    let (mut connection, version) = connected(CONNECT_V311);
    let publish = "32 [ \"a\" 0001 'x' ]";
    let admissions: Vec<_> = (0..4).map(|_| admit(&mut connection, version, publish).unwrap()).collect();
    assert_eq!(admissions, [Admission::Go, Admission::Go, Admission::Pause, Admission::Pause]);
    let connected = connection.connected().unwrap();
    assert!(!connected.has_room());
    connected.acknowledged();
    connected.acknowledged();
    assert!(connected.has_room());
    assert_eq!(connected.unacknowledged(), 2);
}

/// [MQTT-3.3.4-6]
#[test]
fn clients_send_no_subscription_identifier() {
    let (mut connection, version) = connected(CONNECT_V5);
    let refused = admit(&mut connection, version, "30 [ \"a\" [ 0B 01 ] ]");
    assert_eq!(refused, Err(Violation::SubscriptionIdFromClient));
}

/// Section 3.3.2.3.4
#[test]
fn an_alias_stands_for_the_topic_it_was_given_last() {
    let (mut connection, _) = connected(CONNECT_V5);
    assert_eq!(topic(&mut connection, "30 [ \"\" [ 23 0001 ] ]"), Err(Violation::TopicAliasUnset));
    assert_eq!(topic(&mut connection, "30 [ \"a/b\" [ 23 0002 ] ]").as_deref(), Ok("a/b"));
    assert_eq!(topic(&mut connection, "30 [ \"\" [ 23 0001 ] ]"), Err(Violation::TopicAliasUnset));
    assert_eq!(topic(&mut connection, "30 [ \"\" [ 23 0002 ] ]").as_deref(), Ok("a/b"));
    assert_eq!(topic(&mut connection, "30 [ \"c\" [ 23 0002 ] ]").as_deref(), Ok("c"));
    assert_eq!(topic(&mut connection, "30 [ \"\" [ 23 0002 ] ]").as_deref(), Ok("c"));
    assert_eq!(topic(&mut connection, "30 [ \"d\" 00 ]").as_deref(), Ok("d"));
}

/// [MQTT-3.3.2-9]
#[test]
fn an_alias_above_the_maximum_is_refused() {
    let (mut connection, _) = connected(CONNECT_V5);
    let refused = admit(&mut connection, Version::V5, "30 [ \"a\" [ 23 0003 ] ]");
    assert_eq!(refused, Err(Violation::TopicAliasInvalid));
    assert_eq!(topic(&mut connection, "30 [ \"\" [ 23 FFFF ] ]"), Err(Violation::TopicAliasInvalid));
    assert_eq!(connection.connected().unwrap().alias_bytes(), 0);
}

#[test]
fn aliases_are_bounded_in_bytes() {
    let (mut connection, _) = connected(CONNECT_V5);
    topic(&mut connection, "30 [ \"123456\" [ 23 0001 ] ]").unwrap();
    let over = topic(&mut connection, "30 [ \"12345\" [ 23 0002 ] ]");
    assert_eq!(over, Err(Violation::TopicAliasBytes));
    // A topic in place of another gives its bytes back.
    topic(&mut connection, "30 [ \"1234567890\" [ 23 0001 ] ]").unwrap();
    assert_eq!(connection.connected().unwrap().alias_bytes(), 10);
    topic(&mut connection, "30 [ \"1\" [ 23 0001 ] ]").unwrap();
    topic(&mut connection, "30 [ \"12345\" [ 23 0002 ] ]").unwrap();
    assert_eq!(connection.connected().unwrap().alias_bytes(), 6);
}

/// [MQTT-4.12.0-6] [MQTT-4.12.0-7]
#[test]
fn auth_needs_a_method() {
    let (mut connection, version) = connected(CONNECT_V5);
    let step = "F0 [ 18 [ 15 \"m\" ] ]";
    assert_eq!(admit(&mut connection, version, step), Err(Violation::AuthUnexpected));
    let (mut connection, version) = connected("10 [ \"MQTT\" 05 02 0000 [ 15 \"m\" ] \"c\" ]");
    assert_eq!(admit(&mut connection, version, step), Ok(Admission::Go));
    assert_eq!(admit(&mut connection, version, "F0 00"), Err(Violation::AuthMethodChanged));
}
