//! The server around the shards: settings, command line, log-in, access files, HTTP, metrics, start and stop.
//!
//! Everything here lives on the main thread, on the HTTP thread or on the threads that verify passwords; nothing of
//! it runs on a shard. No MQTT rule and no routing is decided here.

pub mod access_file;
pub mod admin;
pub mod check;
pub mod command;
pub mod configuration;
pub mod host;
pub mod http;
pub mod launch;
pub mod login;
pub mod logs;
pub mod metrics;
pub mod mosquitto;
pub mod notify;
pub mod password_prompt;
pub mod serve;
pub mod settings;
pub mod signals;
