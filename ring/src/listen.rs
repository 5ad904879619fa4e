//! Listening addresses: claimed once per process, then listened on once per shard.
//!
//! Shards share an address by SO_REUSEPORT, which would let a second process of the same user share it silently. So a
//! claim first takes a lock (an abstract unix socket named after the address: held by one process per network
//! namespace, gone with it), then binds a probe with SO_REUSEADDR but without SO_REUSEPORT, which fails while anybody
//! listens there. The probe never listens and stays bound for the life of the claim: port 0 is chosen by it, and the
//! shards' sockets, which have SO_REUSEADDR too, bind beside it. Not detected: two processes started in the same
//! instant on overlapping but different addresses (0.0.0.0 and 127.0.0.1) of one port.
//! IPv6 sockets are IPV6_V6ONLY: `[::]` does not serve IPv4, list `0.0.0.0` beside it. Any thread.

use crate::error::Errno;
use crate::socket;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;

/// Why an address cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// Another process, or another claim of this one, has it.
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// No interface of this machine has it.
    AddressNotAvailable {
        /// The address.
        address: SocketAddr,
    },
    /// Ports below 1024 need CAP_NET_BIND_SERVICE.
    PermissionDenied {
        /// The address.
        address: SocketAddr,
    },
    /// Another error of the operating system.
    Failed {
        /// The address.
        address: SocketAddr,
        /// What it said.
        error: Errno,
    },
}

impl ListenError {
    fn new(address: SocketAddr, error: Errno) -> Self {
        match error.0 {
            libc::EADDRINUSE => Self::AddressInUse { address },
            libc::EADDRNOTAVAIL => Self::AddressNotAvailable { address },
            libc::EACCES | libc::EPERM => Self::PermissionDenied { address },
            _ => Self::Failed { address, error },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse { address } => write!(f, "{address} is in use by another process"),
            Self::AddressNotAvailable { address } => write!(f, "{address} is no address of this machine"),
            Self::PermissionDenied { address } => {
                write!(f, "not allowed to listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            Self::Failed { address, error } => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// An address that belongs to this process as long as this value lives.
#[derive(Debug)]
pub struct AddressClaim {
    address: SocketAddr,
    /// Bound, never listening.
    _probe: OwnedFd,
    _lock: unix::UnixListener,
}

impl AddressClaim {
    /// Claims an address. Port 0 takes a free port, the same for every listener of the claim.
    pub fn new(address: SocketAddr) -> Result<Self, ListenError> {
        let lock = if address.port() == 0 { None } else { Some(lock(address)?) };
        let probe = bound(address, false).map_err(|e| ListenError::new(address, e))?;
        let address = socket::local_address(&probe).map_err(|e| ListenError::new(address, e))?;
        let lock = match lock {
            Some(lock) => lock,
            None => self::lock(address)?,
        };
        Ok(Self { address, _probe: probe, _lock: lock })
    }

    /// The address, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One more listening socket, for one shard. Connections inherit TCP_NODELAY. `backlog` is cut by the kernel to
    /// `net.core.somaxconn`.
    pub fn listener(&self, backlog: u32) -> Result<OwnedFd, ListenError> {
        let listener = || {
            let socket = bound(self.address, true)?;
            socket::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
            socket::listen(socket.as_fd(), backlog)?;
            Ok(socket)
        };
        listener().map_err(|e| ListenError::new(self.address, e))
    }
}

fn bound(address: SocketAddr, shared: bool) -> Result<OwnedFd, Errno> {
    let socket = socket::tcp_socket(address)?;
    socket::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if shared {
        socket::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        socket::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    socket::bind(socket.as_fd(), address)?;
    Ok(socket)
}

fn lock(address: SocketAddr) -> Result<unix::UnixListener, ListenError> {
    let name = format!("bitsim/listen/{address}");
    unix::SocketAddr::from_abstract_name(name)
        .and_then(|name| unix::UnixListener::bind_addr(&name))
        .map_err(|e| ListenError::new(address, Errno::of(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn local(v6: bool) -> SocketAddr {
        if v6 { "[::1]:0".parse().unwrap() } else { "127.0.0.1:0".parse().unwrap() }
    }

    #[test]
    fn shards_share_the_port_a_claim_chose() {
        for v6 in [false, true] {
            let claim = AddressClaim::new(local(v6)).unwrap();
            assert_ne!(claim.address().port(), 0);
            let listeners: Vec<_> = (0..3).map(|_| TcpListener::from(claim.listener(16).unwrap())).collect();
            for listener in &listeners {
                assert_eq!(listener.local_addr().unwrap(), claim.address());
                listener.set_nonblocking(true).unwrap();
            }
            let client = TcpStream::connect(claim.address()).unwrap();
            let accepted = loop {
                if let Some(accepted) = listeners.iter().find_map(|l| l.accept().ok()) {
                    break accepted;
                }
                std::thread::yield_now();
            };
            assert!(accepted.0.nodelay().unwrap());
            assert_eq!(socket::peer_address(&accepted.0).unwrap(), client.local_addr().unwrap());
        }
    }

    #[test]
    fn an_address_is_claimed_once() {
        let claim = AddressClaim::new(local(false)).unwrap();
        let address = claim.address();
        // Locked, before anybody listens.
        assert_eq!(AddressClaim::new(address).unwrap_err(), ListenError::AddressInUse { address });
        drop(claim);
        drop(AddressClaim::new(address).unwrap());
    }

    #[test]
    fn a_foreign_listener_is_seen_even_if_it_shares_its_port() {
        let claim = AddressClaim::new(local(false)).unwrap();
        let address = claim.address();
        let foreign = claim.listener(16).unwrap();
        drop(claim);
        assert_eq!(AddressClaim::new(address).unwrap_err(), ListenError::AddressInUse { address });
        drop(foreign);
        drop(AddressClaim::new(address).unwrap());
    }

    #[test]
    fn errors_are_told_apart() {
        let address = "192.0.2.1:1".parse().unwrap();
        let error = AddressClaim::new(address).unwrap_err();
        assert_eq!(error, ListenError::AddressNotAvailable { address });
    }
}
