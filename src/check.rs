//! `bitsim check`: is the configuration right, and is this machine fit; if not, what to change.
//!
//! Looks and reports, changes nothing that outlives it. What only a ring can find out is asked of one: whether the
//! kernel offers every operation, and whether a sleeping thread is woken by a socket, by another thread and by a timer.

use std::fmt::Write as _;
use std::fs;

use bitsim_ring::{ProbeError, WakeError, WakeReport};
use rustix::process::{Resource, getrlimit};

use crate::configuration::Configuration;
use crate::host;
use crate::settings::{Inputs, Settings};

/// Descriptors that the broker itself may need.
const DESCRIPTORS_LEAST: u64 = 64;
/// Descriptors below which a broker soon has none left.
const DESCRIPTORS_WISHED: u64 = 65_536;
/// Memory that rings lock, for each shard.
const MEMLOCK_BYTES_PER_SHARD: u64 = 512 << 10;
/// The oldest kernel.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Times that each source wakes a sleeping ring: some kernels lose only later wake-ups.
const WAKE_ROUNDS: u32 = 8;
/// A slower wake-up says that the machine is busy, or that its clock or its cores sleep deeply.
const WAKE_MS_WISHED: u128 = 50;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It serves, but not as well as it could.
    Poor,
    /// It cannot serve.
    Bad,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// How bad that is.
    pub grade: Grade,
    /// What to change; empty if nothing.
    pub advice: String,
}

impl Finding {
    /// Something as it should be.
    #[must_use]
    pub fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, found: found.into(), grade: Grade::Good, advice: String::new() }
    }

    /// Something to be changed.
    #[must_use]
    pub fn other(
        what: &'static str,
        found: impl Into<String>,
        grade: Grade,
        advice: impl Into<String>,
    ) -> Self {
        Self { what, found: found.into(), grade, advice: advice.into() }
    }
}

/// Looks at everything.
#[must_use]
pub fn findings(inputs: &Inputs) -> Vec<Finding> {
    let (settings, mut findings) = match Configuration::load(inputs) {
        Ok((configuration, loaded)) => {
            let from = loaded.file.map_or("no file".to_owned(), |path| path.display().to_string());
            let accounts = configuration.passwords.as_ref().map_or(0, |passwords| passwords.len());
            let found = format!("valid ({from}, {accounts} accounts)");
            (loaded.settings, vec![Finding::good("configuration", found)])
        }
        Err(error) => {
            let wrong = error.to_string();
            let found = wrong.lines().map(|line| {
                Finding::other(
                    "configuration",
                    line,
                    Grade::Bad,
                    "correct it; the manual lists every setting",
                )
            });
            (Settings::default(), found.collect())
        }
    };
    findings.push(kernel());
    findings.push(disabled());
    findings.push(memlock(&settings));
    findings.push(descriptors());
    findings.push(backlog(&settings));
    findings.push(cores(&settings));
    let ring = bitsim_ring::probe();
    findings.push(grade_ring(ring));
    if ring.is_ok() {
        findings.push(grade_wakes(bitsim_ring::wake_self_test(WAKE_ROUNDS)));
    }
    findings
}

/// The findings as a table, and whether the server can serve.
#[must_use]
pub fn report(findings: &[Finding]) -> (String, bool) {
    let mut out = String::new();
    for finding in findings {
        let grade = match finding.grade {
            Grade::Good => "ok",
            Grade::Poor => "poor",
            Grade::Bad => "BAD",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{grade:<5}{:<18}{}", finding.what, finding.found);
        if !finding.advice.is_empty() {
            let _ = writeln!(out, "{:23}-> {}", "", finding.advice);
        }
    }
    (out, findings.iter().all(|finding| finding.grade < Grade::Bad))
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    grade_kernel(&release)
}

fn grade_kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_MIN => Finding::good("kernel", release),
        (Some(_), Some(_)) => Finding::other(
            "kernel",
            release,
            Grade::Bad,
            "Linux 6.1 or newer is required; upgrade the kernel",
        ),
        _ => Finding::other(
            "kernel",
            release,
            Grade::Poor,
            "the version is not understood; 6.1 or newer is required",
        ),
    }
}

fn disabled() -> Finding {
    let path = "/proc/sys/kernel/io_uring_disabled";
    match fs::read_to_string(path).as_deref().map(str::trim) {
        Ok("0") | Err(_) => Finding::good("io_uring", "not disabled"),
        Ok("1") => Finding::other(
            "io_uring",
            "kernel.io_uring_disabled = 1",
            Grade::Poor,
            "only members of kernel.io_uring_group may use it: add the server's group, or \
             `sysctl kernel.io_uring_disabled=0`",
        ),
        Ok(level) => Finding::other(
            "io_uring",
            format!("kernel.io_uring_disabled = {level}"),
            Grade::Bad,
            "`sysctl kernel.io_uring_disabled=0`",
        ),
    }
}

