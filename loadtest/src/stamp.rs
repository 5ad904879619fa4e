//! What every payload starts with, and what a subscriber checks by it.
//!
//! A publisher numbers its messages from 0. A subscriber knows the next number of each publisher: a lower one is a
//! repetition or out of order, a higher one means that something is missing.

/// Publisher, number and time of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Among the publishers of the topic.
    pub(crate) publisher: u32,
    pub(crate) number: u64,
    /// Since the start of the run.
    pub(crate) nanos: u64,
}

impl Stamp {
    /// Writes it over the start of `payload`.
    pub(crate) fn write(self, payload: &mut [u8]) {
        let bytes = self.publisher.to_be_bytes().into_iter();
        let bytes = bytes.chain(self.number.to_be_bytes()).chain(self.nanos.to_be_bytes());
        for (place, byte) in payload.iter_mut().zip(bytes) {
            *place = byte;
        }
    }

    /// Reads it from a payload; `None` if that is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (publisher, rest) = payload.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        Some(Self {
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
            nanos: u64::from_be_bytes(*nanos),
        })
    }
}

/// The next number of every publisher of a subscriber.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: Vec<u64>,
    /// Messages that were not the next one.
    pub(crate) wrong: u64,
}

impl Sequence {
    pub(crate) fn of(publishers: usize) -> Self {
        Self { next: vec![0; publishers], wrong: 0 }
    }

    /// Takes note of a message; answers how many numbers are done with by it, the missing ones too.
    #[inline]
    pub(crate) fn note(&mut self, stamp: Stamp) -> u64 {
        let place = usize::try_from(stamp.publisher).ok().and_then(|at| self.next.get_mut(at));
        let Some(next) = place else {
            self.wrong += 1;
            return 0;
        };
        self.wrong += u64::from(stamp.number != *next);
        let passed = stamp.number.saturating_add(1).saturating_sub(*next);
        *next += passed;
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(numbers: &[u64]) -> u64 {
        let mut sequence = Sequence::of(1);
        for &number in numbers {
            sequence.note(Stamp { publisher: 0, number, nanos: 0 });
        }
        sequence.wrong
    }

    #[test]
    fn gaps_repetitions_and_swaps_are_seen() {
        assert_eq!(wrong(&[0, 1, 2, 3]), 0);
        assert_eq!(wrong(&[0, 2, 3]), 1);
        assert_eq!(wrong(&[0, 1, 1, 2]), 1);
        assert_eq!(wrong(&[0, 2, 1, 3]), 2);
        let mut sequence = Sequence::of(1);
        sequence.note(Stamp { publisher: 1, number: 0, nanos: 0 });
        assert_eq!(sequence.wrong, 1);
    }

    #[test]
    fn stamps_come_back() {
        let stamp = Stamp { publisher: 3, number: u64::MAX - 1, nanos: 5 };
        let mut payload = [0; 20];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&[0; 19]), None);
    }
}
