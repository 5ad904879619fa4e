//! What a run found out: named numbers with units, for people or as one line of JSON.

use serde_json::{Map, Value};

/// The figures of a run, in the order of their discovery.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    figures: Vec<(&'static str, f64, &'static str)>,
    /// What must be zero, and was not.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// Adds a figure; its name and its unit make its key in JSON.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push((name, value, unit));
    }

    /// Adds a count that makes the run a failure unless it is zero.
    pub(crate) fn must_be_zero(&mut self, name: &'static str, count: u64) {
        self.add(name, whole(count), "");
        if count > 0 {
            self.failures.push(format!("{count} {name}"));
        }
    }

    /// A line per figure.
    pub(crate) fn text(&self) -> String {
        self.figures.iter().fold(String::new(), |text, (name, value, unit)| {
            let places = if value.fract() == 0.0 { 0 } else { 3 };
            format!("{text}{name:<28} {value:>14.places$} {unit}\n")
        })
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        let figures = self.figures.iter().map(|(name, value, unit)| {
            let key = format!("{name} {unit}").trim_end().replace([' ', '/'], "_");
            (key, Value::from((value * 1000.0).round() / 1000.0))
        });
        Value::Object(figures.collect::<Map<_, _>>()).to_string()
    }
}

/// A count as a figure; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
pub(crate) fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_out_in_both_forms() {
        let mut outcome = Outcome::default();
        outcome.add("rate", 1234.5678, "messages/s");
        outcome.must_be_zero("lost messages", 0);
        assert!(outcome.failures.is_empty());
        outcome.must_be_zero("repeated messages", 2);
        assert_eq!(outcome.failures, ["2 repeated messages"]);
        let json = r#"{"lost_messages":0.0,"rate_messages_s":1234.568,"repeated_messages":2.0}"#;
        assert_eq!(outcome.json(), json);
        assert!(outcome.text().contains("rate"), "{}", outcome.text());
    }
}
