//! `bitsim-loadtest`: puts a load on an MQTT broker, and says what it cost the broker.
//!
//! One thread drives all clients through the socket ring, so that the generator costs less than what it measures; it
//! reports its own CPU, because a generator at its limit measures itself. Every message carries its publisher, number
//! and time: what is lost, repeated or out of order is counted, and fails the run.
#![expect(
    clippy::indexing_slicing,
    reason = "clients and publishers are named by their place in tables that never shrink"
)]

mod arguments;
mod broker;
mod client;
mod fleet;
mod outcome;
mod run;
mod stamp;
mod standstill;
mod traffic;

use std::process::ExitCode;

use arguments::Plan;
use core_affinity::CoreId;

fn main() -> ExitCode {
    let plan = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("bitsim-loadtest: {what}\n`bitsim-loadtest --help` lists what there is");
            return ExitCode::from(2);
        }
    };
    match pinned(&plan) {
        Ok(code) => code,
        Err(what) => {
            eprintln!("bitsim-loadtest: {what}");
            ExitCode::FAILURE
        }
    }
}

fn pinned(plan: &Plan) -> Result<ExitCode, String> {
    if let Some(id) = plan.core
        && !core_affinity::set_for_current(CoreId { id })
    {
        return Err(format!("core {id} cannot be had"));
    }
    let outcome = run::run(plan)?;
    if plan.json {
        println!("{}", outcome.json());
    } else {
        print!("{}", outcome.text());
    }
    for failure in &outcome.failures {
        eprintln!("bitsim-loadtest: {failure}");
    }
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
