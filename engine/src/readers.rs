//! A durable subscriber's places in logs: what it has been handed, what it finished, where it reads on.
//!
//! `position` is the next offset to hand out; `forwarded` the highest committed offset this shard has heard of. While they meet, live
//! forwards are handed over as they come; otherwise the log is read from `position`, in pages, as the window has room. The cursor, the
//! lowest offset still needed, is the front of `handed`, or `position` when nothing is unfinished.

use crate::record::CursorRecord;
use crate::store::{LogId, Offset};
use bitsim_protocol::Qos;
use bytes::Bytes;
use std::collections::VecDeque;

/// A message that was handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) offset: Offset,
    /// Reference logs: where the message is.
    pub(crate) target: Option<(LogId, Offset)>,
    pub(crate) done: bool,
}

/// A reference whose message is being read.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) offset: Offset,
    pub(crate) target: (LogId, Offset),
    /// The record; `Some(None)`: it is not there any more.
    pub(crate) record: Option<Option<Bytes>>,
}

/// One log of a subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) log: LogId,
    pub(crate) position: Offset,
    pub(crate) forwarded: Offset,
    /// After an unsubscribe: the last offset that is delivered.
    pub(crate) end: Option<Offset>,
    /// Between an unsubscribe and the next subscribe: nothing above the first and below the second is delivered.
    gaps: Vec<(Offset, Offset)>,
    /// Granted, for what is delivered after an unsubscribe.
    pub(crate) qos: Qos,
    pub(crate) handed: VecDeque<Handed>,
    pub(crate) fetched: VecDeque<Fetched>,
    /// Above the cursor and finished before a restart.
    pub(crate) skip: Vec<Offset>,
    /// A page was asked for and has not come: what was known to be committed by then.
    pub(crate) reading: Option<Offset>,
    /// What the last committed row says.
    pub(crate) committed: Offset,
    /// Passed since the last commit: what references held.
    pub(crate) released: Vec<(LogId, Offset)>,
    /// Changed since the last commit.
    pub(crate) dirty: bool,
}

impl Reader {
    /// A reader that begins at `start`.
    pub(crate) fn new(log: LogId, start: Offset, qos: Qos) -> Reader {
        Reader {
            log,
            position: start,
            forwarded: start.saturating_sub(1),
            end: None,
            gaps: Vec::new(),
            qos,
            handed: VecDeque::new(),
            fetched: VecDeque::new(),
            skip: Vec::new(),
            reading: None,
            committed: start,
            released: Vec::new(),
            dirty: false,
        }
    }

    /// Lowest offset that is still needed.
    pub(crate) fn cursor(&self) -> Offset {
        self.handed.front().map_or(self.position, |h| h.offset)
    }

    /// Something is in the log that was not handed out.
    pub(crate) fn behind(&self) -> bool {
        self.position <= self.forwarded && self.end.is_none_or(|end| self.position <= end)
    }

    /// Everything it will ever deliver is finished.
    pub(crate) fn finished(&self) -> bool {
        self.handed.is_empty() && self.end.is_some_and(|end| self.position > end)
    }

    /// Subscribed again: what comes from `start` on is delivered, and what was owed at the unsubscribe.
    pub(crate) fn reopen(&mut self, start: Offset) {
        let Some(end) = self.end.take() else { return };
        self.gaps.push((end, start));
        self.dirty = true;
        self.pass_gaps();
    }

    fn pass_gaps(&mut self) {
        while let Some((_, start)) = self.gaps.first().filter(|(end, _)| self.position > *end) {
            self.position = self.position.max(*start);
            self.gaps.remove(0);
        }
    }

    /// Notes that `offset` was handed out (`done`: passed over).
    pub(crate) fn hand(&mut self, offset: Offset, target: Option<(LogId, Offset)>, done: bool) {
        self.position = offset + 1;
        self.pass_gaps();
        self.dirty = true;
        self.handed.push_back(Handed { offset, target, done });
        self.settle();
    }

    /// Notes that the client finished `offset`. Offsets rise along `handed`.
    pub(crate) fn finish(&mut self, offset: Offset) {
        if let Ok(at) = self.handed.binary_search_by_key(&offset, |h| h.offset)
            && let Some(handed) = self.handed.get_mut(at)
        {
            handed.done = true;
            self.dirty = true;
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(front) = self.handed.front().filter(|h| h.done) {
            if let Some(target) = front.target {
                self.released.push(target);
            }
            self.handed.pop_front();
        }
    }

    /// The row's form; the in-flight list is the caller's.
    pub(crate) fn record(&self) -> CursorRecord {
        CursorRecord {
            cursor: self.cursor(),
            end: self.end.unwrap_or(0),
            qos: self.qos as u8,
            inflight: Vec::new(),
            done: self.handed.iter().filter(|h| h.done).map(|h| h.offset).collect(),
        }
    }
}

/// All readers of one subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers {
    all: Vec<Reader>,
    /// In the list of subscribers whose cursors are to be committed.
    pub(crate) listed: bool,
}

impl Readers {
    /// By log.
    pub(crate) fn get_mut(&mut self, log: LogId) -> Option<&mut Reader> {
        self.all.iter_mut().find(|r| r.log == log)
    }

    /// By log, made if absent.
    pub(crate) fn get_or_insert(&mut self, log: LogId, start: Offset, qos: Qos) -> &mut Reader {
        let at = self.all.iter().position(|r| r.log == log).unwrap_or_else(|| {
            self.all.push(Reader::new(log, start, qos));
            self.all.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.all[at]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reader> {
        self.all.iter()
    }

    /// All of them, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Reader> {
        self.all.iter_mut()
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, log: LogId) {
        self.all.retain(|reader| reader.log != log);
    }

    /// Whether any has unread records.
    pub(crate) fn behind(&self) -> bool {
        self.all.iter().any(Reader::behind)
    }
}
