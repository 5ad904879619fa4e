//! Proof, at start, that a sleeping ring wakes: for a socket, a doorbell and a timer.
//!
//! Some kernels lose such wake-ups (one signals only the first completion of a kind, so each source is tried several
//! times). The sleeper is a thread of its own, the caller watches it: a lost timer cannot hang the start.

use crate::doorbell::Doorbell;
use crate::error::RingError;
use crate::event::Event;
use crate::ring::{Ring, RingConfig};
use crate::slots::Receive;
use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A wake-up that takes longer is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
const TIMER: Duration = Duration::from_millis(1);

/// What wakes a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeSource {
    /// Data on a socket.
    Socket,
    /// Another thread's doorbell.
    Doorbell,
    /// The time-out of the wait.
    Timer,
}

impl WakeSource {
    const ALL: [Self; 3] = [Self::Socket, Self::Doorbell, Self::Timer];
}

/// The wake-ups are not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeError {
    /// The ring failed.
    Ring(RingError),
    /// No thread or socket pair could be made.
    Setup,
    /// A sleeping ring was not woken in time.
    Lost {
        /// By what.
        source: WakeSource,
        /// In which round, from 0.
        round: u32,
    },
}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => error.fmt(f),
            Self::Setup => f.write_str("no thread or socket for the wake-up test"),
            Self::Lost { source, round } => write!(
                f,
                "this kernel loses wake-ups of io_uring: {source:?} did not wake a sleeping ring (round {round}); \
                 use another kernel"
            ),
        }
    }
}

impl std::error::Error for WakeError {}

/// How long wake-ups took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeReport {
    /// Wake-ups of each source.
    pub rounds: u32,
    /// The longest from its cause to the woken thread; for the timer, the longest lateness.
    pub worst: Duration,
}

/// Sleeps `rounds` times for each source. Takes well under a second for 8 rounds.
pub fn wake_self_test(rounds: u32) -> Result<WakeReport, WakeError> {
    let (mut ours, theirs) = UnixStream::pair().map_err(|_| WakeError::Setup)?;
    let (steps, seen) = channel();
    let sleeper = std::thread::Builder::new()
        .name("wake-test".into())
        .spawn(move || sleep_rounds(rounds, theirs, &steps))
        .map_err(|_| WakeError::Setup)?;
    let report = cause_rounds(rounds, &mut ours, &seen)?;
    match sleeper.join() {
        Ok(result) => result.map(|()| report),
        Err(_) => Err(WakeError::Setup),
    }
}

/// What the sleeper tells.
enum Step {
    Start(Doorbell),
    Failed(RingError),
    /// About to sleep, or for the timer: about to sleep until then.
    Sleep,
    Woken(Instant),
}

fn cause_rounds(
    rounds: u32,
    socket: &mut UnixStream,
    seen: &Receiver<Step>,
) -> Result<WakeReport, WakeError> {
    let bell = match seen.recv_timeout(LOST_AFTER) {
        Ok(Step::Start(bell)) => bell,
        Ok(Step::Failed(error)) => return Err(WakeError::Ring(error)),
        _ => return Err(WakeError::Setup),
    };
    let mut report = WakeReport { rounds, worst: Duration::ZERO };
    for round in 0..rounds {
        for source in WakeSource::ALL {
            let lost = WakeError::Lost { source, round };
            expect_sleep(seen)?;
            let mut caused = Instant::now();
            if source == WakeSource::Timer {
                caused += TIMER;
            } else {
                while !bell.is_asleep() && caused.elapsed() < LOST_AFTER {
                    std::thread::yield_now();
                }
                // The flag is set just before the kernel is entered.
                std::thread::sleep(Duration::from_micros(100));
                caused = Instant::now();
                match source {
                    WakeSource::Socket => socket.write_all(&[1]).map_err(|_| WakeError::Setup)?,
                    _ => bell.ring(),
                }
            }
            match seen.recv_timeout(LOST_AFTER) {
                Ok(Step::Woken(at)) => report.worst = report.worst.max(at.saturating_duration_since(caused)),
                Ok(Step::Failed(error)) => return Err(WakeError::Ring(error)),
                _ => return Err(lost),
            }
        }
    }
    Ok(report)
}

fn expect_sleep(seen: &Receiver<Step>) -> Result<(), WakeError> {
    match seen.recv_timeout(LOST_AFTER) {
        Ok(Step::Sleep) => Ok(()),
        Ok(Step::Failed(error)) => Err(WakeError::Ring(error)),
        Ok(_) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(WakeError::Setup),
    }
}

fn sleep_rounds(rounds: u32, socket: UnixStream, steps: &Sender<Step>) -> Result<(), WakeError> {
    let slept = sleep_all(rounds, socket, steps);
    if let Err(error) = slept {
        let _ = steps.send(Step::Failed(error));
    }
    slept.map_err(WakeError::Ring)
}

fn sleep_all(rounds: u32, socket: UnixStream, steps: &Sender<Step>) -> Result<(), RingError> {
    let config =
        RingConfig { sq_entries: 8, cq_entries: 16, buffers: 4, buffer_bytes: 4096, ..RingConfig::default() };
    let mut ring = Ring::new(config)?;
    if let Ok(slot) = ring.attach(socket.into()) {
        let _ = ring.receive(slot, Receive::Multishot);
    }
    ring.submit()?;
    let _ = steps.send(Step::Start(ring.doorbell()));
    for _ in 0..rounds {
        for source in WakeSource::ALL {
            let _ = steps.send(Step::Sleep);
            if !sleep_for(&mut ring, source)? {
                return Ok(());
            }
            let _ = steps.send(Step::Woken(Instant::now()));
        }
    }
    Ok(())
}

/// Sleeps until the source's event came; false if the test was given up.
fn sleep_for(ring: &mut Ring, source: WakeSource) -> Result<bool, RingError> {
    let start = Instant::now();
    while start.elapsed() < 2 * LOST_AFTER {
        let timeout = if source == WakeSource::Timer { TIMER } else { 2 * LOST_AFTER };
        ring.wait(Some(timeout))?;
        ring.reap(usize::MAX);
        let mut found = source == WakeSource::Timer && start.elapsed() >= TIMER;
        while let Some(event) = ring.next_event() {
            found |= matches!(
                (source, &event),
                (WakeSource::Socket, Event::Received { .. }) | (WakeSource::Doorbell, Event::Doorbell)
            );
            if matches!(event, Event::ReceiveEnded { .. }) {
                return Ok(false);
            }
        }
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_ring_wakes() {
        let report = wake_self_test(20).unwrap();
        assert_eq!(report.rounds, 20);
    }
}
