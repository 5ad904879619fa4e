//! One session's QoS 1 and 2 messages towards its client: the window of unfinished packet identifiers, and the queue behind it.
//!
//! Entries are in the order sent, which is the order in which they are sent again [MQTT-4.6.0-1]. A finished entry in the middle
//! stays as a hole until those before it are finished; the window counts unfinished ones. The queue holds only messages outside a
//! log; what is in a log waits there.

use crate::message::Message;
use crate::record::MessageRecord;
use crate::store::{LogId, Offset};
use bitsim_protocol::Qos;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most entries, finished ones before which an unfinished one stands included.
pub(crate) const SPAN_MAX: usize = 8192;

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// QoS 2, its state is being committed; not sent yet.
    Committing,
    /// Sent, PUBACK is awaited.
    Puback,
    /// Sent, PUBREC is awaited.
    Pubrec,
    /// PUBREC came and is being committed; PUBREL not sent yet.
    Received,
    /// PUBREL sent, PUBCOMP is awaited.
    Pubcomp,
    /// Finished.
    Done,
}

/// Where the message of an entry can be found again.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Nowhere: the session ends with its link, so it is never sent again.
    Gone,
    /// Here.
    Held(Arc<Message>),
    /// In a log of the session.
    Log(LogId, Offset),
    /// Handed over by a shared group: (message, index of the group's name in the session, handle).
    Shared(Arc<Message>, Arc<str>, u64),
}

/// A message that a link still has to get before anything new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    /// Its place in a log; `None`: its entry holds it.
    pub(crate) place: Option<(LogId, Offset)>,
    pub(crate) packet_id: u16,
    /// It was sent before.
    pub(crate) dup: bool,
}

/// A message sent and not finished.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) packet_id: u16,
    pub(crate) stage: Stage,
    pub(crate) source: Source,
    /// Kept for a resend: effective QoS is in `stage`, this is the RETAIN flag.
    pub(crate) retain: bool,
}

/// A message that waits for the window.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) ids: Box<[u32]>,
    /// Group and handle, if a shared group handed it over.
    pub(crate) shared: Option<(Arc<str>, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    entries: VecDeque<Entry>,
    unfinished: u16,
    last_id: u16,
    /// Messages that go out before anything new, in order: what is in a log is read when the one before it has left.
    pub(crate) again: VecDeque<Again>,
    /// QoS 2 messages out of logs whose state is being committed, in the order handed out; the record once that is done.
    committing: VecDeque<(u16, Option<Box<MessageRecord>>)>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_bytes: u32,
}

impl Outbound {
    /// The state of a message is being committed.
    pub(crate) fn commits(&mut self, packet_id: u16) {
        self.committing.push_back((packet_id, None));
    }

    /// Those for which an answer of the store is awaited, or that wait for one before them.
    pub(crate) fn committing(&self) -> impl Iterator<Item = u16> {
        self.committing.iter().map(|c| c.0)
    }

    /// The store has answered; `None`: it refused.
    pub(crate) fn committed(&mut self, packet_id: u16, record: Option<Box<MessageRecord>>) {
        let Some(at) = self.committing.iter().position(|c| c.0 == packet_id) else { return };
        if record.is_none() {
            self.committing.remove(at);
        } else if let Some(waiting) = self.committing.get_mut(at) {
            waiting.1 = record;
        }
    }

    /// The next message whose state is committed; none before those that were handed out earlier.
    pub(crate) fn take_committed(&mut self) -> Option<(u16, Box<MessageRecord>)> {
        self.committing.front()?.1.as_ref()?;
        let (packet_id, record) = self.committing.pop_front()?;
        record.map(|record| (packet_id, record))
    }

    /// Unfinished entries.
    pub(crate) fn unfinished(&self) -> u16 {
        self.unfinished
    }

    /// Entries and holes. While this stays below `SPAN_MAX`, identifiers cannot meet themselves.
    pub(crate) fn span(&self) -> usize {
        self.entries.len()
    }

    /// A free packet identifier, never 0 [MQTT-2.2.1-3] [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]. Identifiers rise from the first entry to the last and the
    /// span is bounded, so the one after the last is free.
    pub(crate) fn allot(&mut self) -> u16 {
        debug_assert!(self.entries.len() < SPAN_MAX);
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.unfinished += 1;
        self.entries.push_back(entry);
    }

    /// The unfinished entry with this identifier. Identifiers rise along the entries, so the guess is nearly always right.
    pub(crate) fn find(&self, packet_id: u16) -> Option<usize> {
        let first = self.entries.front()?.packet_id;
        let guess = usize::from(packet_id.wrapping_sub(first));
        let hit = |i: usize| {
            self.entries.get(i).is_some_and(|e| e.packet_id == packet_id && e.stage != Stage::Done)
        };
        if hit(guess) {
            return Some(guess);
        }
        // 0 is left out where the counter wrapped.
        if guess > 0 && hit(guess - 1) {
            return Some(guess - 1);
        }
        self.entries.iter().position(|e| e.packet_id == packet_id && e.stage != Stage::Done)
    }

    /// An entry by position.
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Entry> {
        self.entries.get_mut(at)
    }

    /// Marks an entry finished and gives its source back.
    pub(crate) fn finish(&mut self, at: usize) -> Option<Source> {
        let entry = self.entries.get_mut(at)?;
        if entry.stage == Stage::Done {
            return None;
        }
        entry.stage = Stage::Done;
        let source = std::mem::replace(&mut entry.source, Source::Gone);
        self.unfinished -= 1;
        while self.entries.front().is_some_and(|e| e.stage == Stage::Done) {
            self.entries.pop_front();
        }
        Some(source)
    }

    /// All entries, in the order sent; holes included.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All entries, to be changed.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Puts a message behind the window.
    pub(crate) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes = self.queue_bytes.saturating_add(queued.message.bytes());
        self.queue.push_back(queued);
    }

    /// The next message of the queue.
    pub(crate) fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes = self.queue_bytes.saturating_sub(queued.message.bytes());
        Some(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(packet_id: u16) -> Entry {
        Entry { packet_id, stage: Stage::Puback, source: Source::Gone, retain: false }
    }

    /// [MQTT-2.2.1-3]: identifiers are unused ones and never 0, also after the counter wrapped.
    #[test]
    fn identifiers_are_never_zero_and_never_in_use() {
        let mut out = Outbound::default();
        let mut waiting = VecDeque::new();
        for round in 0..140_000 {
            let id = out.allot();
            assert!(id != 0 && !waiting.contains(&id), "round {round}: {id}");
            out.push(entry(id));
            waiting.push_back(id);
            if waiting.len() == 20 {
                let done = waiting.remove(round % 20).unwrap();
                assert!(out.finish(out.find(done).unwrap()).is_some());
            }
        }
        assert_eq!(usize::from(out.unfinished()), waiting.len());
    }

    #[test]
    fn holes_close_from_the_front() {
        let mut out = Outbound::default();
        for _ in 0..3 {
            let id = out.allot();
            out.push(entry(id));
        }
        assert!(out.finish(out.find(2).unwrap()).is_some());
        assert!(out.find(2).is_none(), "finished once");
        assert_eq!((out.unfinished(), out.entries().count()), (2, 3));
        assert!(out.finish(out.find(1).unwrap()).is_some());
        assert_eq!(out.entries().count(), 1);
    }
}
