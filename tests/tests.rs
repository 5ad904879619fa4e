//! End-to-end tests: the real server as a process, on free ports, spoken to over sockets.
//!
//! One binary, so that it links once; a file per scenario. `stock_*` drive client libraries of other people,
//! `conformance_*` send spelled-out bytes for the specification's statements, `bad_*` send what must be refused.
//! None of them uses our own protocol crate: a mistake there must not hide itself. `tidy` reads the source instead.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail, and says where"
)]

mod bad_acknowledge;
mod bad_connect;
mod bad_framing;
mod bad_publish;
mod bad_resources;
mod bad_settings;
mod bad_subscribe;
mod broker;
mod family;
mod metrics;
mod packet;
mod peer;
mod program;
mod refusal;

mod conformance_connect;
mod conformance_end;
mod conformance_list;
mod conformance_publish;
mod conformance_qos;
mod conformance_session;
mod conformance_subscribe;
mod conformance_topics;

mod limits_counts;

mod stock_mosquitto;
mod stock_rumqttc;
mod stock_scripts;

mod tidy;
