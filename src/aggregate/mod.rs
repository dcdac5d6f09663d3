//! Counts over the rows that match: the facets of `elacsym.facets()`, for the engine (namespaces) and for backends (indexes).
//!
//! Everything is exact: terms are counted one by one, sums are exact before they are rounded once, so no result depends on the
//! order of the rows or on how they are spread over segments and partitions.

mod accumulate;
mod parse;
mod render;
mod sum;

pub use accumulate::Aggregation;

use crate::filter::Filter;
use crate::schema::{AttributeId, AttributeType};
use crate::timestamp::Interval;
use serde::{Deserialize, Serialize};

/// One facet, checked against the schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facet {
    /// Its name in the answer.
    pub name: String,
    /// What it counts.
    pub attribute: AttributeId,
    /// Type of the attribute.
    pub kind: AttributeType,
    /// How it counts.
    pub shape: Shape,
}

/// How a facet counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// The most frequent values.
    Terms {
        /// How many.
        limit: usize,
    },
    /// Number of values, least, greatest, sum and average.
    Stats,
    /// Buckets of one width.
    Histogram(Buckets),
    /// Buckets the caller has named.
    Range(Vec<Range>),
}

/// The buckets of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Buckets {
    Int { interval: i64, offset: i64 },
    Float { interval: f64, offset: f64 },
    Time { interval: Interval, offset: i64 },
}

/// One range: from its lower bound up to, but without, its upper bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The caller's name for it.
    pub key: Option<String>,
    /// Lower bound; None: none.
    pub from: Option<Bound>,
    /// Upper bound; None: none.
    pub to: Option<Bound>,
}

/// A bound of a range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// As the caller wrote it, in JSON.
    pub written: String,
    /// What values are compared with: the least value of the attribute's type that is not below the bound.
    pub number: Number,
}

/// A value of an attribute that has ranges and sums.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Number {
    /// An int, or a timestamp in microseconds.
    Int(i64),
    /// A float. Not a number is the greatest, as in PostgreSQL.
    Float(f64),
}

/// A text query as rows match it: what it asks of which attributes with which weights, and whether every part is required.
pub type TextPart<'a> = (&'a str, &'a [(AttributeId, f32)], bool);

/// The rows a call is about: those that match the filter and the text query, where given. Attributes with weight 0 are not
/// searched.
pub fn matching(filter: Option<Filter>, text: Option<TextPart<'_>>) -> Option<Filter> {
    let text = text.map(|(query, fields, all)| {
        let searched = fields.iter().filter(|(_, weight)| *weight > 0.0);
        Filter::Search { attributes: searched.map(|(id, _)| *id).collect(), query: query.to_string(), all }
    });
    match (filter, text) {
        (Some(filter), Some(text)) => Some(Filter::And(vec![filter, text])),
        (filter, text) => filter.or(text),
    }
}

#[cfg(test)]
mod tests;
