//! The Rust client rumqttc against the shared broker, its MQTT 3.1.1 and its MQTT 5 side.
//!
//! Both sides have the same shape but not the same types, so one macro writes the scenarios for both.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::broker;

const WAIT: Duration = Duration::from_secs(10);

/// What a client's event loop saw, for the test to wait on.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Connected { session_present: bool },
    Subscribed,
    Message { topic: String, text: String, qos: u8, retain: bool },
    Acknowledged,
}

/// Waits for the first event that `pick` takes.
fn await_event<T>(events: &Receiver<Seen>, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
    loop {
        let seen = events.recv_timeout(WAIT).expect("an event of the client in time");
        if let Some(found) = pick(seen) {
            return found;
        }
    }
}

fn message(events: &Receiver<Seen>) -> (String, String, u8, bool) {
    await_event(events, |seen| match seen {
        Seen::Message { topic, text, qos, retain } => Some((topic, text, qos, retain)),
        _ => None,
    })
}

fn acknowledged(events: &Receiver<Seen>) {
    await_event(events, |seen| (seen == Seen::Acknowledged).then_some(()));
}

macro_rules! side {
    ($side:ident { $($own:item)* }) => {
        mod $side {
            use super::*;

            $($own)*

            fn open(name: &str, clean: bool, will: Option<LastWill>) -> (Client, Receiver<Seen>, bool) {
                let mut options = options(name, clean);
                if let Some(will) = will {
                    options.set_last_will(will);
                }
                let (client, connection) = Client::new(options, 1000);
                let (sender, events) = mpsc::channel();
                std::thread::spawn(move || run(connection, &sender));
                let present = await_event(&events, |seen| match seen {
                    Seen::Connected { session_present } => Some(session_present),
                    _ => None,
                });
                (client, events, present)
            }

            fn run(mut connection: Connection, sender: &mpsc::Sender<Seen>) {
                for event in connection.iter() {
                    let Ok(event) = event else { return };
                    let Event::Incoming(packet) = event else { continue };
                    let seen = match packet {
                        Incoming::ConnAck(ack) => Seen::Connected { session_present: ack.session_present },
                        Incoming::SubAck(_) => Seen::Subscribed,
                        Incoming::PubAck(_) | Incoming::PubComp(_) => Seen::Acknowledged,
                        Incoming::Publish(publish) => Seen::Message {
                            topic: String::from_utf8(Vec::from(publish.topic)).unwrap(),
                            text: String::from_utf8(publish.payload.to_vec()).unwrap(),
                            qos: publish.qos as u8,
                            retain: publish.retain,
                        },
                        _ => continue,
                    };
                    if sender.send(seen).is_err() {
                        return;
                    }
                }
            }

            fn subscribe(client: &Client, events: &Receiver<Seen>, filter: &str) {
                client.subscribe(filter, QoS::ExactlyOnce).unwrap();
                await_event(events, |seen| (seen == Seen::Subscribed).then_some(()));
            }

            #[test]
            fn each_quality_of_service() {
                let topic = concat!("rumqttc/", stringify!($side), "/qos");
                let (subscriber, received, _) = open("rumqttc-sub", true, None);
                let (publisher, sent, _) = open("rumqttc-pub", true, None);
                subscribe(&subscriber, &received, topic);
                for (number, qos) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
                    publisher.publish(topic, qos, false, format!("at {number}")).unwrap();
                    assert_eq!(message(&received), (topic.to_owned(), format!("at {number}"), number, false));
                    if number > 0 {
                        acknowledged(&sent);
                    }
                }
            }

            #[test]
            fn retained() {
                let topic = concat!("rumqttc/", stringify!($side), "/retained");
                let (client, events, _) = open("rumqttc-retained", true, None);
                client.publish(topic, QoS::AtLeastOnce, true, "kept").unwrap();
                acknowledged(&events);
                client.subscribe(topic, QoS::ExactlyOnce).unwrap();
                assert_eq!(message(&events), (topic.to_owned(), "kept".to_owned(), 1, true));
                client.publish(topic, QoS::AtLeastOnce, true, "").unwrap();
                assert_eq!(message(&events).1, "");
            }

            #[test]
            fn will() {
                let topic = concat!("rumqttc/", stringify!($side), "/will");
                let (watcher, received, _) = open("rumqttc-watcher", true, None);
                subscribe(&watcher, &received, topic);
                let (client, events, _) = open("rumqttc-lost", true, Some(last_will(topic)));
                drop(events);
                // The event loop ends at its next event without a DISCONNECT, and its socket with it.
                client.subscribe(topic, QoS::AtMostOnce).unwrap();
                assert_eq!(message(&received), (topic.to_owned(), "gone".to_owned(), 1, false));
            }

            #[test]
            fn durable_session_with_offline_messages() {
                let topic = concat!("rumqttc/", stringify!($side), "/durable");
                let name = &broker::unique(concat!("rumqttc-durable-", stringify!($side)));
                let (away, events, present) = open(name, false, None);
                assert!(!present);
                subscribe(&away, &events, topic);
                away.disconnect().unwrap();
                assert!(events.recv_timeout(WAIT).is_err(), "the event loop ends");
                let (publisher, sent, _) = open("rumqttc-offline-pub", true, None);
                for number in 0..20 {
                    publisher.publish(topic, QoS::AtLeastOnce, false, format!("{number}")).unwrap();
                    acknowledged(&sent);
                }
                let (_back, events, present) = open(name, false, None);
                assert!(present);
                for number in 0..20 {
                    assert_eq!(message(&events).1, format!("{number}"));
                }
            }

            #[test]
            fn shared_subscription() {
                let topic = concat!("rumqttc/", stringify!($side), "/shared");
                let filter = format!("$share/{}/{topic}", stringify!($side));
                let members = ["rumqttc-one", "rumqttc-two"].map(|name| open(name, true, None));
                for (client, events, _) in &members {
                    subscribe(client, events, &filter);
                }
                let (publisher, _sent, _) = open("rumqttc-shared-pub", true, None);
                for number in 0..20 {
                    publisher.publish(topic, QoS::AtLeastOnce, false, format!("{number}")).unwrap();
                }
                let mut seen: Vec<u32> = members
                    .iter()
                    .flat_map(|(_, events, _)| (0..10).map(|_| message(events).1.parse().unwrap()))
                    .collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..20).collect::<Vec<_>>());
            }
        }
    };
}

