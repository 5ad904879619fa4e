//! `bitsim serve`: the order of start and stop, on the main thread.
//!
//! Start: configuration, log, descriptors, broker (its listeners accept when `launch` returns), HTTP, then one line
//! on standard output for each listener, then the service manager is told. Stop: a first SIGTERM asks the broker to
//! send its clients away; it ends by itself or at `runtime.shutdown_secs`; a second signal ends at once. What the
//! shards do is behind `Broker`; this module knows no socket of theirs.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, never, select};

use crate::admin::Admin;
use crate::configuration::Configuration;
use crate::http::{HttpServer, Phase};
use crate::logs::LogHandle;
use crate::notify::{self, State};
use crate::settings::{Inputs, Settings};
use crate::signals::{self, Signal};
use crate::{host, logs};

/// The running shards.
pub trait Broker {
    /// The addresses it accepts on, in the order of the settings, with the ports that port 0 became.
    fn listening(&self) -> Vec<SocketAddr>;

    /// Answers the administration.
    fn admin(&self) -> Arc<dyn Admin>;

    /// Puts a new configuration in force. What needs a restart is as it was.
    fn reload(&self, configuration: &Configuration);

    /// Stops accepting, tells clients (MQTT 5: DISCONNECT 0x8B), flushes outboxes, then ends.
    fn begin_shutdown(&self);

    /// Yields once when the broker has ended: `Ok` after `begin_shutdown`, else why.
    fn ended(&self) -> Receiver<Result<(), String>>;
}

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address is taken, also if by a socket that would share it.
    AddressInUse(SocketAddr),
    /// An address cannot be bound for another reason.
    Bind(SocketAddr, io::Error),
    /// The machine lacks something; the text says what and how to get it.
    Host(String),
    /// The system refused a thread, a descriptor or memory.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(address) => write!(
                f,
                "{address} is taken by another process (`ss -ltnp 'sport = :{}'` shows which); stop it or choose \
                 another address",
                address.port()
            ),
            Self::Bind(address, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "cannot listen on {address}: {error}; ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Host(why) => f.write_str(why),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How serving ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    Done = 0,
    /// The broker ended by itself.
    Failed = 1,
    /// Settings or files are wrong.
    Configuration = 3,
    /// It could not start on this machine.
    Start = 4,
    /// It was stopped before all clients could be told.
    Forced = 5,
}

/// Starts the shards: binds every listener and returns when they accept.
pub type Launch = fn(&Configuration) -> Result<Box<dyn Broker>, StartError>;

/// Serves until a signal ends it.
pub fn run(inputs: &Inputs, launch: Launch) -> Exit {
    let (configuration, loaded) = match Configuration::load(inputs) {
        Ok(good) => good,
        Err(error) => {
            complain(&error);
            return Exit::Configuration;
        }
    };
    match logs::start(&loaded.settings.log) {
        Ok(log) => serve(inputs, configuration, &log, launch),
        Err(error) => {
            complain(&error);
            Exit::Start
        }
    }
}

/// A message of a command that ends with it, on standard error, each line marked.
pub fn complain(error: &impl fmt::Display) {
    for line in error.to_string().lines() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(io::stderr(), "bitsim: {line}");
    }
}

fn serve(inputs: &Inputs, configuration: Configuration, log: &LogHandle, launch: Launch) -> Exit {
    match start(&configuration, launch) {
        Ok(mut server) => {
            let exit = server.supervise(inputs, configuration, log);
            tracing::info!(?exit, "ended");
            exit
        }
        Err(error) => {
            tracing::error!("{error}");
            Exit::Start
        }
    }
}

struct Server {
    broker: Box<dyn Broker>,
    http: Option<HttpServer>,
    signals: Receiver<Signal>,
}

