//! The threads that verify passwords, and the bounded queue before them.
//!
//! A shard calls `submit`, which never waits: it takes one short lock, and either queues the attempt or says at once
//! why not. The verdict arrives later, on a thread of the pool, through the function given at the start; that
//! function must not block. Each attempt that was taken gets exactly one verdict. One address may fill a part of the
//! queue only, so a flood from one place leaves room for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Passwords;
use super::backoff::{Backoff, BackoffLimits, Outcome, counted};
use crate::settings::Login;

/// One client that wants to log in. `T` says to the caller which one.
#[derive(Debug)]
pub struct Attempt<T> {
    /// Given back with the verdict.
    pub ticket: T,
    /// The account it names.
    pub username: Box<str>,
    /// What it says the password is; empty if it sent none.
    pub password: Box<[u8]>,
    /// Where it connects from.
    pub from: IpAddr,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account exists and this is its password.
    Granted,
    /// No such account, or another password: which of the two is not said.
    Refused,
}

/// Why an attempt was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Too many are waiting, in all or from this address (CONNACK 0x89; MQTT 3: 3).
    Busy,
    /// This (account, address) must wait after wrong passwords (CONNACK 0x9F; MQTT 3: 3).
    Waiting,
}

/// The settings of the pool.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// Threads.
    pub threads: usize,
    /// Attempts waiting in all.
    pub queue_max: usize,
    /// Attempts waiting or being verified, of one address.
    pub queue_per_address_max: usize,
    /// Waits after wrong passwords.
    pub backoff: BackoffLimits,
}

impl From<&Login> for LoginLimits {
    fn from(login: &Login) -> Self {
        Self {
            threads: login.threads,
            queue_max: login.queue_max,
            queue_per_address_max: login.queue_per_address_max,
            backoff: BackoffLimits {
                attempts_free: login.attempts_free,
                first: Duration::from_secs(login.backoff_secs_min),
                longest: Duration::from_secs(login.backoff_secs_max),
                on_loopback: login.backoff_on_loopback,
                entries_max: login.backoff_entries_max,
            },
        }
    }
}

/// What the pool has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginCounts {
    /// Right passwords.
    pub granted: u64,
    /// Wrong passwords and unknown accounts.
    pub refused: u64,
    /// Attempts turned away because the queue was full.
    pub busy: u64,
    /// Attempts turned away because of earlier wrong passwords.
    pub waiting: u64,
}

#[derive(Debug, Default)]
struct Counters {
    granted: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    waiting: AtomicU64,
}

/// What shards and pool threads share, under one lock that is held for a look-up.
struct Gate {
    backoff: Backoff,
    per_address: HashMap<IpAddr, usize>,
    per_address_max: usize,
}

struct Shared {
    gate: Mutex<Gate>,
    passwords: RwLock<Arc<Passwords>>,
    counters: Counters,
}

type Answer<T> = dyn Fn(T, Verdict) + Send + Sync;

