//! Pausing loses nothing, and is answered once.

use crate::rig::{Rig, alone, drive, settle, small};
use bitsim_ring::{Event, Receive, ReceiveEnd, RingConfig};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_busy_link_is_paused_and_resumed_without_loss() {
    let _alone = alone();
    let mut rig = Rig::new(RingConfig { buffers: 4, ..small() });
    let (slot, mut client) = rig.receiving();
    let total: usize = 4_000_000;
    let writer = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).unwrap()).collect();
        client.write_all(&bytes).unwrap();
    });
    let (mut got, mut paused, mut pauses) = (0, false, 0);
    drive(&mut rig.ring, |ring, event| {
        match event {
            Event::Received { data, .. } => {
                assert!(!paused, "data after the pause took effect");
                for &byte in &*data {
                    assert_eq!(usize::from(byte), got % 251, "at {got}");
                    got += 1;
                }
                match got % 7 {
                    0 | 1 => ring.pause(slot).unwrap(),
                    2 => {
                        // Undone before it took effect.
                        ring.pause(slot).unwrap();
                        ring.receive(slot, Receive::Multishot).unwrap();
                    }
                    _ => {}
                }
            }
            Event::ReceiveEnded { end: ReceiveEnd::Paused, .. } => {
                assert!(!paused, "a pause answered twice");
                paused = true;
                pauses += 1;
            }
            Event::ReceiveEnded { end: ReceiveEnd::Eof, .. } => return true,
            other => panic!("{other:?}"),
        }
        if paused {
            paused = false;
            ring.receive(slot, Receive::Multishot).unwrap();
        }
        false
    });
    writer.join().unwrap();
    assert_eq!(got, total);
    assert!(pauses > 10, "only {pauses} pauses");
}

#[test]
fn a_paused_link_is_silent() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.receiving();
    rig.ring.submit().unwrap();
    rig.ring.pause(slot).unwrap();
    rig.ring.pause(slot).unwrap();
    let events = settle(&mut rig.ring, |ring| ring.usage().operations == 0);
    assert!(matches!(events.as_slice(), [Event::ReceiveEnded { end: ReceiveEnd::Paused, .. }]), "{events:?}");
    client.write_all(b"later").unwrap();
    // A second connection proves that the ring turned and had its chance to deliver.
    let (other, mut second) = rig.receiving();
    second.write_all(b"now").unwrap();
    drive(&mut rig.ring, |_, event| match event {
        Event::Received { slot: from, .. } => {
            assert_eq!(from, other);
            true
        }
        event => panic!("{event:?}"),
    });
    rig.ring.receive(slot, Receive::Multishot).unwrap();
    drive(&mut rig.ring, |_, event| matches!(event, Event::Received { data, .. } if &*data == b"later"));
}

#[test]
fn links_without_buffers_wait_for_leases_and_do_not_spin() {
    let _alone = alone();
    let mut rig = Rig::new(RingConfig { buffers: 2, buffer_bytes: 64, ..small() });
    let mut clients: Vec<_> = (0..5).map(|_| rig.receiving()).collect();
    for (_, client) in &mut clients {
        client.write_all(&[1; 64]).unwrap();
    }
    let mut leases = Vec::new();
    let starved = |ring: &mut bitsim_ring::Ring| ring.counters().no_buffers >= 3;
    for event in settle(&mut rig.ring, starved) {
        if let Event::Received { slot, data } = event {
            leases.push((slot, data));
        }
    }
    assert_eq!(leases.len(), 2);
    let enters = rig.ring.counters().enters;
    rig.ring.wait(Some(std::time::Duration::from_millis(20))).unwrap();
    assert_eq!(rig.ring.reap(usize::MAX), 0);
    assert!(rig.ring.counters().enters <= enters + 1, "the ring spins while it has no buffer");
    let mut seen: Vec<_> = leases.drain(..).map(|(slot, _)| slot).collect();
    drive(&mut rig.ring, |_, event| {
        if let Event::Received { slot, .. } = event {
            seen.push(slot);
        }
        seen.len() == 5
    });
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 5, "each link got its turn");
}

#[test]
fn a_doorbell_on_a_busy_owner_costs_no_wake() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let bell = rig.ring.doorbell();
    rig.ring.submit().unwrap();
    for _ in 0..100 {
        bell.ring();
    }
    rig.ring.reap(usize::MAX);
    assert!(matches!(rig.ring.next_event(), Some(Event::Doorbell)));
    assert!(rig.ring.next_event().is_none());
    rig.ring.submit().unwrap();
    assert_eq!(rig.ring.reap(usize::MAX), 0, "the eventfd was written though the owner was awake");

    let woken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&woken);
    let ringer = std::thread::spawn(move || {
        while !bell.is_asleep() {
            std::thread::yield_now();
        }
        flag.store(true, Ordering::Release);
        bell.ring();
    });
    drive(&mut rig.ring, |_, event| matches!(event, Event::Doorbell));
    assert!(woken.load(Ordering::Acquire));
    ringer.join().unwrap();
}
