//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::{DURATION_BOUNDS_MICROS, HistogramSnapshot};

/// What a family of samples measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
}

impl FamilyKind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Text that is being written, family after family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The family whose samples come now.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// The `Content-Type` of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a family. `name` must be a valid name of a metric, and no other family of the text may have it.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: FamilyKind, help: &str) -> Family<'a> {
        let text = &mut self.text;
        push(text, format_args!("# HELP {name} "));
        for c in help.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        push(text, format_args!("\n# TYPE {name} {}\n", kind.name()));
        Family { text, name }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: FamilyKind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample. Counters up to 2^53 are exact; beyond, nobody counts.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, None, Number(value));
    }

    /// One sample of an integer.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        self.line("", labels, None, value);
    }

    /// One histogram of durations, in seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], snapshot: &HistogramSnapshot) {
        self.buckets(labels, &DURATION_BOUNDS_MICROS, &snapshot.buckets, snapshot.micros);
    }

    /// One histogram in seconds. `counts` are not cumulative: one for each bound, and one for what is beyond.
    pub fn buckets(&mut self, labels: &[(&str, &str)], bounds_micros: &[u64], counts: &[u64], sum_micros: u64) {
        let mut total = 0_u64;
        let bounds = bounds_micros.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(counts) {
            total = total.wrapping_add(*count);
            self.line("_bucket", labels, Some(Number(bound)), total);
        }
        self.line("_sum", labels, None, Number(seconds(sum_micros)));
        self.line("_count", labels, None, total);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<Number>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            self.text.push(separator);
            separator = ',';
            push(self.text, format_args!("{name}=\""));
            escape(self.text, value);
            self.text.push('"');
        }
        if let Some(bound) = bound {
            push(self.text, format_args!("{separator}le=\"{bound}\""));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        push(self.text, format_args!(" {value}\n"));
    }
}

/// The value of a label.
fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A number as the format wants it.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => value.fmt(f),
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = text.write_fmt(what);
}
