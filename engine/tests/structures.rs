//! The data structures of a shard against naive models, driven by seeded random calls. A failure names its seed.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "small numbers, and a panic is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use bitsim_engine::filters::{FilterTable, InterestTable, Seeds};
use bitsim_engine::retained::{PageLimit, RetainedTable};
use bitsim_engine::slots::{self, FilterHome, SLOTS, SlotMap, home_of_filter, slot_of};
use bitsim_engine::wheel::{TICK_MS, TimerId, Wheel};

/// xorshift64*: enough for choosing calls.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }

    /// Below 2^`bits`, small numbers as often as large ones.
    fn any_magnitude(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits);
        self.below(1 << bits)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn topic(&mut self) -> String {
        let levels = ["a", "b", "", "a!", "a0", "$s", "ab", "ü", "a level of more than 14 bytes"];
        let topic = (0..=self.below(5)).map(|_| self.pick(&levels)).collect::<Vec<_>>().join("/");
        if topic.is_empty() { "a".into() } else { topic }
    }

    fn filter(&mut self) -> String {
        let mut levels: Vec<String> = self.topic().split('/').map(String::from).collect();
        for level in &mut levels {
            if self.below(3) == 0 {
                *level = "+".into();
            }
        }
        match self.below(4) {
            0 => levels.push("#".into()),
            1 => *levels.last_mut().expect("a level") = "#".into(),
            _ => {}
        }
        levels.join("/")
    }
}

/// MQTT's matching, level by level.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    let levels_match = |levels: &[&str]| {
        topic.len() >= levels.len()
            && levels.iter().zip(&topic).all(|(level, name)| *level == "+" || level == name)
    };
    match filter.split_last() {
        Some((&"#", parents)) => levels_match(parents),
        _ => topic.len() == filter.len() && levels_match(&filter),
    }
}

