//! The shards' counters as metrics, summed over the shards where a sum means something.

use crate::login::LoginCounts;
use crate::metrics::{Kind, Sample, Value};
use bitsim_engine::probe::{Drop, Refusal};
use bitsim_protocol::Violation;
use bitsim_shards::Report;

/// Upper bounds of the turn histogram, seconds.
const TURN_BOUNDS: [f64; 23] = [
    0.000_001, 0.000_002, 0.000_004, 0.000_008, 0.000_016, 0.000_032, 0.000_064, 0.000_128, 0.000_256,
    0.000_512, 0.001_024, 0.002_048, 0.004_096, 0.008_192, 0.016_384, 0.032_768, 0.065_536, 0.131_072,
    0.262_144, 0.524_288, 1.048_576, 2.097_152, 4.194_304,
];

const QOS: [&str; 3] = ["0", "1", "2"];

/// Every metric of the shards and of log-in.
pub(super) fn samples(reports: &[Report], login: Option<LoginCounts>) -> Vec<Sample> {
    let mut out = Vec::new();
    totals(reports, &mut out);
    messages(reports, &mut out);
    labelled(reports, &mut out);
    accepting(reports, &mut out);
    shards(reports, &mut out);
    if let Some(login) = login {
        for (label, value) in [
            ("granted", login.granted),
            ("refused", login.refused),
            ("busy", login.busy),
            ("waiting", login.waiting),
        ] {
            out.push(
                Sample::counter("bitsim_logins_total", "Log-in attempts by outcome.", value)
                    .with("outcome", label),
            );
        }
    }
    out
}

fn sum(reports: &[Report], of: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(of).sum()
}

fn totals(reports: &[Report], out: &mut Vec<Sample>) {
    let gauge = |name, help, of: fn(&Report) -> u64| Sample::gauge(name, help, sum(reports, of));
    let counter = |name, help, of: fn(&Report) -> u64| Sample::counter(name, help, sum(reports, of));
    let links = sum(reports, |r| r.counters.links).max(1);
    out.extend([
        gauge("bitsim_connections", "Connections that are open.", |r| r.counters.links),
        gauge("bitsim_sessions", "Sessions, connected or not.", |r| r.counters.sessions),
        gauge("bitsim_subscriptions", "Subscriptions.", |r| r.counters.subscriptions),
        gauge("bitsim_retained_messages", "Retained messages.", |r| r.counters.retained),
        gauge("bitsim_retained_bytes", "Bytes of retained messages.", |r| r.counters.retained_bytes),
        gauge("bitsim_table_bytes", "Bytes of the tables of links, sessions, filters and timers.", |r| {
            r.table_bytes as u64
        }),
        Sample::gauge(
            "bitsim_table_bytes_per_connection",
            "Bytes of the tables, divided by the connections.",
            sum(reports, |r| r.table_bytes as u64) / links,
        ),
        counter("bitsim_connects_total", "CONNECT packets that were accepted.", |r| r.counters.connects),
        counter("bitsim_packets_received_total", "Packets received.", |r| r.counters.packets_in),
        counter("bitsim_received_bytes_total", "Bytes received.", |r| r.counters.bytes_in),
        counter("bitsim_sent_bytes_total", "Bytes handed to the kernel.", |r| r.counters.bytes_out),
        counter("bitsim_wills_total", "Will messages sent.", |r| r.counters.wills),
        counter("bitsim_log_appends_total", "Messages written to a log.", |r| r.counters.appends),
        counter("bitsim_log_reads_total", "Pages read from logs.", |r| r.counters.log_reads),
        counter("bitsim_store_commits_total", "Batches given to the store.", |r| r.counters.commits),
    ]);
}

