//! The broker's process as the kernel accounts for it: CPU time of all its threads, and its own memory.

use std::fs;
use std::io;

/// CPU time and memory at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// User and system time, in microseconds, by the kernel's ticks.
    pub(crate) cpu_us: f64,
    /// `RssAnon` in bytes.
    pub(crate) anonymous: f64,
}

impl Sample {
    /// Reads the process `pid`.
    pub(crate) fn take(pid: u32) -> Result<Self, String> {
        let read = |what: &str| {
            let file = format!("/proc/{pid}/{what}");
            fs::read_to_string(&file).map_err(|error: io::Error| format!("{file}: {error}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let ticks = cpu_ticks(&stat).ok_or("the broker's stat has no CPU times")?;
        let kib = anonymous_kib(&status).ok_or("the broker's status has no RssAnon")?;
        let per_second = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100));
        Ok(Self { cpu_us: f64::from(ticks) * 1e6 / per_second, anonymous: f64::from(kib) * 1024.0 })
    }
}

/// `utime` and `stime`, after the name, which may hold anything but ends at the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn anonymous_kib(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(cpu_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert_eq!(anonymous_kib("VmRSS:\t 9 kB\nRssAnon:\t  4 kB\n"), Some(4));
    }
}