#[test]
fn the_naive_matcher_knows_the_specification() {
    for (filter, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/#", "sport", true),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

#[test]
fn wheel_fires_as_the_model() {
    for seed in 0..60 {
        drive_wheel(seed);
    }
}

fn drive_wheel(seed: u64) {
    let mut random = Random::new(seed);
    let mut now = random.below(1 << 40);
    let mut wheel = Wheel::new(now);
    let mut model: BTreeMap<u64, (u64, TimerId)> = BTreeMap::new();
    for value in 0..3_000u64 {
        let far = now + random.any_magnitude(45);
        let some = model.keys().copied().nth(random.below(8) as usize);
        match (random.below(8), some) {
            (0..=3, _) => {
                let deadline = if random.below(20) == 0 { now / 2 } else { far };
                model.insert(value, (deadline, wheel.insert(deadline, value)));
            }
            (4, Some(key)) => {
                let (_, id) = model.remove(&key).expect("in the model");
                assert_eq!(wheel.cancel(id), Some(key), "seed {seed}");
                assert_eq!(wheel.cancel(id), None, "seed {seed}");
            }
            (5, Some(key)) => {
                let timer = model.get_mut(&key).expect("in the model");
                timer.0 = far;
                assert!(wheel.reschedule(timer.1, far), "seed {seed}");
            }
            _ => {
                now = advance_both(&mut wheel, &mut model, &mut random, now);
            }
        }
        assert_eq!(wheel.len(), model.len());
        let earliest = model.values().map(|(deadline, _)| deadline.next_multiple_of(TICK_MS)).min();
        assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
        assert!(wheel.next_deadline().unwrap_or(0) <= earliest.unwrap_or(0).max(now), "seed {seed}");
    }
}

fn advance_both(
    wheel: &mut Wheel<u64>,
    model: &mut BTreeMap<u64, (u64, TimerId)>,
    random: &mut Random,
    now: u64,
) -> u64 {
    let now = if random.below(4) == 0 {
        wheel.next_deadline().unwrap_or(now).max(now)
    } else {
        now + random.any_magnitude(42)
    };
    let mut fired = Vec::new();
    wheel.advance(now, &mut |value| fired.push(value));
    fired.sort_unstable();
    let due = |deadline: u64| deadline.div_ceil(TICK_MS) <= now / TICK_MS;
    let mut expected: Vec<u64> =
        model.iter().filter(|(_, (deadline, _))| due(*deadline)).map(|(value, _)| *value).collect();
    expected.sort_unstable();
    assert_eq!(fired, expected);
    for value in fired {
        let (deadline, id) = model.remove(&value).expect("in the model");
        assert!(deadline <= now, "never early");
        assert_eq!(wheel.cancel(id), None, "a fired timer is stale");
    }
    now
}

#[test]
fn a_long_sleep_costs_a_few_steps_and_ends_on_time() {
    for deadline in [1, 64, 65, 90_000, u64::from(u32::MAX) * 1_000, u64::MAX - TICK_MS] {
        let mut wheel = Wheel::new(0);
        wheel.insert(deadline, 1u32);
        let (mut steps, mut fired_at) = (0, None);
        while let Some(next) = wheel.next_deadline() {
            steps += 1;
            wheel.advance(next, &mut |_| fired_at = Some(next));
        }
        assert!(steps <= 10, "{steps} steps to {deadline}");
        assert!(fired_at.is_some_and(|at| at >= deadline && at - deadline < TICK_MS), "{deadline}");
    }
}

#[test]
fn an_id_is_stale_after_its_place_is_used_again() {
    let mut wheel = Wheel::new(0);
    let old = wheel.insert(1_000, 'a');
    assert_eq!(wheel.cancel(old), Some('a'));
    let new = wheel.insert(1_000, 'b');
    assert_ne!(old, new);
    assert!(wheel.get(old).is_none() && wheel.cancel(old).is_none() && !wheel.reschedule(old, 0));
    assert_eq!(wheel.get(new), Some('b'));
}

#[test]
fn a_steady_wheel_does_not_grow() {
    let mut wheel = Wheel::new(0);
    for round in 0..50u64 {
        let ids: Vec<TimerId> = (0..1_000).map(|n| wheel.insert(round * 1_000 + n * 7, n)).collect();
        ids.iter().step_by(2).for_each(|id| _ = wheel.cancel(*id));
        wheel.advance(round * 1_000 + 10_000, &mut |_| {});
        assert!(wheel.is_empty());
    }
    assert!(wheel.bytes() < 1_024 * 32 + 4_096, "{} bytes", wheel.bytes());
}

#[test]
fn filter_table_matches_as_the_model() {
    for seed in 0..60 {
        drive_filters(seed);
    }
}

type FilterModel = BTreeMap<String, BTreeMap<u32, u64>>;

fn drive_filters(seed: u64) {
    let mut random = Random::new(seed);
    let mut table = FilterTable::new(Seeds::new(seed, !seed));
    let mut model = FilterModel::new();
    let keys = 1 + random.below(200);
    for value in 0..1_500 {
        let key = random.below(keys) as u32;
        let filter = random.filter();
        if random.below(5) < 3 {
            let (id, replaced) = table.insert(&filter, key, value);
            assert_eq!(replaced, model.entry(filter.clone()).or_default().insert(key, value), "seed {seed}");
            assert_eq!((table.filter(id), table.get_by_id(id, key)), (&*filter, Some(value)));
        } else {
            remove_from_both(&mut table, &mut model, (&filter, key));
        }
        if value % 8 == 0 {
            assert_same_matches(&table, &model, &random.topic(), seed);
        }
    }
    assert_same_content(&table, &model);
    for (filter, subscribers) in model.clone() {
        for key in subscribers.into_keys() {
            remove_from_both(&mut table, &mut model, (&filter, key));
        }
    }
    assert!(table.is_empty() && !table.has_wildcards() && table.filters() == 0, "seed {seed}");
}

fn remove_from_both(table: &mut FilterTable<u64>, model: &mut FilterModel, (filter, key): (&str, u32)) {
    let expected = model.get_mut(filter).and_then(|subscribers| subscribers.remove(&key));
    model.retain(|_, subscribers| !subscribers.is_empty());
    assert_eq!(table.remove(filter, key), expected);
    assert_eq!(table.find(filter).is_some(), model.contains_key(filter));
}

fn assert_same_matches(table: &FilterTable<u64>, model: &FilterModel, topic: &str, seed: u64) {
    let mut found = Vec::new();
    table.for_each_match(topic, &mut |id, entries| {
        let subscribers: BTreeMap<u32, u64> = entries.iter().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(subscribers.len(), entries.len());
        found.push((table.filter(id).to_string(), subscribers));
    });
    found.sort();
    let expected: Vec<_> = model
        .iter()
        .filter(|(filter, _)| matches(filter, topic))
        .map(|(f, s)| (f.clone(), s.clone()))
        .collect();
    assert_eq!(found, expected, "seed {seed}, topic {topic}");
}

fn assert_same_content(table: &FilterTable<u64>, model: &FilterModel) {
    let content: FilterModel = table
        .iter()
        .map(|(_, filter, entries)| (filter.to_string(), entries.iter().map(|e| (e.key, e.value)).collect()))
        .collect();
    assert_eq!(&content, model);
    assert_eq!(table.len(), model.values().map(BTreeMap::len).sum::<usize>());
    assert_eq!(table.filters(), model.len());
    assert_eq!(table.wildcard_filters(), model.keys().filter(|filter| filter.contains(['+', '#'])).count());
}

#[test]
fn a_deep_topic_with_a_choice_at_every_level_is_matched_fully() {
    let mut table = FilterTable::new(Seeds::new(3, 4));
    let filters: Vec<String> = (0..60).map(|depth| format!("{}+/#", "a/".repeat(depth))).collect();
    for filter in &filters {
        table.insert(filter, 1, 0u64);
    }
    let mut found = BTreeSet::new();
    table.for_each_match(&"a/".repeat(60), &mut |id, _| assert!(found.insert(table.filter(id))));
    assert_eq!(found, filters.iter().map(String::as_str).collect());
}

#[test]
fn a_filter_with_many_subscribers_loses_them_in_any_order() {
    let mut table = FilterTable::new(Seeds::new(5, 6));
    let mut random = Random::new(7);
    let count = 200_000;
    let mut keys: Vec<u32> = (0..count).collect();
    for &key in &keys {
        table.insert("news/#", key, u64::from(key));
    }
    let full = table.bytes();
    for left in (1..=count as usize).rev() {
        let key = keys.swap_remove(random.below(left as u64) as usize);
        assert_eq!(table.remove("news/#", key), Some(u64::from(key)));
        if left == 20_000 {
            assert!(table.bytes() < full / 3, "memory comes back as the list shrinks");
        }
    }
    assert!(table.find("news/#").is_none());
}

#[test]
fn the_same_load_again_takes_the_same_memory() {
    let mut table = FilterTable::new(Seeds::new(8, 9));
    let mut sizes = Vec::new();
    for round in 0..4 {
        let filters: Vec<String> =
            (0..2_000).map(|n| format!("building/{round}-{n}/+/a rather long level/state/#")).collect();
        filters.iter().for_each(|filter| _ = table.insert(filter, 1, 0u64));
        filters.iter().for_each(|filter| _ = table.remove(filter, 1));
        sizes.push(table.bytes());
    }
    // The index may grow once more to get rid of the traces of removed entries.
    assert_eq!(sizes[1], sizes[3], "{sizes:?}");
}

#[test]
fn a_list_that_is_down_to_one_subscriber_takes_no_memory() {
    let mut table = FilterTable::new(Seeds::new(10, 11));
    table.insert("a", 1, 0u64);
    let alone = table.bytes();
    (2..100).for_each(|key| _ = table.insert("a", key, 0));
    assert!(table.bytes() > alone);
    (1..99).for_each(|key| _ = table.remove("a", key));
    assert_eq!((table.bytes(), table.get("a", 99)), (alone, Some(0)));
}

/// 300,000 hashes of 32 bits hold about ten equal pairs, of filters and of nodes with the same level.
#[test]
fn equal_hashes_are_told_apart() {
    let mut table = FilterTable::new(Seeds::new(14, 15));
    let count = 300_000u32;
    (0..count).for_each(|n| _ = table.insert(&format!("{n}/x/+"), n, 0u64));
    assert_eq!(table.filters(), count as usize);
    for n in 0..count {
        let mut found = Vec::new();
        table.for_each_match(&format!("{n}/x/y"), &mut |_, entries| found.push(entries[0].key));
        assert_eq!(found, [n]);
    }
}

#[test]
fn interest_counts_and_gives_each_shard_once() {
    let mut random = Random::new(11);
    let mut table = InterestTable::new(Seeds::new(12, 13));
    let mut model: BTreeMap<(String, u16), u32> = BTreeMap::new();
    for _ in 0..5_000 {
        let (filter, shard) = (random.filter(), [0, 1, 63, 64, 1_023][random.below(5) as usize]);
        let count = model.entry((filter.clone(), shard)).or_default();
        if random.below(2) == 0 {
            *count += 1;
            assert_eq!(table.add(&filter, shard), *count == 1);
        } else {
            assert_eq!(table.remove(&filter, shard), *count == 1);
            *count = count.saturating_sub(1);
        }
        let topic = random.topic();
        let mut found = Vec::new();
        table.for_each_shard(&topic, &mut |shard| found.push(shard));
        let interested = model.iter().filter(|((filter, _), count)| **count > 0 && matches(filter, &topic));
        let expected: BTreeSet<u16> = interested.map(|((_, shard), _)| *shard).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{topic}");
    }
}

/// All pages one after the other, with random limits.
fn all_pages(table: &RetainedTable<u64>, filter: &str, random: &mut Random) -> Vec<(String, u64)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let limit = PageLimit {
            messages_max: 1 + random.below(5) as usize,
            visits_max: 1 + random.below(5) as usize,
        };
        let before = found.len();
        let page =
            table.page(filter, after.as_deref(), limit, &mut |topic, m| found.push((topic.to_string(), *m)));
        assert!(found.len() - before <= limit.messages_max);
        assert_eq!(page.next.is_none(), page.done);
        if page.done {
            return found;
        }
        assert!(page.next > after, "{filter}: each page gets ahead");
        after = page.next;
    }
}

