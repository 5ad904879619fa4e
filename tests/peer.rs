//! A raw MQTT connection for tests: bytes out, whole packets in, every wait bounded.
//!
//! A `Peer` belongs to one test thread. It answers nothing by itself: acknowledgements are the test's business.
//! Each wait ends with a panic that says what was expected, so a silent server fails a test rather than hanging it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::packet::{self, Connack, Connect, Delivery, Packet, Publish};

/// How long a server may take for what it must do at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must happen for "nothing happens".
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// How the other side ended the connection, and what it said before.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) packets: Vec<Packet>,
}

impl Closed {
    /// The reason code of a last CONNACK or DISCONNECT, if there was one.
    pub(crate) fn reason(&self) -> Option<u8> {
        let last = self.packets.last()?;
        match last.first {
            packet::CONNACK => last.body.get(1).copied(),
            packet::DISCONNECT => Some(last.body.first().copied().unwrap_or(0)),
            _ => None,
        }
    }

    /// Passes if the server gave this reason or closed without one [MQTT-4.13.2-1].
    pub(crate) fn silent_or(&self, allowed: &[u8]) {
        if let Some(reason) = self.reason() {
            assert!(allowed.contains(&reason), "closed with {reason:#04x}, allowed {allowed:#04x?}");
        }
        for each in &self.packets {
            assert!(
                matches!(each.first, packet::CONNACK | packet::DISCONNECT),
                "unexpected packet before the close: {each:?}"
            );
        }
    }
}

pub(crate) struct Peer {
    stream: TcpStream,
    version: u8,
    received: Vec<u8>,
    ready: VecDeque<Packet>,
    ended: bool,
    next_id: u16,
}

impl Peer {
    /// A TCP connection without CONNECT.
    pub(crate) fn open(at: SocketAddr, version: u8) -> Self {
        Self::from_stream(TcpStream::connect_timeout(&at, PATIENCE).unwrap(), version)
    }

