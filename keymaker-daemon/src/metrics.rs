//! What a daemon counts, in the text format of Prometheus ("Text-based format", version 0.0.4): the one place that
//! writes it. Each daemon says what its metrics are; docs/metrics.md has them for people.
//!
//! Labels are the daemons' own words: a counter's are `&'static str`, so that no user's name and no client's text can
//! become one, and there are as many as the code has words for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A metric: what it is called, what its labels are, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, which begins with the daemon's.
    pub name: &'static str,
    /// Whether it can fall.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, as a sentence.
    pub help: &'static str,
}

/// Each metric of a daemon as a constant, and all of them as `METRICS`, in the documentation's order.
#[macro_export]
macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal,)*) => {
        $(const $constant: $crate::metrics::Metric = $crate::metrics::Metric {
            name: $name,
            kind: $crate::metrics::MetricKind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the documentation's order.
        pub const METRICS: &[$crate::metrics::Metric] = &[$($constant,)*];
    };
}

impl Metric {
    /// Its row in docs/metrics.md.
    pub fn row(&self) -> String {
        let Self { name, kind, help, .. } = self;
        format!("| `{name}` | {} | {} | {help} |", kind.word(), self.labels.join(", "))
    }
}

/// Whether a metric can fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises, from zero at the daemon's start; its name ends in `_total`.
    Counter,
    /// It is what it is now.
    Gauge,
}

impl MetricKind {
    /// The format's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Counts of one metric by its labels.
#[derive(Debug, Default)]
pub struct Counts<const LABELS: usize>(RefCell<BTreeMap<[&'static str; LABELS], u64>>);

impl<const LABELS: usize> Counts<LABELS> {
    /// None yet of these. Prometheus sees no increase in a count that was not there before.
    pub fn from_zero<const WORDS: usize>(labels: [[&'static str; LABELS]; WORDS]) -> Self {
        Self(RefCell::new(labels.map(|labels| (labels, 0)).into()))
    }

    /// One more of these.
    pub fn count(&self, labels: [&'static str; LABELS]) {
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(labels).or_default();
        *count = count.saturating_add(1);
    }

    /// How many there were of these.
    pub fn of(&self, labels: [&'static str; LABELS]) -> u64 {
        self.0.borrow().get(&labels).copied().unwrap_or_default()
    }
}

/// The text under construction.
#[derive(Debug, Default)]
pub struct MetricsText(String);

impl MetricsText {
    /// Adds a metric without labels.
    pub fn add(&mut self, metric: &Metric, value: f64) {
        self.add_each(metric, [([""; 0], value)]);
    }

    /// Adds counts.
    pub fn add_counts<const LABELS: usize>(&mut self, metric: &Metric, counts: &Counts<LABELS>) {
        let counts = counts.0.borrow();
        self.add_each(metric, counts.iter().map(|(labels, count)| (*labels, *count as f64)));
    }

    /// Adds a metric with a value for each combination of labels.
    pub fn add_each<const LABELS: usize>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = ([impl AsRef<str>; LABELS], f64)>,
    ) {
        debug_assert_eq!(metric.labels.len(), LABELS, "{}", metric.name);
        let Metric { name, kind, help, .. } = metric;
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
        for (labels, value) in values {
            let pairs = metric.labels.iter().zip(&labels);
            let pairs: Vec<String> = pairs
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value.as_ref())))
                .collect();
            let labels = match pairs.as_slice() {
                [] => String::new(),
                pairs => format!("{{{}}}", pairs.join(",")),
            };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// The whole.
    pub fn finish(self) -> String {
        self.0
    }
}

/// "`label_value` can be any sequence of UTF-8 characters, but the backslash, double-quote, and line feed characters have
/// to be escaped."
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_formats_own() {
        let metric = |name, kind, labels| Metric {
            name,
            kind,
            labels,
            help: "What it says.",
        };
        let counts = Counts::from_zero([["a", ""]]);
        counts.count(["b", ""]);
        counts.count(["b", ""]);
        counts.count(["a", "x"]);
        assert_eq!(counts.of(["b", ""]), 2);
        let mut text = MetricsText::default();
        text.add(&metric("d_users", MetricKind::Gauge, &[]), 5.0);
        text.add(&metric("d_age_seconds", MetricKind::Gauge, &[]), 1.5);
        text.add_counts(
            &metric("d_logins_total", MetricKind::Counter, &["event", "reason"]),
            &counts,
        );
        text.add_each(&metric("d_info", MetricKind::Gauge, &["v"]), [(["a\\b\"c\nd"], 1.0)]);
        let wanted = "# HELP d_users What it says.\n# TYPE d_users gauge\nd_users 5\n\
            # HELP d_age_seconds What it says.\n# TYPE d_age_seconds gauge\nd_age_seconds 1.5\n\
            # HELP d_logins_total What it says.\n# TYPE d_logins_total counter\n\
            d_logins_total{event=\"a\",reason=\"\"} 0\nd_logins_total{event=\"a\",reason=\"x\"} 1\nd_logins_total{event=\"b\",reason=\"\"} 2\n\
            # HELP d_info What it says.\n# TYPE d_info gauge\nd_info{v=\"a\\\\b\\\"c\\nd\"} 1\n";
        assert_eq!(text.finish(), wanted);
    }
}
