//! `bitsim check`: is the configuration right, and is this machine fit; if not, what to change.
//!
//! Looks and reports, changes nothing. What only the ring can find out (operations, the wake test) is handed in by
//! the caller as more findings.

use std::fmt::Write as _;
use std::fs;

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

/// Looks at everything that needs no ring.
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

#[cfg(test)]
mod tests {
    use super::*;
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
