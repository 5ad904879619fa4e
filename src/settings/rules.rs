//! What must hold between settings, after each has been read on its own.

use std::collections::HashSet;
use std::path::Path;

use super::error::SettingError;
use super::{Secret, Settings};

/// Shortest admin token: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Most listeners, and so most name spaces, which travel as a byte.
const LISTENERS_MAX: usize = 64;

/// Checks the settings as a whole, and reads the admin token if a file holds it.
pub(super) fn check(settings: &mut Settings) -> Vec<SettingError> {
    let mut errors = Vec::new();
    listeners(settings, &mut errors);
    token(settings, &mut errors);
    store(settings, &mut errors);
    order(settings, &mut errors);
    ring(settings, &mut errors);
    classes(settings, &mut errors);
    errors
}

fn conflict(errors: &mut Vec<SettingError>, why: impl Into<String>) {
    errors.push(SettingError::Conflict(why.into()));
}

fn listeners(settings: &Settings, errors: &mut Vec<SettingError>) {
    let mut seen = HashSet::new();
    if settings.listeners.len() > LISTENERS_MAX {
        conflict(errors, format!("there are more than {LISTENERS_MAX} listeners"));
    }
    for listener in &settings.listeners {
        let address = listener.address;
        if address.port() != 0 && !seen.insert(address) {
            conflict(errors, format!("two listeners have the address {address}"));
        }
        if listener.namespace.is_empty() || listener.namespace.len() > 64 {
            conflict(errors, format!("listeners[].namespace of {address} must have 1 to 64 bytes"));
        }
        if !settings.anonymous_allowed(listener) && settings.login.password_file.is_none() {
            conflict(
                errors,
                format!(
                    "nobody could log in on {address}: it is not a loopback address, so clients need a user \
                     name, and no `login.password_file` is set; set one (`bitsim passwd` writes it), or admit \
                     everybody with `listeners[].anonymous = \"allow\"` (flag --allow-anonymous)"
                ),
            );
        }
    }
}

fn token(settings: &mut Settings, errors: &mut Vec<SettingError>) {
    if let Some(path) = settings.http.admin_token_file.clone() {
        if !settings.http.admin_token.expose().is_empty() {
            conflict(errors, "`http.admin_token` and `http.admin_token_file` are both set; keep one");
            return;
        }
        match first_line(&path) {
            Ok(line) => settings.http.admin_token = Secret::from(line),
            Err(why) => errors.push(SettingError::Unreadable { path, why }),
        }
    }
    let token = settings.http.admin_token.expose();
    let given = !token.is_empty() || settings.http.admin_token_file.is_some();
    if given
        && errors.is_empty()
        && (token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|b| b.is_ascii_graphic()))
    {
        conflict(
            errors,
            format!(
                "the admin token must be at least {TOKEN_BYTES_MIN} printable ASCII characters without spaces"
            ),
        );
    }
}

fn first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn store(settings: &Settings, errors: &mut Vec<SettingError>) {
    if settings.store.data.is_some() {
        conflict(
            errors,
            "`store.data` (flag --data) is not available in this version: the embedded store does not exist yet, \
             and messages kept in memory must not pass for durable ones; leave it out or say --memory",
        );
    }
}

fn order(settings: &Settings, errors: &mut Vec<SettingError>) {
    let login = &settings.login;
    let largest = u64::from(settings.packets.bytes_max);
    let pairs = [
        ("login.backoff_secs_min", login.backoff_secs_min, "login.backoff_secs_max", login.backoff_secs_max),
        (
            "login.queue_per_address_max",
            as_u64(login.queue_per_address_max),
            "login.queue_max",
            as_u64(login.queue_max),
        ),
        ("topics.bytes_max", u64::from(settings.topics.bytes_max), "packets.bytes_max", largest),
        (
            "topics.home_levels",
            u64::from(settings.topics.home_levels),
            "topics.levels_max",
            u64::from(settings.topics.levels_max),
        ),
    ];
    for (small, low, large, high) in pairs {
        if low > high {
            conflict(errors, format!("`{small}` is {low}, which is more than `{large}`, {high}"));
        }
    }
}

/// `usize` has at most 64 bits on every machine that has io_uring.
fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn ring(settings: &Settings, errors: &mut Vec<SettingError>) {
    let runtime = &settings.runtime;
    let powers = [
        ("runtime.ring_buffers", usize::from(runtime.ring_buffers)),
        ("runtime.ring_buffer_bytes", runtime.ring_buffer_bytes),
        ("runtime.ring_entries", usize::try_from(runtime.ring_entries).unwrap_or(usize::MAX)),
    ];
    for (key, value) in powers {
        if !value.is_power_of_two() {
            conflict(errors, format!("`{key}` is {value}, which is not a power of two"));
        }
    }
}

fn classes(settings: &Settings, errors: &mut Vec<SettingError>) {
    for (index, class) in settings.topic_classes.iter().enumerate() {
        let place = index + 1;
        if class.filter.is_empty() {
            conflict(errors, format!("table {place} of `topics.classes` has no `filter`"));
        } else if !is_filter(&class.filter) {
            conflict(
                errors,
                format!("table {place} of `topics.classes`: {:?} is not a topic filter", class.filter),
            );
        }
    }
}

fn is_filter(filter: &str) -> bool {
    let levels: Vec<_> = filter.split('/').collect();
    let last = levels.len() - 1;
    levels.iter().enumerate().all(|(index, level)| match *level {
        "+" => true,
        "#" => index == last,
        other => !other.contains(['+', '#', '\0']),
    })
}
