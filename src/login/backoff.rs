//! How long one (account, address) must wait after wrong passwords.
//!
//! The pair is the key, so nobody can lock an owner out from elsewhere; an IPv6 address counts as its /64. The first
//! few wrong passwords are free, then each doubles the wait, and while it lasts one attempt at a time is let
//! through when it is over. Names that do not exist wait as well: a wait says nothing about a name. Pure: time is an
//! argument. The table is bounded; when it is full, what was forgotten anyway goes first, then any entry.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The settings of this table.
#[derive(Clone, Copy, Debug)]
pub struct BackoffLimits {
    /// Wrong passwords that cost nothing.
    pub attempts_free: u32,
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Whether loopback addresses wait.
    pub on_loopback: bool,
    /// Pairs remembered.
    pub entries_max: usize,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Right,
    Wrong,
}

/// An address as limits count it: IPv4 as it is, IPv6 by its /64.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            // All of loopback's /64 is not loopback: keep `::1` what it is.
            if address.is_loopback() { IpAddr::V6(address) } else { IpAddr::V6(Ipv6Addr::from(prefix)) }
        }
    }
}

#[derive(Debug)]
struct Entry {
    wrong: u32,
    until: Instant,
    /// An attempt that was let through after the wait has not ended yet.
    trying: bool,
}

#[derive(Debug)]
pub(super) struct Backoff {
    limits: BackoffLimits,
    names: RandomState,
    entries: HashMap<(u64, IpAddr), Entry>,
}

impl Backoff {
    pub(super) fn new(limits: BackoffLimits) -> Self {
        Self { limits, names: RandomState::new(), entries: HashMap::new() }
    }

    pub(super) fn set_limits(&mut self, limits: BackoffLimits) {
        self.limits = limits;
    }

    /// Whether this attempt may be verified now. Each `true` is followed by one `settle`.
    pub(super) fn admit(&mut self, account: &str, from: IpAddr, now: Instant) -> bool {
        let key = self.key(account, from);
        let free = self.limits.attempts_free;
        match self.entries.get_mut(&key) {
            Some(entry) if entry.wrong > free && (now < entry.until || entry.trying) => false,
            Some(entry) => {
                entry.trying = true;
                true
            }
            None => true,
        }
    }

    pub(super) fn settle(&mut self, account: &str, from: IpAddr, outcome: Outcome, now: Instant) {
        let key = self.key(account, from);
        if outcome == Outcome::Right {
            self.entries.remove(&key);
            return;
        }
        if from.to_canonical().is_loopback() && !self.limits.on_loopback {
            return;
        }
        self.make_room(now);
        let BackoffLimits { attempts_free, first, longest, .. } = self.limits;
        let entry = self.entries.entry(key).or_insert(Entry { wrong: 0, until: now, trying: false });
        entry.wrong = entry.wrong.saturating_add(1);
        entry.trying = false;
        if let Some(beyond) = entry.wrong.checked_sub(attempts_free + 1) {
            let doubled = first.saturating_mul(1 << beyond.min(20));
            entry.until = now + doubled.min(longest);
        }
    }

    /// An attempt that was admitted was given up without a verdict.
    pub(super) fn withdraw(&mut self, account: &str, from: IpAddr) {
        let key = self.key(account, from);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.trying = false;
        }
    }

    fn key(&self, account: &str, from: IpAddr) -> (u64, IpAddr) {
        (self.names.hash_one(account), counted(from))
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.limits.entries_max {
            return;
        }
        let longest = self.limits.longest;
        self.entries.retain(|_, entry| now < entry.until + longest);
        while self.entries.len() >= self.limits.entries_max.max(1) {
            let Some(any) = self.entries.keys().next().copied() else { return };
            self.entries.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn table(entries_max: usize) -> Backoff {
        Backoff::new(BackoffLimits {
            attempts_free: 2,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            on_loopback: false,
            entries_max,
        })
    }

    fn wrong(table: &mut Backoff, account: &str, from: IpAddr, now: Instant) {
        assert!(table.admit(account, from, now), "{account} {from} is let through");
        table.settle(account, from, Outcome::Wrong, now);
    }

    #[test]
    fn waits_double_from_one_second_to_sixty() {
        let mut table = table(100);
        let mut now = Instant::now();
        for _ in 0..2 {
            wrong(&mut table, "a", HERE, now);
        }
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            wrong(&mut table, "a", HERE, now);
            let wait = Duration::from_secs(expected);
            assert!(!table.admit("a", HERE, now + wait - Duration::from_millis(1)), "{expected}");
            now += wait;
        }
        assert!(table.admit("a", HERE, now));
    }

    #[test]
    fn others_do_not_wait() {
        let mut table = table(100);
        let now = Instant::now();
        for _ in 0..3 {
            wrong(&mut table, "a", HERE, now);
        }
        assert!(!table.admit("a", HERE, now));
        assert!(table.admit("a", THERE, now), "the owner elsewhere");
        assert!(table.admit("b", HERE, now), "another account here");
    }

    #[test]
    fn after_a_wait_one_attempt_at_a_time() {
        let mut table = table(100);
        let mut now = Instant::now();
        for _ in 0..3 {
            wrong(&mut table, "a", HERE, now);
        }
        now += Duration::from_secs(1);
        assert!(table.admit("a", HERE, now));
        assert!(!table.admit("a", HERE, now), "the first has no verdict yet");
        table.withdraw("a", HERE);
        assert!(table.admit("a", HERE, now));
        table.settle("a", HERE, Outcome::Right, now);
        for _ in 0..2 {
            wrong(&mut table, "a", HERE, now);
        }
        assert!(table.admit("a", HERE, now), "a right password forgives all");
    }

    #[test]
    fn loopback_is_exempt_and_v6_counts_by_prefix() {
        let mut table = table(100);
        let now = Instant::now();
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..100 {
                wrong(&mut table, "a", parse(address), now);
            }
        }
        for _ in 0..3 {
            wrong(&mut table, "a", parse("2001:db8::1"), now);
        }
        assert!(!table.admit("a", parse("2001:db8::ffff"), now));
        assert!(table.admit("a", parse("2001:db8:0:1::1"), now));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = table(16);
        let now = Instant::now();
        for account in 0..1_000 {
            wrong(&mut table, &account.to_string(), HERE, now);
            assert!(table.entries.len() <= 16);
        }
    }
}
