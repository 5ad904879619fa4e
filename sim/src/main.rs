//! Runs seeds: `sim [--seeds N] [--first SEED] [--seed ONE] [--plant FAULT]`. Ends with 1 at the first seed that fails,
//! after its transcript.

use sim::{Fault, Stats, run};
use std::process::ExitCode;

struct Wanted {
    seeds: u64,
    first: u64,
    fault: Option<Fault>,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted { seeds: 100, first: 1, fault: None };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number"));
        match name.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--first" => wanted.first = number()?,
            "--seed" => (wanted.first, wanted.seeds) = (number()?, 1),
            "--plant" => wanted.fault = Some(value.parse()?),
            _ => return Err(format!("there is no option {name}")),
        }
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("{why}\nusage: sim [--seeds N] [--first SEED] [--seed ONE] [--plant FAULT]");
            return ExitCode::from(2);
        }
    };
    let mut total = Stats::default();
    for seed in (wanted.first..).take(usize::try_from(wanted.seeds).unwrap_or(usize::MAX)) {
        match run(seed, wanted.fault) {
            Ok(stats) => total.add(&stats),
            Err(failure) => {
                println!("{}\nseed {seed}: {}", failure.transcript.join("\n"), failure.why);
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} seeds from {}: {} events, {} messages, {} deliveries, no violation",
        wanted.seeds, wanted.first, total.events, total.messages, total.deliveries
    );
    ExitCode::SUCCESS
}