fn memlock(settings: &Settings) -> Finding {
    let shards = u64::try_from(host::shard_count(&settings.runtime)).unwrap_or(u64::MAX);
    let wished = shards.saturating_mul(MEMLOCK_BYTES_PER_SHARD);
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < wished => Finding::other(
            "locked memory",
            format!("{bytes} bytes for {shards} shards"),
            Grade::Poor,
            format!("allow {wished} bytes or more: LimitMEMLOCK= of the unit, or `ulimit -l`"),
        ),
        Some(bytes) => Finding::good("locked memory", format!("{bytes} bytes")),
        None => Finding::good("locked memory", "unlimited"),
    }
}

fn descriptors() -> Finding {
    let (reserve, wished) = (DESCRIPTORS_LEAST, DESCRIPTORS_WISHED);
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit <= reserve => Finding::other(
            "descriptors",
            format!("at most {limit}"),
            Grade::Bad,
            format!("more than {reserve} are needed: LimitNOFILE= of the unit"),
        ),
        Some(limit) if limit < wished => Finding::other(
            "descriptors",
            format!("at most {limit}"),
            Grade::Poor,
            format!(
                "each client needs one; allow {wished} or more: LimitNOFILE= of the unit, or `ulimit -Hn`"
            ),
        ),
        Some(limit) => Finding::good("descriptors", format!("at most {limit}")),
        None => Finding::good("descriptors", "unlimited"),
    }
}

fn backlog(settings: &Settings) -> Finding {
    let wished = settings.runtime.listen_backlog;
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(limit) if limit < wished => Finding::other(
            "listen backlog",
            format!("net.core.somaxconn = {limit}"),
            Grade::Poor,
            format!("`runtime.listen_backlog` is {wished}: `sysctl net.core.somaxconn={wished}`"),
        ),
        Ok(limit) => Finding::good("listen backlog", format!("net.core.somaxconn = {limit}")),
        Err(_) => {
            Finding::other("listen backlog", "unknown", Grade::Poor, "net.core.somaxconn cannot be read")
        }
    }
}

fn cores(settings: &Settings) -> Finding {
    let usable = host::cores();
    let shards = host::shard_count(&settings.runtime);
    let foreign: Vec<_> = settings.runtime.cores.iter().filter(|core| !usable.contains(core)).collect();
    let found = format!("{} usable, {shards} shards", usable.len());
    if !foreign.is_empty() {
        let advice = format!(
            "`runtime.cores` names {foreign:?}, which this process may not use; it may use {usable:?}"
        );
        return Finding::other("cores", found, Grade::Bad, advice);
    }
    if shards > usable.len() {
        let advice = "more shards than cores take turns on them; `runtime.shards = 0` is one per core";
        return Finding::other("cores", found, Grade::Poor, advice);
    }
    Finding::good("cores", found)
}

fn grade_ring(probed: Result<(), ProbeError>) -> Finding {
    let Err(error) = probed else { return Finding::good("ring", "every operation is there") };
    let found = match error {
        ProbeError::KernelTooOld { major, minor } => format!("this is Linux {major}.{minor}"),
        ProbeError::Missing => "the kernel has no io_uring, or a filter of system calls hides it".to_owned(),
        ProbeError::DisabledBySysctl { level } => format!("kernel.io_uring_disabled = {level}"),
        ProbeError::Forbidden => "io_uring is forbidden to this process".to_owned(),
        ProbeError::MemlockTooSmall { bytes } => format!("{bytes} bytes of memory may be locked"),
        ProbeError::OperationMissing { operation } => format!("io_uring has no {operation}"),
        ProbeError::Ring(error) => error.to_string(),
    };
    let advice = match error {
        ProbeError::KernelTooOld { .. } | ProbeError::OperationMissing { .. } => {
            "run a kernel of Linux 6.1 or newer that leaves no part of io_uring out"
        }
        ProbeError::Missing | ProbeError::Forbidden => {
            "in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile; \
             elsewhere, use a kernel built with CONFIG_IO_URING and look for a rule of the security module"
        }
        ProbeError::DisabledBySysctl { level: 1 } => {
            "`sysctl kernel.io_uring_disabled=0`, or add the server's group as kernel.io_uring_group"
        }
        ProbeError::DisabledBySysctl { .. } => "`sysctl kernel.io_uring_disabled=0`",
        ProbeError::MemlockTooSmall { .. } => {
            "allow more locked memory: LimitMEMLOCK= of the unit, or `ulimit -l`"
        }
        ProbeError::Ring(_) => {
            "allow more locked memory (LimitMEMLOCK=) and more descriptors (LimitNOFILE=); if that does not help, \
             use another kernel"
        }
    };
    Finding::other("ring", found, Grade::Bad, advice)
}

