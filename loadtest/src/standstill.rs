//! Whether a count goes on growing.

use std::time::{Duration, Instant};

/// A count that should grow, and since when it has not.
#[derive(Debug)]
pub(crate) struct Standstill {
    count: u64,
    since: Instant,
}

impl Standstill {
    pub(crate) fn new(count: u64, now: Instant) -> Self {
        Self { count, since: now }
    }

    /// Whether `count` has been the same for longer than `patience`; then the time starts anew.
    pub(crate) fn lasts(&mut self, count: u64, now: Instant, patience: Duration) -> bool {
        let lasts = count == self.count && now.saturating_duration_since(self.since) > patience;
        if count != self.count || lasts {
            *self = Self::new(count, now);
        }
        lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_a_standstill_start_the_time_anew() {
        let (start, patience) = (Instant::now(), Duration::from_secs(3));
        let at = |secs| start + Duration::from_secs(secs);
        let mut standstill = Standstill::new(1, start);
        assert!(!standstill.lasts(1, at(3), patience));
        assert!(!standstill.lasts(2, at(4), patience), "it grew");
        assert!(!standstill.lasts(2, at(7), patience));
        assert!(standstill.lasts(2, at(8), patience));
        assert!(!standstill.lasts(2, at(11), patience));
    }
}
