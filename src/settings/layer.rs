//! Puts the layers on top of each other: defaults, file, environment, flags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::{Rejected, SettingError, Source};
use super::file::{self, Entry};
use super::spec::{Section, Spec};
use super::suggest::nearest;

use super::value::{Raw, Text};
use super::{Loaded, Settings, rules};

/// The variables that are not settings of the table.
const CONFIG_VARIABLE: &str = "BITSIM_CONFIG";
const LISTEN_VARIABLE: &str = "BITSIM_LISTEN";

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as the user knows it, `--shards`.
    pub flag: &'static str,
    /// The setting it sets, `runtime.shards`.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Where settings come from. Nothing else is looked at, so that a test can say all of it.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// `--config`; else the variable `BITSIM_CONFIG`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// `--listen`, in order: these replace the listeners of the other layers.
    pub listen: Vec<String>,
    /// `--allow-anonymous`: every listener admits clients without a user name.
    pub allow_anonymous: bool,
    /// All other flags, in order.
    pub flags: Vec<Flag>,
}

pub(super) fn load(inputs: &Inputs) -> Result<Loaded, Rejected> {
    let from_variable = inputs.variables.iter().find(|(name, _)| name == CONFIG_VARIABLE);
    let file = inputs.file.clone().or_else(|| from_variable.map(|(_, path)| PathBuf::from(path)));
    let mut stack = Stack::new();
    if let Some(path) = &file {
        match file::read(path) {
            Ok(entries) => stack.apply_file(path, entries),
            Err(error) => return Err(Rejected(vec![error])),
        }
    }
    stack.apply_variables(&inputs.variables);
    stack.apply_flags(inputs);
    // What contradicts what is only worth saying of values that could be read.
    if stack.errors.is_empty() {
        stack.errors = rules::check(&mut stack.settings);
    }
    if stack.errors.is_empty() {
        Ok(Loaded { settings: stack.settings, sources: stack.sources, file })
    } else {
        Err(Rejected(stack.errors))
    }
}

struct Stack {
    specs: HashMap<String, Spec>,
    settings: Settings,
    sources: HashMap<String, Source>,
    errors: Vec<SettingError>,
}

impl Stack {
    fn new() -> Self {
        Self {
            specs: Settings::specs().into_iter().map(|spec| (spec.key(), spec)).collect(),
            settings: Settings::default(),
            sources: HashMap::new(),
            errors: Vec::new(),
        }
    }

    fn apply_file(&mut self, path: &Path, entries: Vec<Entry>) {
        let mut listeners = Vec::new();
        let mut classes = Vec::new();
        for entry in entries {
            let at = Source::File(path.to_owned(), entry.line);
            let folder = path.parent();
            let text = Text { raw: &entry.raw, folder };
            if let Some((index, name)) = listed(&entry.key, "listeners") {
                self.set_listed(&mut listeners, (index, name), &text, at);
            } else if let Some((index, name)) = listed(&entry.key, "topics.classes") {
                self.set_listed(&mut classes, (index, name), &text, at);
            } else {
                self.set(&entry.key, &text, at);
            }
        }
        if !listeners.is_empty() {
            self.settings.listeners = listeners;
        }
        self.settings.topic_classes = classes;
    }

    fn apply_variables(&mut self, variables: &[(String, String)]) {
        let by_variable: HashMap<String, String> =
            self.specs.values().filter_map(|spec| Some((spec.variable()?, spec.key()))).collect();
        let mut variables: Vec<_> =
            variables.iter().filter(|(name, _)| name.starts_with("BITSIM_")).collect();
        variables.sort();
        for (name, value) in variables {
            let at = Source::Variable(name.clone());
            let raw = Raw::Word(value.clone());
            let text = Text { raw: &raw, folder: None };
            match by_variable.get(name) {
                Some(key) => self.set(key, &text, at),
                None if name == LISTEN_VARIABLE => self.listen(value.split(','), &at),
                None if name == CONFIG_VARIABLE || is_foreign(name) => {}
                None => {
                    let names =
                        by_variable.keys().map(String::as_str).chain([LISTEN_VARIABLE, CONFIG_VARIABLE]);
                    let meant = nearest(name, names).map(str::to_owned);
                    self.errors.push(SettingError::UnknownKey { key: name.clone(), at, meant });
                }
            }
        }
    }

