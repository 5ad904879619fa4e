//! The executors: the one module that names glommio.
//!
//! A shard is one pinned thread with a glommio executor whose main task is the shard's loop. The loop waits in its own
//! [`Ring`](crate::Ring), never in glommio, and lends glommio a turn only when one of its tasks needs one ([`Host`]). A thread
//! outside ([`watch`]) knocks at shards that stay with glommio too long, since glommio can lose the wake-up of a
//! parked executor. A panic in the loop or in a task ends the process: a dead shard strands its sessions.
//! Not here: sockets, and anything that could run on a plain thread.

mod cores;
mod edge;
mod host;
mod watch;

pub use cores::{available_cores, pin_thread};
pub use host::Host;

use edge::Edge;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::fmt;
use std::time::Duration;

/// How often glommio looks at its rings while its tasks are busy; its default of 100 ms is too long for files.
const PREEMPT_TIMER: Duration = Duration::from_millis(1);
/// glommio's registered memory per executor, for direct file IO; nothing here uses it.
const IO_MEMORY_BYTES: usize = 256 * 1024;
const RING_DEPTH: usize = 128;

/// Why a shard's thread could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// The executor could not be built; the text is glommio's.
    Executor {
        /// The shard.
        shard: String,
        /// What glommio said.
        why: String,
    },
    /// The thread of the watch could not be started.
    Watch,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executor { shard, why } => write!(f, "cannot start {shard}: {why}"),
            Self::Watch => f.write_str("cannot start the thread that watches the shards"),
        }
    }
}

impl std::error::Error for SpawnError {}

/// A shard's running thread.
pub struct ShardThread<T: Send + 'static> {
    handle: ExecutorJoinHandle<T>,
    name: String,
}

impl<T: Send + 'static> ShardThread<T> {
    /// Waits for the shard's loop to end. A panic in it does not come here: it ended the process.
    pub fn join(self) -> Result<T, SpawnError> {
        self.handle.join().map_err(|e| SpawnError::Executor { shard: self.name, why: e.to_string() })
    }
}

impl<T: Send + 'static> fmt::Debug for ShardThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardThread({})", self.name)
    }
}

/// Starts a thread, pinned to `core` if given, that runs the loop `start` makes. Several shards may share a core.
pub fn spawn_shard<F, L, T>(core: Option<usize>, name: &str, start: F) -> Result<ShardThread<T>, SpawnError>
where
    F: FnOnce(Host) -> L + Send + 'static,
    L: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let watch = watch::shared().ok_or(SpawnError::Watch)?;
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let shard = name.to_owned();
    let handle = LocalExecutorBuilder::new(placement)
        .name(name)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .spawn(move || async move {
            let host = Host::new(watch);
            host.expose_waker();
            Edge::new(shard, Box::pin(start(host))).await
        })
        .map_err(|e| SpawnError::Executor { shard: name.to_owned(), why: e.to_string() })?;
    Ok(ShardThread { handle, name: name.to_owned() })
}
