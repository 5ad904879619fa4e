//! The setting that was probably meant by a key that does not exist.

/// The candidate nearest to `given`, if it is near enough to be a slip: at most a third of the letters differ, or
/// only the section is missing or wrong.
pub(super) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = given.rsplit('.').next().unwrap_or(given);
    candidates
        .map(|candidate| {
            let same_name = candidate.rsplit('.').next() == Some(name);
            (if same_name { 1 } else { distance(given, candidate) }, candidate)
        })
        .min()
        .filter(|(distance, candidate)| distance * 3 <= candidate.len())
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes. Keys are short; what is longer than any key is compared no further.
fn distance(from: &str, to: &str) -> usize {
    const LONGEST: usize = 128;
    if from.len() > LONGEST || to.len() > LONGEST {
        return usize::MAX / 3;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, a) in from.bytes().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_is_recognised_and_nonsense_is_not() {
        let keys = || ["packets.bytes_max", "topics.levels_max", "log.level"].into_iter();
        assert_eq!(nearest("packet.bytes_max", keys()), Some("packets.bytes_max"));
        assert_eq!(nearest("topics.level_max", keys()), Some("topics.levels_max"));
        assert_eq!(nearest("logging.level", keys()), Some("log.level"));
        assert_eq!(nearest("frobnicate.enabled", keys()), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys()), None);
    }
}