side!(v311 {
    use rumqttc::{Client, Connection, Event, Incoming, LastWill, MqttOptions, QoS};

    fn options(name: &str, clean: bool) -> MqttOptions {
        let at = broker::at();
        let mut options = MqttOptions::new(format!("{name}-4"), at.ip().to_string(), at.port());
        options.set_clean_session(clean);
        options
    }

    fn last_will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false)
    }
});

side!(v5 {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::LastWill;
    use rumqttc::v5::{Client, Connection, Event, Incoming, MqttOptions};

    fn options(name: &str, clean: bool) -> MqttOptions {
        let at = broker::at();
        let mut options = MqttOptions::new(format!("{name}-5"), at.ip().to_string(), at.port());
        options.set_clean_start(clean).set_session_expiry_interval((!clean).then_some(300));
        options
    }

    fn last_will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false, None)
    }
});

mod v5_properties {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties, SubscribeProperties};
    use rumqttc::v5::{Client, Event, Incoming, MqttOptions};

    use super::broker;

    /// One client that publishes to itself: what it sent is what comes back, plus its subscription identifier.
    #[test]
    fn v5_properties_pass_unchanged_and_in_order() {
        let topic = "rumqttc/v5/properties";
        let at = broker::at();
        let options = MqttOptions::new("rumqttc-properties", at.ip().to_string(), at.port());
        let (client, mut connection) = Client::new(options, 10);
        let pairs =
            [("b", "1"), ("a", "2"), ("b", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sent = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(100),
            response_topic: Some("answers/here".into()),
            correlation_data: Some(vec![0, 1, 255].into()),
            user_properties: pairs.to_vec(),
            content_type: Some("text/plain".into()),
            ..PublishProperties::default()
        };
        let own = SubscribeProperties { id: Some(4711), user_properties: Vec::new() };
        client.subscribe_many_with_properties([Filter::new(topic, QoS::AtLeastOnce)], own).unwrap();
        client.publish_with_properties(topic, QoS::AtLeastOnce, false, "hello", sent.clone()).unwrap();
        let got = connection.iter().find_map(|event| match event.unwrap() {
            Event::Incoming(Incoming::Publish(publish)) => Some(publish),
            _ => None,
        });
        let mut got = got.unwrap().properties.unwrap();
        assert!(got.message_expiry_interval.is_some_and(|left| (95..=100).contains(&left)));
        got.message_expiry_interval = Some(100);
        assert_eq!(got, PublishProperties { subscription_identifiers: vec![4711], ..sent });
    }
}
