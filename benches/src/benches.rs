//! What the parts cost: packets, the filter table, the engine, the queue between shards, and a whole broker on loopback.
//!
//! One binary, so that it links once; a file per part. `cargo bench -p bitsim-benches` measures all of them, and words
//! after `--` choose some by name. `cargo test -p bitsim-benches --benches` does each thing once: then only the checks
//! count. Every bench checks what it times, within the timed loop where a wrong result costs next to nothing to see, so
//! that none of them can time work that was not done.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected must fail, and says where"
)]

mod echo;
mod filters;
mod mailbox;
mod packet;
mod publish;
mod shard;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let defaults = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_200))
        .sample_size(50);
    let mut criterion = defaults.configure_from_args();
    packet::bench(&mut criterion);
    filters::bench(&mut criterion);
    publish::bench(&mut criterion);
    mailbox::bench(&mut criterion);
    echo::bench(&mut criterion);
    criterion.final_summary();
}
