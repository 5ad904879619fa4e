//! How fast one address may connect: a token bucket for each IPv4 address and each IPv6 /64.
//!
//! Lives on one shard and is asked once for each accepted connection. The table never grows: an address has four places, of which
//! a new address takes the one with the most tokens, whose owner loses least by being forgotten. So a look-up costs
//! one hash and four comparisons. Which places an address has depends on a random key: nobody can choose addresses that push
//! another one out. Pure: time is an argument.

use bitsim_engine::limits::Limits;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Places of an address.
const WAYS: usize = 4;
/// Sets of places; 16,384 addresses in all.
const SETS: usize = 4096;
/// Tokens are counted in thousandths: one per millisecond and unit of rate.
const TOKEN: u64 = 1000;

/// How many connections an address may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Each second; 0: any number.
    pub(crate) per_second: u32,
    /// At once, after a rest.
    pub(crate) burst: u32,
    /// Whether loopback addresses are counted too.
    pub(crate) on_loopback: bool,
}

impl Rate {
    /// Of these limits.
    pub(crate) fn new(limits: &Limits) -> Rate {
        Rate {
            per_second: limits.connect_rate_max,
            burst: limits.connect_burst_max,
            on_loopback: limits.connect_rate_on_loopback,
        }
    }
}

/// One address. `who` 0: nobody.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    who: u128,
    tokens: u64,
    at_ms: u64,
}

/// The table.
pub(crate) struct Rates {
    /// What holds from now on.
    pub(crate) rate: Rate,
    key: RandomState,
    sets: Vec<[Bucket; WAYS]>,
}

impl Rates {
    /// Without memory until the first address is counted.
    pub(crate) fn new(rate: Rate) -> Rates {
        Rates { rate, key: RandomState::new(), sets: Vec::new() }
    }

    /// Takes a token of the address. False: it has none.
    pub(crate) fn admit(&mut self, from: IpAddr, now_ms: u64) -> bool {
        let rate = self.rate;
        let from = from.to_canonical();
        if rate.per_second == 0 || from.is_loopback() && !rate.on_loopback {
            return true;
        }
        if self.sets.is_empty() {
            self.sets.resize(SETS, [Bucket { who: 0, tokens: 0, at_ms: 0 }; WAYS]);
        }
        let who = counted(from);
        let full = u64::from(rate.burst.max(1)) * TOKEN;
        let at = usize::try_from(self.key.hash_one(who) % SETS as u64).unwrap_or(0);
        let Some(set) = self.sets.get_mut(at) else { return true };
        for bucket in set.iter_mut() {
            let gained = now_ms.saturating_sub(bucket.at_ms).saturating_mul(u64::from(rate.per_second));
            bucket.tokens = bucket.tokens.saturating_add(gained).min(full);
            bucket.at_ms = now_ms;
        }
        let place = match set.iter().position(|bucket| bucket.who == who) {
            Some(place) => place,
            None => {
                let most = (0..WAYS).max_by_key(|n| set.get(*n).map(|b| (b.who == 0, b.tokens))).unwrap_or(0);
                if let Some(bucket) = set.get_mut(most) {
                    *bucket = Bucket { who, tokens: full, at_ms: now_ms };
                }
                most
            }
        };
        let Some(bucket) = set.get_mut(place) else { return true };
        let left = bucket.tokens.checked_sub(TOKEN);
        bucket.tokens = left.unwrap_or(bucket.tokens);
        left.is_some()
    }
}

/// An address as it is counted: IPv4 as it is, IPv6 by its /64; never 0.
fn counted(from: IpAddr) -> u128 {
    match from {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 1 | 1,
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3, on_loopback: false };

    fn admitted(rates: &mut Rates, from: &str, now_ms: u64) -> usize {
        (0..10).filter(|_| rates.admit(from.parse().unwrap(), now_ms)).count()
    }

    #[test]
    fn a_burst_then_the_rate_and_never_more_than_the_burst() {
        let mut rates = Rates::new(RATE);
        assert_eq!(admitted(&mut rates, "192.0.2.1", 1000), 3);
        assert_eq!(admitted(&mut rates, "192.0.2.1", 1099), 0);
        assert_eq!(admitted(&mut rates, "192.0.2.1", 1100), 1);
        assert_eq!(admitted(&mut rates, "192.0.2.2", 1100), 3);
        assert_eq!(admitted(&mut rates, "192.0.2.1", 900_000), 3);
    }

    #[test]
    fn a_64_is_one_address_and_a_mapped_one_is_what_it_maps() {
        let mut rates = Rates::new(RATE);
        assert_eq!(admitted(&mut rates, "2001:db8::1", 0), 3);
        assert_eq!(admitted(&mut rates, "2001:db8::ffff:2", 0), 0);
        assert_eq!(admitted(&mut rates, "2001:db8:0:1::1", 0), 3);
        assert_eq!(admitted(&mut rates, "::ffff:192.0.2.7", 0), 3);
        assert_eq!(admitted(&mut rates, "192.0.2.7", 0), 0);
    }

    #[test]
    fn loopback_is_counted_only_if_wanted_and_rate_0_is_none() {
        let mut rates = Rates::new(RATE);
        assert_eq!(admitted(&mut rates, "127.0.0.1", 0), 10);
        assert_eq!(admitted(&mut rates, "::1", 0), 10);
        rates.rate.on_loopback = true;
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!((0..10).filter(|_| rates.admit(local, 0)).count(), 3);
        rates.rate.per_second = 0;
        assert!((0..10).all(|_| rates.admit(local, 0)));
    }
}
