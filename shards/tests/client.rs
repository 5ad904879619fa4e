//! A client of MQTT 3.1.1 that writes its packets byte by byte, so that the broker's own codec is not its judge.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything takes here: a failing test ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// A connection on which nothing was sent.
    pub(crate) fn raw(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }

    /// A clean session.
    pub(crate) fn new(address: SocketAddr, id: &str) -> Client {
        let mut client = Client::raw(address);
        client.write(&connect(id, None));
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        string(&mut body, filter);
        body.push(qos);
        self.write(&frame(0x82, &body));
        assert_eq!(self.packet(), [0x90, 3, 0, 1, qos]);
    }

    pub(crate) fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) {
        let packet = publish(topic, qos, payload);
        self.write(&packet);
    }

    /// The next packet.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.try_packet().expect("a packet, not the end")
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1];
        match self.0.read(&mut packet) {
            Ok(1) => {}
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("nothing came: {error}"),
        }
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.0.read_exact(&mut packet[start..]).unwrap();
        Some(packet)
    }

    /// The payload of the next packet, a PUBLISH at QoS 0 or 1; acknowledges the latter.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        let packet = self.packet();
        assert_eq!(packet[0] >> 4, 3, "a PUBLISH, not {packet:?}");
        let start = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let topic = usize::from(packet[start]) << 8 | usize::from(packet[start + 1]);
        let mut at = start + 2 + topic;
        if packet[0] & 0x06 != 0 {
            self.write(&[0x40, 2, packet[at], packet[at + 1]]);
            at += 2;
        }
        packet[at..].to_vec()
    }

    /// Nothing more comes: the broker answers a ping at once, and closes after DISCONNECT.
    pub(crate) fn leave(mut self) {
        self.write(&[0xC0, 0]);
        assert_eq!(self.packet(), [0xD0, 0]);
        self.write(&[0xE0, 0]);
        assert_eq!(self.try_packet(), None);
    }
}

/// CONNECT of a clean session, with a user of that name if there is a password.
pub(crate) fn connect(id: &str, password: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 60];
    string(&mut body, id);
    if let Some(password) = password {
        body[7] |= 0xC0;
        string(&mut body, id);
        string(&mut body, password);
    }
    frame(0x10, &body)
}

/// PUBLISH; at QoS 1 with identifier 9.
pub(crate) fn publish(topic: &str, qos: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic);
    if qos > 0 {
        body.extend([0, 9]);
    }
    body.extend(payload);
    frame(0x30 | qos << 1, &body)
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let byte = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        packet.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}
