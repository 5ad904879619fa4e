//! The settings of the server: flags over environment over file over defaults.
//!
//! `table.rs` declares each setting once; this module makes of it one typed value, `Settings`, which is built on the
//! main thread, checked as a whole (`rules.rs`), and then only read. A reload builds a second one: if anything in
//! it is wrong, the first stays in force as it is. An unknown key is an error, never ignored: a limit that was
//! misspelt would be a limit that does not hold.

mod choice;
mod error;
mod file;
mod layer;
mod markdown;
mod rules;
mod spec;
mod suggest;
mod table;
mod value;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

pub use choice::{Anonymous, Durable, LogFormat, LogLevel, RefusedFilter};
pub use error::{Rejected, SettingError, Source};
pub use layer::{Flag, Inputs};
pub use markdown::manual;
pub use spec::{Apply, Spec, Unit};
pub use table::{
    Access, Connections, Http, Listener, Log, Login, Packets, Retained, Runtime, Session, Store, TopicClass,
    Topics,
};
pub use value::Secret;

use spec::Section;
use value::Text;

/// Every setting, with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[[listeners]]`
    pub listeners: Vec<Listener>,
    /// `[http]`
    pub http: Http,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[store]`
    pub store: Store,
    /// `[topics]`
    pub topics: Topics,
    /// `[[topics.classes]]`
    pub topic_classes: Vec<TopicClass>,
    /// `[login]`
    pub login: Login,
    /// `[access]`
    pub access: Access,
    /// `[connections]`
    pub connections: Connections,
    /// `[packets]`
    pub packets: Packets,
    /// `[session]`
    pub session: Session,
    /// `[retained]`
    pub retained: Retained,
    /// `[log]`
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            http: Http::default(),
            runtime: Runtime::default(),
            store: Store::default(),
            topics: Topics::default(),
            topic_classes: Vec::new(),
            login: Login::default(),
            access: Access::default(),
            connections: Connections::default(),
            packets: Packets::default(),
            session: Session::default(),
            retained: Retained::default(),
            log: Log::default(),
        }
    }
}

/// Settings, and where each that is not a default came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// By key; what is missing is a default.
    pub sources: HashMap<String, Source>,
    /// The configuration file, if there was one.
    pub file: Option<PathBuf>,
}

impl Settings {
    /// Builds the settings from their sources.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load(inputs: &Inputs) -> Result<Loaded, Rejected> {
        layer::load(inputs)
    }

    /// Every row of the table, in the order of the manual.
    #[must_use]
    pub fn specs() -> Vec<Spec> {
        [
            Listener::SPECS,
            Http::SPECS,
            Runtime::SPECS,
            Store::SPECS,
            Topics::SPECS,
            TopicClass::SPECS,
            Login::SPECS,
            Access::SPECS,
            Connections::SPECS,
            Packets::SPECS,
            Session::SPECS,
            Retained::SPECS,
            Log::SPECS,
        ]
        .concat()
    }

    /// The value of a setting as the file would have it; `None` for fields of listed tables.
    #[must_use]
    pub fn show(&self, spec: &Spec) -> Option<String> {
        Some(match spec.section {
            "http" => self.http.show(spec.name),
            "runtime" => self.runtime.show(spec.name),
            "store" => self.store.show(spec.name),
            "topics" => self.topics.show(spec.name),
            "login" => self.login.show(spec.name),
            "access" => self.access.show(spec.name),
            "connections" => self.connections.show(spec.name),
            "packets" => self.packets.show(spec.name),
            "session" => self.session.show(spec.name),
            "retained" => self.retained.show(spec.name),
            "log" => self.log.show(spec.name),
            _ => return None,
        })
    }

    fn set(&mut self, spec: &Spec, text: &Text<'_>) -> Result<(), value::Rejected> {
        match spec.section {
            "http" => self.http.set(spec.name, text),
            "runtime" => self.runtime.set(spec.name, text),
            "store" => self.store.set(spec.name, text),
            "topics" => self.topics.set(spec.name, text),
            "login" => self.login.set(spec.name, text),
            "access" => self.access.set(spec.name, text),
            "connections" => self.connections.set(spec.name, text),
            "packets" => self.packets.set(spec.name, text),
            "session" => self.session.set(spec.name, text),
            "retained" => self.retained.set(spec.name, text),
            "log" => self.log.set(spec.name, text),
            _ => Err(value::Rejected),
        }
    }

    /// Takes back what only a restart may change, and returns the keys that were changed in vain.
    pub fn keep_what_needs_a_restart(&mut self, running: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        for spec in Self::specs().iter().filter(|spec| spec.apply == Apply::Restart) {
            if self.show(spec) != running.show(spec) {
                kept.push(spec.key());
                self.copy(spec, running);
            }
        }
        if self.listeners != running.listeners {
            kept.push("listeners".to_owned());
            self.listeners.clone_from(&running.listeners);
        }
        if self.topic_classes != running.topic_classes {
            kept.push("topics.classes".to_owned());
            self.topic_classes.clone_from(&running.topic_classes);
        }
        kept
    }

    fn copy(&mut self, spec: &Spec, from: &Self) {
        match spec.section {
            "http" => self.http.copy(spec.name, &from.http),
            "runtime" => self.runtime.copy(spec.name, &from.runtime),
            "store" => self.store.copy(spec.name, &from.store),
            "topics" => self.topics.copy(spec.name, &from.topics),
            "login" => self.login.copy(spec.name, &from.login),
            "access" => self.access.copy(spec.name, &from.access),
            "connections" => self.connections.copy(spec.name, &from.connections),
            "packets" => self.packets.copy(spec.name, &from.packets),
            "session" => self.session.copy(spec.name, &from.session),
            "retained" => self.retained.copy(spec.name, &from.retained),
            "log" => self.log.copy(spec.name, &from.log),
            _ => {}
        }
    }

    /// Whether clients may connect to this listener without a user name.
    #[must_use]
    pub fn anonymous_allowed(&self, listener: &Listener) -> bool {
        match listener.anonymous {
            Anonymous::Allow => true,
            Anonymous::Deny => false,
            Anonymous::Auto => listener.address.ip().is_loopback() && self.login.password_file.is_none(),
        }
    }
}
