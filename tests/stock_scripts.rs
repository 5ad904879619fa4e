//! Eclipse Paho for Python and mqtt.js against the shared broker, one test per protocol version and scenario.

use std::process::Command;

use crate::broker::{self, Broker};
use crate::program::{Program, clients, script};

fn paho(level: u8, scenario: &str) {
    let at = broker::at();
    let mut command = Command::new(clients().join("venv/bin/python"));
    command.arg(script("python_paho.py")).arg(at.ip().to_string()).arg(at.port().to_string());
    Program::start(command.arg(level.to_string()).arg(scenario)).success();
}

/// This client sends what it has whatever Receive Maximum it was told, so it gets a broker with its defaults: the 20 of the
/// conformance profile would close it, rightly [MQTT-3.3.4-7].
fn mqttjs(level: u8, scenario: &str) {
    let broker = Broker::for_family(&[]);
    let at = broker.mqtt;
    let mut command = Command::new("node");
    command.arg(script("mqttjs.mjs")).arg(clients()).arg(at.ip().to_string()).arg(at.port().to_string());
    Program::start(command.arg(level.to_string()).arg(scenario)).success();
}

macro_rules! scenarios {
    ($client:ident: $($test:ident = $level:literal $scenario:literal;)*) => {
        mod $client {
            $(#[test]
            fn $test() {
                super::$client($level, $scenario);
            })*
        }
    };
}

scenarios! { paho:
    v31_qos = 3 "qos";
    v31_retained = 3 "retained";
    v31_will = 3 "will";
    v311_qos = 4 "qos";
    v311_retained = 4 "retained";
    v311_will = 4 "will";
    v311_durable = 4 "durable";
    v311_shared = 4 "shared";
    v5_qos = 5 "qos";
    v5_retained = 5 "retained";
    v5_will = 5 "will";
    v5_durable = 5 "durable";
    v5_shared = 5 "shared";
    v5_properties = 5 "properties";
}

scenarios! { mqttjs:
    v31_qos = 3 "qos";
    v31_durable = 3 "durable";
    v311_qos = 4 "qos";
    v311_retained = 4 "retained";
    v311_will = 4 "will";
    v311_durable = 4 "durable";
    v311_shared = 4 "shared";
    v5_qos = 5 "qos";
    v5_retained = 5 "retained";
    v5_will = 5 "will";
    v5_durable = 5 "durable";
    v5_shared = 5 "shared";
    v5_properties = 5 "properties";
}
