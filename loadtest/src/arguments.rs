//! The command line: words in, one `Plan` out. Nothing is connected or read here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::str::FromStr;

use bitsim_protocol::{Qos, Version};
use lexopt::prelude::{Long, Short, Value, ValueExt};

/// What `bitsim-loadtest --help` prints.
pub(crate) const HELP: &str = "\
bitsim-loadtest, a load generator for MQTT brokers

    bitsim-loadtest hold --clients N --secs S       idle clients: memory per client, CPU while idle
    bitsim-loadtest connect --clients N             rate and CPU of connecting and subscribing
    bitsim-loadtest pair --pairs P --secs S         each publisher to a subscriber of its own
    bitsim-loadtest fanout --subscribers N --secs S one publisher to many subscribers
    bitsim-loadtest fanin --publishers N --secs S   many publishers to one subscriber

OPTIONS
    --target HOST:PORT   the broker, an address (127.0.0.1:1883)
    --pid PID            the broker's process, for its CPU and memory
    --version 3.1.1|5    what to speak (3.1.1)
    --keep-alive S       of idle clients, which send a PINGREQ that often (60)
    --core N             pin to this core
    --json               one line of JSON
    --qos Q --size B     of the messages (0, 64 bytes; at least 20)
    --window W           unacknowledged messages per publisher at QoS 1 and 2 (20)
    --depth D            messages a publisher is ahead of its subscribers at most (pair 1000, fanout 100, fanin 10)
    --rate R             messages a second in all, one at a time, instead of as fast as they are delivered
    --messages N         end after so many published messages, at the latest after --secs
    --warm-up S          seconds of traffic before the measurement (1)

EXIT CODES
    0 done    1 failed, or messages were lost or out of order    2 wrong command line
";

/// What to do to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Hold,
    Connect,
    Pair,
    FanOut,
    FanIn,
}

/// A whole command line.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) work: Work,
    /// Clients, pairs, subscribers or publishers.
    pub(crate) count: u32,
    pub(crate) target: SocketAddr,
    pub(crate) pid: Option<u32>,
    pub(crate) version: Version,
    pub(crate) core: Option<usize>,
    pub(crate) json: bool,
    pub(crate) keep_alive_secs: u16,
    pub(crate) secs: u64,
    pub(crate) qos: Qos,
    pub(crate) size: usize,
    pub(crate) window: u16,
    /// Messages ahead of the subscribers; 0 stands for what fits the work.
    pub(crate) ahead: u32,
    pub(crate) rate: Option<u32>,
    pub(crate) messages: Option<u64>,
    pub(crate) warm_up_secs: u64,
}

/// Understands the words after the program's name; `None` asks for `HELP`.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Option<Plan>, String> {
    let mut plan = Plan {
        work: Work::Hold,
        count: 0,
        target: SocketAddr::from(([127, 0, 0, 1], 1883)),
        pid: None,
        version: Version::V311,
        core: None,
        json: false,
        keep_alive_secs: 60,
        secs: 10,
        qos: Qos::AtMostOnce,
        size: 64,
        window: 20,
        ahead: 0,
        rate: None,
        messages: None,
        warm_up_secs: 1,
    };
    let (mut work, mut counted) = (None, None);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next().map_err(|error| error.to_string())? {
        let name = match word {
            Short('h') | Long("help") => return Ok(None),
            Long("json") => {
                plan.json = true;
                continue;
            }
            Value(word) if work.is_none() => {
                work = Some(work_named(&word.to_string_lossy())?);
                continue;
            }
            Long(name) => name.to_owned(),
            other => return Err(other.unexpected().to_string()),
        };
        let value = parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?;
        if matches!(name.as_str(), "clients" | "pairs" | "subscribers" | "publishers") {
            plan.count = number(&name, &value)?;
            counted = Some(name);
        } else {
            plan.option(&name, &value)?;
        }
    }
    plan.work = work.ok_or("a command is missing: hold, connect, pair, fanout or fanin")?;
    plan.check(counted.as_deref())?;
    Ok(Some(plan))
}

