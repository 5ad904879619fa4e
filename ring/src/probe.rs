//! What the kernel must offer, asked at start, so that a missing piece is named and not met later.
#![expect(unsafe_code, reason = "uname and getrlimit")]

use crate::enter::Enter;
use crate::error::{Errno, RingError};
use crate::ring::{Ring, RingConfig};
use io_uring::opcode;
use std::fmt;
use std::mem::MaybeUninit;

/// The oldest kernel that has everything: 6.1.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// What glommio locks for its own rings.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Why the broker cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// The kernel is older than 6.1.
    KernelTooOld {
        /// Its version.
        major: u32,
        /// Its version.
        minor: u32,
    },
    /// The system call does not exist: compiled out, or hidden by a seccomp filter.
    Missing,
    /// `kernel.io_uring_disabled` forbids it.
    DisabledBySysctl {
        /// The setting: 1 allows it to `kernel.io_uring_group` only, 2 to nobody.
        level: u32,
    },
    /// A seccomp filter or security module forbids it, as container runtimes do by default.
    Forbidden,
    /// RLIMIT_MEMLOCK is too small.
    MemlockTooSmall {
        /// The limit now.
        bytes: u64,
    },
    /// An operation of io_uring is missing.
    OperationMissing {
        /// Its name.
        operation: &'static str,
    },
    /// Anything else the ring reported.
    Ring(RingError),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelTooOld { major, minor } => {
                write!(f, "Linux 6.1 or newer is needed, this is {major}.{minor}")
            }
            Self::Missing => f.write_str(
                "the kernel has no io_uring, or a seccomp filter hides it (containers: allow io_uring_setup, \
                 io_uring_enter and io_uring_register in the seccomp profile)",
            ),
            Self::DisabledBySysctl { level } => {
                write!(f, "io_uring is disabled: kernel.io_uring_disabled is {level}, set it to 0")?;
                if *level == 1 {
                    f.write_str(" or run in the group kernel.io_uring_group")?;
                }
                Ok(())
            }
            Self::Forbidden => f.write_str(
                "io_uring is forbidden, most likely by the container's seccomp profile: allow io_uring_setup, \
                 io_uring_enter and io_uring_register",
            ),
            Self::MemlockTooSmall { bytes } => write!(
                f,
                "the limit of locked memory is {bytes} bytes, {MEMLOCK_BYTES_MIN} are needed (ulimit -l, or \
                 LimitMEMLOCK= of the service)"
            ),
            Self::OperationMissing { operation } => write!(f, "this kernel's io_uring has no {operation}"),
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Asks for everything the ring and its executors need.
pub fn probe() -> Result<(), ProbeError> {
    check_kernel(&kernel_release())?;
    check_memlock()?;
    check_operations()?;
    // Registers a buffer ring with the flags of every ring.
    let config =
        RingConfig { sq_entries: 8, cq_entries: 16, buffers: 1, buffer_bytes: 4096, ..RingConfig::default() };
    Ring::new(config).map(drop).map_err(ring_error)
}

fn check_kernel(release: &str) -> Result<(), ProbeError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < KERNEL_MIN { Err(ProbeError::KernelTooOld { major, minor }) } else { Ok(()) }
}

fn kernel_release() -> String {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: uname fills the structure, and all zeroes is valid for it too.
    let name = unsafe {
        libc::uname(name.as_mut_ptr());
        name.assume_init()
    };
    #[expect(clippy::cast_sign_loss, reason = "bytes of text")]
    name.release.iter().take_while(|&&c| c != 0).map(|&c| char::from(c as u8)).collect()
}

fn check_memlock() -> Result<(), ProbeError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if limit.rlim_cur < MEMLOCK_BYTES_MIN {
        return Err(ProbeError::MemlockTooSmall { bytes: limit.rlim_cur });
    }
    Ok(())
}

fn check_operations() -> Result<(), ProbeError> {
    let enter = Enter::new(8, 16).map_err(ring_error)?;
    let mut probe = io_uring::Probe::new();
    let register = |e: std::io::Error| ProbeError::Ring(RingError::Register(Errno::of(&e)));
    enter.io().submitter().register_probe(&mut probe).map_err(register)?;
    let needed = [
        (opcode::Accept::CODE, "accept"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Connect::CODE, "connect"),
        (opcode::Read::CODE, "read"),
        (opcode::Recv::CODE, "recv"),
        (opcode::Send::CODE, "send"),
    ];
    match needed.into_iter().find(|&(code, _)| !probe.is_supported(code)) {
        Some((_, operation)) => Err(ProbeError::OperationMissing { operation }),
        None => Ok(()),
    }
}

fn ring_error(error: RingError) -> ProbeError {
    match error {
        RingError::Setup(Errno(libc::ENOSYS)) => ProbeError::Missing,
        RingError::Setup(Errno(libc::EPERM | libc::EACCES)) => match disabled_level() {
            level @ 1.. => ProbeError::DisabledBySysctl { level },
            0 => ProbeError::Forbidden,
        },
        other => ProbeError::Ring(other),
    }
}

/// `kernel.io_uring_disabled`, 0 where it does not exist.
fn disabled_level() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_serves() {
        probe().unwrap();
    }

    #[test]
    fn kernels_before_6_1_are_refused() {
        for good in ["6.1.0", "6.18.44-fc", "7.0-rc1", "6.12.115+deb13-amd64"] {
            assert_eq!(check_kernel(good), Ok(()), "{good}");
        }
        assert_eq!(check_kernel("6.0.19"), Err(ProbeError::KernelTooOld { major: 6, minor: 0 }));
        assert_eq!(check_kernel("5.15.0-100"), Err(ProbeError::KernelTooOld { major: 5, minor: 15 }));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let text = ProbeError::DisabledBySysctl { level: 2 }.to_string();
        assert!(text.contains("kernel.io_uring_disabled is 2"), "{text}");
        assert_eq!(ring_error(RingError::Setup(Errno(libc::ENOSYS))), ProbeError::Missing);
    }
}
