//! What decoding finds in packets whose bytes are spelled out.

use bitsim_protocol::{
    Frame, PACKET_BYTES_MAX, Packet, Publish, Qos, ReasonCode, RetainHandling, TopicLimits, Version,
    Violation, decode_connect, decode_publish, forwardable_properties, payload_is_valid_utf8, split_frame,
};

use crate::notation::{bytes, read};

fn frame(bytes: &[u8]) -> Frame<'_> {
    split_frame(bytes, PACKET_BYTES_MAX).unwrap().unwrap()
}

/// The example of section 3.1.3 of MQTT 3.1.1, with every field. [MQTT-3.1.3-1]: their order.
#[test]
fn connect_of_3_1_1() {
    let bytes = bytes("10 [ \"MQTT\" 04 CE 000A \"id\" \"will/t\" \"bye\" \"user\" \"pass\" ]");
    let connect = decode_connect(&frame(&bytes)).unwrap();
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive_secs), (Version::V311, true, 10));
    let will = connect.will.unwrap();
    assert_eq!(
        (will.topic, will.payload, will.qos, will.retain),
        ("will/t", &b"bye"[..], Qos::AtLeastOnce, false)
    );
    let identity = (connect.client_id, connect.username, connect.password);
    assert_eq!(identity, ("id", Some("user"), Some(&b"pass"[..])));
}

#[test]
fn connect_of_3_1() {
    let bytes = bytes("10 [ \"MQIsdp\" 03 26 003C \"id\" \"w\" \"x\" ]");
    let connect = decode_connect(&frame(&bytes)).unwrap();
    assert_eq!((connect.version, connect.keep_alive_secs), (Version::V31, 60));
    assert!(connect.will.is_some_and(|will| will.retain && will.qos == Qos::AtMostOnce));
}

/// Section 3.1.2.11: the values that hold when a property was not sent.
#[test]
fn connect_properties_have_the_defaults_of_the_specification() {
    let bytes = bytes("10 [ \"MQTT\" 05 00 0000 [ ] \"\" ]");
    let properties = decode_connect(&frame(&bytes)).unwrap().properties;
    assert_eq!((properties.session_expiry_secs, properties.receive_max), (0, 65_535));
    assert_eq!((properties.packet_max, properties.topic_alias_max), (None, 0));
    assert_eq!((properties.request_response_info, properties.request_problem_info), (false, true));
    assert_eq!((properties.auth_method, properties.user.count()), (None, 0));
}

/// [MQTT-3.1.2-2]: the level goes with the refusal, which is answered by 0x01 or 0x84.
#[test]
fn unsupported_levels_are_named() {
    for level in [0_u8, 1, 2, 3, 6, 0x84, 255] {
        let mut bytes = bytes("10 [ \"MQTT\" 04 02 0000 \"c\" ]");
        bytes[8] = level;
        let refused = decode_connect(&frame(&bytes));
        assert_eq!(refused, Err(Violation::UnsupportedVersion { level }));
    }
    assert_eq!(decode_connect(&frame(&[0xC0, 0])), Err(Violation::ConnectExpected));
}

fn publish(bytes: &[u8]) -> Publish<'_> {
    decode_publish(Version::V5, &frame(bytes), &TopicLimits::default()).unwrap()
}

#[test]
fn publish_with_every_property() {
    let bytes = bytes(
        "3D [ \"a/b\" 000A [ 01 01 26 \"k\" \"v\" 02 0000003C 23 0007 08 \"r/t\" 09 \"cd\" 0B 05 26 \"k\" \"w\" \
         0B 80 01 03 \"text\" ] 'hi' ]",
    );
    let publish = publish(&bytes);
    assert_eq!((publish.dup, publish.qos, publish.retain), (true, Qos::ExactlyOnce, true));
    assert_eq!((publish.topic, publish.packet_id, publish.payload), ("a/b", 10, &b"hi"[..]));
    let properties = &publish.properties;
    assert_eq!((properties.topic_alias, properties.message_expiry), (Some(7), Some(60)));
    assert_eq!((properties.payload_is_utf8, properties.content_type), (true, Some("text")));
    assert_eq!((properties.response_topic, properties.correlation_data), (Some("r/t"), Some(&b"cd"[..])));
    assert_eq!(properties.subscription_ids().collect::<Vec<_>>(), [5, 128]);
    // [MQTT-3.3.2-18]
    assert_eq!(properties.user.iter().collect::<Vec<_>>(), [("k", "v"), ("k", "w")]);
    assert_eq!((properties.user.count(), properties.user.bytes()), (2, 4));
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20] go on; alias, expiry and subscription
/// identifiers are between two parties.
#[test]
fn properties_are_passed_on_in_order_without_those_of_the_hop() {
    let sent = bytes(
        "30 [ \"a\" [ 23 0007 26 \"k\" \"v\" 02 0000003C 01 01 0B 05 08 \"r\" 09 \"c\" 03 \"t\" 26 \"k\" \"v\" ] ]",
    );
    let publish = publish(&sent);
    let mut passed_on = vec![0xAA];
    forwardable_properties(publish.properties.raw, &mut passed_on);
    assert_eq!(passed_on, bytes("AA 26 \"k\" \"v\" 01 01 08 \"r\" 09 \"c\" 03 \"t\" 26 \"k\" \"v\""));
    assert!(!publish.properties.is_forwardable());
}