    /// A connection that was made otherwise.
    pub(crate) fn from_stream(stream: TcpStream, version: u8) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, version, received: Vec::new(), ready: VecDeque::new(), ended: false, next_id: 0 }
    }

    /// Connects and expects to be accepted.
    pub(crate) fn connect(at: SocketAddr, connect: &Connect) -> (Self, Connack) {
        Self::open(at, connect.version).accepted(connect)
    }

    /// The same over a connection that was made otherwise.
    pub(crate) fn over(stream: TcpStream, connect: &Connect) -> Self {
        Self::from_stream(stream, connect.version).accepted(connect).0
    }

    fn accepted(mut self, connect: &Connect) -> (Self, Connack) {
        self.send(&connect.bytes());
        let connack = self.packet().connack(connect.version);
        assert_eq!(connack.reason, 0, "connection refused: {connack:?}");
        (self, connack)
    }

    /// Connects with a clean session and default settings.
    pub(crate) fn clean(at: SocketAddr, version: u8, id: &str) -> Self {
        Self::connect(at, &Connect::new(version, id)).0
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends what the server may no longer want: a reset while writing is an answer too.
    pub(crate) fn send_lossy(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// A packet identifier not used by this peer before.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// The next packet.
    pub(crate) fn packet(&mut self) -> Packet {
        match self.packet_within(PATIENCE) {
            Some(packet) => packet,
            None if self.ended => panic!("the server closed the connection where a packet was expected"),
            None => panic!("no packet within {PATIENCE:?}"),
        }
    }

    /// The next packet, if one comes in time; none also when the server closed.
    pub(crate) fn packet_within(&mut self, limit: Duration) -> Option<Packet> {
        let until = Instant::now() + limit;
        while self.ready.is_empty() && !self.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.read_some(left);
        }
        self.ready.pop_front()
    }

    /// The next packet, which must be of this kind.
    pub(crate) fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.packet();
        assert_eq!(packet.kind(), kind, "expected {kind:#04x}, got {packet:?}");
        packet
    }

    /// Puts a packet back to the front.
    pub(crate) fn unread(&mut self, packet: Packet) {
        self.ready.push_front(packet);
    }

    /// The first packet of this kind; what comes before it stays in line. For answers, which messages may overtake.
    pub(crate) fn pick(&mut self, kind: u8) -> Packet {
        let mut passed = VecDeque::new();
        let found = loop {
            let packet = self.packet();
            if packet.kind() == kind {
                break packet;
            }
            passed.push_back(packet);
        };
        passed.append(&mut self.ready);
        self.ready = passed;
        found
    }

    /// The next packet, which must be a PUBLISH.
    pub(crate) fn delivery(&mut self) -> Delivery {
        self.packet().publish(self.version)
    }

    /// The next PUBLISH, acknowledged to the end as a conforming client does.
    pub(crate) fn delivery_acknowledged(&mut self) -> Delivery {
        let delivery = self.delivery();
        match delivery.qos {
            1 => self.send(&packet::ack(packet::PUBACK, delivery.id)),
            2 => {
                self.send(&packet::ack(packet::PUBREC, delivery.id));
                assert_eq!(self.pick(packet::PUBREL).id(), delivery.id);
                self.send(&packet::ack(packet::PUBCOMP, delivery.id));
            }
            _ => {}
        }
        delivery
    }

    /// Subscribes to one filter and expects the grant to be `options & 3`.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) {
        let id = self.fresh_id();
        self.send(&packet::subscribe(self.version, id, &[(filter, options)]));
        let suback = self.pick(packet::SUBACK);
        assert_eq!(suback.id(), id);
        assert_eq!(suback.reasons(self.version), [options & 3], "grant for {filter}");
    }

    /// Publishes and carries the exchange to its end, expecting success.
    pub(crate) fn publish(&mut self, topic: &str, qos: u8, payload: &str) {
        self.publish_as(Publish::new(self.version, topic, payload), qos);
    }

    /// The same for a packet with flags and properties of its own.
    pub(crate) fn publish_as(&mut self, publish: Publish, qos: u8) {
        let id = if qos > 0 { self.fresh_id() } else { 0 };
        self.send(&publish.qos(qos, id).bytes());
        if qos == 1 {
            let puback = self.pick(packet::PUBACK);
            assert_eq!((puback.id(), puback.ack_reason() & 0x80), (id, 0), "{puback:?}");
        }
        if qos == 2 {
            let pubrec = self.pick(packet::PUBREC);
            assert_eq!((pubrec.id(), pubrec.ack_reason() & 0x80), (id, 0), "{pubrec:?}");
            self.send(&packet::ack(packet::PUBREL, id));
            let pubcomp = self.pick(packet::PUBCOMP);
            assert_eq!((pubcomp.id(), pubcomp.ack_reason()), (id, 0), "{pubcomp:?}");
        }
    }

    /// Waits for the answer to a PINGREQ: the server has handled all that was sent before.
    pub(crate) fn ping(&mut self) {
        self.send(&packet::PINGREQ);
        self.pick(packet::PINGRESP);
    }

    /// Whether the server answers, and then says nothing for a while and does not close.
    pub(crate) fn answered_and_left_alone(&mut self) -> bool {
        self.packet_within(PATIENCE).is_some() && self.packet_within(QUIET).is_none() && !self.ended
    }

    /// Nothing arrives for a while, and the connection stays.
    pub(crate) fn quiet(&mut self) {
        let got = self.packet_within(QUIET);
        assert!(got.is_none(), "nothing was expected, got {got:?}");
        assert!(!self.ended, "the server closed the connection");
    }

    /// The server closes the connection; what it says before is handed over.
    pub(crate) fn closed(&mut self) -> Closed {
        self.closed_within(PATIENCE)
    }

    pub(crate) fn closed_within(&mut self, limit: Duration) -> Closed {
        let mut packets = Vec::new();
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.packet_within(left) {
                Some(packet) => packets.push(packet),
                None if self.ended => return Closed { packets },
                None => panic!("the connection is still open after {limit:?}; seen {packets:?}"),
            }
        }
    }

    /// Ends in order, so no will is sent.
    pub(crate) fn leave(mut self) {
        self.send_lossy(&packet::disconnect());
        self.closed();
    }

    /// Cuts the connection without DISCONNECT.
    pub(crate) fn vanish(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Closes the sending half only.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The socket, for tests of the transport itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn read_some(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(len) => self.received.extend_from_slice(&chunk[..len]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => self.ended = true,
            },
        }
        let mut at = 0;
        while let Some((packet, len)) = split_packet(&self.received[at..]) {
            self.ready.push_back(packet);
            at += len;
        }
        self.received.drain(..at);
    }
}

/// Removes what a test retained.
pub(crate) fn forget(at: SocketAddr, topic: &str) {
    let mut peer = Peer::clean(at, 4, "");
    peer.publish_as(Publish::new(4, topic, "").retain(), 1);
    peer.leave();
}

/// One whole packet from the front, with the bytes it took.
fn split_packet(bytes: &[u8]) -> Option<(Packet, usize)> {
    let mut len = 0;
    for at in 1..=4 {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let end = at + 1 + len;
            let body = bytes.get(at + 1..end)?.to_vec();
            return Some((Packet { first: bytes[0], body }, end));
        }
    }
    panic!("a length of more than four bytes from the server: {:?}", &bytes[..5]);
}
