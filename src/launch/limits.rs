//! Settings as the engine's limits.

use crate::settings::{Durable, RefusedFilter, Settings};
use bitsim_engine::limits::Limits;
use bitsim_protocol::{ReasonCode, TopicLimits};

/// Bounds of lanes are per pair of shards.
pub(super) fn limits(settings: &Settings) -> Limits {
    let (packets, connections, session) = (&settings.packets, &settings.connections, &settings.session);
    let shards = u32::from(super::shard_count(settings));
    Limits {
        connect_timeout_ms: connections.connect_timeout_secs * 1000,
        connections_max: connections.max,
        connect_rate_max: connections.rate.div_ceil(shards),
        connect_burst_max: connections.rate_burst.div_ceil(shards),
        connect_rate_on_loopback: connections.rate_on_loopback,
        sessions_max: session.max.div_ceil(u64::from(shards)),
        prelogin_bytes_max: clamp(connections.prelogin_bytes_max),
        packet_bytes_max: packets.bytes_max,
        topic: TopicLimits { bytes_max: settings.topics.bytes_max, levels_max: settings.topics.levels_max },
        receive_max: packets.receive_max,
        inflight_max: packets.inflight_max,
        inflight_max_v3: packets.inflight_v3_max,
        keep_alive_max_secs: connections.keep_alive_secs_max,
        idle_timeout_secs: u32::try_from(connections.idle_secs_max).unwrap_or(u32::MAX),
        subscriptions_max: session.subscriptions_max,
        queue_messages_max: session.queue_messages_max,
        queue_bytes_max: clamp(session.queue_bytes_max),
        user_properties_max: packets.user_properties_max,
        user_property_bytes_max: clamp(packets.user_property_bytes_max),
        alias_in_max: packets.alias_in_max,
        alias_in_bytes_max: clamp(packets.alias_in_bytes_max),
        alias_out_max: packets.alias_out_max,
        outbox_bytes_max: clamp(connections.outbox_bytes_max),
        held_bytes_max: clamp(connections.held_bytes_max),
        retained_messages_max: settings.retained.max,
        retained_bytes_max: settings.retained.bytes_max,
        session_expiry_max_secs: session.expiry_secs_max,
        session_expiry_v3_secs: session.expiry_secs_max,
        short_wildcards_max: settings.topics.short_wildcards_max,
        qos_max: packets.qos_max,
        retain_available: settings.retained.available,
        refused_filter: match settings.access.refused_filter {
            RefusedFilter::NotAuthorized => ReasonCode::NotAuthorized,
            RefusedFilter::Unspecified => ReasonCode::UnspecifiedError,
        },
        lane_items_max: clamp(
            settings.runtime.lane_first_items_max.max(settings.runtime.lane_second_items_max),
        ),
        lane_bytes_max: clamp(settings.runtime.lane_first_bytes_max),
        publish_rate_max: connections.publish_rate,
        store_refusal_ms: connections.publish_pause_secs_max * 1000,
        never_durable: settings
            .topic_classes
            .iter()
            .filter(|class| class.durable == Durable::Never)
            .map(|class| class.filter.as_str().into())
            .collect(),
        ..Limits::default()
    }
}

fn clamp(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
