//! The retained messages of the topics whose home is this shard, and pages of those that match a filter.
//!
//! It lives on the shard's thread. Topics are kept in byte order, in which everything below `a/b` is one run (`a/b/` up to `a/b0`,
//! since `0` follows `/`). A page walks the topics from where the last one ended and jumps over runs that cannot match, so
//! that it costs what it visits, never the size of the table.
//!
//! Invariants: a page's `next` is a topic that was there, and pages seen one after the other give every topic that was there
//! all the time exactly once, in order. Which messages are newer than a subscription, and how many bytes are allowed, the caller knows.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Retained messages by topic.
#[derive(Debug)]
pub struct RetainedTable<M> {
    topics: BTreeMap<Box<str>, Stored<M>>,
    bytes: usize,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What to pass as `after` for the next page; `None` exactly if `done`.
    pub next: Option<String>,
    /// True if no topic follows.
    pub done: bool,
}

/// How much a page may give and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Messages handed out at most; at least one.
    pub messages_max: usize,
    /// Topics looked at at most, matching or not; at least one.
    pub visits_max: usize,
}

#[derive(Debug)]
struct Stored<M> {
    message: M,
    bytes: u32,
}

/// What a topic tells a walk through the matches of a filter.
enum Step {
    Match,
    /// No match, but the next topic may be one.
    Next,
    /// No topic before this one matches.
    Seek(String),
    /// No later topic matches.
    End,
}

impl<M: Clone> Default for RetainedTable<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Clone> RetainedTable<M> {
    /// An empty table.
    pub fn new() -> Self {
        RetainedTable { topics: BTreeMap::new(), bytes: 0 }
    }

    /// Keeps a message, which counts `bytes`, and gives the one it replaces.
    pub fn set(&mut self, topic: &str, message: M, bytes: u32) -> Option<M> {
        self.bytes += bytes as usize;
        let stored = Stored { message, bytes };
        let replaced = match self.topics.get_mut(topic) {
            Some(place) => Some(std::mem::replace(place, stored)),
            None => self.topics.insert(topic.into(), stored),
        }?;
        self.bytes -= replaced.bytes as usize;
        Some(replaced.message)
    }

    /// Removes the message of a topic.
    pub fn clear(&mut self, topic: &str) -> Option<M> {
        let removed = self.topics.remove(topic)?;
        self.bytes -= removed.bytes as usize;
        Some(removed.message)
    }

    /// The message of a topic.
    pub fn get(&self, topic: &str) -> Option<&M> {
        self.topics.get(topic).map(|stored| &stored.message)
    }

    /// Hands the messages whose topics match `filter` and follow `after` to `f`, in byte order of the topics.
    pub fn page(
        &self,
        filter: &str,
        after: Option<&str>,
        limit: PageLimit,
        f: &mut impl FnMut(&str, &M),
    ) -> Page {
        let literal = literal_prefix(filter);
        if literal.len() == filter.len() {
            if let Some(message) = self.get(filter).filter(|_| after.is_none_or(|after| after < filter)) {
                f(filter, message);
            }
            return Page { next: None, done: true };
        }
        let mut visits = limit.visits_max.max(1);
        let mut messages = limit.messages_max.max(1);
        let mut walk = self.topics.range::<str, _>(start(literal, after));
        while let Some((topic, stored)) = walk.next() {
            visits -= 1;
            match step(filter, topic) {
                Step::Match => {
                    f(topic, &stored.message);
                    messages -= 1;
                    if messages == 0 {
                        return Page { next: Some(topic.to_string()), done: false };
                    }
                }
                Step::Next => {}
                Step::Seek(target) => {
                    walk = self.topics.range::<str, _>((Bound::Included(&*target), Bound::Unbounded));
                    if visits == 0 {
                        return self.page_before(&target);
                    }
                }
                Step::End => return Page { next: None, done: true },
            }
            if visits == 0 {
                return Page { next: Some(topic.to_string()), done: false };
            }
        }
        Page { next: None, done: true }
    }

    /// Number of retained messages.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// True if nothing is retained.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The sum of what the callers of `set` counted, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every topic and message, in byte order of the topics.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.topics.iter().map(|(topic, stored)| (&**topic, &stored.message))
    }

    /// The end of a page whose next visit would be the first topic from `target` on. Naming the topic before it lets the next
    /// page begin there at once, so that every page gets ahead by a whole jump.
    fn page_before(&self, target: &str) -> Page {
        let before = self.topics.range::<str, _>((Bound::Unbounded, Bound::Excluded(target))).next_back();
        Page { next: before.map(|(topic, _)| topic.to_string()), done: false }
    }
}

/// The part of a filter before its first wildcard level, without the separator at its end; the whole of an exact filter.
fn literal_prefix(filter: &str) -> &str {
    match filter.find(['+', '#']) {
        Some(at) => filter.get(..at.saturating_sub(1)).unwrap_or(""),
        None => filter,
    }
}

/// The range that holds all matches after `after` of a filter with this literal prefix.
fn start<'a>(literal: &'a str, after: Option<&'a str>) -> (Bound<&'a str>, Bound<&'a str>) {
    match after {
        Some(after) if after >= literal => (Bound::Excluded(after), Bound::Unbounded),
        _ => (Bound::Included(literal), Bound::Unbounded),
    }
}

/// Compares a topic with a filter, level by level.
fn step(filter: &str, topic: &str) -> Step {
    // A wildcard at the first level matches no topic that begins with `$` [MQTT-4.7.2-1]; `%` follows `$`.
    if filter.starts_with(['+', '#']) && topic.starts_with('$') {
        return Step::Seek("%".into());
    }
    let mut rest = Some(topic);
    // Where the topic's last level that a `+` stands for ends.
    let mut plus_end = None;
    for level in filter.split('/') {
        if level == "#" {
            return Step::Match;
        }
        // Too short: what lies below it may match.
        let Some(levels) = rest else { return Step::Next };
        let (found, below) = match levels.split_once('/') {
            Some((found, below)) => (found, Some(below)),
            None => (levels, None),
        };
        let start = topic.len() - levels.len();
        if level == "+" {
            plus_end = Some(start + found.len());
        } else if level != found {
            return literal_step(topic, start, level, plus_end);
        }
        rest = below;
    }
    match rest {
        None => Step::Match,
        // Too long, as is everything that shares this beginning.
        Some(below) => Step::Seek(successor(topic, topic.len() - below.len() - 1)),
    }
}

/// Where to go when the topic's level at `start` ought to be `level` and is not.
fn literal_step(topic: &str, start: usize, level: &str, plus_end: Option<usize>) -> Step {
    let (prefix, rest) = topic.split_at(start);
    if rest < level {
        return Step::Seek([prefix, level].concat());
    }
    // Between `a` and `a/` lie topics such as `a!`.
    let below = [level, "/"].concat();
    if *rest < *below {
        return Step::Seek([prefix, &below].concat());
    }
    // Past it: only another value of the last `+` before it can match.
    match plus_end {
        Some(end) => Step::Seek(successor(topic, end)),
        None => Step::End,
    }
}

/// The end of the run of topics below the level that ends at `end`.
fn successor(topic: &str, end: usize) -> String {
    [topic.split_at(end).0, "0"].concat()
}
