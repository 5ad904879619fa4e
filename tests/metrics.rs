//! What the server says about itself at `/metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::peer::PATIENCE;

/// The value of the metric whose line begins with `name`, labels included.
pub(crate) fn metric(broker: &Broker, name: &str) -> u64 {
    let mut http = TcpStream::connect(broker.http.unwrap()).unwrap();
    http.set_read_timeout(Some(PATIENCE)).unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).trim().parse().unwrap()
}

/// Waits for a metric to say exactly this: shards report once a second.
pub(crate) fn await_metric(broker: &Broker, name: &str, value: u64) {
    let until = Instant::now() + PATIENCE;
    while metric(broker, name) != value {
        assert!(Instant::now() < until, "{name} is {}, not {value}", metric(broker, name));
        std::thread::sleep(Duration::from_millis(100));
    }
}
