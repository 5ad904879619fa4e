//! Listeners.

use crate::rig::{DescriptorLimit, Rig, alone, descriptors, drive, settle, small};
use bitsim_ring::{AcceptEnd, Event};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn a_paused_listener_leaves_connections_in_the_backlog() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    rig.ring.submit().unwrap();
    rig.ring.pause_accept(rig.listener);
    drive(&mut rig.ring, |_, event| matches!(event, Event::AcceptEnded { end: AcceptEnd::Paused, .. }));
    let _clients: Vec<_> = (0..5).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    rig.ring.wait(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(rig.ring.reap(usize::MAX), 0);
    rig.ring.resume_accept(rig.listener);
    let mut accepted = 0;
    drive(&mut rig.ring, |_, event| {
        accepted += usize::from(matches!(event, Event::Accepted { .. }));
        accepted == 5
    });
}

#[test]
fn running_out_of_descriptors_pauses_and_does_not_spin() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    rig.ring.submit().unwrap();
    rig.ring.pause_accept(rig.listener);
    drive(&mut rig.ring, |_, event| matches!(event, Event::AcceptEnded { end: AcceptEnd::Paused, .. }));
    let _clients: Vec<_> = (0..5).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let limit = DescriptorLimit::new(0);
    rig.ring.resume_accept(rig.listener);
    drive(&mut rig.ring, |_, event| match event {
        Event::AcceptEnded { end, .. } => {
            assert_eq!(end, AcceptEnd::OutOfDescriptors);
            true
        }
        other => panic!("{other:?}"),
    });
    let enters = rig.ring.counters().enters;
    rig.ring.wait(Some(Duration::from_millis(20))).unwrap();
    assert!(rig.ring.counters().enters <= enters + 1);
    assert_eq!(rig.ring.reap(usize::MAX), 0);
    drop(limit);
    rig.ring.resume_accept(rig.listener);
    let mut accepted = 0;
    drive(&mut rig.ring, |_, event| {
        accepted += usize::from(matches!(event, Event::Accepted { .. }));
        accepted == 5
    });
}

#[test]
fn a_removed_listener_refuses() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    rig.ring.submit().unwrap();
    let before = descriptors();
    rig.ring.remove_listener(rig.listener);
    let events = settle(&mut rig.ring, |ring| ring.usage().listeners == 0);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(descriptors(), before - 1);
    assert!(TcpStream::connect(rig.address).is_err());
    rig.ring.resume_accept(rig.listener);
    assert_eq!(rig.ring.usage().listeners, 0);
}
