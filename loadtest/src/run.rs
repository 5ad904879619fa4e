//! The five kinds of work, and what is measured around them.
//!
//! CPU and memory of the broker are the kernel's accounts of its process, read at both ends of a measurement.

use std::time::{Duration, Instant};

use bitsim_protocol::Qos;

use crate::arguments::{Plan, Work};
use crate::broker::Sample;
use crate::client::Speech;
use crate::fleet::{Fleet, Silence};
use crate::outcome::{Outcome, whole};
use crate::traffic::Traffic;

/// Time for a broker to come to rest before its memory counts.
const SETTLE: Duration = Duration::from_secs(2);

/// Does what the plan says.
pub(crate) fn run(plan: &Plan) -> Result<Outcome, String> {
    match plan.work {
        Work::Hold => hold(plan),
        Work::Connect => connect(plan),
        Work::Pair | Work::FanOut | Work::FanIn => traffic(plan),
    }
}

/// Idle clients: memory of the broker as the slope between a third of the clients and all of them, then its CPU.
fn hold(plan: &Plan) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut fleet = Fleet::new(plan.target, speech(plan))?;
    let before = sample(plan)?;
    let third = plan.count / 3;
    grow(&mut fleet, third)?;
    idle(&mut fleet, plan, SETTLE)?;
    let low = sample(plan)?;
    grow(&mut fleet, plan.count)?;
    idle(&mut fleet, plan, SETTLE)?;
    let high = sample(plan)?;
    let began = Instant::now();
    idle(&mut fleet, plan, Duration::from_secs(plan.secs))?;
    let secs = began.elapsed().as_secs_f64();
    outcome.add("clients", f64::from(plan.count), "");
    if let (Some(before), Some(low), Some(high), Some(end)) = (before, low, high, sample(plan)?) {
        let added = f64::from(plan.count - third);
        outcome.add("memory at start", before.anonymous / 1024.0, "KiB");
        outcome.add("memory with all", high.anonymous / 1024.0, "KiB");
        outcome.add("memory per client", (high.anonymous - low.anonymous) / added, "B");
        outcome.add("idle CPU", (end.cpu_us - high.cpu_us) / secs / 1e4, "% of a core");
    }
    Ok(outcome)
}

/// Connecting and subscribing.
fn connect(plan: &Plan) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut fleet = Fleet::new(plan.target, speech(plan))?;
    let (before, own, began) = (sample(plan)?, own_cpu()?, Instant::now());
    grow(&mut fleet, plan.count)?;
    let secs = began.elapsed().as_secs_f64();
    outcome.add("clients", f64::from(plan.count), "");
    outcome.add("rate", f64::from(plan.count) / secs, "clients/s");
    if let (Some(before), Some(after)) = (before, sample(plan)?) {
        outcome.add("broker CPU", (after.cpu_us - before.cpu_us) / f64::from(plan.count), "us/client");
    }
    outcome.add("own CPU", (own_cpu()? - own) / secs / 1e4, "% of a core");
    Ok(outcome)
}

/// Messages.
fn traffic(plan: &Plan) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut traffic = Traffic::open(plan)?;
    let flow = |traffic: &mut Traffic, secs: u64| {
        let until = Instant::now() + Duration::from_secs(secs);
        match plan.rate {
            None => traffic.run_deep(until),
            Some(rate) => traffic.run_paced(rate, until),
        }
    };
    flow(&mut traffic, plan.warm_up_secs)?;
    let (totals, before, own, began) = (traffic.totals(), sample(plan)?, own_cpu()?, Instant::now());
    traffic.measure(true);
    flow(&mut traffic, plan.secs)?;
    traffic.measure(false);
    let (secs, end) = (began.elapsed().as_secs_f64(), traffic.totals());
    let (after, own_after) = (sample(plan)?, own_cpu()?);
    let lost = traffic.drain()?;

    let delivered = whole(end.delivered - totals.delivered);
    outcome.add("published", whole(traffic.totals().sent), "");
    outcome.add("delivered", whole(traffic.totals().delivered), "");
    outcome.add("rate", delivered / secs, "deliveries/s");
    if let (Some(before), Some(after)) = (before, after) {
        let used = after.cpu_us - before.cpu_us;
        outcome.add("broker CPU", used / secs / 1e4, "% of a core");
        outcome.add("broker CPU per delivery", used / delivered.max(1.0), "us");
        outcome.add("broker memory", after.anonymous / 1024.0, "KiB");
    }
    outcome.add("own CPU", (own_after - own) / secs / 1e4, "% of a core");
    for (name, quantile) in [("latency p50", 0.5), ("latency p99", 0.99), ("latency p99.9", 0.999)] {
        outcome.add(name, whole(traffic.latency().value_at_quantile(quantile)) / 1e6, "ms");
    }
    outcome.must_be_zero("messages lost", lost);
    outcome.must_be_zero("messages out of order", traffic.disorder());
    Ok(outcome)
}

/// Connects clients, each with a subscription of its own, until there are `count`.
fn grow(fleet: &mut Fleet, count: u32) -> Result<(), String> {
    for nth in fleet.len()..count as usize {
        fleet.add(Some(format!("load/{}/{nth}", std::process::id()).into()));
    }
    fleet.open()
}

/// Sends nothing but a PINGREQ per client and keep-alive, evenly.
fn idle(fleet: &mut Fleet, plan: &Plan, length: Duration) -> Result<(), String> {
    let gap =
        Duration::from_secs(u64::from(plan.keep_alive_secs.max(1))) / u32::try_from(fleet.len()).unwrap_or(1);
    let (until, mut due, mut nth) = (Instant::now() + length, Instant::now(), 0);
    while Instant::now() < until {
        while due <= Instant::now() {
            fleet.ping(nth);
            nth = (nth + 1) % fleet.len();
            due += gap;
        }
        fleet.turn(&mut Silence, Some(due.min(until).saturating_duration_since(Instant::now())))?;
    }
    Ok(())
}

fn speech(plan: &Plan) -> Speech {
    Speech { version: plan.version, keep_alive_secs: plan.keep_alive_secs, qos: Qos::AtMostOnce }
}

fn sample(plan: &Plan) -> Result<Option<Sample>, String> {
    plan.pid.map(Sample::take).transpose()
}

/// CPU time of this process, in microseconds.
fn own_cpu() -> Result<f64, String> {
    Ok(Sample::take(std::process::id())?.cpu_us)
}
