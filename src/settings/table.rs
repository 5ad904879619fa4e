//! The table of settings: the one place where a key, its default, unit and bounds are written.
//!
//! A row reads: documentation, field, type, default, unit, bounds (`None` where there is no number), and whether a
//! reload applies a change or only a restart does. `docs/OPERATING.md` is compared with this table by a test. Where
//! a number has 0 for "off", its documentation says so. Numbers that must agree are compared in `rules.rs`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::choice::{Anonymous, Durable, LogFormat, LogLevel, RefusedFilter};
use super::spec::section;
use super::value::Secret;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const YEAR_SECS: u64 = 366 * 86_400;

section! {
    /// One address that MQTT clients connect to.
    Listener = "listeners[]" {
        "Address and port to listen on; port 0 picks a free one."
        address: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883), None, None, Restart;
        "Name space of the client ids: a session belongs to (namespace, client id)."
        namespace: String = "default".to_owned(), None, None, Restart;
        "Who may connect without a user name. `auto`: everybody on a loopback address while no `login.password_file` is set, else nobody."
        anonymous: Anonymous = Anonymous::Auto, None, None, Restart;
    }
}

section! {
    /// The HTTP listener: health, metrics, administration.
    Http = "http" {
        "Address and port of health, metrics and administration, or `off`."
        address: Option<SocketAddr> = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)), None, None, Restart;
        "Token that `/admin` asks for as `Authorization: Bearer`. Without one, `/admin` is closed. At least 16 bytes."
        admin_token: Secret = Secret::default(), None, None, Reload;
        "File whose first line is that token; instead of `http.admin_token`."
        admin_token_file: Option<PathBuf> = None, None, None, Reload;
        "HTTP connections at the same time; more wait in the backlog."
        connections_max: u32 = 64, Count, Some((1, 10_000)), Restart;
        "Live traces at the same time; more are refused with 429."
        traces_max: u32 = 4, Count, Some((0, 64)), Restart;
        "Time an administrative request may take before it is answered with 504."
        request_timeout_ms: u64 = 5_000, Millis, Some((100, 60_000)), Restart;
    }
}

section! {
    /// Threads, rings and the queues between shards.
    Runtime = "runtime" {
        "Number of shards; 0 for one per core this process may use."
        shards: usize = 0, Count, Some((0, 256)), Restart;
        "Cores to pin the shards to, in turn; empty for those this process may use."
        cores: Vec<usize> = Vec::new(), None, Some((0, 4_095)), Restart;
        "Receive buffers of each shard's ring; a power of two."
        ring_buffers: u16 = 128, Count, Some((8, 32_768)), Restart;
        "Size of one receive buffer; a power of two."
        ring_buffer_bytes: usize = 16 * KIB, Bytes, Some((1_024, 1 << 20)), Restart;
        "Submission entries of each shard's ring; a power of two."
        ring_entries: u32 = 4_096, Count, Some((64, 32_768)), Restart;
        "How long a waiting shard lets completions gather (kernel 6.12 or newer): less CPU for more latency; 0 for off."
        min_wait_us: u32 = 0, Micros, Some((0, 10_000)), Reload;
        "Length of the queue of connections not yet accepted, per listener."
        listen_backlog: u32 = 4_096, Count, Some((1, 65_535)), Restart;
        "Batches waiting in a shard's first lane (publish, subscribe, store requests); beyond it, the sockets that feed it are paused."
        lane_first_items_max: usize = 1_024, Count, Some((16, 1_048_576)), Restart;
        "Bytes waiting in that lane."
        lane_first_bytes_max: usize = 16 * MIB, Bytes, Some((65_536, 4 << 30)), Restart;
        "Batches waiting in a shard's second lane (forwards and answers); beyond it, whoever fills it waits, and at three times as many QoS 0 is dropped."
        lane_second_items_max: usize = 4_096, Count, Some((16, 1_048_576)), Restart;
        "Time from SIGTERM to the end, in which clients are told and outboxes are flushed."
        shutdown_secs: u64 = 30, Seconds, Some((1, 600)), Reload;
    }
}

section! {
    /// Where messages and sessions are kept.
    Store = "store" {
        "Folder of the embedded store. Not available in this version: the store is in memory and ends with the process."
        data: Option<PathBuf> = None, None, None, Restart;
    }
}

