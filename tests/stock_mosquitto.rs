//! `mosquitto_pub` and `mosquitto_sub` against the shared broker, in MQTT 3.1, 3.1.1 and 5.
//!
//! `mosquitto_sub` says nothing when its subscription stands, so a retained message shows it: no test guesses how long
//! a start takes.

use std::process::Command;

use crate::broker;
use crate::program::Program;

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

fn client(program: &str, version: &str, args: &[&str]) -> Program {
    let at = broker::at();
    let mut command = Command::new(program);
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string(), "-V", version]);
    Program::start(command.args(args))
}

fn publish(version: &str, args: &[&str]) {
    client("mosquitto_pub", version, args).success();
}

/// A durable subscription by one run of mosquitto_sub, messages while away, delivery to a second run.
fn offline_messages(version: &str, id: &str, topic: &str, filter: &str) -> Vec<String> {
    let expiry: &[&str] = if version == "mqttv5" { &["-x", "300"] } else { &[] };
    let subscribe = [&["-i", id, "-c", "-q", "2", "-t", filter, "-E"][..], expiry].concat();
    client("mosquitto_sub", version, &subscribe).success();
    for qos in ["1", "2"] {
        publish(version, &["-q", qos, "-t", topic, "-m", &format!("at {qos}")]);
    }
    let receive =
        [&["-i", id, "-c", "-q", "2", "-t", filter, "-C", "2", "-W", "20", "-F", "%q %r %t %p"][..], expiry];
    let out = client("mosquitto_sub", version, &receive.concat()).success();
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn durable_session_gets_offline_messages_in_each_version() {
    for version in VERSIONS {
        let topic = format!("mosquitto/{version}/durable");
        let lines = offline_messages(version, &format!("m-{version}"), &topic, &topic);
        assert_eq!(lines, [format!("1 0 {topic} at 1"), format!("2 0 {topic} at 2")], "{version}");
    }
}

#[test]
fn wildcard_durable_session_gets_offline_messages() {
    let lines = offline_messages("mqttv5", "m-wild", "mosquitto-wild/a/b", "mosquitto-wild/+/#");
    assert_eq!(lines, ["1 0 mosquitto-wild/a/b at 1", "2 0 mosquitto-wild/a/b at 2"]);
}

#[test]
fn retained_messages_in_each_version_and_quality_of_service() {
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("mosquitto/{version}/retained/{qos}");
            publish(version, &["-q", qos, "-r", "-t", &topic, "-m", "kept"]);
            let receive = ["-q", "2", "-t", &topic, "-C", "1", "-W", "20", "-F", "%q %r %t %p"];
            let out = client("mosquitto_sub", version, &receive).success();
            assert_eq!(out.trim(), format!("{qos} 1 {topic} kept"));
            publish(version, &["-q", qos, "-r", "-n", "-t", &topic]);
        }
    }
}

/// Live messages at each QoS: the retained first message shows that the subscription stands.
#[test]
fn live_messages_in_each_version_and_quality_of_service() {
    for version in VERSIONS {
        let topic = format!("mosquitto/{version}/live");
        publish(version, &["-q", "1", "-r", "-t", &format!("{topic}/ready"), "-m", "stands"]);
        let filter = format!("{topic}/#");
        let receive = ["-q", "2", "-t", &filter, "-C", "4", "-W", "20", "-F", "%q %r %p"];
        let subscriber = client("mosquitto_sub", version, &receive);
        subscriber.await_output("stands");
        for qos in ["0", "1", "2"] {
            publish(version, &["-q", qos, "-t", &topic, "-m", &format!("at {qos}")]);
        }
        let out = subscriber.success();
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0 0 at 0", "1 0 at 1", "1 1 stands", "2 0 at 2"], "{version}");
        publish(version, &["-q", "1", "-r", "-n", "-t", &format!("{topic}/ready")]);
    }
}

#[test]
fn will_of_a_killed_client() {
    for version in VERSIONS {
        let topic = format!("mosquitto/{version}/will");
        publish(version, &["-q", "1", "-r", "-t", &format!("{topic}/ready"), "-m", "stands"]);
        let (filter, mine) = (format!("{topic}/#"), format!("{topic}/own"));
        let watch = ["-q", "1", "-t", &filter, "-C", "2", "-W", "20", "-F", "%r %p"];
        let watcher = client("mosquitto_sub", version, &watch);
        watcher.await_output("stands");
        let ready = format!("{topic}/ready");
        let dying =
            ["-t", &ready, "--will-topic", &mine, "--will-payload", "gone", "--will-qos", "1", "-F", "%p"];
        let dying = client("mosquitto_sub", version, &dying);
        dying.await_output("stands");
        drop(dying);
        let out = watcher.success();
        assert_eq!(out.lines().last(), Some("0 gone"), "{version}");
        publish(version, &["-q", "1", "-r", "-n", "-t", &ready]);
    }
}

#[test]
fn shared_subscription_gives_each_message_to_one_member() {
    let topic = "mosquitto/shared/topic";
    publish("mqttv5", &["-q", "1", "-r", "-t", "mosquitto/shared/ready", "-m", "stands"]);
    let members: Vec<Program> = (0..2).map(|_| shared_member(topic)).collect();
    members.iter().for_each(|member| member.await_output("stands"));
    for count in 0..10 {
        publish("mqttv5", &["-q", "1", "-t", topic, "-m", &format!("number {count}")]);
    }
    let mut seen: Vec<String> = Vec::new();
    for member in members {
        let out = member.success();
        let numbers: Vec<String> =
            out.lines().filter(|line| line.starts_with("number")).map(str::to_owned).collect();
        assert_eq!(numbers.len(), 5, "an even deal to two equal members: {numbers:?}");
        seen.extend(numbers);
    }
    seen.sort();
    assert_eq!(seen, (0..10).map(|count| format!("number {count}")).collect::<Vec<_>>());
}

/// A member that ends after the retained message and five of its group's.
fn shared_member(topic: &str) -> Program {
    let group = format!("$share/mosquitto-group/{topic}");
    let filters =
        ["-t", &group, "-t", "mosquitto/shared/ready", "-q", "1", "-C", "6", "-W", "20", "-F", "%p"];
    client("mosquitto_sub", "mqttv5", &filters)
}

#[test]
fn v5_properties_pass_unchanged_and_in_order() {
    let topic = "mosquitto/v5/properties";
    let set = |name: &str, values: &[&str]| -> Vec<String> {
        ["-D", "publish", name].iter().chain(values).map(|each| (*each).to_owned()).collect()
    };
    let properties = [
        set("user-property", &["b", "1"]),
        set("user-property", &["a", "2"]),
        set("content-type", &["text/plain"]),
        set("correlation-data", &["0815"]),
        set("response-topic", &["answers/here"]),
        set("message-expiry-interval", &["100"]),
        set("payload-format-indicator", &["1"]),
    ]
    .concat();
    let mut args = vec!["-q", "1", "-r", "-t", topic, "-m", "hello"];
    args.extend(properties.iter().map(String::as_str));
    publish("mqttv5", &args);
    let format = "%C|%D|%R|%F|%P|%S|%p";
    let receive = [
        "-t",
        topic,
        "-C",
        "1",
        "-W",
        "20",
        "-F",
        format,
        "-D",
        "subscribe",
        "subscription-identifier",
        "4711",
    ];
    let out = client("mosquitto_sub", "mqttv5", &receive).success();
    assert_eq!(out.trim(), "text/plain|0815|answers/here|1|b:1 a:2|4711|hello");
    publish("mqttv5", &["-q", "1", "-r", "-n", "-t", topic]);
}
