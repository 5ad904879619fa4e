//! The server under test, as a process of its own.
//!
//! `shared()` is one broker for all tests that need no settings of their own; its tests use client identifiers and
//! topics named after themselves. `Broker::start` is a private one. The process hangs on a pipe from the test
//! program: however that ends, the wrapper sees the pipe close and kills the broker by its pid.
//! `BITSIM_TEST_BROKER=HOST:PORT` puts another broker in the place of the shared one (its pid in
//! `BITSIM_TEST_BROKER_PID`), which shows whether a test itself is right.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const START_LIMIT: Duration = Duration::from_secs(20);
const CONFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/profiles/conformance.toml");

/// Runs its arguments, says the pid, and kills it when the pipe to standard input closes.
const WRAPPER: &str = r#""$@" & echo "pid $!"; cat >/dev/null; kill -9 $! 2>/dev/null; wait $! 2>/dev/null"#;

pub(crate) struct Broker {
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) pid: Option<u32>,
    process: Option<Child>,
    log: Arc<Mutex<String>>,
}

/// The broker all tests share, with the conformance profile.
pub(crate) fn shared() -> &'static Broker {
    static SHARED: LazyLock<Broker> = LazyLock::new(|| match std::env::var("BITSIM_TEST_BROKER") {
        Ok(at) => Broker::elsewhere(&at),
        Err(_) => Broker::start(&[]),
    });
    &SHARED
}

/// The address of the shared broker.
pub(crate) fn at() -> SocketAddr {
    shared().mqtt
}

/// A name no other run uses: a broker in the shared one's place may remember an earlier run.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:x}", std::process::id())
}

/// Whether the shared broker is somebody else's: tests of our own limits and settings are left out then.
pub(crate) fn is_foreign() -> bool {
    std::env::var_os("BITSIM_TEST_BROKER").is_some()
}

impl Broker {
    /// Starts the server with the conformance profile and `extra` arguments; returns once it listens.
    pub(crate) fn start(extra: &[&str]) -> Self {
        Self::start_with(CONFORMANCE, extra)
    }

    /// Starts the server with its defaults and `extra` arguments.
    pub(crate) fn start_plain(extra: &[&str]) -> Self {
        Self::run(&[], &[], extra)
    }

    /// Starts the server with a configuration file.
    pub(crate) fn start_with(config: &str, extra: &[&str]) -> Self {
        Self::run(&[], &["--config", config], extra)
    }

    /// Starts the server with its defaults by way of another program, such as one that sets limits first.
    pub(crate) fn start_under(program: &[&str], extra: &[&str]) -> Self {
        Self::run(program, &[], extra)
    }

    fn run(program: &[&str], config: &[&str], extra: &[&str]) -> Self {
        let shards = std::env::var("BITSIM_TEST_SHARDS").unwrap_or_else(|_| "2".into());
        let mut command = Command::new("sh");
        command.args(["-c", WRAPPER, "sh"]).args(program).args([env!("CARGO_BIN_EXE_bitsim"), "serve"]);
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]).args(config);
        if !extra.contains(&"--shards") {
            command.args(["--shards", &shards]);
        }
        command.args(extra).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::watch(command.spawn().unwrap())
    }

    /// The foreign broker if there is one, else a private one with `extra` arguments.
    pub(crate) fn for_family(extra: &[&str]) -> Self {
        match std::env::var("BITSIM_TEST_BROKER") {
            Ok(at) => Self::elsewhere(&at),
            Err(_) => Self::start_plain(extra),
        }
    }

    fn elsewhere(at: &str) -> Self {
        let mqtt = at.to_socket_addrs().unwrap().next().unwrap();
        let pid = std::env::var("BITSIM_TEST_BROKER_PID").ok().map(|pid| pid.parse().unwrap());
        Self { mqtt, http: None, pid, process: None, log: Arc::default() }
    }

    fn watch(mut process: Child) -> Self {
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, announced) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (log_out, log_err) = (Arc::clone(&log), Arc::clone(&log));
        std::thread::spawn(move || keep(stdout, &log_out, |line| drop(lines.send(line.to_owned()))));
        std::thread::spawn(move || keep(stderr, &log_err, |_| {}));
        let mut broker = Self {
            mqtt: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: None,
            pid: None,
            process: Some(process),
            log,
        };
        broker.await_listeners(&announced);
        broker
    }

    fn await_listeners(&mut self, announced: &Receiver<String>) {
        let until = Instant::now() + START_LIMIT;
        while self.pid.is_none() || self.http.is_none() || self.mqtt.port() == 0 {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = announced.recv_timeout(left) else {
                panic!("the server did not start listening; its output:\n{}", self.log());
            };
            if let Some(pid) = line.strip_prefix("pid ") {
                self.pid = Some(pid.parse().unwrap());
            } else if let Some(at) = line.strip_prefix("listening mqtt ") {
                self.mqtt = at.parse().unwrap();
            } else if let Some(at) = line.strip_prefix("listening http ") {
                self.http = Some(at.parse().unwrap());
            }
        }
    }

    /// All the server printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends SIGHUP and waits for the outcome: whether the new files took effect.
    pub(crate) fn reload(&self) -> bool {
        const GOOD: &str = "INFO reloaded";
        const BAD: &str = "not reloaded: ";
        let outcomes = |log: &str| (log.matches(GOOD).count(), log.matches(BAD).count());
        let before = outcomes(&self.log());
        kill_process(self.process(), Signal::HUP).unwrap();
        let until = Instant::now() + START_LIMIT;
        loop {
            let now = outcomes(&self.log());
            if now != before {
                return now.0 > before.0;
            }
            assert!(Instant::now() < until, "nothing is said of the reload:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process, for signals and limits.
    pub(crate) fn process(&self) -> Pid {
        Pid::from_raw(self.pid.unwrap().try_into().unwrap()).unwrap()
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub(crate) fn resident_kib(&self) -> u64 {
        let pid = self.pid.expect("the pid of the broker is needed for its memory");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Whether the process is still there (and is no zombie).
    pub(crate) fn alive(&self) -> bool {
        let Some(pid) = self.pid else { return true };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- output of the server\n{}", self.log());
        }
    }
}

fn keep(mut from: BufReader<impl Read>, log: &Mutex<String>, mut seen: impl FnMut(&str)) {
    let mut line = String::new();
    while from.read_line(&mut line).is_ok_and(|len| len > 0) {
        seen(line.trim_end());
        log.lock().unwrap().push_str(&line);
        line.clear();
    }
}