    fn apply_flags(&mut self, inputs: &Inputs) {
        if !inputs.listen.is_empty() {
            self.listen(inputs.listen.iter().map(String::as_str), &Source::Flag("--listen"));
        }
        for Flag { flag, key, value } in &inputs.flags {
            let raw = Raw::Word(value.clone());
            self.set(key, &Text { raw: &raw, folder: None }, Source::Flag(flag));
        }
        if inputs.allow_anonymous {
            for listener in &mut self.settings.listeners {
                listener.anonymous = super::Anonymous::Allow;
            }
        }
    }

    /// Replaces all listeners by these addresses. What the first listener of the layers below says beside its
    /// address is kept for all, so that `--listen` changes where, not who.
    fn listen<'a>(&mut self, addresses: impl Iterator<Item = &'a str>, at: &Source) {
        let model = self.settings.listeners.first().cloned().unwrap_or_default();
        let mut listeners = Vec::new();
        for address in addresses {
            let mut listener = model.clone();
            let raw = Raw::Word(address.trim().to_owned());
            let text = Text { raw: &raw, folder: None };
            if listener.set("address", &text).is_err() {
                self.reject("listeners[].address", &raw, at.clone());
            }
            listeners.push(listener);
        }
        self.sources.insert("listeners".to_owned(), at.clone());
        self.settings.listeners = listeners;
    }

    fn set(&mut self, key: &str, text: &Text<'_>, at: Source) {
        let Some(spec) = self.specs.get(key).copied().filter(|spec| !spec.section.ends_with("[]")) else {
            self.unknown(key, at);
            return;
        };
        if self.settings.set(&spec, text).is_err() {
            self.reject(key, text.raw, at);
        } else {
            self.sources.insert(key.to_owned(), at);
        }
    }

    fn set_listed<S: Section>(
        &mut self,
        items: &mut Vec<S>,
        (index, name): (usize, &str),
        text: &Text<'_>,
        at: Source,
    ) {
        // Tables come in the order of the file; an index is at most one past the last.
        if items.len() <= index {
            items.push(S::default());
        }
        let (Some(item), Some(first)) = (items.get_mut(index), S::SPECS.first()) else { return };
        if name.is_empty() {
            return;
        }
        let key = format!("{}.{name}", first.section);
        if !self.specs.contains_key(&key) {
            self.unknown(&key, at);
        } else if item.set(name, text).is_err() {
            self.reject(&key, text.raw, at);
        }
    }

    fn unknown(&mut self, key: &str, at: Source) {
        let meant = nearest(key, self.specs.keys().map(String::as_str)).map(str::to_owned);
        self.errors.push(SettingError::UnknownKey { key: key.to_owned(), at, meant });
    }

    fn reject(&mut self, key: &str, raw: &Raw, at: Source) {
        let Some(spec) = self.specs.get(key) else { return };
        // A secret that cannot be read is still a secret.
        let hidden = spec.name.contains("token") && !spec.name.ends_with("_file");
        let value = if hidden { "(hidden)".to_owned() } else { raw.to_string() };
        self.errors.push(SettingError::BadValue {
            key: key.to_owned(),
            value,
            expected: spec.expected(),
            at,
        });
    }
}

/// Splits `listeners[1].address` into (1, "address"), and `listeners[1]`, the head of that table, into (1, "").
fn listed<'a>(key: &'a str, list: &str) -> Option<(usize, &'a str)> {
    let (index, name) = key.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, name.strip_prefix('.').unwrap_or(name)))
}

/// Variables that others set: a container platform announces a service called "bitsim" with names like
/// `BITSIM_SERVICE_HOST` and `BITSIM_PORT_1883_TCP`, and our own tests have theirs.
fn is_foreign(name: &str) -> bool {
    !name.contains("__")
        && (name.starts_with("BITSIM_TEST_") || name.contains("_SERVICE_") || name.contains("_PORT"))
}
