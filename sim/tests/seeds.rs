//! Seeds that hold, and planted faults that do not.

use sim::{Fault, run};

#[test]
fn seeds_hold() {
    for seed in 1..=500 {
        if let Err(failure) = run(seed, None) {
            panic!("{}\nseed {seed}: {}", failure.transcript.join("\n"), failure.why);
        }
    }
}

#[test]
fn planted_faults_are_caught() {
    for (name, fault) in Fault::ALL {
        assert!((1..=300).any(|seed| run(seed, Some(fault)).is_err()), "{name} is not noticed");
    }
}