impl Plan {
    /// Messages a publisher may be ahead of each of its subscribers.
    pub(crate) fn depth(&self) -> u32 {
        match (self.ahead, self.work) {
            (0, Work::Pair) => 1000,
            (0, Work::FanIn) => 10,
            (0, _) => 100,
            (depth, _) => depth,
        }
    }

    fn option(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "target" => self.target = number(name, value)?,
            "pid" => self.pid = Some(number(name, value)?),
            "core" => self.core = Some(number(name, value)?),
            "keep-alive" => self.keep_alive_secs = number(name, value)?,
            "secs" => self.secs = number(name, value)?,
            "size" => self.size = number(name, value)?,
            "window" => self.window = number(name, value)?,
            "depth" => self.ahead = number(name, value)?,
            "messages" => self.messages = Some(number(name, value)?),
            "warm-up" => self.warm_up_secs = number(name, value)?,
            "rate" => self.rate = Some(number(name, value)?),
            "qos" => {
                self.qos = Qos::try_from(number::<u8>(name, value)?)
                    .map_err(|_| format!("--qos {value} is not 0, 1 or 2"))?;
            }
            "version" => {
                self.version = match value {
                    "3.1.1" => Version::V311,
                    "5" => Version::V5,
                    _ => return Err(format!("--version {value} is not 3.1.1 or 5")),
                };
            }
            _ => return Err(format!("there is no option --{name}")),
        }
        Ok(())
    }

    fn check(&self, counted: Option<&str>) -> Result<(), String> {
        let wanted = match self.work {
            Work::Hold | Work::Connect => "clients",
            Work::Pair => "pairs",
            Work::FanOut => "subscribers",
            Work::FanIn => "publishers",
        };
        if counted != Some(wanted) {
            return Err(format!("this command needs --{wanted} N, and no other count"));
        }
        let least = if self.work == Work::Hold { 3 } else { 1 };
        let checks = [
            ((least..=1_000_000).contains(&self.count), "the count is 1 (hold: 3) to 1000000"),
            ((1..=86_400).contains(&self.secs), "--secs is 1 to 86400"),
            (self.keep_alive_secs >= 1, "--keep-alive is 1 to 65535"),
            ((20..=1 << 20).contains(&self.size), "--size is 20 to 1048576"),
            ((1..=1000).contains(&self.window), "--window is 1 to 1000"),
            (self.ahead <= 1_000_000, "--depth is 1 to 1000000"),
            (self.rate != Some(0), "--rate is at least 1"),
            (self.messages != Some(0), "--messages is at least 1"),
            (self.warm_up_secs <= 3600, "--warm-up is at most 3600"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what.to_owned()))
    }
}

fn work_named(word: &str) -> Result<Work, String> {
    Ok(match word {
        "hold" => Work::Hold,
        "connect" => Work::Connect,
        "pair" => Work::Pair,
        "fanout" => Work::FanOut,
        "fanin" => Work::FanIn,
        _ => return Err(format!("there is no command {word:?}")),
    })
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("--{name} cannot be {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Plan>, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_taken() {
        let plan = words("pair --pairs 7 --qos 1 --size 100 --version 5 --rate 9 --json").unwrap().unwrap();
        assert_eq!((plan.work, plan.count, plan.qos), (Work::Pair, 7, Qos::AtLeastOnce));
        assert_eq!((plan.size, plan.version, plan.rate, plan.json), (100, Version::V5, Some(9), true));
        assert!(words("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, part) in [
            ("", "command is missing"),
            ("pull", "\"pull\""),
            ("pair", "--pairs"),
            ("pair --clients 3", "--pairs"),
            ("hold --clients 2", "hold: 3"),
            ("pair --pairs 1 --qos 3", "--qos 3"),
            ("pair --pairs 1 --size 19", "--size"),
            ("pair --pairs x", "--pairs"),
            ("pair --pairs 1 --version 4", "--version 4"),
        ] {
            let said = words(line).expect_err(line);
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}
