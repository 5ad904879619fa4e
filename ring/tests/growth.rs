//! The ring's memory does not grow with use.
#![expect(unsafe_code, reason = "an allocator that counts")]

use crate::rig::{Rig, alone, descriptors, drive, small};
use bitsim_ring::{Event, Receive};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};

/// Counts what the calling thread holds, net.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: isize) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    // Threads that end may free after their counter is gone.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes));
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) fn held() -> isize {
    HELD.with(Cell::get)
}

/// Ten connections: each sends, gets an answer, and is closed in one of three ways, one with a send in flight.
fn round(rig: &mut Rig) {
    for how in 0..10 {
        let (slot, mut client) = rig.pair();
        rig.ring.receive(slot, Receive::Multishot).unwrap();
        client.write_all(b"question").unwrap();
        drive(&mut rig.ring, |_, event| matches!(event, Event::Received { .. }));
        rig.ring.send(slot, vec![1; 100]).unwrap();
        drive(&mut rig.ring, |_, event| matches!(event, Event::Sent { .. }));
        client.read_exact(&mut [0; 100]).unwrap();
        match how % 3 {
            0 => rig.ring.close(slot).unwrap(),
            1 => {
                rig.ring.send(slot, vec![1; 8_000_000]).unwrap();
                rig.ring.submit().unwrap();
                rig.ring.close(slot).unwrap();
            }
            _ => {
                rig.ring.finish(slot).unwrap();
                drop(client);
            }
        }
        drive(&mut rig.ring, |_, event| matches!(event, Event::Closed { .. }));
    }
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    round(&mut rig);
    let (memory, files) = (held(), descriptors());
    for _ in 0..100 {
        round(&mut rig);
    }
    assert_eq!(held() - memory, 0, "bytes");
    assert_eq!(descriptors(), files);
}

/// An idle connection costs the ring its slot, and no buffer.
#[test]
fn an_idle_connection_costs_a_slot() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let mut clients: Vec<_> = (0..8).map(|_| rig.receiving()).collect();
    rig.ring.submit().unwrap();
    clients.reserve_exact(600);
    let memory = held();
    clients.extend((0..600).map(|_| rig.receiving()));
    let per_link = (held() - memory) / 600;
    assert!(per_link <= 2 * 48, "{per_link} bytes");
    assert_eq!(rig.ring.usage().leases, 0);
}
