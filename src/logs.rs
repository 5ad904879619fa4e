//! The log: lines on standard error, for people or as JSON, with a level that a reload can change.

use std::io;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::settings::{Log, LogFormat, LogLevel};

/// Changes the level of the log.
#[derive(Debug)]
pub struct LogHandle(reload::Handle<LevelFilter, Registry>);

/// Starts the log of the process.
///
/// # Errors
/// There is one already.
pub fn start(settings: &Log) -> Result<LogHandle, TryInitError> {
    let (filter, handle) = reload::Layer::new(level(settings.level));
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Text => registry.with(lines).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(LogHandle(handle))
}

impl LogHandle {
    /// Puts another level in force.
    pub fn set_level(&self, settings: &Log) {
        if let Err(error) = self.0.modify(|filter| *filter = level(settings.level)) {
            tracing::error!(%error, "the level of the log could not be changed");
        }
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
