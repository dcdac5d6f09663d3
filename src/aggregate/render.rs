//! The answer as JSON text. Written by hand: sums of ints may be wider than what a JSON library's numbers hold, and `jsonb` takes
//! any number.

use super::accumulate::{State, Stats, Terms, from_ordered_bits};
use super::{Aggregation, Buckets, Facet, Number, Range, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_FACET_ANSWER_BYTES;
use crate::schema::AttributeType;
use crate::timestamp;
use std::fmt::Write as _;

impl Aggregation {
    /// One object with a key for each facet.
    ///
    /// # Errors
    /// `Exhausted` for one that is too large.
    pub fn to_json(&self) -> Result<String> {
        let facets = self.facets.iter().zip(&self.states).map(|(facet, state)| {
            let body = match (state, &facet.shape) {
                (State::Terms { terms, missing }, Shape::Terms { limit }) => {
                    render_terms(terms, facet, *limit, *missing)
                }
                (State::Stats(stats), _) => render_stats(stats, facet.kind),
                (State::Histogram { buckets, missing }, Shape::Histogram(widths)) => {
                    let buckets = buckets.iter().filter_map(|(place, count)| widths.render(*place, *count)).collect();
                    render_buckets("histogram", buckets, *missing)
                }
                (State::Range { counts, missing }, Shape::Range(ranges)) => {
                    let buckets = ranges.iter().zip(counts).map(|(range, count)| range.render(*count)).collect();
                    render_buckets("range", buckets, *missing)
                }
                _ => "null".to_string(),
            };
            format!("{}:{body}", quoted(&facet.name))
        });
        let json = format!("{{{}}}", facets.collect::<Vec<_>>().join(","));
        if json.len() <= MAX_FACET_ANSWER_BYTES {
            return Ok(json);
        }
        let message = format!("facets of {} bytes are more than {MAX_FACET_ANSWER_BYTES}", json.len());
        Err(Error::new(ErrorKind::Exhausted, message).with_hint("Ask for fewer terms or fewer facets."))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A float as `to_jsonb` of PostgreSQL writes it.
fn float(value: f64) -> String {
    match value {
        value if value.is_nan() => "\"NaN\"".to_string(),
        f64::INFINITY => "\"Infinity\"".to_string(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_string(),
        value => serde_json::Value::from(value).to_string(),
    }
}

fn number(value: Number, kind: AttributeType) -> String {
    match value {
        Number::Int(micros) if kind == AttributeType::Timestamp => quoted(&timestamp::format(micros)),
        Number::Int(int) => int.to_string(),
        Number::Float(value) => float(value),
    }
}

/// The most frequent first, equally frequent ones by value.
fn render_terms(terms: &Terms, facet: &Facet, limit: usize, missing: u64) -> String {
    let (buckets, other) = match terms {
        Terms::Text(terms) => top(terms.iter(), limit, |text| quoted(text)),
        Terms::Uuid(terms) => top(terms.iter(), limit, |uuid| quoted(&uuid.to_string())),
        Terms::Int(terms) => top(terms.iter(), limit, |value| match facet.kind {
            AttributeType::Bool => (*value != 0).to_string(),
            AttributeType::Float => float(from_ordered_bits(*value)),
            kind => number(Number::Int(*value), kind),
        }),
    };
    format!("{{\"type\":\"terms\",\"buckets\":[{}],\"other\":{other},\"missing\":{missing}}}", buckets.join(","))
}

fn top<'t, K: Ord + 't>(
    terms: impl Iterator<Item = (&'t K, &'t u64)>,
    limit: usize,
    value: impl Fn(&K) -> String,
) -> (Vec<String>, u64) {
    let mut terms: Vec<(&K, u64)> = terms.map(|(key, count)| (key, *count)).collect();
    let order = |a: &(&K, u64), b: &(&K, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
    let mut other = 0;
    if terms.len() > limit {
        terms.select_nth_unstable_by(limit, order);
        other = terms.drain(limit..).map(|(_, count)| count).sum();
    }
    terms.sort_unstable_by(order);
    let buckets = terms.iter().map(|(key, count)| format!("{{\"value\":{},\"count\":{count}}}", value(key)));
    (buckets.collect(), other)
}

fn render_stats(stats: &Stats, kind: AttributeType) -> String {
    let mut out = format!("{{\"type\":\"stats\",\"count\":{},\"nulls\":{}", stats.count, stats.nulls);
    let bound = |value: Option<Number>| value.map_or("null".to_string(), |value| number(value, kind));
    let (least, greatest) = stats.range.unzip();
    let _ = write!(out, ",\"min\":{},\"max\":{}", bound(least), bound(greatest));
    let (sum, average) = match kind {
        _ if stats.count == 0 => (None, None),
        AttributeType::Int => {
            let count = i128::from(stats.count);
            // Whole part and rest apart: each is nearer to the truth than the sum as a float.
            let average = (stats.ints / count) as f64 + (stats.ints % count) as f64 / stats.count as f64;
            (Some(stats.ints.to_string()), Some(average))
        }
        AttributeType::Float => {
            let sum = stats.floats.value();
            (Some(float(sum)), Some(sum / stats.count as f64))
        }
        _ => (None, None),
    };
    if kind != AttributeType::Timestamp {
        let null = || "null".to_string();
        let _ = write!(out, ",\"sum\":{},\"avg\":{}", sum.unwrap_or_else(null), average.map_or_else(null, float));
    }
    out.push('}');
    out
}

fn render_buckets(kind: &str, buckets: Vec<String>, missing: u64) -> String {
    format!("{{\"type\":\"{kind}\",\"buckets\":[{}],\"missing\":{missing}}}", buckets.join(","))
}

impl Buckets {
    fn render(self, place: i128, count: u64) -> Option<String> {
        let (from, to) = match self {
            Self::Int { interval, offset } => {
                let start = i128::from(offset) + place * i128::from(interval);
                (start.to_string(), (start + i128::from(interval)).to_string())
            }
            Self::Float { interval, offset } => {
                let bound = |place: f64| float(offset + place * interval);
                (bound(place as f64), bound(place as f64 + 1.0))
            }
            Self::Time { interval, offset } => {
                let (start, end) = interval.bucket(i64::try_from(place).ok()?)?;
                let bound = |micros: i64| quoted(&timestamp::format(micros.saturating_add(offset)));
                (bound(start), bound(end))
            }
        };
        Some(format!("{{\"from\":{from},\"to\":{to},\"count\":{count}}}"))
    }
}

impl Range {
    fn render(&self, count: u64) -> String {
        let mut out = String::from("{");
        if let Some(key) = &self.key {
            let _ = write!(out, "\"key\":{},", quoted(key));
        }
        for (name, bound) in [("from", &self.from), ("to", &self.to)] {
            if let Some(bound) = bound {
                let _ = write!(out, "\"{name}\":{},", bound.written);
            }
        }
        let _ = write!(out, "\"count\":{count}}}");
        out
    }
}
