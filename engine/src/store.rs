//! The store contract, as the engine speaks it: logs and tables, one atomic batch, put-if-absent, compare-and-set, expiry.
//!
//! The engine emits a [`Request`] under a [`StoreToken`] and goes on; the answer comes back as an input, in any
//! order and any number of turns later. What a commit promises is released only by its answer. Keys hold the
//! home slot, never the shard, so that the number of shards may change between two starts.
//! The back ends are in the `storage` crate; this module has no behaviour but the encoding of keys.

use bytes::Bytes;

/// Names one request of one engine; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreToken(pub u64);

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogKind {
    /// The messages of one topic.
    Topic = 0,
    /// References of one durable subscriber (session or shared group) to messages of this slot's topic logs.
    References = 1,
}

/// Names a log: the slot that owns it, its kind, and a number unique in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId {
    /// Home slot, 0..1024.
    pub slot: u16,
    /// What it holds.
    pub kind: LogKind,
    /// Topic logs: assigned by the home. Reference logs: the subscriber's identity.
    pub number: u64,
}

impl LogId {
    /// Encoded length in bytes.
    pub const LEN: usize = 11;

    /// Big-endian, so that byte order is the order of the fields.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let (slot, rest) = out.split_at_mut(2);
        slot.copy_from_slice(&self.slot.to_be_bytes());
        let (kind, number) = rest.split_at_mut(1);
        kind.copy_from_slice(&[self.kind as u8]);
        number.copy_from_slice(&self.number.to_be_bytes());
        out
    }

    /// The inverse of [`LogId::encode`]; `None` for bytes that it cannot have made.
    pub fn decode(bytes: &[u8]) -> Option<LogId> {
        let (slot, rest) = bytes.split_first_chunk::<2>()?;
        let (kind, number) = rest.split_first()?;
        let kind = match kind {
            0 => LogKind::Topic,
            1 => LogKind::References,
            _ => return None,
        };
        Some(LogId {
            slot: u16::from_be_bytes(*slot),
            kind,
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// A place in a log. The owner's epoch is in the upper 24 bits, a number in the lower 40: a new owner never reuses one.
pub type Offset = u64;

/// The tables. A key's layout is beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// One row of facts about the store itself (slot key, home levels, epoch). Key: a name.
    Meta = 0,
    /// Durable sessions with their subscriptions and will. Key: namespace (1 byte), client id.
    Sessions = 1,
    /// Cursors. Key: session identity (8 bytes, big-endian), `LogId` (11 bytes).
    Cursors = 2,
    /// Packet identifiers of inbound QoS 2 messages between PUBREC and PUBCOMP. Key: session identity (8), identifier (2).
    Received = 3,
    /// Retained messages. Key: slot (2 bytes, big-endian), topic.
    Retained = 4,
    /// Numbers of topic logs. Key: slot (2 bytes, big-endian), topic.
    Topics = 5,
    /// Durable shared subscriptions. Key: slot of the group (2), share name, 0x00, filter.
    Groups = 6,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Table; 7] = [
        Table::Meta,
        Table::Sessions,
        Table::Cursors,
        Table::Received,
        Table::Retained,
        Table::Topics,
        Table::Groups,
    ];
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Adds a record. `offset` must be greater than the log's head; a gap is allowed where the epoch rose.
    /// A log exists from its first append on.
    Append {
        /// The log.
        log: LogId,
        /// Its new head.
        offset: Offset,
        /// At most 2 MiB.
        record: Bytes,
    },
    /// Removes all records below `to`. The head stays as it is, also when nothing is left.
    Trim {
        /// The log.
        log: LogId,
        /// First offset that is kept.
        to: Offset,
    },
    /// Removes a log with its head.
    Drop {
        /// The log.
        log: LogId,
    },
    /// Writes a row, whatever was there.
    Put {
        /// The table.
        table: Table,
        /// At most 65,600 bytes.
        key: Bytes,
        /// At most 2 MiB.
        value: Bytes,
        /// The row reads as absent from this moment on (milliseconds UTC).
        expires_at_ms: Option<u64>,
    },
    /// Writes a row only if there is none; else the whole batch is refused.
    PutIfAbsent {
        /// The table.
        table: Table,
        /// At most 65,600 bytes.
        key: Bytes,
        /// At most 2 MiB.
        value: Bytes,
    },
    /// Writes a row only if its value is `expected` (`None`: absent); else the whole batch is refused.
    CompareAndSet {
        /// The table.
        table: Table,
        /// At most 65,600 bytes.
        key: Bytes,
        /// What must be there now.
        expected: Option<Bytes>,
        /// `None` deletes the row.
        value: Option<Bytes>,
    },
    /// Removes a row if it is there.
    Delete {
        /// The table.
        table: Table,
        /// The row.
        key: Bytes,
    },
    /// Removes every row whose key begins with `prefix` (never empty).
    DeletePrefix {
        /// The table.
        table: Table,
        /// At least one byte.
        prefix: Bytes,
    },
}

/// What an engine asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// All of it or nothing, durable when answered. Commits of one engine take effect in the order of their requests.
    Commit(Vec<Write>),
    /// Records from `from` on, in order, at most `records_max` of them and about `bytes_max` bytes (always at least one record, if there is one).
    Read {
        /// The log.
        log: LogId,
        /// First offset wanted.
        from: Offset,
        /// At least 1.
        records_max: u32,
        /// Stops after the record that passes it.
        bytes_max: u32,
    },
    /// The log's head and trim point.
    Head(LogId),
    /// One row.
    Get {
        /// The table.
        table: Table,
        /// The row.
        key: Bytes,
    },
    /// Rows whose key begins with `prefix`, in key order, after `after`.
    Scan {
        /// The table.
        table: Table,
        /// May be empty: the whole table.
        prefix: Bytes,
        /// Last key of the page before, or `None`.
        after: Option<Bytes>,
        /// At least 1.
        rows_max: u32,
    },
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The batch is durable, as far as this back end promises.
    Committed,
    /// A condition of the batch did not hold; nothing of it was written. Holds the index of the write.
    Conflict(usize),
    /// Answer to `Read`.
    Records {
        /// Offset and record, in order.
        records: Vec<(Offset, Bytes)>,
        /// The log's head at that moment (0: no such log).
        head: Offset,
    },
    /// Answer to `Head`. Both are 0 where there is no such log.
    Head {
        /// Highest offset ever appended.
        head: Offset,
        /// First offset that was kept by the last trim.
        trimmed_to: Offset,
    },
    /// Answer to `Get`.
    Value(Option<Bytes>),
    /// Answer to `Scan`.
    Rows {
        /// Key and value, in key order.
        rows: Vec<(Bytes, Bytes)>,
        /// Whether rows may follow.
        more: bool,
    },
    /// It did not happen, or nobody can say whether it did.
    Failed(StoreFailure),
}

/// Why the store could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// Too little free space for an append. Worth trying again when space is free.
    Full,
    /// The store stopped for good; nothing more will be acknowledged by this process.
    Poisoned,
    /// No answer in time. The write may have happened.
    TimedOut,
    /// A record or row cannot be what was written.
    Damaged,
    /// The request breaks the contract (an offset that does not rise, a size over its bound). A bug of the caller.
    Invalid,
}