#[test]
fn retained_pages_give_what_the_model_holds() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (mut table, mut model) = (RetainedTable::new(), BTreeMap::new());
        for value in 0..400 {
            let topic = random.topic();
            if random.below(4) > 0 {
                assert_eq!(table.set(&topic, value, value as u32), model.insert(topic, value));
            } else {
                assert_eq!(table.clear(&topic), model.remove(&topic));
            }
        }
        assert_eq!((table.len(), table.bytes()), (model.len(), model.values().sum::<u64>() as usize));
        for _ in 0..150 {
            let filter = if random.below(8) == 0 { random.topic() } else { random.filter() };
            let expected: Vec<_> = model
                .iter()
                .filter(|(topic, _)| matches(&filter, topic))
                .map(|(t, m)| (t.clone(), *m))
                .collect();
            assert_eq!(all_pages(&table, &filter, &mut random), expected, "seed {seed}, filter {filter}");
        }
    }
}

#[test]
fn a_page_does_not_look_at_what_cannot_match() {
    let mut table = RetainedTable::new();
    for device in 0..200 {
        for value in 0..200 {
            table.set(&format!("site/{device:03}/state/{value:03}/raw"), 0u64, 1);
            table.set(&format!("$SYS/{device}/{value}"), 0, 1);
        }
        table.set(&format!("site/{device:03}/state/100"), 1, 1);
    }
    for filter in ["site/+/state/100", "+/+/state/100"] {
        let (mut visits, mut after, mut found) = (0, None, 0);
        loop {
            let limit = PageLimit { messages_max: 50, visits_max: 1 };
            let page = table.page(filter, after.as_deref(), limit, &mut |_, _| found += 1);
            visits += 1;
            if page.done {
                break;
            }
            after = page.next;
        }
        assert_eq!(found, 200, "{filter}");
        assert!(visits < 1_500, "{visits} visits for {filter} among {} topics", table.len());
    }
}

