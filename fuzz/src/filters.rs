//! Topic filters: the plain match, the filter table, the interest table, the retained table's pages and the home of a
//! filter, against a naive recursive matcher over lists.

use std::collections::{BTreeMap, BTreeSet};

use bitsim_engine::filters::{FilterTable, InterestTable, Seeds};
use bitsim_engine::retained::{PageLimit, RetainedTable};
use bitsim_engine::slots::{FilterHome, home_of_filter, slot_of};
use bitsim_protocol::{TopicLimits, filter_matches, validate_filter, validate_topic_name};

use crate::source::Source;

/// A few levels, so that filters and topics meet.
const LEVELS: [&str; 8] = ["a", "b", "", "aa", "$s", "+", "#", "é"];

/// The naive matcher looks at everything: a longer input takes too long.
const STEPS_MAX: usize = 300;

/// Each byte decides something about the next operation.
pub fn check(data: &[u8]) {
    let mut source = Source::new(data);
    let mut world = World::new(u64::from(source.byte()), source.pick(&[1, 2, 3]));
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    world.end();
}

struct World {
    seed: u64,
    home_levels: u8,
    table: FilterTable<u8>,
    interest: InterestTable,
    retained: RetainedTable<u8>,
    subscriptions: BTreeMap<(String, u32), u8>,
    interests: BTreeMap<(String, u16), usize>,
    messages: BTreeMap<String, u8>,
}

