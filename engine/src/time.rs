//! Time as a value. The engine never reads a clock: each input carries the moment at which it happened.

/// The moment of an input, taken once per turn by whoever drives the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its zero has no meaning. Timers and intervals use it.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970-01-01 UTC. Only for what outlives the process: expiries in the store.
    pub wall_ms: u64,
}