section! {
    /// Topics in all, and the classes of them.
    Topics = "topics" {
        "How many leading levels decide which shard is the home of a topic."
        home_levels: u8 = 2, Count, Some((1, 8)), Restart;
        "Longest topic name or filter."
        bytes_max: u16 = 1_024, Bytes, Some((16, 65_535)), Restart;
        "Most levels of a topic name or filter."
        levels_max: u16 = 32, Count, Some((1, 128)), Restart;
        "Wildcard filters shorter than `home_levels` in all, each of which every shard holds; beyond it, SUBSCRIBE is answered 0x97."
        short_wildcards_max: u32 = 10_000, Count, Some((0, 10_000_000)), Reload;
        "Interval of the messages below `$SYS/broker`; 0 for none."
        sys_interval_secs: u32 = 10, Seconds, Some((0, 86_400)), Reload;
    }
}

section! {
    /// What holds for all topics that one filter matches. The first class that matches counts.
    TopicClass = "topics.classes[]" {
        "The topics of the class, as a topic filter. Each class must have one."
        filter: String = String::new(), None, None, Restart;
        "Whether these topics may have a log for durable sessions."
        durable: Durable = Durable::Auto, None, None, Restart;
    }
}

section! {
    /// How clients log in.
    Login = "login" {
        "File of user names and password hashes, written by `bitsim passwd`."
        password_file: Option<PathBuf> = None, None, None, Reload;
        "Threads that verify passwords, beside the shards."
        threads: usize = 2, Count, Some((1, 64)), Restart;
        "Log-ins waiting for such a thread; beyond it, a client is told that the server is busy."
        queue_max: usize = 1_024, Count, Some((1, 65_536)), Restart;
        "Of these, for one address (IPv6: one /64)."
        queue_per_address_max: usize = 256, Count, Some((1, 65_536)), Reload;
        "Wrong passwords of one (account, address) that cost no waiting."
        attempts_free: u32 = 3, Count, Some((0, 1_000)), Reload;
        "First waiting time after them; it doubles with each wrong password."
        backoff_secs_min: u64 = 1, Seconds, Some((1, 3_600)), Reload;
        "Longest waiting time."
        backoff_secs_max: u64 = 60, Seconds, Some((1, 86_400)), Reload;
        "Whether loopback addresses wait too. They are exempt by default: behind a local proxy all clients share one."
        backoff_on_loopback: bool = false, None, None, Reload;
        "Pairs of (account, address) remembered for this."
        backoff_entries_max: usize = 65_536, Count, Some((16, 16_777_216)), Restart;
    }
}

section! {
    /// Who may read and write which topics.
    Access = "access" {
        "File of access rules, one a line. With it or with `access.rules`, what no rule allows is refused; without both, everything is allowed."
        file: Option<PathBuf> = None, None, None, Reload;
        "Access rules in the configuration itself, as the lines of the file would be."
        rules: Vec<String> = Vec::new(), None, None, Reload;
        "What SUBACK tells an MQTT 5 client of a filter that the rules refuse: `not-authorized` (0x87), or `unspecified` (0x80), which does not say why. MQTT 3.1.1 knows 0x80 alone."
        refused_filter: RefusedFilter = RefusedFilter::NotAuthorized, None, None, Reload;
    }
}

section! {
    /// Connections before and after log-in.
    Connections = "connections" {
        "MQTT connections in all; beyond it, a new one is closed when it is accepted."
        max: u64 = 1_000_000, Count, Some((1, 100_000_000)), Reload;
        "Connections one address (IPv6: one /64) may open in a second, dealt evenly to the shards; beyond it, they are closed when they are accepted; 0 for any number."
        rate: u32 = 200, PerSecond, Some((0, 1_000_000)), Reload;
        "Connections it may open at once after a rest, dealt likewise."
        rate_burst: u32 = 2_000, Count, Some((1, 10_000_000)), Reload;
        "Whether loopback addresses are held to that too. They are exempt by default: behind a local proxy all clients share one."
        rate_on_loopback: bool = false, None, None, Reload;
        "Time from accept to the last byte of CONNECT, in all."
        connect_timeout_secs: u64 = 10, Seconds, Some((1, 300)), Reload;
        "Largest CONNECT packet."
        prelogin_bytes_max: usize = 64 * KIB, Bytes, Some((1_024, 1 << 20)), Reload;
        "Longest keep-alive of an MQTT 5 client; who asks for more, or for none, gets this as Server Keep Alive; 0 for no limit."
        keep_alive_secs_max: u16 = 300, Seconds, Some((0, 65_535)), Reload;
        "An MQTT 3 client that asked for no keep-alive is closed after this silence; 0 for never."
        idle_secs_max: u64 = 86_400, Seconds, Some((0, YEAR_SECS)), Reload;
        "Bytes waiting to be sent to one connection; beyond it, QoS 0 is dropped, then the link is closed."
        outbox_bytes_max: usize = 4 * MIB, Bytes, Some((16_384, 1 << 30)), Reload;
        "Bytes read from a paused connection and held."
        held_bytes_max: usize = 64 * KIB, Bytes, Some((4_096, 16 << 20)), Reload;
        "Messages a client may publish; 0 for any number. Beyond it, reading pauses."
        publish_rate: u32 = 0, PerSecond, Some((0, 100_000_000)), Reload;
        "A client paused this long by its rate is closed (MQTT 5: 0x97)."
        publish_pause_secs_max: u64 = 30, Seconds, Some((1, 3_600)), Reload;
    }
}

