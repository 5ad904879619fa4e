//! The few socket calls that std does not offer, behind safe functions. Any thread.
#![expect(unsafe_code, reason = "system calls on sockets")]

use crate::error::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The length of a C structure, as the calls want it.
#[expect(clippy::cast_possible_truncation, reason = "socket addresses are far below 4 GiB")]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const AF_INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const AF_INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

/// An eventfd at zero.
pub(crate) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: takes no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    owned(fd)
}

/// A fresh TCP socket for connecting to `to`, with TCP_NODELAY; bound to `source` if given, its port chosen at
/// connect, so that one source address serves many destinations.
pub fn stream_socket(to: SocketAddr, source: Option<IpAddr>) -> Result<OwnedFd, Errno> {
    let socket = tcp_socket(to)?;
    set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(source) = source {
        set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        bind(socket.as_fd(), SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// The address of the peer of a connected TCP socket.
pub fn peer_address(socket: &impl AsFd) -> Result<SocketAddr, Errno> {
    address(|storage, length| {
        // SAFETY: `storage` has room for `length` bytes.
        unsafe { libc::getpeername(socket.as_fd().as_raw_fd(), storage, length) }
    })
}

/// The address a TCP socket is bound to.
pub fn local_address(socket: &impl AsFd) -> Result<SocketAddr, Errno> {
    address(|storage, length| {
        // SAFETY: `storage` has room for `length` bytes.
        unsafe { libc::getsockname(socket.as_fd().as_raw_fd(), storage, length) }
    })
}

pub(crate) fn tcp_socket(family_of: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if family_of.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no memory.
    owned(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_TCP) })
}

pub(crate) fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let value = std::ptr::from_ref(&value).cast();
    // SAFETY: the value is an int that outlives the call.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length_of::<i32>()) })
}

pub(crate) fn bind(socket: BorrowedFd<'_>, to: SocketAddr) -> Result<(), Errno> {
    let address = address_bytes(to);
    let length = libc::socklen_t::try_from(address.len()).unwrap_or(0);
    // SAFETY: the address outlives the call, and the kernel copies `length` bytes of it.
    done(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) })
}

pub(crate) fn listen(socket: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    done(unsafe { libc::listen(socket.as_raw_fd(), i32::try_from(backlog).unwrap_or(i32::MAX)) })
}

/// Shuts a direction, or both; whether the socket was connected.
pub(crate) fn shutdown(socket: &impl AsFd, how: i32) -> bool {
    // SAFETY: takes no memory.
    unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), how) == 0 }
}

/// The kernel's form of an address.
pub(crate) fn address_bytes(address: SocketAddr) -> Vec<u8> {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: AF_INET,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            bytes_of(&raw)
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: AF_INET6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            bytes_of(&raw)
        }
    }
}

/// The bytes of a socket address structure (which have no padding).
fn bytes_of<T>(raw: &T) -> Vec<u8> {
    // SAFETY: called for `sockaddr_in` and `sockaddr_in6` only: every byte of them is a field, and initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(raw).cast::<u8>(), size_of::<T>()) }.to_vec()
}

fn address(call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32) -> Result<SocketAddr, Errno> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = length_of::<libc::sockaddr_storage>();
    done(call(storage.as_mut_ptr().cast(), &raw mut length))?;
    // SAFETY: all zeroes is a valid storage, and the kernel wrote at most its length.
    let storage = unsafe { storage.assume_init() };
    let start = std::ptr::from_ref(&storage);
    match storage.ss_family {
        AF_INET => {
            // SAFETY: the family says so, and the storage is large and aligned enough for every family.
            let raw = unsafe { &*start.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
        }
        AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*start.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Ok(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), raw.sin6_flowinfo, raw.sin6_scope_id)
                .into())
        }
        _ => Err(Errno(libc::EAFNOSUPPORT)),
    }
}

fn owned(fd: i32) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(Errno::of(&io::Error::last_os_error()));
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(result: i32) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}
