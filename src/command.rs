//! The command line: words in, one `Command` out. Nothing is read or started here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};

use crate::settings::{Flag, Inputs};

/// What `bitsim help` prints.
pub const HELP: &str = "\
bitsim, an MQTT broker

    bitsim [serve] [OPTIONS]                serve until SIGTERM or SIGINT; SIGHUP reloads
    bitsim check [OPTIONS]                  look at the settings and at this machine, and say what to change
    bitsim settings [OPTIONS]               list every setting with its value and where it came from
    bitsim passwd FILE USER                 add or change an account; the password is asked for, or read from stdin
    bitsim import mosquitto-passwd FILE     print a Mosquitto password file as ours
    bitsim import mosquitto-acl FILE        print a Mosquitto access file as ours
    bitsim help, bitsim version

OPTIONS (over environment variables, which are over the file)
    -c, --config FILE        the configuration file (TOML); also BITSIM_CONFIG
    -l, --listen HOST:PORT   an address for MQTT, repeatable; instead of those of the file; also BITSIM_LISTEN
        --http HOST:PORT     the address for HTTP, or `off`
        --shards N           number of shards; 0 for one per core
        --cores 0,1,..       cores for the shards
        --memory             keep everything in memory (the only store of this version)
        --data DIR           refused in this version: the embedded store does not exist yet
        --allow-anonymous    admit clients without a user name on every listener
        --set KEY=VALUE      any setting, repeatable; also BITSIM_SECTION__NAME

EXIT CODES
    0 done    1 failed while running    2 wrong command line    3 wrong settings or files
    4 could not start here    5 stopped before clients could be told
";

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Inputs),
    /// Look at settings and machine.
    Check(Inputs),
    /// List the settings; as the manual has them if `markdown`.
    Settings {
        /// Where the values come from.
        inputs: Inputs,
        /// Print the tables of the manual instead.
        markdown: bool,
    },
    /// Add or change an account.
    Passwd {
        /// The password file.
        file: PathBuf,
        /// The account.
        user: String,
    },
    /// Convert a file of Mosquitto.
    Import {
        /// Which of its files.
        kind: Import,
        /// The file.
        file: PathBuf,
    },
    /// Print `HELP`.
    Help,
    /// Print the version.
    Version,
}

/// The files of Mosquitto that can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// Its password file.
    Passwords,
    /// Its access file.
    AccessRules,
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; `bitsim help` shows what there is", self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Understands the words after the program's name.
///
/// # Errors
/// Says which word is wrong.
pub fn parse(
    words: impl IntoIterator<Item = OsString>,
    variables: Vec<(String, String)>,
) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut given = Given { inputs: Inputs { variables, ..Inputs::default() }, ..Given::default() };
    while let Some(word) = parser.next()? {
        match word {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Value(word) => given.words.push(word),
            Short('c') | Long("config") => given.inputs.file = Some(parser.value()?.into()),
            Short('l') | Long("listen") => given.inputs.listen.push(parser.value()?.string()?),
            Long("http") => given.flag("--http", "http.address", parser.value()?.string()?),
            Long("shards") => given.flag("--shards", "runtime.shards", parser.value()?.string()?),
            Long("cores") => given.flag("--cores", "runtime.cores", parser.value()?.string()?),
            Long("data") => given.flag("--data", "store.data", parser.value()?.string()?),
            // Over a `store.data` of the layers below, as every flag is.
            Long("memory") => given.flag("--memory", "store.data", String::new()),
            Long("allow-anonymous") => given.inputs.allow_anonymous = true,
            Long("set") => given.set(&parser.value()?.string()?)?,
            Long("markdown") => given.markdown = true,
            other => return Err(other.unexpected().into()),
        }
    }
    given.command()
}

#[derive(Default)]
struct Given {
    words: Vec<OsString>,
    inputs: Inputs,
    markdown: bool,
}

impl Given {
    fn flag(&mut self, flag: &'static str, key: &str, value: String) {
        self.inputs.flags.push(Flag { flag, key: key.to_owned(), value });
    }

