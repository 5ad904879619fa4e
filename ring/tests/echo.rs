//! Bytes in, the same bytes out.

use crate::rig::{Rig, alone, drive, settle, small};
use bitsim_ring::{Event, Receive, ReceiveEnd, Ring, RingUsage, SlotError, SlotId, stream_socket};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// What a slot still has to send, and whether its peer is done.
#[derive(Default)]
struct Outbox {
    waiting: Vec<u8>,
    sending: bool,
    ended: bool,
}

/// One echo turn: one send in flight per slot, the rest coalesced.
fn echo(ring: &mut Ring, boxes: &mut HashMap<SlotId, Outbox>, event: Event) {
    let slot = match event {
        Event::Accepted { connection, .. } => {
            let slot = ring.attach(connection).unwrap();
            ring.receive(slot, Receive::Multishot).unwrap();
            boxes.insert(slot, Outbox::default());
            return;
        }
        Event::Received { slot, data } => {
            boxes.get_mut(&slot).unwrap().waiting.extend_from_slice(&data);
            slot
        }
        Event::Sent { slot, .. } => {
            boxes.get_mut(&slot).unwrap().sending = false;
            slot
        }
        Event::ReceiveEnded { slot, end } => {
            assert_eq!(end, ReceiveEnd::Eof);
            boxes.get_mut(&slot).unwrap().ended = true;
            slot
        }
        Event::Closed { slot, .. } => {
            boxes.remove(&slot).unwrap();
            return;
        }
        other => panic!("{other:?}"),
    };
    let outbox = boxes.get_mut(&slot).unwrap();
    if !outbox.sending && !outbox.waiting.is_empty() {
        outbox.sending = true;
        ring.send(slot, std::mem::take(&mut outbox.waiting)).unwrap();
    } else if outbox.ended && !outbox.sending {
        ring.close(slot).unwrap();
    }
}

/// A client that writes and reads at once; answers whether it got back what it sent.
fn client(mut stream: TcpStream, seed: u8, bytes: usize) -> std::thread::JoinHandle<bool> {
    let sent: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect();
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.clone();
    std::thread::spawn(move || {
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        writing.join().unwrap();
        got == expected
    })
}

#[test]
fn many_connections_share_few_buffers() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let clients: Vec<_> =
        (0..20).map(|i| client(TcpStream::connect(rig.address).unwrap(), i, 300_000)).collect();
    let mut boxes = HashMap::new();
    let mut closed = 0;
    drive(&mut rig.ring, |ring, event| {
        closed += usize::from(matches!(event, Event::Closed { .. }));
        echo(ring, &mut boxes, event);
        closed == clients.len()
    });
    for client in clients {
        assert!(client.join().unwrap(), "bytes were lost or reordered");
    }
    assert!(boxes.is_empty());
    assert_eq!(rig.ring.counters().received_bytes, 20 * 300_000);
    assert_eq!(rig.ring.counters().sent_bytes, 20 * 300_000);
    assert!(rig.ring.counters().no_buffers > 0, "8 buffers for 20 busy connections were enough?");
    assert_eq!(rig.ring.usage(), RingUsage { listeners: 1, ..RingUsage::default() });
}

#[test]
fn a_one_shot_receive_takes_one_buffer() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.pair();
    client.write_all(&[7; 3000]).unwrap();
    for _ in 0..2 {
        rig.ring.receive(slot, Receive::Once).unwrap();
        let events = settle(&mut rig.ring, |ring| ring.usage().operations == 0);
        let lengths: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Received { data, .. } => data.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [1024]);
    }
}

#[test]
fn one_send_at_a_time() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let (slot, mut client) = rig.pair();
    rig.ring.send(slot, b"first".to_vec()).unwrap();
    let refused = rig.ring.send(slot, b"second".to_vec()).unwrap_err();
    assert_eq!((refused.error, refused.buffer.as_slice()), (SlotError::Busy, b"second".as_slice()));
    drive(&mut rig.ring, |_, event| matches!(event, Event::Sent { buffer, .. } if buffer == b"first"));
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"first");
}

#[test]
fn a_ring_connects_to_a_ring() {
    let _alone = alone();
    let mut rig = Rig::new(small());
    let mut other = Ring::new(small()).unwrap();
    let socket = stream_socket(rig.address, Some("127.0.0.1".parse().unwrap())).unwrap();
    let slot = other.attach(socket).unwrap();
    other.connect(slot, rig.address).unwrap();
    assert_eq!(other.detach(slot).unwrap_err(), SlotError::Busy);
    drive(&mut other, |_, event| matches!(event, Event::Connected { result: Ok(()), slot: s } if s == slot));
    drive(&mut rig.ring, |_, event| matches!(event, Event::Accepted { .. }));

    let nobody = "127.0.0.1:1".parse().unwrap();
    let slot = other.attach(stream_socket(nobody, None).unwrap()).unwrap();
    other.connect(slot, nobody).unwrap();
    drive(&mut other, |_, event| match event {
        Event::Connected { result, .. } => {
            assert_eq!(result.unwrap_err().0, libc::ECONNREFUSED);
            true
        }
        _ => false,
    });
}
