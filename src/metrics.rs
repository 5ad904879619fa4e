//! Metrics as plain data, and their text form for Prometheus (exposition format 0.0.4).
//!
//! Whoever counts hands over `Sample`s; nothing here keeps a value. Names and help are ours; label values may come
//! from a client, and are escaped. Samples of one name are written together, as the format demands.

use std::collections::HashMap;
use std::fmt::{self, Write};

/// What the text is announced as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a value behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises while the process lives. The name ends in `_total`.
    Counter,
    /// It rises and falls.
    Gauge,
    /// It counts observations by size.
    Histogram,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// A measured number.
    Real(f64),
    /// `counts[i]` observations were at most `bounds[i]` and above the bound before; the last count, one more than
    /// there are bounds, is of those above all bounds.
    Histogram {
        /// Upper bounds, rising.
        bounds: &'static [f64],
        /// Observations of each interval, not summed up.
        counts: Vec<u64>,
        /// Sum of all observations.
        sum: f64,
    },
}

/// One value with its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `bitsim_...`, with the unit and for counters `_total` at the end.
    pub name: &'static str,
    /// One line that says what is counted.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

impl Sample {
    /// A counter without labels.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Counter, labels: Vec::new(), value: Value::Whole(value) }
    }

    /// A gauge without labels.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: Vec::new(), value: Value::Whole(value) }
    }

    /// The same with one more label.
    #[must_use]
    pub fn with(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((label, value.into()));
        self
    }
}

/// The text of all samples. Names come in the order of their first sample.
#[must_use]
pub fn encode(samples: &[Sample]) -> String {
    let mut order: Vec<&'static str> = Vec::new();
    let mut by_name: HashMap<&'static str, Vec<&Sample>> = HashMap::new();
    for sample in samples {
        by_name.entry(sample.name).or_insert_with(|| {
            order.push(sample.name);
            Vec::new()
        });
        if let Some(family) = by_name.get_mut(sample.name) {
            family.push(sample);
        }
    }
    let mut out = String::with_capacity(samples.len() * 64);
    for family in order.iter().filter_map(|name| by_name.get(name)) {
        // Writing to a String cannot fail.
        let _ = write_family(&mut out, family);
    }
    out
}

fn write_family(out: &mut String, family: &[&Sample]) -> fmt::Result {
    let Some(first) = family.first() else { return Ok(()) };
    let kind = match first.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = first.help.replace('\\', "\\\\").replace('\n', "\\n");
    writeln!(out, "# HELP {} {help}\n# TYPE {} {kind}", first.name, first.name)?;
    for sample in family {
        match &sample.value {
            Value::Whole(value) => write_line(out, sample, "", None, &value.to_string())?,
            Value::Real(value) => write_line(out, sample, "", None, &real(*value))?,
            Value::Histogram { bounds, counts, sum } => {
                let mut total = 0_u64;
                let bounds = bounds.iter().map(|bound| real(*bound)).chain([real(f64::INFINITY)]);
                for (bound, count) in bounds.zip(counts) {
                    total = total.saturating_add(*count);
                    write_line(out, sample, "_bucket", Some(&bound), &total.to_string())?;
                }
                write_line(out, sample, "_sum", None, &real(*sum))?;
                write_line(out, sample, "_count", None, &total.to_string())?;
            }
        }
    }
    Ok(())
}

fn write_line(
    out: &mut String,
    sample: &Sample,
    suffix: &str,
    bound: Option<&str>,
    value: &str,
) -> fmt::Result {
    write!(out, "{}{suffix}", sample.name)?;
    let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_str()));
    let mut open = false;
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        write!(out, "{}{name}=\"", if open { ',' } else { '{' })?;
        open = true;
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                // The format allows them, terminals and pages do not like them.
                c if c.is_control() => out.push('\u{FFFD}'),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    writeln!(out, "{} {value}", if open { "}" } else { "" })
}

fn real(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together() {
        let samples = [
            Sample::counter("bitsim_a_total", "As.", 1).with("qos", "0"),
            Sample::gauge("bitsim_b", "Bs.", 7),
            Sample::counter("bitsim_a_total", "As.", 2).with("qos", "1").with("direction", "in"),
        ];
        assert_eq!(
            encode(&samples),
            "# HELP bitsim_a_total As.\n# TYPE bitsim_a_total counter\nbitsim_a_total{qos=\"0\"} 1\n\
             bitsim_a_total{qos=\"1\",direction=\"in\"} 2\n# HELP bitsim_b Bs.\n# TYPE bitsim_b gauge\nbitsim_b 7\n"
        );
    }

    #[test]
    fn a_label_cannot_break_out_of_its_line() {
        let text =
            encode(&[Sample::gauge("bitsim_x", "X.", 1).with("client", "a\"} 2\nbitsim_y 3\\\r\u{1b}[31m")]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(r#"client="a\"} 2\nbitsim_y 3\\"#), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\r'));
    }

    #[test]
    fn histogram_buckets_are_summed_up() {
        let value = Value::Histogram { bounds: &[0.001, 0.5], counts: vec![2, 3, 1], sum: 4.25 };
        let sample =
            Sample { name: "bitsim_lag_seconds", help: "Lag.", kind: Kind::Histogram, labels: vec![], value };
        let text = encode(&[sample]);
        for line in [
            "bitsim_lag_seconds_bucket{le=\"0.001\"} 2",
            "bitsim_lag_seconds_bucket{le=\"0.5\"} 5",
            "bitsim_lag_seconds_bucket{le=\"+Inf\"} 6",
            "bitsim_lag_seconds_sum 4.25",
            "bitsim_lag_seconds_count 6",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }
}
