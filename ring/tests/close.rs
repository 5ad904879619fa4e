//! The ends of a connection.

use crate::rig::{Rig, alone, descriptors, drive, reset_on_close, settle, small};
use bitsim_ring::{Event, Receive, ReceiveEnd, Ring, SlotError, stream_socket};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};

#[test]
fn a_close_cuts_off_a_send_and_gives_its_memory_back() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, _client) = rig.receiving();
    let before = descriptors();
    rig.ring.send(slot, vec![1; 50_000_000]).unwrap();
    rig.ring.submit().unwrap();
    assert_eq!(rig.ring.usage().operations, 2, "the peer reads nothing: the send waits");
    rig.ring.close(slot).unwrap();
    assert_eq!(rig.ring.close(slot), Err(SlotError::Closing));
    assert_eq!(rig.ring.send(slot, vec![2]).unwrap_err().error, SlotError::Closing);
    drive(&mut rig.ring, |_, event| match event {
        Event::Closed { slot: closed, buffer } => {
            assert_eq!(closed, slot);
            assert!(buffer.is_empty() && buffer.capacity() >= 50_000_000);
            true
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(rig.ring.receive(slot, Receive::Once), Err(SlotError::Stale));
    assert_eq!(descriptors(), before - 1);
}

#[test]
fn a_quiet_slot_closes_at_once_and_its_index_returns_under_a_new_generation() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (old, _client) = rig.pair();
    rig.ring.close(old).unwrap();
    assert!(rig.ring.ready());
    drive(&mut rig.ring, |_, event| matches!(event, Event::Closed { slot, .. } if slot == old));
    let (new, _client) = rig.pair();
    assert_eq!(new.slot, old.slot);
    assert_ne!(new.generation, old.generation);
    assert_eq!(rig.ring.close(old), Err(SlotError::Stale));
    assert_eq!(rig.ring.pause(old), Err(SlotError::Stale));
}

#[test]
fn a_reset_is_told() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, client) = rig.receiving();
    rig.ring.submit().unwrap();
    reset_on_close(&client);
    drop(client);
    drive(&mut rig.ring, |_, event| match event {
        Event::ReceiveEnded { end: ReceiveEnd::Failed(error), .. } => {
            assert!(error.is_disconnect(), "{error:?}");
            true
        }
        other => panic!("{other:?}"),
    });
    rig.ring.send(slot, vec![1]).unwrap();
    drive(&mut rig.ring, |_, event| match event {
        Event::SendFailed { error, buffer, sent_bytes, .. } => {
            assert!(error.is_disconnect(), "{error:?}");
            assert_eq!((buffer.as_slice(), sent_bytes), ([1].as_slice(), 0));
            true
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.receiving();
    client.shutdown(Shutdown::Write).unwrap();
    drive(&mut rig.ring, |_, event| matches!(event, Event::ReceiveEnded { end: ReceiveEnd::Eof, .. }));
    rig.ring.send(slot, b"answer".to_vec()).unwrap();
    drive(&mut rig.ring, |_, event| matches!(event, Event::Sent { .. }));
    rig.ring.finish(slot).unwrap();
    drive(&mut rig.ring, |_, event| matches!(event, Event::Closed { .. }));
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
}

/// Closing a socket with unread bytes resets the connection, and the reset overtakes what was sent.
#[test]
fn finishing_delivers_the_last_bytes_although_the_peer_still_sends() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.pair();
    client.write_all(&[9; 100_000]).unwrap();
    rig.ring.send(slot, vec![5; 3_000_000]).unwrap();
    rig.ring.finish(slot).unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    drive(&mut rig.ring, |_, event| match event {
        Event::Closed { .. } => true,
        other => panic!("{other:?}"),
    });
    assert_eq!(reader.join().unwrap(), vec![5; 3_000_000]);
}

#[test]
fn a_peer_that_never_closes_is_closed() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.receiving();
    rig.ring.finish(slot).unwrap();
    // The polite end reached the peer, which ignores it.
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    rig.ring.wait(Some(std::time::Duration::from_millis(10))).unwrap();
    rig.ring.reap(usize::MAX);
    assert!(rig.ring.next_event().is_none());
    rig.ring.close(slot).unwrap();
    drive(&mut rig.ring, |_, event| matches!(event, Event::Closed { .. }));
}

/// A connect that neither succeeds nor fails: the listener's backlog is full.
#[test]
fn a_hanging_connect_can_be_closed() {
    let _alone = alone();
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    shrink_backlog(&full);
    let address = full.local_addr().unwrap();
    let mut ring = Ring::new(small()).unwrap();
    let slots: Vec<_> = (0..8)
        .map(|_| {
            let slot = ring.attach(stream_socket(address, None).unwrap()).unwrap();
            ring.connect(slot, address).unwrap();
            slot
        })
        .collect();
    let mut connected = 0;
    settle(&mut ring, |ring| {
        connected = 8 - ring.usage().operations;
        connected >= 1
    });
    assert!(ring.usage().operations > 0, "the backlog took all");
    for slot in slots {
        ring.close(slot).unwrap();
    }
    settle(&mut ring, |ring| ring.usage().slots == 0);
}

fn shrink_backlog(listener: &TcpListener) {
    use std::os::fd::AsRawFd;
    #[expect(unsafe_code, reason = "std offers no backlog")]
    // SAFETY: takes no memory.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0);
}

#[test]
fn a_dropped_ring_lets_go_of_everything() {
    let _alone = alone();
    let before = descriptors();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.receiving();
    let (_, mut silent) = rig.receiving();
    client.write_all(b"held").unwrap();
    let mut lease = None;
    drive(&mut rig.ring, |_, event| match event {
        Event::Received { data, .. } => {
            lease = Some(data);
            true
        }
        _ => false,
    });
    rig.ring.send(slot, vec![0; 50_000_000]).unwrap();
    rig.ring.submit().unwrap();
    drop(rig);
    assert_eq!(lease.as_deref(), Some(b"held".as_slice()), "a lease outlives its ring");
    match silent.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Ok(_) => panic!("bytes nobody sent"),
    }
    drop((client, silent));
    assert_eq!(descriptors(), before);
}
