//! Sleeping rings wake. `BITSIM_WAKE_ROUNDS` makes it a campaign.

use crate::rig::alone;
use bitsim_ring::wake_self_test;

#[test]
fn ten_thousand_sleeps_end() {
    let _alone = alone();
    let rounds = std::env::var("BITSIM_WAKE_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(3_334);
    let report = wake_self_test(rounds).unwrap();
    assert_eq!(report.rounds, rounds);
    println!("{} wake-ups, the longest took {:?}", 3 * rounds, report.worst);
}
