//! A connection moves from one thread's ring to another's, with the bytes read so far.

use crate::rig::{Rig, alone, drive, small};
use bitsim_ring::{Doorbell, Event, Receive, Ring, SlotError};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};

type Moved = (OwnedFd, Vec<u8>);

/// Takes connections and echoes what each sent; ends when the channel does and all are gone.
fn home(moved: &Receiver<Moved>, told: &std::sync::mpsc::Sender<Doorbell>) {
    let mut ring = Ring::new(small()).unwrap();
    told.send(ring.doorbell()).unwrap();
    let (mut taken, mut closed) = (0, 0);
    drive(&mut ring, |ring, event| {
        match event {
            Event::Doorbell => {
                while let Ok((descriptor, bytes)) = moved.try_recv() {
                    let slot = ring.attach(descriptor).unwrap();
                    ring.send(slot, bytes).unwrap();
                    taken += 1;
                }
            }
            Event::Sent { slot, .. } => ring.receive(slot, Receive::Multishot).unwrap(),
            Event::Received { slot, data } => ring.send(slot, data.to_vec()).unwrap(),
            Event::ReceiveEnded { slot, .. } => ring.close(slot).unwrap(),
            Event::Closed { .. } => closed += 1,
            other => panic!("{other:?}"),
        }
        taken == 20 && closed == 20
    });
}

#[test]
fn connections_move_between_threads() {
    let _alone = alone();
    let (sender, receiver) = channel();
    let (told, doorbell) = channel();
    let thread = std::thread::spawn(move || home(&receiver, &told));
    let doorbell = doorbell.recv().unwrap();
    let mut rig = Rig::new(small());
    let clients: Vec<_> = (0..20u8)
        .map(|i| {
            let address = rig.address;
            std::thread::spawn(move || {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                for round in 0..3 {
                    client.write_all(&[i, round]).unwrap();
                    let mut got = [0; 2];
                    client.read_exact(&mut got).unwrap();
                    assert_eq!(got, [i, round]);
                }
            })
        })
        .collect();
    let mut moved = 0;
    drive(&mut rig.ring, |ring, event| {
        match event {
            Event::Accepted { connection, .. } => {
                let slot = ring.attach(connection).unwrap();
                ring.receive(slot, Receive::Once).unwrap();
                assert_eq!(ring.detach(slot).unwrap_err(), SlotError::Busy);
            }
            Event::Received { slot, data } => {
                let descriptor = ring.detach(slot).unwrap();
                assert_eq!(ring.detach(slot).unwrap_err(), SlotError::Stale);
                sender.send((descriptor, data.to_vec())).unwrap();
                doorbell.ring();
                moved += 1;
            }
            other => panic!("{other:?}"),
        }
        moved == 20
    });
    for client in clients {
        client.join().unwrap();
    }
    thread.join().unwrap();
    assert_eq!(rig.ring.usage().slots, 0);
}
