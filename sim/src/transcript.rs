//! The last events of a run, for people.

use std::collections::VecDeque;

/// Lines that are kept.
const LINES_MAX: usize = 200;

/// See the module.
#[derive(Default)]
pub(crate) struct Transcript {
    lines: VecDeque<String>,
    pub(crate) events: u64,
}

impl Transcript {
    pub(crate) fn note(&mut self, now: u64, line: String) {
        self.events += 1;
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{now:>8} {line}"));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