/// The delay of a will is not a property of its message (section 3.1.3.2.2).
#[test]
fn will_properties_are_passed_on_without_delay() {
    let sent = bytes("10 [ \"MQTT\" 05 06 0000 [ ] \"c\" [ 18 00000005 03 \"t\" 02 00000009 ] \"w\" \"x\" ]");
    let will = decode_connect(&frame(&sent)).unwrap().will.unwrap();
    assert_eq!((will.properties.delay_secs, will.properties.message_expiry), (5, Some(9)));
    let mut passed_on = Vec::new();
    forwardable_properties(will.properties.raw, &mut passed_on);
    assert_eq!(passed_on, bytes("03 \"t\""));
}

#[test]
fn topic_limits_hold_for_publish() {
    let limits = TopicLimits { bytes_max: 5, levels_max: 2 };
    let decoded = |text: &str| {
        let bytes = bytes(text);
        decode_publish(Version::V311, &frame(&bytes), &limits).map(drop)
    };
    assert_eq!(decoded("30 [ \"ab/cd\" ]"), Ok(()));
    assert_eq!(decoded("30 [ \"ab/cde\" ]"), Err(Violation::TopicTooLong));
    assert_eq!(decoded("30 [ \"a/b/c\" ]"), Err(Violation::TopicTooDeep));
    assert_eq!(decoded("30 [ \"////\" ]"), Err(Violation::TopicTooDeep));
}

/// Section 3.8.3.1: each option bit.
#[test]
fn subscribe_options_of_mqtt_5() {
    let bytes = bytes("82 [ 000A [ 0B C8 01 ] \"a\" 2E \"$share/g/b\" 11 ]");
    let Ok(Packet::Subscribe(subscribe)) = read(Version::V5, &bytes) else { panic!("no SUBSCRIBE") };
    assert_eq!((subscribe.packet_id, subscribe.subscription_id, subscribe.filter_count), (10, Some(200), 2));
    let filters: Vec<_> = subscribe.filters().collect();
    let (filter, options) = filters[0];
    assert_eq!((filter, options.qos, options.no_local), ("a", Qos::ExactlyOnce, true));
    assert_eq!((options.retain_as_published, options.retain_handling), (true, RetainHandling::DoNotSend));
    let (filter, options) = filters[1];
    assert_eq!((filter, options.qos, options.no_local), ("$share/g/b", Qos::AtLeastOnce, false));
    assert_eq!((options.retain_as_published, options.retain_handling), (false, RetainHandling::SendIfNew));
}

#[test]
fn disconnect_with_every_property() {
    let bytes = bytes("E0 [ 04 [ 11 0000000A 1F \"bye\" 26 \"k\" \"v\" ] ]");
    let Ok(Packet::Disconnect(disconnect)) = read(Version::V5, &bytes) else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason, ReasonCode::DisconnectWithWillMessage);
    assert_eq!((disconnect.session_expiry_secs, disconnect.reason_string), (Some(10), Some("bye")));
    assert_eq!(disconnect.user.iter().collect::<Vec<_>>(), [("k", "v")]);
}

/// 3.1.1, table 3.1: return codes.
#[test]
fn return_codes_of_3_x_stand_for_reasons() {
    let reasons = (0..=5).map(|code| {
        let bytes = [0x20, 2, 0, code];
        match read(Version::V311, &bytes) {
            Ok(Packet::ConnAck(connack)) => u8::from(connack.reason),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [0, 0x84, 0x85, 0x88, 0x86, 0x87]);
}

/// Section 3.3.2.3.2: what a receiver may check when the indicator is 1.
#[test]
fn payload_format() {
    assert!(payload_is_valid_utf8(b""));
    assert!(payload_is_valid_utf8("€\0".as_bytes()));
    assert!(!payload_is_valid_utf8(&[0xC0, 0x80]));
}
