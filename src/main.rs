//! The `bitsim` program: takes the command line apart and hands over.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use bitsim::check;
use bitsim::command::{self, Command, HELP, Import};
use bitsim::login::Passwords;
use bitsim::serve::{self, Exit, complain};
use bitsim::settings::{self, Inputs, Settings};
use bitsim::{launch, mosquitto, password_prompt};

/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Names and values that are not UTF-8 can be no setting of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match command::parse(std::env::args_os().skip(1), variables) {
        Ok(command) => ExitCode::from(run(command)),
        Err(error) => {
            complain(&error);
            ExitCode::from(USAGE)
        }
    }
}

fn run(command: Command) -> u8 {
    match command {
        Command::Serve(inputs) => serve::run(&inputs, launch::launch) as u8,
        Command::Check(inputs) => {
            let (table, fit) = check::report(&check::findings(&inputs));
            print(&table);
            if fit { Exit::Done as u8 } else { Exit::Start as u8 }
        }
        Command::Settings { markdown: true, .. } => print(&settings::manual()),
        Command::Settings { inputs, markdown: false } => list_settings(&inputs),
        Command::Passwd { file, user } => done(password_prompt::change(&file, &user)),
        Command::Import { kind, file } => match import(kind, &file) {
            Ok(text) => print(&text),
            Err(error) => done(Err(error)),
        },
        Command::Help => print(HELP),
        Command::Version => print(concat!("bitsim ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

/// Starts the shards.
fn list_settings(inputs: &Inputs) -> u8 {
    let loaded = match Settings::load(inputs) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return Exit::Configuration as u8;
        }
    };
    let mut out = String::new();
    for listener in &loaded.settings.listeners {
        let who = if loaded.settings.anonymous_allowed(listener) { "everybody" } else { "accounts" };
        out.push_str(&format!("# listener {} ({}) for {who}\n", listener.address, listener.namespace));
    }
    for spec in Settings::specs() {
        let (key, Some(value)) = (spec.key(), loaded.settings.show(&spec)) else { continue };
        let from = loaded.sources.get(&key).map_or("default".to_owned(), ToString::to_string);
        let unset = if value.is_empty() { "# " } else { "" };
        out.push_str(&format!("{unset}{key} = {value} # {} {from}\n", spec.unit));
    }
    print(&out)
}

fn import(kind: Import, file: &std::path::Path) -> Result<String, String> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    match kind {
        // Their hashes are verified as they are; what matters is that every line can be.
        Import::Passwords => match Passwords::parse(&text, file) {
            Ok(_) => Ok(text),
            Err(error) => Err(error.to_string()),
        },
        Import::AccessRules => {
            mosquitto::access_rules(&text).map_err(|error| format!("{}: {error}", file.display()))
        }
    }
}

fn done(result: Result<(), String>) -> u8 {
    match result {
        Ok(()) => Exit::Done as u8,
        Err(error) => {
            complain(&error);
            Exit::Configuration as u8
        }
    }
}

/// Writes to standard output; a reader that went away has read enough.
fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed as u8,
        _ => Exit::Done as u8,
    }
}
