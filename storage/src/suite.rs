//! The one suite that every back end passes: named checks, one or more for each sentence of the contract.
//!
//! [`run`] gives each check a store of its own from `make` and panics with the names of those that failed;
//! [`failures`] returns them instead, so that deliberately wrong stores can be shown to be caught (`planted`).
//! Checks speak to the store through a [`Desk`], one per shard, which also sees to it that every request is answered
//! once and that a store which answers late rings its bell. No check sleeps.

use std::time::Duration;

use desk::{Desk, Outcome};

use crate::contract::Store;

mod answers;
mod batches;
mod conditions;
mod desk;
mod logs;
mod model;
mod pages;
mod rows;

#[cfg(test)]
mod planted;

/// One check: what it shows, and how.
struct Check {
    name: &'static str,
    run: fn(&mut Desks<'_>) -> Outcome,
}

/// The desks of a check. Most need one shard only: `desks.one`.
struct Desks<'a> {
    one: Desk<'a>,
    other: Desk<'a>,
}

/// A check that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the check.
    pub check: &'static str,
    /// What was seen.
    pub reason: String,
}

/// How long an answer may take before the suite calls it lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs all checks.
///
/// # Panics
/// With the name and reason of every check that failed.
pub fn run(make: impl FnMut() -> Box<dyn Store>) {
    let failed = failures(make, PATIENCE);
    let lines: Vec<String> = failed.iter().map(|f| format!("{}: {}", f.check, f.reason)).collect();
    assert!(failed.is_empty(), "{} checks failed\n{}", failed.len(), lines.join("\n"));
}

/// Runs all checks and returns those that failed. `patience`: see [`run`], which waits 30 seconds for an answer.
pub fn failures(make: impl FnMut() -> Box<dyn Store>, patience: Duration) -> Vec<Failure> {
    failing(make, patience).collect()
}

/// Runs checks as the iterator is asked for the next that fails.
fn failing(mut make: impl FnMut() -> Box<dyn Store>, patience: Duration) -> impl Iterator<Item = Failure> {
    checks().filter_map(move |check| {
        let reason = run_one(check, make().as_ref(), patience).err()?;
        Some(Failure { check: check.name, reason })
    })
}

fn run_one(check: &Check, store: &dyn Store, patience: Duration) -> Outcome {
    let mut desks = Desks { one: Desk::open(store, 0, patience), other: Desk::open(store, 1, patience) };
    (check.run)(&mut desks)?;
    desks.one.close()?;
    desks.other.close()
}

fn checks() -> impl Iterator<Item = &'static Check> {
    let all: [&'static [Check]; 7] = [
        answers::CHECKS,
        logs::CHECKS,
        rows::CHECKS,
        pages::CHECKS,
        conditions::CHECKS,
        batches::CHECKS,
        model::CHECKS,
    ];
    all.into_iter().flatten()
}
