//! The protocol crate from outside: fixtures in the notation of `fixtures/refused.txt`, round trips, hostile bytes.
//!
//! No test here needs a socket, a clock or a random source of its own: what is random comes from a fixed seed.

#[cfg(test)]
mod connection;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod notation;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod topics;