impl World {
    fn new(seed: u64, home_levels: u8) -> World {
        World {
            seed,
            home_levels,
            table: FilterTable::new(Seeds::new(seed, !seed)),
            interest: InterestTable::new(Seeds::new(!seed, seed)),
            retained: RetainedTable::new(),
            subscriptions: BTreeMap::new(),
            interests: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(8) {
            0..=2 => self.subscribe(source),
            3 => self.unsubscribe(source),
            4 => self.retain(source),
            5 => self.page(source),
            6 => self.interest(source),
            _ => self.publish(source),
        }
    }

    fn subscribe(&mut self, source: &mut Source<'_>) {
        let filter = text(source);
        let valid = validate_filter(&filter, &TopicLimits::MQTT).is_ok();
        assert_eq!(valid, is_filter(&filter), "filter {filter:?}");
        if !valid {
            return;
        }
        let (key, value) = (source.below(100) as u32, source.byte());
        let (id, replaced) = self.table.insert(&filter, key, value);
        assert_eq!(self.table.filter(id), filter);
        assert_eq!(replaced, self.subscriptions.insert((filter.clone(), key), value));
        assert_eq!(self.table.get(&filter, key), Some(value));
    }

    fn unsubscribe(&mut self, source: &mut Source<'_>) {
        let nth = source.below(256);
        let known = self.subscriptions.keys().nth(nth % self.subscriptions.len().max(1)).cloned();
        let (filter, key) = match known {
            Some(known) if !source.chance(4) => known,
            _ => (text(source), source.below(100) as u32),
        };
        let removed = self.subscriptions.remove(&(filter.clone(), key));
        assert_eq!(self.table.remove(&filter, key), removed, "{filter:?}");
        assert_eq!(self.table.get(&filter, key), None);
    }

    fn publish(&mut self, source: &mut Source<'_>) {
        let topic = text(source);
        let valid = validate_topic_name(&topic, &TopicLimits::MQTT).is_ok();
        assert_eq!(valid, !topic.is_empty() && !topic.contains(['+', '#']), "topic {topic:?}");
        if !valid {
            return;
        }
        let mut seen = BTreeMap::new();
        self.table.for_each_match(&topic, &mut |id, entries| {
            for entry in entries {
                let twice = seen.insert((self.table.filter(id).to_owned(), entry.key), entry.value);
                assert_eq!(twice, None, "a filter matched twice");
            }
        });
        let mut wanted = self.subscriptions.clone();
        wanted.retain(|(filter, _), _| matches(filter, &topic));
        assert_eq!(seen, wanted, "topic {topic:?}");
        for (filter, _) in self.subscriptions.keys() {
            assert_eq!(filter_matches(filter, &topic), matches(filter, &topic), "{filter:?} {topic:?}");
            if matches(filter, &topic) {
                let home = home_of_filter(filter, self.home_levels, self.seed);
                let slot = slot_of(&topic, self.home_levels, self.seed);
                assert!(
                    home == FilterHome::Everywhere || home == FilterHome::Slot(slot),
                    "{filter:?} {topic:?}"
                );
            }
        }
        let mut shards = BTreeSet::new();
        self.interest.for_each_shard(&topic, &mut |shard| assert!(shards.insert(shard), "a shard twice"));
        let wanted: BTreeSet<u16> = self
            .interests
            .keys()
            .filter(|(filter, _)| matches(filter, &topic))
            .map(|(_, shard)| *shard)
            .collect();
        assert_eq!(shards, wanted, "topic {topic:?}");
    }

    fn interest(&mut self, source: &mut Source<'_>) {
        let (filter, shard) = (text(source), source.pick(&[0, 1, 63, 64, 1023]));
        if !is_filter(&filter) {
            return;
        }
        let count = self.interests.entry((filter.clone(), shard)).or_default();
        if source.chance(2) && *count > 0 {
            *count -= 1;
            assert_eq!(self.interest.remove(&filter, shard), *count == 0);
        } else {
            *count += 1;
            assert_eq!(self.interest.add(&filter, shard), *count == 1);
        }
        self.interests.retain(|_, count| *count > 0);
    }

    fn retain(&mut self, source: &mut Source<'_>) {
        let topic = text(source);
        if topic.is_empty() || topic.contains(['+', '#']) {
            return;
        }
        if source.chance(3) {
            assert_eq!(self.retained.clear(&topic), self.messages.remove(&topic));
        } else {
            let message = source.byte();
            let replaced = self.retained.set(&topic, message, u32::from(message));
            assert_eq!(replaced, self.messages.insert(topic, message));
        }
        assert_eq!(self.retained.bytes(), self.messages.values().map(|m| usize::from(*m)).sum::<usize>());
    }

    fn page(&mut self, source: &mut Source<'_>) {
        let filter = text(source);
        if !is_filter(&filter) {
            return;
        }
        let limit = PageLimit { messages_max: 1 + source.below(5), visits_max: 1 + source.below(9) };
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..=2 * self.messages.len() + 2 {
            let mut given = 0;
            let page = self.retained.page(&filter, after.as_deref(), limit, &mut |topic, message| {
                given += 1;
                seen.push((topic.to_owned(), *message));
            });
            assert!(given <= limit.messages_max);
            assert_eq!(page.done, page.next.is_none());
            if page.done {
                break;
            }
            assert!(after < page.next, "no progress");
            after = page.next;
        }
        let wanted: Vec<(String, u8)> = self
            .messages
            .iter()
            .filter(|(topic, _)| matches(&filter, topic))
            .map(|(t, m)| (t.clone(), *m))
            .collect();
        assert_eq!(seen, wanted, "filter {filter:?}");
    }

    fn end(mut self) {
        let filters: BTreeSet<&str> = self.subscriptions.keys().map(|(filter, _)| filter.as_str()).collect();
        assert_eq!((self.table.len(), self.table.filters()), (self.subscriptions.len(), filters.len()));
        assert_eq!(self.retained.len(), self.messages.len());
        for ((filter, key), value) in std::mem::take(&mut self.subscriptions) {
            assert_eq!(self.table.remove(&filter, key), Some(value));
        }
        assert_eq!((self.table.len(), self.table.filters(), self.table.has_wildcards()), (0, 0, false));
    }
}

/// Up to six levels.
fn text(source: &mut Source<'_>) -> String {
    let levels: Vec<&str> = (0..=source.below(6)).map(|_| source.pick(&LEVELS)).collect();
    levels.join("/")
}

/// By section 4.7.1, for filters without `$share`.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    !text.is_empty() && !levels[..levels.len() - 1].contains(&"#")
}

/// By section 4.7, written for reading.
fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    // [MQTT-4.7.2-1]
    if topic[0].starts_with('$') && matches!(filter[0], "+" | "#") {
        return false;
    }
    matches_levels(&filter, &topic)
}

fn matches_levels(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_levels(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) if wanted == level => matches_levels(filter, topic),
        _ => false,
    }
}
