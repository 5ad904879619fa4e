//! The layers, the messages, and the agreement of table and manual.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bitsim_engine::access::{Action, Identity};

use super::spec::Section;
use super::{
    Anonymous, Apply, Durable, Flag, Inputs, Listener, RefusedFilter, Rejected, Settings, Source, TopicClass,
    Unit, manual,
};

/// A configuration file that is removed at the end of the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bitsim-settings-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn from_file(name: &str, text: &str) -> Result<Settings, Rejected> {
    let file = TempFile::new(name, text);
    let inputs = Inputs { file: Some(file.0.clone()), ..Inputs::default() };
    Settings::load(&inputs).map(|loaded| loaded.settings)
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Settings, Rejected> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(&Inputs { variables, ..Inputs::default() }).map(|loaded| loaded.settings)
}

fn message(result: Result<Settings, Rejected>) -> String {
    result.expect_err("these settings are wrong").to_string()
}

#[test]
fn defaults_load_and_are_within_their_bounds() {
    let loaded = Settings::load(&Inputs::default()).expect("defaults");
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.settings.listeners[0].address.to_string(), "127.0.0.1:1883");
    assert_eq!(loaded.settings.http.address.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:8080"));
    for spec in Settings::specs() {
        let Some((min, max)) = spec.bounds else { continue };
        assert!(min <= max, "{}", spec.key());
        let default = (spec.default)();
        if let Ok(number) = default.parse::<u64>() {
            assert!((min..=max).contains(&number), "{} is {number}", spec.key());
        }
    }
}

#[test]
fn every_default_can_be_written_in_the_file_and_read_back() {
    let mut text = String::new();
    for spec in Settings::specs().iter().filter(|spec| !spec.section.ends_with("[]")) {
        let default = (spec.default)();
        if !default.is_empty() {
            text.push_str(&format!("{} = {default}\n", spec.key()));
        }
    }
    assert_eq!(from_file("defaults", &text), Ok(Settings::default()));
}

#[test]
fn keys_are_unique_and_numbers_have_units() {
    let mut keys = HashSet::new();
    for spec in Settings::specs() {
        assert!(keys.insert(spec.key()), "{} is declared twice", spec.key());
        assert!(!spec.doc.is_empty() && !spec.doc.contains(['\n', '|']), "{}", spec.key());
        if spec.kind == "a number" {
            assert!(spec.bounds.is_some(), "{} has no bounds", spec.key());
        }
        let suffixes = [
            ("_secs", Unit::Seconds),
            ("_secs_max", Unit::Seconds),
            ("_secs_min", Unit::Seconds),
            ("_ms", Unit::Millis),
            ("_ms_max", Unit::Millis),
            ("_us", Unit::Micros),
            ("_bytes", Unit::Bytes),
            ("bytes_max", Unit::Bytes),
        ];
        for (suffix, unit) in suffixes {
            if spec.name.ends_with(suffix) {
                assert_eq!(spec.unit, unit, "{}", spec.key());
            }
        }
    }
    let variables: HashSet<_> = Settings::specs().iter().filter_map(super::Spec::variable).collect();
    let settable = Settings::specs().iter().filter(|spec| spec.variable().is_some()).count();
    assert_eq!(variables.len(), settable, "two keys share a variable");
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let file = TempFile::new("layers", "[topics]\nlevels_max = 10\nbytes_max = 100\nhome_levels = 3\n");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let inputs = Inputs {
        variables: vec![
            variable("BITSIM_CONFIG", &file.0.display().to_string()),
            variable("BITSIM_TOPICS__BYTES_MAX", "200"),
            variable("BITSIM_TOPICS__HOME_LEVELS", "4"),
            variable("PATH", "/bin"),
        ],
        flags: vec![Flag { flag: "--set", key: "topics.home_levels".to_owned(), value: "5".to_owned() }],
        ..Inputs::default()
    };
    let loaded = Settings::load(&inputs).expect("three layers");
    let topics = &loaded.settings.topics;
    assert_eq!((topics.levels_max, topics.bytes_max, topics.home_levels), (10, 200, 5));
    assert_eq!(loaded.sources.get("topics.levels_max"), Some(&Source::File(file.0.clone(), 2)));
    assert_eq!(
        loaded.sources.get("topics.bytes_max"),
        Some(&Source::Variable("BITSIM_TOPICS__BYTES_MAX".to_owned()))
    );
    assert_eq!(loaded.sources.get("topics.home_levels"), Some(&Source::Flag("--set")));
    assert_eq!(loaded.sources.get("topics.sys_interval_secs"), None);
}