fn start(configuration: &Configuration, launch: Launch) -> Result<Server, StartError> {
    let settings = &*configuration.settings;
    let descriptors = host::raise_descriptor_limit();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?descriptors, "starting");
    tracing::warn!("everything is kept in memory: sessions and messages end with this process");
    let signals = signals::receive().map_err(|error| StartError::System("no signal handler", error))?;
    let broker = launch(configuration)?;
    let http = start_http(settings, &*broker)?;
    announce(&*broker, http.as_ref());
    notify::tell(State::Ready);
    Ok(Server { broker, http, signals })
}

fn start_http(settings: &Settings, broker: &dyn Broker) -> Result<Option<HttpServer>, StartError> {
    let Some(address) = settings.http.address else { return Ok(None) };
    let cores = host::cores_beside(&host::shard_cores(&settings.runtime));
    let server = HttpServer::start(address, &settings.http, broker.admin(), cores);
    let server = server.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse(address),
        _ => StartError::Bind(address, error),
    })?;
    server.set_phase(Phase::Ready);
    if settings.http.admin_token.expose().is_empty() {
        tracing::info!("no `http.admin_token` is set, so /admin is closed");
    }
    Ok(Some(server))
}

/// One line for each listener, which scripts wait for.
fn announce(broker: &dyn Broker, http: Option<&HttpServer>) {
    let mut lines = String::new();
    for address in broker.listening() {
        lines.push_str(&format!("listening mqtt {address}\n"));
    }
    if let Some(http) = http {
        lines.push_str(&format!("listening http {}\n", http.address()));
    }
    let mut out = io::stdout().lock();
    if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads standard output");
    }
}

impl Server {
    fn supervise(&mut self, inputs: &Inputs, mut configuration: Configuration, log: &LogHandle) -> Exit {
        let ended = self.broker.ended();
        let signals = self.signals.clone();
        loop {
            select! {
                recv(signals) -> signal => match signal {
                    Ok(Signal::Reload) => self.reload(inputs, &mut configuration, log),
                    Ok(Signal::Stop) | Err(_) => break,
                },
                recv(ended) -> result => return broker_ended(result),
            }
        }
        if let Some(http) = &self.http {
            http.set_phase(Phase::Stopping);
        }
        notify::tell(State::Stopping);
        drain(&*self.broker, &signals, configuration.settings.runtime.shutdown_secs)
    }

    fn reload(&self, inputs: &Inputs, configuration: &mut Configuration, log: &LogHandle) {
        let (next, kept) = match configuration.reload(inputs) {
            Ok(good) => good,
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!("not reloaded: {line}");
                }
                notify::tell(State::Status("the last reload was refused; see the log"));
                return;
            }
        };
        for key in kept {
            tracing::warn!(key, "changed, but only a restart applies it");
        }
        log.set_level(&next.settings.log);
        if let Some(http) = &self.http {
            http.set_token(next.settings.http.admin_token.clone());
        }
        self.broker.reload(&next);
        *configuration = next;
        tracing::info!("reloaded");
        notify::tell(State::Status("reloaded"));
    }
}

/// Waits for the broker to end, for a second signal, or for the time to be over.
fn drain(broker: &dyn Broker, signals: &Receiver<Signal>, shutdown_secs: u64) -> Exit {
    tracing::info!(shutdown_secs, "stopping");
    broker.begin_shutdown();
    let ended = broker.ended();
    let deadline = after(Duration::from_secs(shutdown_secs));
    let mut signals = signals.clone();
    loop {
        select! {
            recv(ended) -> result => return broker_ended(result),
            recv(deadline) -> _ => {
                tracing::error!("not all clients could be told in time");
                return Exit::Forced;
            }
            recv(signals) -> signal => match signal {
                Ok(Signal::Stop) => {
                    tracing::warn!("a second signal: ending at once");
                    return Exit::Forced;
                }
                Ok(Signal::Reload) => {}
                Err(_) => signals = never(),
            },
        }
    }
}

fn broker_ended(result: Result<Result<(), String>, crossbeam_channel::RecvError>) -> Exit {
    match result {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(why)) => {
            tracing::error!("the broker ended: {why}");
            Exit::Failed
        }
        Err(_) => {
            tracing::error!("the broker ended without a word");
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests;