#[test]
fn a_page_ends_where_its_literal_beginning_ends() {
    let mut table = RetainedTable::new();
    (0..1_000).for_each(|n| _ = table.set(&format!("b/{n}"), 0u64, 1));
    (0..10).for_each(|n| _ = table.set(&format!("a/{n}"), 0, 1));
    let limit = PageLimit { messages_max: 100, visits_max: 11 };
    for filter in ["a/+", "a/#"] {
        let mut found = 0;
        assert!(table.page(filter, None, limit, &mut |_, _| found += 1).done, "{filter}");
        assert_eq!(found, 10);
    }
}

#[test]
fn pages_are_stable_while_topics_come_and_go() {
    let mut random = Random::new(21);
    let mut table = RetainedTable::new();
    (0..500).for_each(|n| _ = table.set(&format!("t/{n:03}/keep"), 0u64, 1));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let limit = PageLimit { messages_max: 7, visits_max: 9 };
        let page =
            table.page("t/+/keep", after.as_deref(), limit, &mut |topic, _| found.push(topic.to_string()));
        if page.done {
            break;
        }
        for n in 0..20 {
            table.set(&format!("t/{:03}/other{n}", random.below(500)), 0, 1);
            table.clear(&format!("t/{:03}/other{n}", random.below(500)));
        }
        after = page.next;
    }
    assert_eq!(found, (0..500).map(|n| format!("t/{n:03}/keep")).collect::<Vec<_>>());
}

