//! Topic names and topic filters: their syntax, their limits, and the plain match of one against the other.
//!
//! Names and filters are compared byte for byte, without normalisation [MQTT-4.7.3-4]. Nothing here recurses; each
//! function passes over its input once. The engine has its own index for matching many filters; [`filter_matches`] is
//! for tests and for single checks.

use crate::violation::Violation;

/// How large a topic name or filter may be. What MQTT itself allows is [`TopicLimits::MQTT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Bytes of UTF-8.
    pub bytes_max: u16,
    /// Levels: one more than the number of slashes.
    pub levels_max: u16,
}

impl TopicLimits {
    /// 65,535 bytes [MQTT-4.7.3-3], any number of levels (65,535 is one less than such a topic can have, and within
    /// the reach of nobody else).
    pub const MQTT: Self = Self { bytes_max: u16::MAX, levels_max: u16::MAX };
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { bytes_max: 1024, levels_max: 32 }
    }
}

/// A well-formed topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// The share name of a shared subscription, `g` in `$share/g/a/b`.
    pub share: Option<&'a str>,
    /// The filter to match with, without `$share/<name>/`.
    pub filter: &'a str,
    /// Whether it contains `+` or `#`.
    pub has_wildcard: bool,
}

/// Checks the topic name of a PUBLISH or a will.
///
/// # Errors
/// Empty [MQTT-4.7.3-1], U+0000 [MQTT-4.7.3-2], a wildcard [MQTT-4.7.0-1], or over `limits`.
#[inline]
pub fn validate_topic_name(topic: &str, limits: &TopicLimits) -> Result<(), Violation> {
    if topic.is_empty() {
        return Err(Violation::TopicEmpty);
    }
    let census = Census::of(topic);
    if census.marks != 0 {
        return Err(if census.marks & MARK_NULL != 0 {
            Violation::Utf8Null
        } else {
            Violation::TopicWildcard
        });
    }
    if topic.len() > usize::from(limits.bytes_max) {
        return Err(Violation::TopicTooLong);
    }
    if census.slashes >= usize::from(limits.levels_max) {
        return Err(Violation::TopicTooDeep);
    }
    Ok(())
}

/// Checks a topic filter and takes a share name off it. `limits` bound the filter without `$share/<name>/`, and the
/// name's bytes.
///
/// # Errors
/// Empty [MQTT-4.7.3-1], U+0000 [MQTT-4.7.3-2], a misplaced wildcard [MQTT-4.7.1-1] [MQTT-4.7.1-2], a malformed share
/// [MQTT-4.8.2-1] [MQTT-4.8.2-2], or over `limits`.
pub fn validate_filter<'a>(filter: &'a str, limits: &TopicLimits) -> Result<Filter<'a>, Violation> {
    if filter.is_empty() {
        return Err(Violation::FilterEmpty);
    }
    let (share, filter) = split_share(filter)?;
    let census = Census::of(filter);
    if census.marks & MARK_NULL != 0 || share.is_some_and(|name| name.contains('\0')) {
        return Err(Violation::Utf8Null);
    }
    let has_wildcard = census.marks != 0;
    if has_wildcard {
        check_wildcards(filter)?;
    }
    let longest = filter.len().max(share.map_or(0, str::len));
    if longest > usize::from(limits.bytes_max) {
        return Err(Violation::FilterTooLong);
    }
    if census.slashes >= usize::from(limits.levels_max) {
        return Err(Violation::FilterTooDeep);
    }
    Ok(Filter { share, filter, has_wildcard })
}

/// Whether `topic` is matched by `filter` (both well-formed; the filter without its share).
#[must_use]
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]: a wildcard as the first character never matches a topic that begins with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    let mut wanted = filter.split('/').peekable();
    while let Some(want) = wanted.next() {
        // `#` matches what is left, and (`a/#` against `a`) also nothing.
        if want == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if want == "+" || want == level => {}
            _ => return false,
        }
        if wanted.peek() == Some(&"#") {
            return true;
        }
    }
    levels.next().is_none()
}

const MARK_NULL: u8 = 1;
const MARK_WILDCARD: u8 = 2;
const MARK_SLASH: u8 = 0x80;

/// What each byte means for a topic: the marks above, or 0.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const MARKS: [u8; 256] = {
    let mut marks = [0; 256];
    marks[0] = MARK_NULL;
    marks[b'+' as usize] = MARK_WILDCARD;
    marks[b'#' as usize] = MARK_WILDCARD;
    marks[b'/' as usize] = MARK_SLASH;
    marks
};

/// What one pass over a topic finds.
struct Census {
    marks: u8,
    slashes: usize,
}

impl Census {
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a table of 256 indexed by a byte")]
    fn of(topic: &str) -> Self {
        let mut marks = 0;
        let mut slashes = 0;
        for &byte in topic.as_bytes() {
            let mark = MARKS[usize::from(byte)];
            marks |= mark;
            slashes += usize::from(mark >> 7);
        }
        Self { marks: marks & !MARK_SLASH, slashes }
    }
}

/// `$share/<name>/<filter>` in its two parts. A filter that only begins like it (`$shared/..`) is an ordinary one.
fn split_share(filter: &str) -> Result<(Option<&str>, &str), Violation> {
    let Some(rest) = filter.strip_prefix("$share") else { return Ok((None, filter)) };
    if rest.is_empty() {
        return Err(Violation::ShareInvalid);
    }
    let Some(rest) = rest.strip_prefix('/') else { return Ok((None, filter)) };
    // [MQTT-4.8.2-2]: the name is followed by a slash and a filter.
    let (name, filter) = rest.split_once('/').ok_or(Violation::ShareInvalid)?;
    // [MQTT-4.8.2-1]: at least one character, [MQTT-4.8.2-2]: no wildcard.
    if name.is_empty() || filter.is_empty() || name.contains(['+', '#']) {
        return Err(Violation::ShareInvalid);
    }
    Ok((Some(name), filter))
}

fn check_wildcards(filter: &str) -> Result<(), Violation> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_placed = match level {
            // [MQTT-4.7.1-2]: a whole level, any level.
            "+" => true,
            // [MQTT-4.7.1-1]: a whole level, the last one.
            "#" => levels.peek().is_none(),
            other => !other.contains(['+', '#']),
        };
        if !well_placed {
            return Err(Violation::FilterWildcard);
        }
    }
    Ok(())
}
