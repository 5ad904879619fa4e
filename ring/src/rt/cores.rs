//! The cores this process may use, and pinning of threads that are not shards.
#![expect(unsafe_code, reason = "sched_getaffinity and sched_setaffinity")]

use crate::error::Errno;
use std::mem::MaybeUninit;

/// Cores the calling thread may run on, ascending; never empty.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: fills a set of the size given; all zeroes is a valid set.
    let set = unsafe {
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        set.assume_init()
    };
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: every index lies in the set.
    let cores: Vec<usize> = (0..bits).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Pins the calling thread.
pub fn pin_thread(core: usize) -> Result<(), Errno> {
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: all zeroes is an empty set.
    let mut set = unsafe { MaybeUninit::<libc::cpu_set_t>::zeroed().assume_init() };
    // SAFETY: the index lies in the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set has the size given.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_each_core() {
        for core in available_cores() {
            std::thread::spawn(move || {
                pin_thread(core).unwrap();
                assert_eq!(available_cores(), [core]);
            })
            .join()
            .unwrap();
        }
        assert_eq!(pin_thread(1 << 20), Err(Errno(libc::EINVAL)));
    }
}
