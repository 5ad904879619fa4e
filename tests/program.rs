//! Runs a client program of somebody else with a time limit, and shows what it printed when it fails.
//!
//! Where the clients are: `tools/setup` puts paho-mqtt into `target/clients/venv` and mqtt.js into
//! `target/clients/node_modules`; `BITSIM_TEST_CLIENTS` names another folder. A client that is missing fails the
//! test with the command that installs it: a skipped client would look like a passed one.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A client that takes longer is stuck.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a program printed so far, and a bell for more.
#[derive(Default)]
struct Output {
    text: Mutex<String>,
    more: Condvar,
}

/// A running client program.
pub(crate) struct Program {
    line: String,
    child: Child,
    out: Arc<Output>,
    err: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// The folder `tools/setup` filled.
pub(crate) fn clients() -> PathBuf {
    match std::env::var_os("BITSIM_TEST_CLIENTS") {
        Some(folder) => folder.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients")),
    }
}

/// A script of ours beside the tests.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients")).join(name)
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{line}: {error}; run tools/setup first"));
        let (out, err): (Arc<Output>, Arc<Output>) = Default::default();
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&out)),
            collect(child.stderr.take().unwrap(), Arc::clone(&err)),
        ];
        Self { line, child, out, err, readers }
    }

    /// Waits until standard output contains `text`.
    pub(crate) fn await_output(&self, text: &str) {
        let printed = self.out.text.lock().unwrap();
        let (printed, wait) =
            self.out.more.wait_timeout_while(printed, LIMIT, |printed| !printed.contains(text)).unwrap();
        assert!(!wait.timed_out(), "{}: no {text:?} within {LIMIT:?}, but:\n{printed}", self.line);
    }

    /// Waits for success and hands over standard output.
    pub(crate) fn success(mut self) -> String {
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let out = self.out.text.lock().unwrap().clone();
        let err = self.err.text.lock().unwrap().clone();
        let ended = status.map_or_else(|| format!("no end within {LIMIT:?}"), |status| status.to_string());
        assert!(status.is_some_and(|status| status.success()), "{}: {ended}\n{out}\n{err}", self.line);
        out
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Output>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len) = from.read(&mut chunk)
            && len > 0
        {
            to.text.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..len]));
            to.more.notify_all();
        }
    })
}