/// The pool. Dropping it ends its threads after what is queued.
pub struct LoginPool<T> {
    queue: Option<Sender<Attempt<T>>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> LoginPool<T> {
    /// Starts the threads. `answer` runs on them and must not block.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(
        limits: &LoginLimits,
        passwords: Arc<Passwords>,
        answer: Arc<Answer<T>>,
    ) -> std::io::Result<Self> {
        let (queue, attempts) = bounded(limits.queue_max);
        let gate = Gate {
            backoff: Backoff::new(limits.backoff),
            per_address: HashMap::new(),
            per_address_max: limits.queue_per_address_max,
        };
        let shared = Arc::new(Shared {
            gate: Mutex::new(gate),
            passwords: RwLock::new(passwords),
            counters: Counters::default(),
        });
        let threads = (0..limits.threads)
            .map(|index| {
                let (attempts, shared, answer) = (attempts.clone(), shared.clone(), answer.clone());
                std::thread::Builder::new()
                    .name(format!("login-{index}"))
                    .spawn(move || verify_all(&attempts, &shared, &*answer))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { queue: Some(queue), shared, threads })
    }

    /// Queues an attempt, or gives it back.
    ///
    /// # Errors
    /// The attempt, and why it was not taken; there will be no verdict.
    pub fn submit(&self, attempt: Attempt<T>) -> Result<(), (NotTaken, Attempt<T>)> {
        if let Err(why) = self.shared.enter(&attempt.username, attempt.from) {
            return Err((why, attempt));
        }
        let Some(queue) = &self.queue else { return Err((NotTaken::Busy, attempt)) };
        queue.try_send(attempt).map_err(|full| {
            let attempt = full.into_inner();
            self.shared.give_up(&attempt.username, attempt.from);
            (NotTaken::Busy, attempt)
        })
    }

    /// Puts new accounts and limits in force. Attempts already being verified end under the old ones.
    pub fn reload(&self, passwords: Arc<Passwords>, limits: &LoginLimits) {
        *self.shared.passwords.write().unwrap_or_else(PoisonError::into_inner) = passwords;
        let mut gate = self.shared.gate();
        gate.backoff.set_limits(limits.backoff);
        gate.per_address_max = limits.queue_per_address_max;
    }

    /// What was done since the start.
    #[must_use]
    pub fn counts(&self) -> LoginCounts {
        let counters = &self.shared.counters;
        LoginCounts {
            granted: counters.granted.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            busy: counters.busy.load(Ordering::Relaxed),
            waiting: counters.waiting.load(Ordering::Relaxed),
        }
    }

    /// Attempts waiting for a thread.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, Sender::len)
    }
}

impl<T> Drop for LoginPool<T> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, username: &str, from: IpAddr) -> Result<(), NotTaken> {
        let mut gate = self.gate();
        let max = gate.per_address_max;
        let place = counted(from);
        if gate.per_address.get(&place).is_some_and(|count| *count >= max) {
            self.counters.busy.fetch_add(1, Ordering::Relaxed);
            return Err(NotTaken::Busy);
        }
        if !gate.backoff.admit(username, from, Instant::now()) {
            self.counters.waiting.fetch_add(1, Ordering::Relaxed);
            return Err(NotTaken::Waiting);
        }
        *gate.per_address.entry(place).or_insert(0) += 1;
        Ok(())
    }

    fn give_up(&self, username: &str, from: IpAddr) {
        let mut gate = self.gate();
        gate.leave(from);
        gate.backoff.withdraw(username, from);
        self.counters.busy.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&self, username: &str, from: IpAddr, verdict: Verdict) {
        let (outcome, counter) = match verdict {
            Verdict::Granted => (Outcome::Right, &self.counters.granted),
            Verdict::Refused => (Outcome::Wrong, &self.counters.refused),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut gate = self.gate();
        gate.leave(from);
        gate.backoff.settle(username, from, outcome, Instant::now());
    }
}

impl Gate {
    fn leave(&mut self, from: IpAddr) {
        let place = counted(from);
        if let Some(count) = self.per_address.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&place);
            }
        }
    }
}

