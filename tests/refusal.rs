//! What every refusal must look like: the connection closes, and the reason, where one is given, is a right one.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker;
use crate::packet::{Connect, DISCONNECT};
use crate::peer::{Closed, Peer};

/// Reason codes for bytes that are no packet, or a packet out of place.
pub(crate) const MALFORMED: &[u8] = &[0x81, 0x82];

/// The protocol levels that share the rules of 3.1.1, and 5.
pub(crate) const VERSIONS: [u8; 3] = [3, 4, 5];

/// Sends `bytes` as the first of a connection and expects the close.
pub(crate) fn first(version: u8, bytes: &[u8], allowed: &[u8]) -> Closed {
    let mut peer = Peer::open(broker::at(), version);
    peer.send_lossy(bytes);
    check(version, &mut peer, allowed)
}

/// Sends `bytes` on a connection that was accepted and expects the close.
pub(crate) fn connected(version: u8, bytes: &[u8], allowed: &[u8]) -> Closed {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let id = format!("refusal-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut peer = Peer::clean(broker::at(), version, &id);
    peer.send_lossy(bytes);
    check(version, &mut peer, allowed)
}

/// Sends a CONNECT and expects the close.
pub(crate) fn connect(connect: &Connect, allowed: &[u8]) -> Closed {
    first(connect.version, &connect.bytes(), allowed)
}

/// The close, by the rules of the version: before MQTT 5 a server has no DISCONNECT to send.
pub(crate) fn check(version: u8, peer: &mut Peer, allowed: &[u8]) -> Closed {
    let closed = peer.closed();
    if version < 5 {
        assert!(closed.packets.iter().all(|packet| packet.first != DISCONNECT), "{closed:?}");
    }
    closed.silent_or(allowed);
    closed
}
