//! What one shard bounds, as plain numbers. The settings (keys, defaults, bounds, documentation) are declared in the server binary;
//! a value of this type is replaced as a whole on a reload.

use bitsim_protocol::{ReasonCode, TopicLimits};

/// Limits and choices of an engine. Sizes are bytes, times are in the unit of the name.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte to a complete CONNECT.
    pub connect_timeout_ms: u64,
    /// Connections of the process, over all shards; the driver's to enforce.
    pub connections_max: u64,
    /// Connections that one shard accepts of an address (IPv6: of a /64) per second; 0: any number. The driver's to enforce.
    pub connect_rate_max: u32,
    /// The same at once, after a rest.
    pub connect_burst_max: u32,
    /// Whether loopback addresses are counted too.
    pub connect_rate_on_loopback: bool,
    /// Sessions of one shard, connected or not; a CONNECT that would make another is refused.
    pub sessions_max: u64,
    /// Bytes held of a link before its CONNECT is answered.
    pub prelogin_bytes_max: u32,
    /// Largest packet accepted, fixed header included; advertised to v5 clients.
    pub packet_bytes_max: u32,
    /// Length and levels of topic names and filters.
    pub topic: TopicLimits,
    /// Advertised to v5 clients and enforced.
    pub receive_max: u16,
    /// Unacknowledged messages towards a v5 client, besides its own Receive Maximum.
    pub inflight_max: u16,
    /// The same towards 3.1 and 3.1.1 clients.
    pub inflight_max_v3: u16,
    /// v5 keep-alive values above this (and 0) are replaced by it with Server Keep Alive. 0: no cap.
    pub keep_alive_max_secs: u16,
    /// If not 0, every v5 client is told this keep-alive.
    pub server_keep_alive_secs: u16,
    /// 3.1 and 3.1.1 clients without keep-alive are closed after this silence. 0: never.
    pub idle_timeout_secs: u32,
    /// Subscriptions of one session.
    pub subscriptions_max: u32,
    /// Messages of one session that wait outside a log.
    pub queue_messages_max: u32,
    /// Their bytes.
    pub queue_bytes_max: u32,
    /// User properties of one packet.
    pub user_properties_max: u16,
    /// Their bytes.
    pub user_property_bytes_max: u32,
    /// Topic aliases a client may set.
    pub alias_in_max: u16,
    /// Bytes of the topics behind them.
    pub alias_in_bytes_max: u32,
    /// Topic aliases that the broker sets, at most the client's own maximum.
    pub alias_out_max: u16,
    /// Bytes waiting to be sent on one link; QoS 0 is dropped above it.
    pub outbox_bytes_max: u32,
    /// Bytes held of a paused link before it is not read any more.
    pub held_bytes_max: u32,
    /// Retained messages of one shard.
    pub retained_messages_max: u64,
    /// Their bytes.
    pub retained_bytes_max: u64,
    /// Longest session expiry granted; longer ones are shortened, which v5 clients are told.
    pub session_expiry_max_secs: u32,
    /// Expiry of 3.1 and 3.1.1 sessions with clean session 0.
    pub session_expiry_v3_secs: u32,
    /// Wildcard filters that every shard must know (their literal prefix is shorter than the home levels).
    pub short_wildcards_max: u32,
    /// Highest QoS accepted and granted.
    pub qos_max: u8,
    /// Whether RETAIN is accepted.
    pub retain_available: bool,
    /// What SUBACK says of a filter that the access rules refuse; a failure code.
    pub refused_filter: ReasonCode,
    /// Mail of one lane to one shard: items.
    pub lane_items_max: u32,
    /// Mail of one lane to one shard: bytes.
    pub lane_bytes_max: u32,
    /// Publishes of one connection per second; 0: no limit. Above it reading pauses.
    pub publish_rate_max: u32,
    /// A publisher whose message the store could not take is closed after this time.
    pub store_refusal_ms: u64,
    /// Filters (as in `durable = "never"`) whose topics never get a log.
    pub never_durable: Vec<Box<str>>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect_timeout_ms: 10_000,
            connections_max: 1_000_000,
            connect_rate_max: 200,
            connect_burst_max: 2_000,
            connect_rate_on_loopback: false,
            sessions_max: 10_000_000,
            prelogin_bytes_max: 64 << 10,
            packet_bytes_max: 1 << 20,
            topic: TopicLimits { bytes_max: 1024, levels_max: 32 },
            receive_max: 1024,
            inflight_max: 1024,
            inflight_max_v3: 100,
            keep_alive_max_secs: 300,
            server_keep_alive_secs: 0,
            idle_timeout_secs: 0,
            subscriptions_max: 200,
            queue_messages_max: 1000,
            queue_bytes_max: 8 << 20,
            user_properties_max: 16,
            user_property_bytes_max: 4 << 10,
            alias_in_max: 10,
            alias_in_bytes_max: 10 << 10,
            alias_out_max: 10,
            outbox_bytes_max: 4 << 20,
            held_bytes_max: 64 << 10,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            session_expiry_max_secs: u32::MAX,
            session_expiry_v3_secs: 7 * 86_400,
            short_wildcards_max: 100_000,
            qos_max: 2,
            retain_available: true,
            refused_filter: ReasonCode::NotAuthorized,
            lane_items_max: 16_384,
            lane_bytes_max: 16 << 20,
            publish_rate_max: 0,
            store_refusal_ms: 30_000,
            never_durable: Vec::new(),
        }
    }
}
