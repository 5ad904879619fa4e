//! The filter table of one shard with a million filters, a tenth of them with wildcards.
//!
//! A plant of 100 sites with 100 lines of 90 devices has an exact filter for each device; the wildcards overlap them at
//! every level, and the rest of them are filters that no topic of the plant matches. So the matches of a topic are known
//! by counting, which the setup confirms with the plain matcher over the whole million. Topics come in an order
//! that visits the table far apart, as messages of many devices do, so that the caches help no more than they would.

use bitsim_engine::filters::{FilterTable, Seeds};
use bitsim_protocol::filter_matches;
use criterion::{Criterion, Throughput};
use std::hint::black_box;

const FILTERS: usize = 1_000_000;
const SITES: usize = 100;
const LINES: usize = 100;
const DEVICES: usize = 90;

/// Topics in turn; a prime, so that the order visits them all.
const TOPICS: usize = 4_099;

pub(crate) fn bench(criterion: &mut Criterion) {
    let exact = devices();
    let mixed: Vec<String> = exact.iter().cloned().chain(wildcards(FILTERS - exact.len())).collect();
    let mut table = table(&mixed);
    assert_eq!((table.filters(), table.wildcard_filters()), (FILTERS, FILTERS - exact.len()));
    // A device: its own filter, one for each level above it, and "#".
    matching(criterion, ("device", 7), &table, &mixed, |n| device(n * 217_645_199 % exact.len()));
    // A device without a filter of its own: none of the filters that end in its number either.
    matching(criterion, ("unknown device", 4), &table, &mixed, |n| {
        format!("site/{}/line/{}/device/{}", n % SITES, n * 31 % LINES, DEVICES + n)
    });
    matching(criterion, ("elsewhere", 1), &table, &mixed, |n| format!("log/{n}/site/line"));
    change(criterion, &mut table);
}

/// Adding and removing one filter of a table that stays as large as it is.
fn change(criterion: &mut Criterion, table: &mut FilterTable<u8>) {
    for (name, end) in [("exact", "temperature"), ("wildcard", "+")] {
        let filters: Vec<String> = (0..TOPICS).map(|n| format!("site/{}/new/{n}/{end}", n % SITES)).collect();
        let mut next = 0;
        criterion.bench_function(&format!("filters/add and remove/{name}"), |bencher| {
            bencher.iter(|| {
                let filter = &filters[next % TOPICS];
                next += 1;
                assert!(table.insert(filter, 1, 2).1.is_none());
                assert_eq!(table.remove(filter, 1), Some(2));
            });
        });
        assert_eq!(table.filters(), FILTERS);
    }
}

fn matching(
    criterion: &mut Criterion,
    (name, matches): (&str, usize),
    table: &FilterTable<u8>,
    filters: &[String],
    topic: impl Fn(usize) -> String,
) {
    let topics: Vec<String> = (0..TOPICS).map(topic).collect();
    let naive = filters.iter().filter(|filter| filter_matches(filter, &topics[1])).count();
    assert_eq!(naive, matches, "{}", topics[1]);
    let mut next = 0;
    let mut group = criterion.benchmark_group("filters");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("match/{name}, {matches} of a million"), |bencher| {
        bencher.iter(|| {
            let topic = &topics[next % TOPICS];
            next += 1;
            let mut seen = 0;
            table.for_each_match(black_box(topic), &mut |_, subscribers| seen += subscribers.len());
            assert_eq!(seen, matches);
        });
    });
    group.finish();
}

fn table(filters: &[String]) -> FilterTable<u8> {
    let mut table = FilterTable::new(Seeds::new(11, 17));
    for (filter, key) in filters.iter().zip(0..) {
        table.insert(filter, key, 0);
    }
    table
}

fn devices() -> Vec<String> {
    (0..SITES * LINES * DEVICES).map(device).collect()
}

fn device(number: usize) -> String {
    let (site, rest) = (number % SITES, number / SITES);
    format!("site/{site}/line/{}/device/{}", rest % LINES, rest / LINES)
}

/// This many, of every shape.
fn wildcards(count: usize) -> Vec<String> {
    let mut filters = vec!["#".to_owned()];
    for site in 0..SITES {
        filters.push(format!("site/{site}/#"));
        filters.extend((0..LINES).map(|line| format!("site/{site}/line/{line}/#")));
        filters.extend((0..LINES).map(|line| format!("site/{site}/line/{line}/device/+")));
        filters.extend((0..DEVICES).map(|device| format!("site/{site}/line/+/device/{device}")));
    }
    for line in 0..LINES {
        filters.extend((0..DEVICES).map(|device| format!("site/+/line/{line}/device/{device}")));
    }
    let others = count - filters.len();
    filters.extend((0..others).map(|n| format!("alarm/+/{n}/#")));
    filters
}