fn verify_all<T>(attempts: &Receiver<Attempt<T>>, shared: &Shared, answer: &Answer<T>) {
    for attempt in attempts {
        let passwords = shared.passwords.read().unwrap_or_else(PoisonError::into_inner).clone();
        let right = passwords.verify(&attempt.username, &attempt.password);
        let verdict = if right { Verdict::Granted } else { Verdict::Refused };
        shared.settle(&attempt.username, attempt.from, verdict);
        answer(attempt.ticket, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::hash_password;
    use std::path::Path;

    fn passwords(name: &str, password: &[u8]) -> Arc<Passwords> {
        let line = format!("{name}:{}\n", hash_password(password).expect("salt"));
        Arc::new(Passwords::parse(&line, Path::new("test")).expect("one account"))
    }

    fn limits(change: impl FnOnce(&mut Login)) -> LoginLimits {
        let mut login = Login::default();
        change(&mut login);
        LoginLimits::from(&login)
    }

    fn attempt(ticket: u32, username: &str, password: &str, from: &str) -> Attempt<u32> {
        let from = from.parse().expect("an address");
        Attempt { ticket, username: username.into(), password: password.as_bytes().into(), from }
    }

    fn start(limits: &LoginLimits) -> (LoginPool<u32>, Receiver<(u32, Verdict)>) {
        let (sender, verdicts) = crossbeam_channel::unbounded();
        let answer =
            Arc::new(move |ticket, verdict| sender.send((ticket, verdict)).expect("the test listens"));
        (LoginPool::start(limits, passwords("alice", b"pw"), answer).expect("threads"), verdicts)
    }

    #[test]
    fn each_attempt_gets_its_verdict() {
        let (pool, verdicts) = start(&limits(|_| {}));
        let who = [("alice", "pw"), ("alice", "no"), ("bob", "pw")];
        for (ticket, (name, password)) in (0..).zip(who) {
            pool.submit(attempt(ticket, name, password, "192.0.2.1")).expect("room");
        }
        let mut got: Vec<_> = verdicts.iter().take(3).collect();
        got.sort_by_key(|(ticket, _)| *ticket);
        assert_eq!(got, [(0, Verdict::Granted), (1, Verdict::Refused), (2, Verdict::Refused)]);
        drop(pool);
        assert!(verdicts.recv().is_err(), "one verdict each");
    }

    #[test]
    fn a_thousand_wrong_passwords_do_not_lock_the_owner_out() {
        let (pool, verdicts) = start(&limits(|login| login.attempts_free = 0));
        let mut waiting = 0;
        for ticket in 0..1_000 {
            match pool.submit(attempt(ticket, "alice", "guess", "192.0.2.66")) {
                Ok(()) => assert_eq!(verdicts.recv(), Ok((ticket, Verdict::Refused))),
                Err((why, _)) => {
                    assert_eq!(why, NotTaken::Waiting);
                    waiting += 1;
                }
            }
        }
        assert!(waiting > 900, "{waiting} had to wait");
        pool.submit(attempt(7, "alice", "pw", "192.0.2.1")).expect("the owner elsewhere");
        assert_eq!(verdicts.recv(), Ok((7, Verdict::Granted)));
        assert_eq!(pool.counts().waiting, waiting);
    }

    #[test]
    fn a_full_queue_says_busy_and_never_waits() {
        // A verdict that does not return holds the only thread, so the queue fills.
        let (release, held) = bounded::<()>(0);
        let (entered, inside) = bounded(1);
        let answer = Arc::new(move |_: u32, _| {
            let _ = entered.try_send(());
            let _ = held.recv();
        });
        let limits = limits(|login| {
            login.threads = 1;
            login.queue_max = 4;
            login.queue_per_address_max = 3;
        });
        let pool = LoginPool::start(&limits, passwords("alice", b"pw"), answer).expect("threads");
        pool.submit(attempt(0, "alice", "pw", "192.0.2.1")).expect("room");
        inside.recv().expect("the thread is held");
        for ticket in 1..=3 {
            pool.submit(attempt(ticket, "alice", "pw", "192.0.2.1")).expect("the share of one address");
        }
        let why = |result: Result<(), (NotTaken, Attempt<u32>)>| result.map_err(|(why, _)| why);
        assert_eq!(why(pool.submit(attempt(4, "bob", "pw", "192.0.2.1"))), Err(NotTaken::Busy));
        assert_eq!(why(pool.submit(attempt(5, "bob", "pw", "192.0.2.2"))), Ok(()), "room for others");
        assert_eq!(why(pool.submit(attempt(6, "bob", "pw", "192.0.2.3"))), Err(NotTaken::Busy));
        assert_eq!((pool.counts().busy, pool.queued()), (2, 4));
        drop(release);
    }

    #[test]
    fn a_reload_changes_the_accounts() {
        let (pool, verdicts) = start(&limits(|_| {}));
        pool.reload(passwords("alice", b"new"), &limits(|_| {}));
        pool.submit(attempt(0, "alice", "new", "192.0.2.1")).expect("room");
        assert_eq!(verdicts.recv(), Ok((0, Verdict::Granted)));
        pool.submit(attempt(1, "alice", "pw", "192.0.2.1")).expect("room");
        assert_eq!(verdicts.recv(), Ok((1, Verdict::Refused)));
    }
}