#[test]
fn a_bad_value_names_key_value_bounds_and_place() {
    let text = message(from_file("bad", "# comment\n[packets]\nbytes_max = 12\n"));
    for part in ["bad:3", "`packets.bytes_max`", "is 12", "1024 to 268435460", "bytes"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    let text = message(from_variables(&[("BITSIM_TOPICS__LEVELS_MAX", "129")]));
    for part in ["BITSIM_TOPICS__LEVELS_MAX", "`topics.levels_max`", "\"129\"", "1 to 128"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    let text = message(from_file("type", "[retained]\navailable = \"yes\"\n"));
    assert!(text.contains("`retained.available` is \"yes\", but must be true or false"), "{text}");
    let text = message(from_file("word", "[log]\nformat = \"xml\"\n"));
    assert!(text.contains("must be \"text\" or \"json\""), "{text}");
}

#[test]
fn numbers_are_never_rounded_or_wrapped() {
    for value in ["-1", "1.5", "18446744073709551617", "\"7\"", "true", "[1]", "1979-05-27"] {
        let text = message(from_file("number", &format!("topics.levels_max = {value}\n")));
        assert!(text.contains("`topics.levels_max`"), "{value}: {text}");
    }
    for value in ["-1", "1.5", "", "ten", "1 000"] {
        message(from_variables(&[("BITSIM_TOPICS__LEVELS_MAX", value)]));
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = message(from_file("many", "topics.levels_max = 0\nlog.level = 3\nnonsense = 1\n"));
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion() {
    let text = message(from_file("key", "[packets]\nbyte_max = 4096\n"));
    assert!(text.contains("no setting `packets.byte_max`; did you mean `packets.bytes_max`?"), "{text}");
    let text = message(from_variables(&[("BITSIM_PACKETS_BYTES_MAX", "4096")]));
    assert!(text.contains("did you mean `BITSIM_PACKETS__BYTES_MAX`?"), "{text}");
    let text = message(from_file("list", "[[listeners]]\nadress = \"127.0.0.1:1\"\n"));
    assert!(text.contains("did you mean `listeners[].address`?"), "{text}");
    message(from_file("section", "[listeners]\naddress = \"127.0.0.1:1\"\n"));
}

#[test]
fn variables_of_a_container_platform_are_not_ours() {
    let settings = from_variables(&[
        ("BITSIM_SERVICE_HOST", "10.0.0.1"),
        ("BITSIM_PORT", "tcp://10.0.0.1:1883"),
        ("BITSIM_PORT_1883_TCP_ADDR", "10.0.0.1"),
        ("BITSIM_TEST_SEED", "7"),
    ]);
    assert_eq!(settings, Ok(Settings::default()));
}

#[test]
fn toml_that_is_none_says_the_line() {
    let text = message(from_file("syntax", "[topics]\nlevels_max = 3\nlevels_max = 4\n"));
    assert!(text.contains("syntax:3"), "{text}");
    let inputs = Inputs { file: Some(PathBuf::from("/nonexistent/bitsim.toml")), ..Inputs::default() };
    let error = Settings::load(&inputs).expect_err("no file");
    assert!(error.to_string().starts_with("cannot read /nonexistent/bitsim.toml"), "{error}");
}

#[test]
fn lists_of_tables_replace_the_default_listener() {
    let settings = from_file(
        "tables",
        "[[listeners]]\naddress = \"127.0.0.1:1\"\nnamespace = \"a\"\n[[listeners]]\naddress = \"[::1]:2\"\n\
         anonymous = \"allow\"\n[topics]\nhome_levels = 1\n[[topics.classes]]\nfilter = \"live/#\"\n\
         durable = \"never\"\n",
    )
    .expect("two listeners and a class");
    assert_eq!(settings.listeners.len(), 2);
    assert_eq!(settings.listeners[0].namespace, "a");
    assert_eq!(settings.listeners[1].namespace, "default");
    assert_eq!(settings.listeners[1].anonymous, Anonymous::Allow);
    assert_eq!(settings.topic_classes, [TopicClass { filter: "live/#".to_owned(), durable: Durable::Never }]);
    let inline =
        from_file("inline", "listeners = [{address = \"127.0.0.1:1\"}, {address = \"127.0.0.1:2\"}]\n");
    assert_eq!(inline.map(|settings| settings.listeners.len()), Ok(2));
}

#[test]
fn listen_flags_change_where_and_not_who() {
    let file = TempFile::new("listen", "[[listeners]]\naddress = \"0.0.0.0:1883\"\nanonymous = \"allow\"\n");
    let inputs = Inputs {
        file: Some(file.0.clone()),
        listen: vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()],
        ..Inputs::default()
    };
    let settings = Settings::load(&inputs).expect("two addresses").settings;
    assert_eq!(settings.listeners.len(), 2);
    assert!(settings.listeners.iter().all(|listener| listener.anonymous == Anonymous::Allow));
    let inputs = Inputs { listen: vec!["1883".to_owned()], ..Inputs::default() };
    let error = Settings::load(&inputs).expect_err("no host").to_string();
    assert!(error.contains("flag --listen") && error.contains("127.0.0.1:1883"), "{error}");
}

#[test]
fn nobody_is_admitted_by_accident() {
    let text = message(from_file("open", "[[listeners]]\naddress = \"0.0.0.0:1883\"\n"));
    assert!(text.contains("nobody could log in on 0.0.0.0:1883"), "{text}");
    let inputs =
        Inputs { listen: vec!["0.0.0.0:1883".to_owned()], allow_anonymous: true, ..Inputs::default() };
    let settings = Settings::load(&inputs).expect("said so").settings;
    assert!(settings.anonymous_allowed(&settings.listeners[0]));

    let settings = from_file("password", "login.password_file = \"passwords\"\n").expect("a password file");
    assert!(!settings.anonymous_allowed(&settings.listeners[0]), "accounts exist, so a name is needed");
    let path = settings.login.password_file.expect("a path");
    assert_eq!(path, std::env::temp_dir().join("passwords"), "relative to the file that names it");
}

#[test]
fn contradictions_are_refused() {
    for (text, part) in [
        ("login.backoff_secs_min = 100", "`login.backoff_secs_min` is 100, which is more than"),
        ("topics.bytes_max = 2048\npackets.bytes_max = 1024", "topics.bytes_max"),
        ("runtime.ring_buffers = 100", "not a power of two"),
        ("store.data = \"/var/lib/bitsim\"", "embedded store does not exist"),
        ("http.admin_token = \"short\"", "at least 16"),
        ("listeners = [{address = \"127.0.0.1:1\"}, {address = \"127.0.0.1:1\"}]", "two listeners"),
        ("topics.classes = [{durable = \"never\"}]", "has no `filter`"),
        ("topics.classes = [{filter = \"a/#/b\"}]", "not a topic filter"),
    ] {
        let said = message(from_file("conflict", text));
        assert!(said.contains(part), "{text}: {said}");
    }
}

#[test]
fn listeners_are_bounded() {
    let listen = |count: u16| {
        let listen = (1..=count).map(|port| format!("127.0.0.1:{port}")).collect();
        Settings::load(&Inputs { listen, ..Inputs::default() }).map(|loaded| loaded.settings)
    };
    assert!(listen(64).is_ok());
    assert_eq!(message(listen(65)), "there are more than 64 listeners");
}

#[test]
fn the_admin_token_is_never_shown() {
    let text = "http.admin_token = \"a-token-nobody-may-see\"\n";
    let settings = from_file("token", text).expect("a token");
    assert_eq!(settings.http.admin_token.expose(), "a-token-nobody-may-see");
    assert!(!format!("{settings:?}").contains("nobody-may-see"));
    for spec in Settings::specs() {
        assert!(!settings.show(&spec).unwrap_or_default().contains("nobody-may-see"));
    }
    let file = TempFile::new("token-file", "another-secret-token-line\n");
    let text = format!("http.admin_token_file = {:?}\n", file.0.display().to_string());
    let settings = from_file("token-config", &text).expect("a token file");
    assert_eq!(settings.http.admin_token.expose(), "another-secret-token-line");
}

#[test]
fn a_reload_keeps_what_needs_a_restart() {
    let running = Settings::default();
    let mut next = from_file(
        "reload",
        "runtime.shards = 3\npackets.bytes_max = 4096\n[[listeners]]\naddress = \"127.0.0.1:9\"\n",
    )
    .expect("new settings");
    let mut kept = next.keep_what_needs_a_restart(&running);
    kept.sort();
    assert_eq!(kept, ["listeners", "runtime.shards"]);
    let mut expected = Settings::default();
    expected.packets.bytes_max = 4096;
    assert_eq!(next, expected);
    for spec in Listener::SPECS.iter().chain(TopicClass::SPECS) {
        assert_eq!(spec.apply, Apply::Restart, "lists of tables change as a whole: {}", spec.key());
    }
}

/// What we ship must load, and the conformance profile must say what the suites expect.
#[test]
fn the_files_we_ship_are_valid() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let load = |name: &str| {
        let inputs = Inputs { file: Some(deploy.join(name)), ..Inputs::default() };
        crate::configuration::Configuration::load(&inputs).map_err(|error| error.to_string()).expect(name).0
    };
    load("bitsim.toml");
    let conformance = load("profiles/conformance.toml");
    let settings = &conformance.settings;
    assert_eq!((settings.topics.bytes_max, settings.topics.levels_max), (65_535, 128));
    assert_eq!((settings.connections.keep_alive_secs_max, settings.packets.receive_max), (60, 20));
    assert!(settings.packets.alias_in_max >= 10);
    assert_eq!(settings.access.refused_filter, RefusedFilter::Unspecified);
    let who = Identity { username: None, client_id: "c" };
    let may = |filter| conformance.access.may(&who, Action::Subscribe, filter);
    assert!(!may("test/nosubscribe") && may("test/+") && may("#") && may("$SYS/#") && may("TopicA/B"));
}

/// Both directions: every row of the table is in the manual as the table says it, and the manual has no other.
#[test]
fn the_manual_agrees_with_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATING.md");
    let text = std::fs::read_to_string(&path).expect("docs/OPERATING.md");
    let rows = |text: &str| -> HashMap<String, String> {
        let rows = text.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 5);
        rows.map(|line| (line.split('`').nth(1).unwrap_or_default().to_owned(), line.to_owned())).collect()
    };
    let (declared, written) = (rows(&manual()), rows(&text));
    assert_eq!(declared.len(), Settings::specs().len());
    for (key, row) in &declared {
        assert_eq!(written.get(key), Some(row), "{key}; `bitsim settings --markdown` prints the tables");
    }
    for key in written.keys() {
        assert!(declared.contains_key(key), "docs/OPERATING.md has {key}, which does not exist");
    }
}
