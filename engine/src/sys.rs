//! The `$SYS/broker/#` topics, as Mosquitto names them. Shard 0 publishes them as retained messages once per interval,
//! from totals of the whole process that its driver collects.

/// Sums over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Name and version of the broker.
    pub version: String,
    /// Seconds since the start.
    pub uptime_secs: u64,
    /// Links with a session.
    pub clients_connected: u64,
    /// Sessions without a link.
    pub clients_disconnected: u64,
    /// Most links at once.
    pub clients_maximum: u64,
    /// Durable sessions that expired.
    pub clients_expired: u64,
    /// Packets received.
    pub packets_received: u64,
    /// PUBLISH packets received.
    pub publish_received: u64,
    /// PUBLISH packets sent.
    pub publish_sent: u64,
    /// Messages dropped, all reasons.
    pub publish_dropped: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Retained messages.
    pub retained: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// User memory of the process, bytes.
    pub heap_bytes: u64,
}

impl Totals {
    /// Topic and value of each.
    pub fn topics(&self) -> [(&'static str, String); 18] {
        let total = self.clients_connected + self.clients_disconnected;
        [
            ("$SYS/broker/version", self.version.clone()),
            ("$SYS/broker/uptime", format!("{} seconds", self.uptime_secs)),
            ("$SYS/broker/clients/connected", self.clients_connected.to_string()),
            ("$SYS/broker/clients/active", self.clients_connected.to_string()),
            ("$SYS/broker/clients/disconnected", self.clients_disconnected.to_string()),
            ("$SYS/broker/clients/inactive", self.clients_disconnected.to_string()),
            ("$SYS/broker/clients/maximum", self.clients_maximum.to_string()),
            ("$SYS/broker/clients/expired", self.clients_expired.to_string()),
            ("$SYS/broker/clients/total", total.to_string()),
            ("$SYS/broker/messages/received", self.packets_received.to_string()),
            ("$SYS/broker/publish/messages/received", self.publish_received.to_string()),
            ("$SYS/broker/publish/messages/sent", self.publish_sent.to_string()),
            ("$SYS/broker/publish/messages/dropped", self.publish_dropped.to_string()),
            ("$SYS/broker/bytes/received", self.bytes_received.to_string()),
            ("$SYS/broker/bytes/sent", self.bytes_sent.to_string()),
            ("$SYS/broker/retained messages/count", self.retained.to_string()),
            ("$SYS/broker/subscriptions/count", self.subscriptions.to_string()),
            ("$SYS/broker/heap/current", self.heap_bytes.to_string()),
        ]
    }
}
