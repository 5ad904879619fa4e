//! Tells the service manager how far we are (systemd, `Type=notify`): one datagram to the socket it named.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every listener accepts.
    Ready,
    /// The last reload, or what else there is, has ended; a line for `systemctl status`.
    Status(&'static str),
    /// SIGTERM was received.
    Stopping,
}

/// Tells it to whoever started us; to nobody if nobody asked for it.
pub fn tell(state: State) {
    let Some(address) = env::var_os("NOTIFY_SOCKET").and_then(|name| name.into_string().ok()) else { return };
    if let Err(error) = send(&address, state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

fn send(address: &str, state: State) -> io::Result<()> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let text = match state {
        State::Ready => "READY=1".to_owned(),
        State::Status(line) => format!("STATUS={line}"),
        State::Stopping => "STOPPING=1".to_owned(),
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn datagrams_reach_abstract_and_named_sockets() {
        let name = format!("bitsim-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        send(&format!("@{name}"), State::Ready).expect("sent");
        send(&format!("@{name}"), State::Status("reloaded")).expect("sent");
        assert_eq!((received(&socket).as_str(), received(&socket).as_str()), ("READY=1", "STATUS=reloaded"));
        let path = std::env::temp_dir().join(&name);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        send(path.to_str().expect("a path"), State::Stopping).expect("sent");
        assert_eq!(received(&socket), "STOPPING=1");
        std::fs::remove_file(&path).expect("removed");
        assert!(send(path.to_str().expect("a path"), State::Ready).is_err());
    }
}
