//! Files of an operator that are wrong: settings, access rules, accounts. At the start they end it, with the place
//! and exit code 3; at a reload they change nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bad_resources::cheap_hash;
use crate::broker::Broker;
use crate::family::{Witness, repeats, told};
use crate::packet::{self, Connect};
use crate::peer::{PATIENCE, Peer};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// One wrong file: its content, and the line that is to be named, if lines are.
struct Wrong(&'static str, Vec<u8>, Option<usize>);

fn wrong(name: &'static str, text: &str, line: usize) -> Wrong {
    Wrong(name, text.into(), Some(line))
}

fn access_files() -> Vec<Wrong> {
    vec![
        Wrong("empty", Vec::new(), None),
        Wrong("comments only", b"# nothing\n\n   \n".to_vec(), None),
        Wrong("cut", b"allow everyone all #\nallow everyone read ope".to_vec(), None),
        Wrong("no UTF-8", b"allow everyone all \xFF\xFE\n".to_vec(), None),
        Wrong("zeros", vec![0; 4096], None),
        wrong("too short", "allow everyone all #\n\nallow everyone\n", 3),
        wrong("effect", "permit everyone all #\n", 1),
        wrong("subject", "allow everybody all #\n", 1),
        wrong("group", "allow group:x all #\n", 1),
        wrong("right", "# first\nallow everyone publish #\n", 2),
        wrong("misplaced wildcard", "allow everyone all a/#/b\n", 1),
        wrong("half a wildcard", "allow everyone all a+\n", 1),
        wrong("open quotes", "allow user:\"eve all #\n", 1),
        wrong("unknown variable", "allow everyone all home/%x/#\n", 1),
        wrong("Mosquitto's", "topic readwrite #\n", 1),
        wrong("one of many", &("allow everyone all a\n".repeat(5000) + "allow\n"), 5001),
    ]
}

fn password_files() -> Vec<Wrong> {
    let hash = cheap_hash("right");
    vec![
        Wrong("empty", Vec::new(), None),
        Wrong("comments only", b"# nothing\n".to_vec(), None),
        Wrong("cut", format!("bob:{hash}").into_bytes(), None),
        Wrong("no UTF-8", b"bob:\xFF\n".to_vec(), None),
        wrong("no colon", &format!("bob:{hash}\nalice\n"), 2),
        wrong("no name", &format!(":{hash}\n"), 1),
        wrong("a password as it is", "bob:secret\n", 1),
        wrong("damaged", "bob:$6$c2FsdA==$AAAA\n", 1),
        wrong("bcrypt", "bob:$2b$12$abcdefghijklmnopqrstuv\n", 1),
        wrong("cut Argon2", "bob:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ\n", 1),
        wrong("too costly", "bob:$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA\n", 1),
        wrong("twice", &format!("bob:{hash}\n\nbob:{hash}\n"), 3),
    ]
}

fn settings_files() -> Vec<Wrong> {
    vec![
        Wrong("no UTF-8", b"[log]\nlevel = \"\xFF\"\n".to_vec(), None),
        Wrong("zeros", vec![0; 4096], None),
        wrong("no TOML", "[connections\nmax = 5\n", 1),
        wrong("cut", "[connections]\nmax = \n", 2),
        wrong("a key twice", "[connections]\nmax = 5\nmax = 6\n", 3),
        wrong("unknown key", "[connections]\n\nmaximum = 5\n", 3),
        wrong("unknown section", "\n[conections]\nmax = 5\n", 3),
        wrong("a text for a number", "[connections]\nmax = \"many\"\n", 2),
        wrong("out of bounds", "[connections]\nconnect_timeout_secs = 0\n", 2),
        wrong("negative", "[connections]\nmax = -1\n", 2),
        wrong("beyond 64 bits", "[connections]\nmax = 99999999999999999999\n", 2),
        wrong("a list for a number", "[connections]\nmax = [1]\n", 2),
        wrong("unknown choice", "[log]\nlevel = \"loud\"\n", 2),
    ]
}

/// Runs the server with settings that must end it; its exit code and what it says.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitsim"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--http", "off", "--shards", "1"]).args(args);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The start ends with exit code 3, and the first line says which file and which line of it.
fn check_start(wrong: &Wrong, path: &Path, args: &[&str]) {
    let (code, said) = refused(args);
    let Wrong(name, _, line) = wrong;
    assert_eq!(code, Some(3), "{name}: {said}");
    let place = line.map_or(path.display().to_string(), |line| format!("{}:{line}: ", path.display()));
    assert!(said.contains(&place), "{name}: {place} in\n{said}");
    assert!(!said.contains("panicked") && said.len() < 2000, "{name}: {said}");
}

#[test]
fn bad_settings_end_the_start_with_their_place() {
    let folder = folder("wrong-start");
    for (kind, key, files) in [
        ("access.acl", "access.file", access_files()),
        ("accounts.passwd", "login.password_file", password_files()),
        ("bitsim.toml", "", settings_files()),
    ] {
        let path = folder.join(kind);
        let text = path.display().to_string();
        let setting = format!("{key}={text}");
        let args = if key.is_empty() { ["--config", text.as_str()] } else { ["--set", setting.as_str()] };
        let missing = Wrong("missing", Vec::new(), None);
        check_start(&missing, &path, &args);
        std::fs::create_dir(&path).unwrap();
        check_start(&Wrong("a folder", Vec::new(), None), &path, &args);
        std::fs::remove_dir(&path).unwrap();
        for wrong in &files {
            std::fs::write(&path, &wrong.1).unwrap();
            check_start(wrong, &path, &args);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// What is in force: limits, rules and accounts, each seen from outside.
fn in_force(broker: &Broker) {
    let named = Connect::new(5, "named").user("bob").password("right");
    let (mut bob, _) = Peer::connect(broker.mqtt, &named);
    bob.send(&packet::subscribe(
        5,
        1,
        &[("open/x", 1), ("shut/x", 1), ("open/1", 0), ("open/2", 0), ("open/3", 0)],
    ));
    assert_eq!(bob.pick(packet::SUBACK).reasons(5), [1, 0x87, 0, 0, 0x97]);
    let mut eve = Peer::open(broker.mqtt, 5);
    eve.send(&Connect::new(5, "eve").user("eve").password("right").bytes());
    assert_eq!(eve.closed().reason(), Some(0x86));
    bob.leave();
}

/// A reload with one wrong file beside good ones that say something new changes nothing, however often.
#[test]
fn bad_settings_at_a_reload_change_nothing() {
    let folder = folder("wrong-reload");
    let at = |name: &str| folder.join(name);
    // `bitsim passwd` would take a costly hash; that of Mosquitto is verified alike.
    let account = |user: &str| format!("{user}:{}\n", cheap_hash("right"));
    let good_settings = |subscriptions: u32| {
        format!(
            "[session]\nsubscriptions_max = {subscriptions}\n[access]\nfile = \"access.acl\"\n[login]\npassword_file = \"accounts.passwd\"\n"
        )
    };
    let good = || {
        std::fs::write(at("bitsim.toml"), good_settings(3)).unwrap();
        std::fs::write(at("access.acl"), "allow everyone all open/#\nallow everyone all family/#\n").unwrap();
        std::fs::write(at("accounts.passwd"), account("bob")).unwrap();
    };
    good();
    let config = at("bitsim.toml").display().to_string();
    let broker = Broker::start_with(&config, &[]);
    in_force(&broker);
    let mut count = 0;
    for (kind, files) in [
        ("access.acl", access_files()),
        ("accounts.passwd", password_files()),
        ("bitsim.toml", settings_files()),
    ] {
        for wrong in files {
            // The others would open everything.
            std::fs::write(at("bitsim.toml"), good_settings(100)).unwrap();
            std::fs::write(at("access.acl"), "allow everyone all #\n").unwrap();
            std::fs::write(at("accounts.passwd"), account("eve")).unwrap();
            std::fs::write(at(kind), &wrong.1).unwrap();
            let seen = broker.log().len();
            assert!(!broker.reload(), "{} {}", kind, wrong.0);
            let said = broker.log()[seen..].to_owned();
            let place = at(kind).display().to_string();
            assert!(said.contains(&place), "{} {}: {place} in\n{said}", kind, wrong.0);
            in_force(&broker);
            count += 1;
        }
    }
    good();
    assert!(broker.reload());
    in_force(&broker);
    told(&format!("{count} wrong files at a reload"));
    std::fs::remove_dir_all(folder).unwrap();
}

/// Reload after reload, good and bad in turn, under traffic: no growth, and nobody waits.
#[test]
fn bad_settings_reloaded_again_and_again_do_no_harm() {
    let folder = folder("reload-storm");
    let path = folder.join("access.acl");
    let rules = "allow everyone all #\n".repeat(1000);
    std::fs::write(&path, &rules).unwrap();
    let broker = Broker::start_plain(&["--set", &format!("access.file={}", path.display())]);
    let mut witness = Witness::new(&broker);
    let mut turn = |number: usize| {
        let text = if number.is_multiple_of(2) { format!("{rules}allow\n") } else { rules.clone() };
        std::fs::write(&path, text).unwrap();
        assert_eq!(broker.reload(), !number.is_multiple_of(2));
        witness.check();
    };
    let ((), before) = crate::family::settle(&broker, || (0..100).for_each(&mut turn));
    (0..repeats() / 10).for_each(&mut turn);
    let after = crate::family::await_memory(&broker, before);
    told(&format!("{} reloads, resident {before} KiB before, {after} KiB after", repeats() / 10));
    witness.alone(&broker);
    std::fs::remove_dir_all(folder).unwrap();
}
