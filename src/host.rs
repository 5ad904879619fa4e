//! What the process knows about its machine: cores, limits, kernel, its own use of memory.
//!
//! Reads `/proc` and asks the kernel; changes nothing but the process's own soft limit of descriptors and the cores
//! of a calling thread.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::metrics::{Kind, Sample, Value};
use crate::settings::Runtime;

/// The cores this process may use, rising.
#[must_use]
pub fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// How many shards these settings ask for.
#[must_use]
pub fn shard_count(runtime: &Runtime) -> usize {
    match (runtime.shards, runtime.cores.len()) {
        (0, 0) => cores().len().max(1),
        (0, listed) => listed,
        (shards, _) => shards,
    }
}

/// The core of each shard: those of the settings, else all usable ones, dealt in turn.
#[must_use]
pub fn shard_cores(runtime: &Runtime) -> Vec<usize> {
    let listed = if runtime.cores.is_empty() { cores() } else { runtime.cores.clone() };
    listed.into_iter().cycle().take(shard_count(runtime)).collect()
}

/// Of the cores this process may use, those without a shard; all of them if there are no others.
#[must_use]
pub fn cores_beside(shards: &[usize]) -> Vec<usize> {
    let all = cores();
    let free: Vec<_> = all.iter().copied().filter(|core| !shards.contains(core)).collect();
    if free.is_empty() { all } else { free }
}

/// Keeps the calling thread on these cores. A wish: where the kernel refuses, the thread runs anywhere.
pub fn run_on(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    if set.count() > 0
        && let Err(error) = sched_setaffinity(None, &set)
    {
        tracing::debug!(%error, ?cores, "a thread could not be pinned");
    }
}

/// Raises the soft limit of descriptors to the hard one, and returns what is now in force; `None` for no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok() {
        limit.maximum
    } else {
        limit.current
    }
}

/// Memory the machine or the control group gives this process, in bytes; `None` if neither can be read.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib_of(&text, "MemTotal:"));
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => Some(u64::min(machine, group)),
        (machine, group) => machine.or(group),
    }
}

/// The process's own memory, descriptors and CPU time.
#[must_use]
pub fn process_metrics() -> Vec<Sample> {
    let mut samples = vec![
        Sample::gauge("bitsim_build_info", "Always 1; the label says the version.", 1)
            .with("version", env!("CARGO_PKG_VERSION")),
    ];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = kib_of(&status, "VmRSS:") {
        samples.push(Sample::gauge("process_resident_memory_bytes", "Resident memory.", bytes));
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        let open = u64::try_from(entries.count()).unwrap_or(u64::MAX);
        samples.push(Sample::gauge("process_open_fds", "Open descriptors.", open));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        samples.push(Sample::gauge("process_max_fds", "Descriptors the process may open.", limit));
    }
    if let Some(seconds) = cpu_seconds() {
        samples.push(Sample {
            name: "process_cpu_seconds_total",
            help: "User and system CPU time.",
            kind: Kind::Counter,
            labels: Vec::new(),
            value: Value::Real(seconds),
        });
    }
    samples
}

fn cpu_seconds() -> Option<f64> {
    // User and system time are the fields 14 and 15, in ticks of 10 ms; the name before may hold anything but its
    // closing parenthesis is the last.
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((f64::from(user) + f64::from(system)) / 100.0)
}

fn kib_of(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_itself() {
        let samples = process_metrics();
        let names: Vec<_> = samples.iter().map(|sample| sample.name).collect();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn shards_are_dealt_to_the_cores_in_turn() {
        let runtime =
            |shards, cores: &[usize]| Runtime { shards, cores: cores.to_vec(), ..Runtime::default() };
        assert_eq!(shard_cores(&runtime(3, &[4, 6])), [4, 6, 4]);
        assert_eq!(shard_cores(&runtime(0, &[4, 6])), [4, 6]);
        assert_eq!(shard_cores(&runtime(1, &[4, 6])), [4]);
        assert_eq!(shard_cores(&runtime(0, &[])), cores());
    }

    #[test]
    fn other_threads_keep_off_the_shards_where_they_can() {
        let all = cores();
        assert!(!all.is_empty());
        assert_eq!(cores_beside(&all), all, "no other core is left");
        if let [first, rest @ ..] = all.as_slice()
            && !rest.is_empty()
        {
            assert_eq!(cores_beside(&[*first]), rest);
        }
    }
}