fn messages(reports: &[Report], out: &mut Vec<Sample>) {
    let (count, bytes) =
        ("PUBLISH packets by direction and QoS.", "Bytes of PUBLISH packets by direction and QoS.");
    for (i, qos) in QOS.into_iter().enumerate() {
        let at = |counts: &[u64; 3]| counts.get(i).copied().unwrap_or(0);
        let directions = [
            (
                "in",
                sum(reports, |r| at(&r.counters.publishes_in)),
                sum(reports, |r| at(&r.counters.publish_bytes_in)),
            ),
            (
                "out",
                sum(reports, |r| at(&r.counters.publishes_out)),
                sum(reports, |r| at(&r.counters.publish_bytes_out)),
            ),
        ];
        for (direction, messages, total) in directions {
            let label = |sample: Sample| sample.with("direction", direction).with("qos", qos);
            out.push(label(Sample::counter("bitsim_messages_total", count, messages)));
            out.push(label(Sample::counter("bitsim_message_bytes_total", bytes, total)));
        }
    }
}

fn labelled(reports: &[Report], out: &mut Vec<Sample>) {
    for (i, why) in Drop::ALL.iter().enumerate() {
        let value = sum(reports, |r| r.counters.drops.get(i).copied().unwrap_or(0));
        out.push(
            Sample::counter("bitsim_dropped_total", "Messages not delivered or not kept.", value)
                .with("reason", why.label()),
        );
    }
    for (i, why) in Refusal::ALL.iter().enumerate() {
        let value = sum(reports, |r| r.counters.refusals.get(i).copied().unwrap_or(0));
        out.push(
            Sample::counter("bitsim_refusals_total", "What policy refused.", value)
                .with("reason", why.label()),
        );
    }
    for (i, what) in Violation::ALL.iter().enumerate() {
        let value = sum(reports, |r| r.counters.violations.get(i).copied().unwrap_or(0));
        out.push(
            Sample::counter("bitsim_violations_total", "Rules of MQTT that clients broke.", value)
                .with("kind", what.label()),
        );
    }
}

/// What became of connections before a session had them.
fn accepting(reports: &[Report], out: &mut Vec<Sample>) {
    let refused = [
        ("connections_max", sum(reports, |r| r.refused_max)),
        ("rate", sum(reports, |r| r.refused_rate)),
        ("no_slot", sum(reports, |r| r.no_slot)),
    ];
    for (reason, value) in refused {
        let help = "Connections closed when they were accepted.";
        out.push(Sample::counter("bitsim_connections_refused_total", help, value).with("reason", reason));
    }
    out.push(Sample::counter(
        "bitsim_accept_pauses_total",
        "Times that accepting paused for want of descriptors or memory.",
        sum(reports, |r| r.accept_pauses),
    ));
    out.push(Sample::counter(
        "bitsim_connections_moved_total",
        "Connections given to the shard of their session.",
        sum(reports, |r| r.moved),
    ));
}

fn shards(reports: &[Report], out: &mut Vec<Sample>) {
    for (shard, report) in reports.iter().enumerate() {
        let label = |sample: Sample| sample.with("shard", shard.to_string());
        let (first, second) = report.lane_depths;
        out.push(
            label(Sample::gauge("bitsim_lane_items", "Mail that waits to leave a shard.", first as u64))
                .with("lane", "first"),
        );
        out.push(
            label(Sample::gauge("bitsim_lane_items", "Mail that waits to leave a shard.", second as u64))
                .with("lane", "second"),
        );
        out.push(label(Sample::counter(
            "bitsim_homed_messages_total",
            "Messages whose topic has its home on a shard.",
            report.counters.homed,
        )));
        out.push(label(Sample::counter(
            "bitsim_sleeps_total",
            "Times a shard waited for work.",
            report.sleeps,
        )));
        let value = Value::Histogram {
            bounds: &TURN_BOUNDS,
            counts: report.turns.to_vec(),
            #[expect(clippy::cast_precision_loss, reason = "seconds for a chart")]
            sum: report.turn_us as f64 / 1e6,
        };
        let help = "Length of a shard's turns: how long whatever comes next may have to wait.";
        out.push(label(Sample {
            name: "bitsim_loop_lag_seconds",
            help,
            kind: Kind::Histogram,
            labels: Vec::new(),
            value,
        }));
    }
}
