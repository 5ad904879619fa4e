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

/// Of 150 seeds, those that fail with these words.
fn failing(fault: Option<Fault>, words: &str) -> usize {
    (1..=150).filter(|seed| run(*seed, fault).is_err_and(|failure| failure.why.contains(words))).count()
}

#[test]
fn planted_faults_are_caught() {
    for (name, fault) in Fault::ALL {
        let words = if fault == Fault::IdentifierReused { " as " } else { "never reached" };
        let (with, without) = (failing(Some(fault), words), failing(None, words));
        assert!(
            with >= 5 * (without + 1),
            "{name} is not noticed: {with} seeds fail so, {without} without it"
        );
    }
}
