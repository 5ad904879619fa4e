//! Clients that take more than their share: of descriptors, of connections, of memory by never reading, of log-ins.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use sha2::{Digest, Sha512};

use crate::broker::{self, Broker};
use crate::family::{self, Witness, repeats, told};
use crate::metrics::metric;
use crate::packet::{self, Connect, Publish, prop_u16, subscribe};
use crate::peer::{PATIENCE, Peer};

/// Clock ticks of CPU time that the process has used, 100 a second.
fn cpu_ticks(broker: &Broker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid.unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A connection that has said CONNECT and hears nothing yet.
fn knock(broker: &Broker, id: &str) -> Peer {
    let mut peer = Peer::open(broker.mqtt, 4);
    peer.send_lossy(&Connect::new(4, id).bytes());
    peer
}

/// Without descriptors those who are there go on, those who come wait, and waiting costs no CPU; who leaves makes room.
#[test]
fn bad_resources_without_descriptors_new_connections_wait() {
    if broker::is_foreign() {
        return;
    }
    for shards in ["1", "2"] {
        let settings = ["--shards", shards, "--set", "connections.connect_timeout_secs=60"];
        let broker = Broker::start_under(&["prlimit", "--nofile=64:64"], &settings);
        let mut witness = Witness::new(&broker);
        let mut outside: Vec<Peer> =
            (0..60).map(|number| knock(&broker, &format!("waits-{number}"))).collect();
        let mut inside = come_in(&mut outside);
        assert!(!inside.is_empty() && outside.len() > 10, "{} came in", inside.len());
        let before = cpu_ticks(&broker);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            witness.check();
            inside.iter_mut().for_each(Peer::ping);
        }
        let ticks = cpu_ticks(&broker) - before;
        assert!(ticks < 60, "{ticks} hundredths of CPU in two seconds of waiting");
        // Nobody who waits is lost, or told anything wrong.
        while !outside.is_empty() {
            inside.drain(..).for_each(Peer::vanish);
            inside = come_in(&mut outside);
            assert!(!inside.is_empty(), "{} still wait", outside.len());
        }
        inside.iter_mut().for_each(Peer::ping);
        drop(inside);
        witness.alone(&broker);
        assert!(metric(&broker, "bitsim_accept_pauses_total") > 0);
        told(&format!("{shards} shards, {ticks} hundredths of CPU in two seconds without descriptors"));
    }
}

/// Takes those out of `outside` who are let in within a while.
fn come_in(outside: &mut Vec<Peer>) -> Vec<Peer> {
    let until = Instant::now() + Duration::from_secs(1);
    let mut inside = Vec::new();
    while Instant::now() < until {
        for at in (0..outside.len()).rev() {
            if let Some(packet) = outside[at].packet_within(Duration::from_millis(1)) {
                assert_eq!(packet.connack(4).reason, 0);
                inside.push(outside.remove(at));
            }
        }
    }
    inside
}

/// A connection from another address of the loopback net.
fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0)).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// Ten thousand connections as fast as they can be made from one address: beyond its rate they are closed at accept,
/// another address is served as ever, and nothing of them stays.
#[test]
fn bad_resources_ten_thousand_connections_from_one_address() {
    if broker::is_foreign() {
        return;
    }
    let settings =
        ["connections.rate=100", "connections.rate_burst=200", "connections.rate_on_loopback=true"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let broker = Broker::start_plain(&settings);
    let mut witness = Witness::new(&broker);
    let mut flood = |count: usize| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..count / 4 {
                        let mut stream = from(2, broker.mqtt);
                        // Some say CONNECT, some nothing.
                        if number.is_multiple_of(2) {
                            let _ = stream.write_all(&Connect::new(4, "").bytes());
                        }
                    }
                });
            }
            while start.elapsed() < Duration::from_secs(1) {
                witness.check();
                Peer::over(from(3, broker.mqtt), &Connect::new(4, "another-address")).leave();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        start.elapsed()
    };
    let count = (10 * repeats()).min(20_000);
    flood(count / 2);
    let before = broker.resident_kib();
    let took = flood(count);
    let after = family::await_memory(&broker, before);
    let refused = metric(&broker, "bitsim_connections_refused_total{reason=\"rate\"}");
    assert!(refused > 0);
    witness.alone(&broker);
    told(&format!(
        "{} connections in {took:?}, {refused} refused in all, resident {before} KiB before, {after} KiB after, a bystander's slowest message: {:?}",
        count,
        witness.slowest()
    ));
}

