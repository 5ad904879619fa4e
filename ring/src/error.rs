//! Every way the socket ring can fail, as closed enums.
//!
//! A failed operation of one connection is not an error of the ring: it is an event that carries an [`Errno`].

use std::fmt;
use std::io;

/// An error number of the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The number behind `error`; 0 where there is none.
    pub(crate) fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(0))
    }

    /// The error of the system call that failed last on this thread.
    pub(crate) fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// Whether the peer ended the connection (reset, broken pipe, time-out, unreachable), the normal way links end.
    #[must_use]
    pub fn is_disconnect(self) -> bool {
        matches!(
            self.0,
            libc::ECONNRESET
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ECONNABORTED
                | libc::ENOTCONN
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

/// The ring itself cannot be built or driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The kernel refused to create the ring.
    Setup(Errno),
    /// The buffer ring, or the ring's own descriptor, could not be registered.
    Register(Errno),
    /// Memory for the buffers could not be mapped.
    Map(Errno),
    /// The doorbell's eventfd could not be made.
    Doorbell(Errno),
    /// A value of [`crate::RingConfig`] is outside its bounds.
    Config(&'static str),
    /// `io_uring_enter` failed for good: the ring can no longer be used. `EBADR` says completions were lost.
    Enter(Errno),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(e) => write!(f, "io_uring could not be set up: {e}"),
            Self::Register(e) => write!(f, "io_uring could not register its buffers: {e}"),
            Self::Map(e) => write!(f, "no memory for the receive buffers: {e}"),
            Self::Doorbell(e) => write!(f, "no eventfd for the doorbell: {e}"),
            Self::Config(what) => write!(f, "socket ring: {what}"),
            Self::Enter(e) => write!(f, "io_uring_enter failed: {e}"),
        }
    }
}

impl std::error::Error for RingError {}

/// Why an operation on a slot was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The slot was freed, and perhaps given to another connection.
    Stale,
    /// The slot is being closed.
    Closing,
    /// An operation of that kind, or for `detach` any operation, is outstanding.
    Busy,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the slot was freed",
            Self::Closing => "the slot is being closed",
            Self::Busy => "an operation is outstanding",
        })
    }
}

impl std::error::Error for SlotError {}