    fn set(&mut self, pair: &str) -> Result<(), UsageError> {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(UsageError(format!("--set {pair} is not of the form KEY=VALUE")));
        };
        self.flag("--set", key, value.to_owned());
        Ok(())
    }

    fn command(self) -> Result<Command, UsageError> {
        let words: Vec<_> = self.words.iter().map(|word| word.to_str().unwrap_or("\u{FFFD}")).collect();
        let file = |index: usize| self.words.get(index).map(PathBuf::from).unwrap_or_default();
        match words.as_slice() {
            [] | ["serve"] => Ok(Command::Serve(self.inputs)),
            ["check"] => Ok(Command::Check(self.inputs)),
            ["settings"] => Ok(Command::Settings { inputs: self.inputs, markdown: self.markdown }),
            ["help"] => Ok(Command::Help),
            ["version"] => Ok(Command::Version),
            ["passwd", _, user] => Ok(Command::Passwd { file: file(1), user: (*user).to_owned() }),
            ["passwd", ..] => Err(UsageError("passwd needs two words, FILE and USER".to_owned())),
            ["import", "mosquitto-passwd", _] => {
                Ok(Command::Import { kind: Import::Passwords, file: file(2) })
            }
            ["import", "mosquitto-acl", _] => {
                Ok(Command::Import { kind: Import::AccessRules, file: file(2) })
            }
            ["import", ..] => Err(UsageError(
                "import needs two words, mosquitto-passwd or mosquitto-acl and FILE".to_owned(),
            )),
            [known @ ("serve" | "check" | "settings" | "help" | "version"), extra, ..] => {
                Err(UsageError(format!("{known} takes no word {extra:?}")))
            }
            [unknown, ..] => Err(UsageError(format!("there is no command {unknown:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn words(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from), Vec::new())
    }

    #[test]
    fn serve_is_the_default_and_flags_become_settings() {
        let line = "--listen 127.0.0.1:0 -l [::1]:0 --http 127.0.0.1:0 --shards 2 --cores 0,1 --memory \
                    --set topics.levels_max=64";
        for command in [line.to_owned(), format!("serve {line}"), format!("{line} serve")] {
            let Ok(Command::Serve(inputs)) = words(&command) else { panic!("{command}") };
            let settings = Settings::load(&inputs).expect("good flags").settings;
            assert_eq!(settings.listeners.len(), 2);
            assert_eq!(settings.http.address.map(|address| address.port()), Some(0));
            assert_eq!((settings.runtime.shards, settings.runtime.cores), (2, vec![0, 1]));
            assert_eq!(settings.topics.levels_max, 64);
        }
        assert!(matches!(words(""), Ok(Command::Serve(_))));
    }

    #[test]
    fn data_is_refused_and_memory_overrides_it() {
        let Ok(Command::Serve(inputs)) = words("--data /var/lib/bitsim") else { panic!("a command") };
        let said = Settings::load(&inputs).expect_err("no store yet").to_string();
        assert!(said.contains("--data") && said.contains("--memory"), "{said}");
        let Ok(Command::Serve(inputs)) = words("--data /var/lib/bitsim --memory") else {
            panic!("a command")
        };
        assert!(Settings::load(&inputs).is_ok());
    }

    #[test]
    fn http_can_be_switched_off() {
        let Ok(Command::Check(inputs)) = words("check --http off") else { panic!("a command") };
        assert_eq!(Settings::load(&inputs).expect("good flags").settings.http.address, None);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, part) in [
            ("--shard 2", "--shard"),
            ("--shards", "--shards"),
            ("start", "no command \"start\""),
            ("serve now", "no word \"now\""),
            ("passwd file", "FILE and USER"),
            ("import nanomq file", "mosquitto-passwd or mosquitto-acl"),
            ("--set topics.levels_max", "KEY=VALUE"),
        ] {
            let said = words(line).expect_err(line).to_string();
            assert!(said.contains(part), "{line}: {said}");
        }
    }

    #[test]
    fn files_and_accounts_are_taken_as_they_are() {
        let Ok(Command::Passwd { file, user }) = words("passwd ./passwords alice") else {
            panic!("a command")
        };
        assert_eq!((file, user.as_str()), (PathBuf::from("./passwords"), "alice"));
        let Ok(Command::Import { kind, file }) = words("import mosquitto-acl a") else { panic!("a command") };
        assert_eq!((kind, file), (Import::AccessRules, PathBuf::from("a")));
    }
}
