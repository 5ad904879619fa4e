//! A ring with a listener, and the means to drive it until something happened.
#![expect(unsafe_code, reason = "socket options and limits that std does not offer")]

use bitsim_ring::{AddressClaim, Event, ListenerId, Receive, Ring, RingConfig, SlotId};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ALONE: Mutex<()> = Mutex::new(());
/// Longer than anything takes here: a failing test ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Held by each test for its whole length.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Rig {
    pub(crate) ring: Ring,
    pub(crate) listener: ListenerId,
    pub(crate) address: SocketAddr,
    _claim: AddressClaim,
}

pub(crate) fn small() -> RingConfig {
    RingConfig { sq_entries: 64, cq_entries: 256, buffers: 8, buffer_bytes: 1024, ..RingConfig::default() }
}

impl Rig {
    pub(crate) fn new(config: RingConfig) -> Self {
        let claim = AddressClaim::new("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut ring = Ring::new(config).unwrap();
        let listener = ring.add_listener(claim.listener(128).unwrap());
        Self { ring, listener, address: claim.address(), _claim: claim }
    }

    /// A connection: its slot, not receiving, and the client's end.
    pub(crate) fn pair(&mut self) -> (SlotId, TcpStream) {
        let client = TcpStream::connect(self.address).unwrap();
        let mut slot = None;
        drive(&mut self.ring, |ring, event| {
            if let Event::Accepted { connection, .. } = event {
                slot = Some(ring.attach(connection).unwrap());
            }
            slot.is_some()
        });
        (slot.unwrap(), client)
    }

    /// The same, receiving.
    pub(crate) fn receiving(&mut self) -> (SlotId, TcpStream) {
        let (slot, client) = self.pair();
        self.ring.receive(slot, Receive::Multishot).unwrap();
        (slot, client)
    }
}

/// Turns until `done` says so of an event. Fails the test if that does not come.
pub(crate) fn drive(ring: &mut Ring, mut done: impl FnMut(&mut Ring, Event) -> bool) {
    let start = Instant::now();
    loop {
        ring.wait(Some(Duration::from_millis(100))).unwrap();
        ring.reap(usize::MAX);
        while let Some(event) = ring.next_event() {
            if done(ring, event) {
                return;
            }
        }
        assert!(start.elapsed() < PATIENCE, "nothing more happens: {:?} {:?}", ring.usage(), ring.counters());
    }
}

/// Turns until the condition holds; answers the events.
pub(crate) fn settle(ring: &mut Ring, mut holds: impl FnMut(&mut Ring) -> bool) -> Vec<Event> {
    let start = Instant::now();
    let mut events = Vec::new();
    while !holds(ring) {
        ring.wait(Some(Duration::from_millis(1))).unwrap();
        ring.reap(usize::MAX);
        events.extend(std::iter::from_fn(|| ring.next_event()));
        assert!(start.elapsed() < PATIENCE, "it never holds: {:?} {events:?}", ring.usage());
    }
    events
}

/// Open descriptors of the process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Makes closing reset the connection.
pub(crate) fn reset_on_close(socket: &impl AsFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
    // SAFETY: the value has the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    };
    assert_eq!(result, 0);
}

/// Lowers the limit of descriptors until dropped.
pub(crate) struct DescriptorLimit(libc::rlimit);

impl DescriptorLimit {
    pub(crate) fn new(count: u64) -> Self {
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills the structure.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut old) }, 0);
        let new = libc::rlimit { rlim_cur: count, rlim_max: old.rlim_max };
        // SAFETY: reads the structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const new) }, 0);
        Self(old)
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        // SAFETY: reads the structure.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.0) };
    }
}
