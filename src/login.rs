//! Who a client is: the password file, and the threads that compare passwords with it.
//!
//! A password hash is made to be slow, so no shard ever computes one: a shard hands an `Attempt` to the `LoginPool`
//! and gets a `Verdict` back on another thread. Whether a name exists can be told neither from the answer nor from
//! the time it takes.

mod backoff;
mod passwords;
mod pool;
mod record;

pub use backoff::BackoffLimits;
pub use passwords::{PasswordFileError, Passwords, upsert};
pub use pool::{Attempt, LoginCounts, LoginLimits, LoginPool, NotTaken, Verdict};
pub use record::{RecordError, hash_password};