fn grade_wakes(tested: Result<WakeReport, WakeError>) -> Finding {
    match tested {
        Ok(report) if report.worst.as_millis() > WAKE_MS_WISHED => Finding::other(
            "wake-ups",
            format!("none lost, but one took {} ms", report.worst.as_millis()),
            Grade::Poor,
            "the machine is busy or its cores sleep deeply: give the server cores of its own, and use the \
             performance governor",
        ),
        Ok(report) => Finding::good(
            "wake-ups",
            format!(
                "none of {} for each source lost, the slowest took {} us",
                report.rounds,
                report.worst.as_micros()
            ),
        ),
        Err(WakeError::Lost { source, round }) => Finding::other(
            "wake-ups",
            format!("a sleeping ring was not woken: {source:?}, round {round}"),
            Grade::Bad,
            "this kernel loses wake-ups of io_uring and clients would wait for ever: use another kernel, Linux 6.1 \
             or newer of a distribution and not an emulation of one",
        ),
        Err(WakeError::Ring(error)) => Finding::other(
            "wake-ups",
            error.to_string(),
            Grade::Bad,
            "allow more locked memory (LimitMEMLOCK=) and more descriptors (LimitNOFILE=)",
        ),
        Err(WakeError::Setup) => Finding::other(
            "wake-ups",
            "no thread or pair of sockets could be made",
            Grade::Bad,
            "allow more threads (TasksMax= of the unit, `ulimit -u`) and more descriptors (LimitNOFILE=)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitsim_ring::WakeSource;
    use std::time::Duration;

    #[test]
    fn a_ring_that_fails_is_bad_and_says_what_to_change() {
        for (error, change) in [
            (ProbeError::KernelTooOld { major: 5, minor: 15 }, "6.1"),
            (ProbeError::Missing, "seccomp"),
            (ProbeError::Forbidden, "seccomp"),
            (ProbeError::DisabledBySysctl { level: 1 }, "io_uring_group"),
            (ProbeError::DisabledBySysctl { level: 2 }, "io_uring_disabled=0"),
            (ProbeError::MemlockTooSmall { bytes: 64 }, "LimitMEMLOCK="),
            (ProbeError::OperationMissing { operation: "send" }, "kernel"),
        ] {
            let finding = grade_ring(Err(error));
            assert!(finding.grade == Grade::Bad && finding.advice.contains(change), "{finding:?}");
        }
        assert_eq!(grade_ring(Ok(())).grade, Grade::Good);
    }

    #[test]
    fn wake_ups_lost_are_bad_and_slow_ones_poor() {
        let lost = grade_wakes(Err(WakeError::Lost { source: WakeSource::Timer, round: 1 }));
        assert!(lost.grade == Grade::Bad && lost.found.contains("Timer"), "{lost:?}");
        assert_eq!(grade_wakes(Err(WakeError::Setup)).grade, Grade::Bad);
        let worst = |ms| grade_wakes(Ok(WakeReport { rounds: 8, worst: Duration::from_millis(ms) })).grade;
        assert_eq!((worst(1), worst(900)), (Grade::Good, Grade::Poor));
    }

    #[test]
    fn this_machine_is_asked_for_a_ring_and_its_wake_ups() {
        let found = findings(&Inputs::default());
        for what in ["ring", "wake-ups"] {
            let of = found.iter().find(|finding| finding.what == what);
            assert!(of.is_some_and(|finding| finding.grade < Grade::Bad), "{what}: {found:?}");
        }
    }
    use crate::settings::Flag;

    #[test]
    fn kernels_are_graded_by_number() {
        for (release, grade) in [
            ("6.1.0", Grade::Good),
            ("6.12.100+deb13-amd64", Grade::Good),
            ("10.0-rc1", Grade::Good),
            ("6.0.19", Grade::Bad),
            ("5.15.0-105-generic", Grade::Bad),
            ("unknown", Grade::Poor),
        ] {
            assert_eq!(grade_kernel(release).grade, grade, "{release}");
        }
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let flag = Flag { flag: "--cores", key: "runtime.cores".to_owned(), value: "4000".to_owned() };
        let found = findings(&Inputs { flags: vec![flag], ..Inputs::default() });
        let (text, fit) = report(&found);
        assert!(!fit && text.contains("BAD  cores") && text.contains("[4000]"), "{text}");
        assert!(found.iter().all(|finding| (finding.grade == Grade::Good) == finding.advice.is_empty()));

        let flag = Flag { flag: "--set", key: "topics.levels_max".to_owned(), value: "0".to_owned() };
        let (text, fit) = report(&findings(&Inputs { flags: vec![flag], ..Inputs::default() }));
        assert!(!fit && text.contains("BAD  configuration     flag --set: `topics.levels_max`"), "{text}");
    }
}
