//! Topic names and filters.

use bitsim_protocol::{Filter, TopicLimits, Violation, filter_matches, validate_filter, validate_topic_name};

use crate::hostile::Dice;

const SMALL: TopicLimits = TopicLimits { bytes_max: 10, levels_max: 3 };

/// The examples of section 4.7.1, of both kinds.
#[test]
fn filters_match_as_in_the_specification() {
    let examples = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/tennis/player1/#", "sport/tennis/player2", false),
        ("sport/#", "sport", true),
        ("sport/#", "sports", false),
        ("#", "a/b/c", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+", "finance", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/tennis/#", "sport/tennis", true),
        ("a/+/#", "a", false),
        ("a/b", "a/b", true),
        ("a/b", "A/b", false),
        ("a", "a/", false),
        ("a/", "a", false),
        ("/a", "a", false),
        ("a//c", "a//c", true),
        ("a/+/c", "a//c", true),
        // [MQTT-4.7.2-1]
        ("#", "$SYS/x", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/monitor/Clients", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("$SYS/#", "$SYS", true),
        // Only the first character counts.
        ("a/#", "a/$b", true),
        ("a/+", "a/$b", true),
    ];
    for (filter, topic, matches) in examples {
        assert_eq!(filter_matches(filter, topic), matches, "{filter} {topic}");
    }
}

/// The match, level by level, written as the specification defines it.
fn naive(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
        ([want, filter @ ..], [level, topic @ ..]) => want == level && naive(filter, topic),
        _ => false,
    }
}

#[test]
fn filters_match_as_a_naive_matcher_says() {
    let mut dice = Dice::new(4);
    let mut matched = 0;
    for _ in 0..200_000 {
        let mut filter: Vec<&str> =
            (0..=dice.below(4)).map(|_| ["a", "b", "", "+", "+", "$a"][dice.below(6)]).collect();
        if dice.below(3) == 0 {
            filter.push("#");
        }
        let topic: Vec<&str> = (0..=dice.below(4)).map(|_| ["a", "b", "", "$a"][dice.below(4)]).collect();
        let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
        let expected = naive(&filter, &topic) && !hidden;
        let (filter, topic) = (filter.join("/"), topic.join("/"));
        if filter.is_empty() || topic.is_empty() {
            continue;
        }
        assert_eq!(filter_matches(&filter, &topic), expected, "{filter} {topic}");
        matched += u32::from(expected);
    }
    assert!(matched > 10_000);
}

/// The cost is that of one pass: 65,535 bytes of levels on both sides.
#[test]
fn the_deepest_filter_matches_the_deepest_topic() {
    let filter = "+/".repeat(32_767) + "+";
    let topic = "/".repeat(32_767);
    assert!(filter_matches(&filter, &topic));
    assert!(!filter_matches(&filter, &topic[1..]));
    assert_eq!(validate_topic_name(&topic, &TopicLimits::default()), Err(Violation::TopicTooLong));
    assert_eq!(validate_topic_name(&topic, &TopicLimits::MQTT), Ok(()));
}

#[test]
fn topic_names_have_limits() {
    assert_eq!(validate_topic_name("abcdefghij", &SMALL), Ok(()));
    assert_eq!(validate_topic_name("abcdefghijk", &SMALL), Err(Violation::TopicTooLong));
    assert_eq!(validate_topic_name("a/b/c", &SMALL), Ok(()));
    assert_eq!(validate_topic_name("a/b/c/", &SMALL), Err(Violation::TopicTooDeep));
    // A broken name is a violation whatever its size.
    assert_eq!(validate_topic_name("abcdefghijk/#", &SMALL), Err(Violation::TopicWildcard));
    assert_eq!(validate_topic_name("a\0#", &SMALL), Err(Violation::Utf8Null));
}

#[test]
fn filters_have_limits() {
    assert_eq!(validate_filter("a/b/#", &SMALL).map(|filter| filter.has_wildcard), Ok(true));
    assert_eq!(validate_filter("a/b/c/#", &SMALL), Err(Violation::FilterTooDeep));
    assert_eq!(validate_filter("abcdefghijk", &SMALL), Err(Violation::FilterTooLong));
    assert!(validate_filter("$share/group/abcdefghij", &SMALL).is_ok());
    assert_eq!(validate_filter("$share/group/abcdefghijk", &SMALL), Err(Violation::FilterTooLong));
    assert_eq!(validate_filter("$share/abcdefghijk/a", &SMALL), Err(Violation::FilterTooLong));
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn shares_are_taken_off() {
    let limits = TopicLimits::default();
    let filter = |share, filter, has_wildcard| Ok(Filter { share, filter, has_wildcard });
    assert_eq!(validate_filter("$share/g/a/+", &limits), filter(Some("g"), "a/+", true));
    assert_eq!(validate_filter("$share/g//a", &limits), filter(Some("g"), "/a", false));
    assert_eq!(validate_filter("$shared/g", &limits), filter(None, "$shared/g", false));
    assert_eq!(validate_filter("a/$share/g/b", &limits), filter(None, "a/$share/g/b", false));
    assert_eq!(
        validate_filter("$share/$share/$share/g/a", &limits),
        filter(Some("$share"), "$share/g/a", false)
    );
}