section! {
    /// Packets and windows.
    Packets = "packets" {
        "Largest packet after log-in, told to MQTT 5 clients as Maximum Packet Size."
        bytes_max: u32 = 1 << 20, Bytes, Some((1_024, 268_435_460)), Reload;
        "Receive Maximum told to MQTT 5 clients: QoS 1 and 2 messages of one client not yet acknowledged. MQTT 3 clients are paused at it."
        receive_max: u16 = 1_024, Count, Some((1, 65_535)), Reload;
        "QoS 1 and 2 messages sent to an MQTT 5 client and not acknowledged; its own Receive Maximum holds if lower."
        inflight_max: u16 = 1_024, Count, Some((1, 65_535)), Reload;
        "The same for MQTT 3 clients, which cannot say a number of their own."
        inflight_v3_max: u16 = 100, Count, Some((1, 65_535)), Reload;
        "Highest QoS, told to MQTT 5 clients as Maximum QoS."
        qos_max: u8 = 2, None, Some((0, 2)), Restart;
        "User properties of one packet."
        user_properties_max: u16 = 16, Count, Some((0, 1_000)), Reload;
        "Bytes of one user property, name and value together."
        user_property_bytes_max: usize = 4 * KIB, Bytes, Some((2, 131_070)), Reload;
        "Topic Alias Maximum told to MQTT 5 clients: aliases one client may set."
        alias_in_max: u16 = 10, Count, Some((0, 65_535)), Reload;
        "Bytes of topic names behind the aliases of one client."
        alias_in_bytes_max: usize = 16 * KIB, Bytes, Some((1_024, 64 << 20)), Reload;
        "Aliases we set to one MQTT 5 client; its own Topic Alias Maximum holds if lower; 0 for none."
        alias_out_max: u16 = 10, Count, Some((0, 65_535)), Reload;
    }
}

section! {
    /// Each session.
    Session = "session" {
        "Sessions in all, connected or not, dealt evenly to the shards; beyond it, a CONNECT that would make one is refused (MQTT 5: 0x97, MQTT 3: 3)."
        max: u64 = 10_000_000, Count, Some((1, 1_000_000_000)), Reload;
        "Longest time a session outlives its connection; who asks for more gets this."
        expiry_secs_max: u32 = 7_776_000, Seconds, Some((0, u32::MAX as u64)), Reload;
        "Subscriptions of one session; beyond it, SUBSCRIBE is answered 0x97."
        subscriptions_max: u32 = 200, Count, Some((1, 1_000_000)), Reload;
        "Messages waiting for one session outside a log."
        queue_messages_max: u32 = 1_000, Count, Some((1, 10_000_000)), Reload;
        "Bytes of those."
        queue_bytes_max: usize = 8 * MIB, Bytes, Some((4_096, 4 << 30)), Reload;
    }
}

section! {
    /// Retained messages.
    Retained = "retained" {
        "Whether messages are retained; told to MQTT 5 clients as Retain Available."
        available: bool = true, None, None, Restart;
        "Retained messages in all."
        max: u64 = 10_000_000, Count, Some((0, 1 << 40)), Reload;
        "Bytes of those, topic names included."
        bytes_max: u64 = 1 << 30, Bytes, Some((0, 1 << 50)), Reload;
    }
}

section! {
    /// The log, on standard error.
    Log = "log" {
        "How lines look: for people, or one JSON object each."
        format: LogFormat = LogFormat::Text, None, None, Restart;
        "The least important line that is still written."
        level: LogLevel = LogLevel::Info, None, None, Reload;
    }
}