#[test]
fn the_home_of_a_filter_covers_every_topic_it_matches() {
    let mut random = Random::new(31);
    let mut single = 0;
    for round in 0..300_000u64 {
        let (topic, filter) = (random.topic(), random.filter());
        let (home_levels, key) = (random.below(5) as u8, round % 7);
        if matches(&filter, &topic)
            && let FilterHome::Slot(slot) = home_of_filter(&filter, home_levels, key)
        {
            single += 1;
            assert_eq!(slot, slot_of(&topic, home_levels, key), "{filter} {topic} {home_levels}");
        }
        assert_eq!(
            home_of_filter(&topic, home_levels, key),
            FilterHome::Slot(slot_of(&topic, home_levels, key))
        );
    }
    assert!(single > 1_000, "only {single} pairs met at one slot");
}

#[test]
fn homes_at_the_edges() {
    let home = |filter| home_of_filter(filter, 2, 9);
    let at = |topic| FilterHome::Slot(slot_of(topic, 2, 9));
    assert_eq!(home("a/b/#"), at("a/b"));
    assert_eq!(home("a/b/+/c"), at("a/b/x/c"));
    assert_eq!(home("a"), at("a"));
    assert_eq!(home("/"), at("//x"));
    for filter in ["#", "+", "a/#", "a/+", "a/+/b", "+/b/c"] {
        assert_eq!(home(filter), FilterHome::Everywhere, "{filter}");
    }
    assert_eq!(home_of_filter("a/#", 1, 9), FilterHome::Slot(slot_of("a/x/y", 1, 9)));
}

#[test]
fn slots_are_a_disk_format() {
    // A change of these values makes every existing store unreadable.
    let slots =
        ["a", "a/b", "devices/17", "chat/room/1", ""].map(|topic| slot_of(topic, 2, 0x0123_4567_89AB_CDEF));
    assert_eq!(slots, [398, 754, 485, 265, 327]);
    assert_eq!(slots::slot_of_session(1, b"client", 5), 632);
    assert_eq!(slots::slot_of_group("g", "a/#", 5), 435);
}

#[test]
fn slots_are_dealt_evenly_and_both_ways() {
    for shards in [1, 2, 3, 7, 64, 1_000, 1_024] {
        let map = SlotMap::new(shards);
        let mut next = 0;
        for shard in 0..shards {
            let slots = map.slots(shard);
            assert_eq!(slots.start, next);
            assert!(slots.len().abs_diff(SLOTS / usize::from(shards)) <= 1, "{slots:?} of {shards}");
            assert!(slots.clone().all(|slot| map.shard(slot) == shard));
            next = slots.end;
        }
        assert_eq!(usize::from(next), SLOTS);
    }
    let mut load = [0u32; SLOTS];
    (0..102_400).for_each(|n| load[usize::from(slot_of(&format!("devices/{n}/state"), 2, 1))] += 1);
    assert!(load.iter().all(|&topics| (50..160).contains(&topics)), "uneven slots");
    let mut shards = [0u32; 3];
    (0..30_000)
        .for_each(|n| shards[usize::from(slots::session_shard(0, format!("c{n}").as_bytes(), 3, 1))] += 1);
    assert!(shards.iter().all(|&sessions| (9_000..11_000).contains(&sessions)), "{shards:?}");
}