/// Writes until the other side takes no more for a while, or closes; the bytes that went.
fn pour(mut stream: &TcpStream, bytes: &[u8], limit: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut poured = 0;
    while poured < limit {
        match stream.write(bytes) {
            // What is cut off in the middle of a packet does not matter: whole ones of the same length follow.
            Ok(len) => poured += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    poured
}

/// Requests without end, whose answers are never read: bounded for each kind of answer, and the connection ends.
#[test]
fn bad_resources_answers_that_nobody_reads_are_bounded() {
    let broker = Broker::for_family(&["--set", "connections.outbox_bytes_max=131072"]);
    let mut witness = Witness::new(&broker);
    for version in [4, 5] {
        for (name, kibibytes, request) in [
            ("PINGREQ", 12_288, packet::PINGREQ.to_vec()),
            ("PUBLISH of QoS 1", 12_288, Publish::new(version, "q", "").qos(1, 1).bytes()),
            ("PUBLISH of QoS 2", 12_288, Publish::new(version, "q", "").qos(2, 1).bytes()),
            ("PUBREL", 12_288, packet::ack(packet::PUBREL, 9)),
            ("SUBSCRIBE", 2048, subscribe(version, 1, &[("r", 0)])),
            ("SUBSCRIBE of many", 512, subscribe(version, 1, &[("r", 0); 200])),
            ("UNSUBSCRIBE", 2048, packet::unsubscribe(version, 1, &["r"])),
        ] {
            let before = broker.resident_kib();
            let peer = Peer::clean(broker.mqtt, version, "never-reads");
            let whole = request.repeat(65_536 / request.len() + 1);
            let poured = pour(peer.stream(), &whole, kibibytes << 10);
            witness.check();
            let after = broker.resident_kib();
            assert!(
                after < before + 16 * 1024,
                "{name}: {before} KiB before, {after} KiB after {poured} bytes of requests (version {version})"
            );
            drop(peer);
            witness.alone(&broker);
        }
    }
    if broker.http.is_some() {
        // The answers to PINGREQ and to PUBREL are as long as the requests: more than any socket holds.
        let closed = metric(&broker, "bitsim_refusals_total{reason=\"slow_consumer\"}");
        assert!(closed >= 4, "{closed} were closed");
    }
    told(&format!("a bystander's slowest message: {:?}", witness.slowest()));
}

/// Readers that never read, one message in a hundred of QoS 1 among those they do not read: each costs its bound.
#[test]
fn bad_resources_many_readers_that_never_read_are_bounded() {
    let broker = Broker::for_family(&["--set", "connections.outbox_bytes_max=262144"]);
    let mut witness = Witness::new(&broker);
    let mut deaf: Vec<Peer> = (0..20)
        .map(|number| {
            let connect = Connect::new(5, &format!("deaf-{number}")).property(prop_u16(0x21, 10));
            let (mut peer, _) = Peer::connect(broker.mqtt, &connect);
            peer.subscribe("bad/flood", 1);
            peer
        })
        .collect();
    let mut publisher = Peer::clean(broker.mqtt, 4, "flood");
    let plain = Publish::new(4, "bad/flood", vec![b'x'; 10_000]).bytes().repeat(99);
    let mut flood = |rounds: usize| {
        for _ in 0..rounds {
            publisher.send(&plain);
            publisher.publish("bad/flood", 1, "one that should come");
            witness.check();
        }
    };
    // The buffers of the kernel are to be full as well.
    flood(10);
    let ((), before) = family::settle(&broker, || flood(5));
    flood(repeats() / 20);
    let after = family::await_memory(&broker, before);
    told(&format!(
        "{} MB for 20 that read none, resident {before} KiB before, {after} KiB after",
        repeats() / 20
    ));
    // They are served still, and hear the rest when they read.
    for peer in &mut deaf {
        assert_eq!(peer.delivery().topic, "bad/flood");
    }
    drop((deaf, publisher));
    witness.alone(&broker);
}

/// A hash that costs next to nothing, as Mosquitto once wrote it.
pub(crate) fn cheap_hash(password: &str) -> String {
    let hash = Sha512::new().chain_update(password).chain_update(b"salt").finalize();
    format!("$6${}${}", Base64::encode_string(b"salt"), Base64::encode_string(hash.as_slice()))
}

/// A password file of a test's own, with hashes that cost next to nothing.
fn accounts(name: &str, accounts: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.passwd", std::process::id()));
    let line = |(user, password): &(&str, &str)| format!("{user}:{}\n", cheap_hash(password));
    std::fs::write(&path, accounts.iter().map(line).collect::<String>()).unwrap();
    path
}

/// The code that refuses this log-in.
fn refusal(stream: TcpStream, connect: &Connect) -> u8 {
    let mut peer = Peer::from_stream(stream, connect.version);
    peer.send_lossy(&connect.bytes());
    peer.closed().reason().expect("a CONNACK")
}

/// A thousand wrong passwords for one account, from one address: that address waits for its turn, and the account's
/// owner comes in from another the whole time. A wrong name is answered like a wrong password.
#[test]
fn bad_resources_a_thousand_wrong_passwords() {
    if broker::is_foreign() {
        return;
    }
    let file = accounts("wrong", &[("victim", "right"), ("other", "right too")]);
    let path = format!("login.password_file={}", file.display());
    let broker = Broker::start_plain(&["--set", &path, "--set", "login.backoff_on_loopback=true"]);
    let owner = |id: &str| Connect::new(5, id).user("victim").password("right");
    let (mut connected, _) = Peer::connect(broker.mqtt, &owner("connected"));
    let mut codes = [0; 256];
    let mut slowest = Duration::ZERO;
    let done = family::repeat(&broker, |number| {
        let version = [5, 4][number % 2];
        let wrong = Connect::new(version, "guess").user("victim").password(format!("guess {number}"));
        codes[usize::from(refusal(from(2, broker.mqtt), &wrong))] += 1;
        // A name that does not exist, another each time: the table of those who wait is bounded.
        let unknown = Connect::new(5, "guess").user(format!("nobody-{number}")).password("right");
        assert_eq!(refusal(from(2, broker.mqtt), &unknown), 0x86);
        if number.is_multiple_of(50) {
            let start = Instant::now();
            Peer::over(from(3, broker.mqtt), &owner("elsewhere")).leave();
            slowest = slowest.max(start.elapsed());
            connected.ping();
        }
    });
    // A few are looked at, the rest is told to wait (MQTT 5) or that the server is not available (3.1.1).
    let (wrong, waits) = (codes[0x86] + codes[4], codes[0x9F] + codes[3]);
    assert_eq!(wrong + waits, done);
    assert!((1..100).contains(&wrong), "{wrong} passwords of {done} were looked at");
    assert!(slowest < PATIENCE / 2, "the owner waited {slowest:?}");
    // The right password from the address that guessed waits as well.
    assert_eq!(refusal(from(2, broker.mqtt), &owner("guessed")), 0x9F);
    told(&format!("{wrong} of {done} wrong passwords looked at, the owner's slowest log-in: {slowest:?}"));
    std::fs::remove_file(file).unwrap();
}

/// By default loopback does not wait; a thousand at once still leave the owner a place in the queue.
#[test]
fn bad_resources_many_log_ins_at_once_leave_room_for_the_owner() {
    if broker::is_foreign() {
        return;
    }
    let file = accounts("crowd", &[("victim", "right")]);
    let path = format!("login.password_file={}", file.display());
    let settings = ["--set", &path, "--set", "login.queue_max=64", "--set", "login.queue_per_address_max=32"];
    let broker = Broker::start_plain(&settings);
    let crowd: Vec<Peer> = (0..repeats().min(1000))
        .map(|number| {
            let mut peer = Peer::from_stream(from(2, broker.mqtt), 5);
            peer.send_lossy(
                &Connect::new(5, &format!("crowd-{number}")).user("victim").password("wrong").bytes(),
            );
            peer
        })
        .collect();
    let owner = Connect::new(5, "owner").user("victim").password("right");
    let mut owner = Peer::over(from(3, broker.mqtt), &owner);
    for mut peer in crowd {
        let reason = peer.closed().reason();
        assert!([Some(0x86), Some(0x88)].contains(&reason), "{reason:?}");
    }
    owner.ping();
    std::fs::remove_file(file).unwrap();
}
