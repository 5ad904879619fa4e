//! What a ring did since it was made: plain counters, read by the shard's probe on the ring's own thread.

/// Totals since the ring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Enters that waited.
    pub sleeps: u64,
    /// Completions taken from the kernel.
    pub completions: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Receives that brought bytes.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sends completed, short ones included.
    pub sends: u64,
    /// Bytes the kernel took from sends.
    pub sent_bytes: u64,
    /// Sends the kernel cut short; the rest was sent again.
    pub short_sends: u64,
    /// Receives that found no buffer.
    pub no_buffers: u64,
    /// Receives armed again by the ring itself.
    pub rearms: u64,
    /// Cancels submitted.
    pub cancels: u64,
    /// Completions of a slot's earlier generation, or data of a link being closed.
    pub stale_completions: u64,
    /// Times the completion queue overflowed into the kernel's own list.
    pub overflows: u64,
    /// Doorbell events delivered.
    pub doorbells: u64,
}
