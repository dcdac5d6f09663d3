//! Facets while rows come in, in any order.

use super::sum::ExactSum;
use super::{Buckets, Facet, Number, Range, Shape};
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Uuid;
use crate::limits::{MAX_FACET_BUCKETS, MAX_FACET_BYTES};
use crate::schema::AttributeId;
use crate::timestamp;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// What an entry of a map of distinct values takes beside the value's own bytes, about.
const TERM_OVERHEAD: usize = 48;
/// Beyond this a float cannot count buckets one by one.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The facets of one call over the rows added so far.
#[derive(Debug, Clone)]
pub struct Aggregation {
    pub(super) facets: Arc<[Facet]>,
    pub(super) rows: u64,
    pub(super) states: Vec<State>,
    bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Terms { terms: Terms, missing: u64 },
    Stats(Stats),
    Histogram { buckets: BTreeMap<i128, u64>, missing: u64 },
    Range { counts: Vec<u64>, missing: u64 },
}

/// Rows by value.
#[derive(Debug, Clone)]
pub(super) enum Terms {
    Text(HashMap<Box<str>, u64>),
    /// Ints, timestamps, bools as 0 and 1, floats as [`ordered_bits`].
    Int(HashMap<i64, u64>),
    Uuid(HashMap<Uuid, u64>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    pub count: u64,
    pub nulls: u64,
    pub range: Option<(Number, Number)>,
    pub ints: i128,
    pub floats: ExactSum,
}

impl Aggregation {
    /// Of no row.
    pub fn new(facets: Arc<[Facet]>) -> Self {
        let states = facets.iter().map(State::new).collect();
        Self { facets, rows: 0, states, bytes: 0 }
    }

    /// The attributes whose values [`Self::add`] looks at, ascending.
    pub fn attributes(&self) -> Vec<AttributeId> {
        let mut attributes: Vec<AttributeId> = self.facets.iter().map(|facet| facet.attribute).collect();
        attributes.sort_unstable();
        attributes.dedup();
        attributes
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows of which no value is needed.
    pub fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Adds one row.
    ///
    /// # Errors
    /// `Exhausted` when there are too many distinct values or buckets; `OutOfRange` for a value that buckets cannot be counted
    /// up to. The aggregation must not be used any more.
    pub fn add(&mut self, document: &Document) -> Result<()> {
        self.rows += 1;
        for (facet, state) in self.facets.iter().zip(&mut self.states) {
            state.add(facet, document.get(facet.attribute), &mut self.bytes)?;
        }
        check_memory(self.bytes)
    }

    /// Adds what another aggregation of the same facets has counted.
    ///
    /// # Errors
    /// `Exhausted` when there are too many distinct values or buckets.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.rows += other.rows;
        for ((facet, state), other) in self.facets.iter().zip(&mut self.states).zip(other.states) {
            state.merge(facet, other, &mut self.bytes)?;
        }
        check_memory(self.bytes)
    }
}

fn check_memory(bytes: usize) -> Result<()> {
    if bytes <= MAX_FACET_BYTES {
        return Ok(());
    }
    let message = format!("the distinct values of the facets take more than {} MiB", MAX_FACET_BYTES >> 20);
    Err(Error::new(ErrorKind::Exhausted, message)
        .with_hint("Use a filter, fewer facets, or attributes with fewer distinct values."))
}

impl State {
    fn new(facet: &Facet) -> Self {
        use crate::schema::AttributeType as Kind;
        match &facet.shape {
            Shape::Terms { .. } => {
                let terms = match facet.kind {
                    Kind::String | Kind::ArrayString => Terms::Text(HashMap::new()),
                    Kind::Uuid => Terms::Uuid(HashMap::new()),
                    Kind::Int | Kind::ArrayInt | Kind::Float | Kind::Bool | Kind::Timestamp => {
                        Terms::Int(HashMap::new())
                    }
                };
                Self::Terms { terms, missing: 0 }
            }
            Shape::Stats => Self::Stats(Stats::default()),
            Shape::Histogram(_) => Self::Histogram { buckets: BTreeMap::new(), missing: 0 },
            Shape::Range(ranges) => Self::Range { counts: vec![0; ranges.len()], missing: 0 },
        }
    }

    fn add(&mut self, facet: &Facet, value: Option<&Value>, bytes: &mut usize) -> Result<()> {
        match (self, &facet.shape) {
            (Self::Terms { terms, missing }, _) => {
                if !value.is_some_and(|value| terms.add(value, bytes)) {
                    *missing += 1;
                }
            }
            (Self::Stats(stats), _) => stats.add(value.and_then(number)),
            (Self::Histogram { buckets, missing }, Shape::Histogram(widths)) => {
                match value.and_then(number).map(|number| widths.place(number)) {
                    None | Some(Place::Nowhere) => *missing += 1,
                    Some(Place::In(place)) => add_bucket(buckets, place, 1, facet)?,
                    Some(Place::TooFar) => return Err(too_far(facet)),
                }
            }
            (Self::Range { counts, missing }, Shape::Range(ranges)) => match value.and_then(number) {
                None => *missing += 1,
                Some(number) => {
                    for (range, count) in ranges.iter().zip(counts) {
                        *count += u64::from(range.holds(number));
                    }
                }
            },
            _ => return Err(Error::internal("a facet counts in another's way")),
        }
        Ok(())
    }

    fn merge(&mut self, facet: &Facet, other: Self, bytes: &mut usize) -> Result<()> {
        match (self, other) {
            (Self::Terms { terms, missing }, Self::Terms { terms: others, missing: more }) => {
                *missing += more;
                terms.merge(others, bytes)?;
            }
            (Self::Stats(stats), Self::Stats(other)) => stats.merge(other),
            (Self::Histogram { buckets, missing }, Self::Histogram { buckets: others, missing: more }) => {
                *missing += more;
                for (place, count) in others {
                    add_bucket(buckets, place, count, facet)?;
                }
            }
            (Self::Range { counts, missing }, Self::Range { counts: others, missing: more }) => {
                *missing += more;
                counts.iter_mut().zip(others).for_each(|(count, more)| *count += more);
            }
            _ => return Err(Error::internal("aggregations of different facets")),
        }
        Ok(())
    }
}

fn add_bucket(buckets: &mut BTreeMap<i128, u64>, place: i128, count: u64, facet: &Facet) -> Result<()> {
    *buckets.entry(place).or_default() += count;
    if buckets.len() <= MAX_FACET_BUCKETS {
        return Ok(());
    }
    let message = format!("facet \"{}\" has more than {MAX_FACET_BUCKETS} buckets", facet.name);
    Err(Error::new(ErrorKind::Exhausted, message).with_hint("Use a larger interval or a filter."))
}

fn too_far(facet: &Facet) -> Error {
    let message = format!("\"interval\" of facet \"{}\" is too small for the values of its field", facet.name);
    Error::new(ErrorKind::OutOfRange, message).with_hint("Use a larger interval or a filter.")
}

impl Terms {
    /// Counts a value, each element of an array once; false if there was none.
    fn add(&mut self, value: &Value, bytes: &mut usize) -> bool {
        match (self, value) {
            (Self::Text(terms), Value::String(text)) => count_text(terms, text, 1, bytes),
            (Self::Text(terms), Value::ArrayString(texts)) => {
                let mut distinct: Vec<&str> = texts.iter().map(String::as_str).collect();
                distinct.sort_unstable();
                distinct.dedup();
                distinct.iter().for_each(|text| count_text(terms, text, 1, bytes));
                return !distinct.is_empty();
            }
            (Self::Int(terms), Value::ArrayInt(ints)) => {
                let mut distinct = ints.clone();
                distinct.sort_unstable();
                distinct.dedup();
                distinct.iter().for_each(|int| count(terms, *int, 1, bytes));
                return !distinct.is_empty();
            }
            (Self::Int(terms), Value::Int(value) | Value::Timestamp(value)) => count(terms, *value, 1, bytes),
            (Self::Int(terms), Value::Bool(value)) => count(terms, i64::from(*value), 1, bytes),
            (Self::Int(terms), Value::Float(value)) => count(terms, ordered_bits(*value), 1, bytes),
            (Self::Uuid(terms), Value::Uuid(value)) => count(terms, *value, 1, bytes),
            _ => return false,
        }
        true
    }

    fn merge(&mut self, other: Self, bytes: &mut usize) -> Result<()> {
        match (self, other) {
            (Self::Text(terms), Self::Text(others)) => {
                others.iter().for_each(|(text, more)| count_text(terms, text, *more, bytes));
            }
            (Self::Int(terms), Self::Int(others)) => {
                others.into_iter().for_each(|(int, more)| count(terms, int, more, bytes));
            }
            (Self::Uuid(terms), Self::Uuid(others)) => {
                others.into_iter().for_each(|(uuid, more)| count(terms, uuid, more, bytes));
            }
            _ => return Err(Error::internal("terms of different types")),
        }
        Ok(())
    }
}

fn count_text(terms: &mut HashMap<Box<str>, u64>, text: &str, more: u64, bytes: &mut usize) {
    if let Some(known) = terms.get_mut(text) {
        *known += more;
    } else {
        *bytes += TERM_OVERHEAD + text.len();
        terms.insert(text.into(), more);
    }
}

fn count<K: Eq + Hash>(terms: &mut HashMap<K, u64>, key: K, more: u64, bytes: &mut usize) {
    *terms.entry(key).or_insert_with(|| {
        *bytes += TERM_OVERHEAD;
        0
    }) += more;
}

/// A float as an int with the same order: both zeros are one, and NaN is one and the greatest, as in PostgreSQL.
pub(super) fn ordered_bits(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The float of [`ordered_bits`].
pub(super) fn from_ordered_bits(bits: i64) -> f64 {
    f64::from_bits(if bits < 0 { bits ^ i64::MAX } else { bits }.cast_unsigned())
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(value) | Value::Timestamp(value) => Some(Number::Int(*value)),
        Value::Float(value) => Some(Number::Float(*value)),
        _ => None,
    }
}

impl Number {
    /// Order within one attribute.
    fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => ordered_bits(a).cmp(&ordered_bits(b)),
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Int(_), Self::Float(_)) => Ordering::Less,
            (Self::Float(_), Self::Int(_)) => Ordering::Greater,
        }
    }
}

impl Range {
    fn holds(&self, number: Number) -> bool {
        self.from.as_ref().is_none_or(|from| number.order(from.number).is_ge())
            && self.to.as_ref().is_none_or(|to| number.order(to.number).is_lt())
    }
}

impl Stats {
    fn add(&mut self, number: Option<Number>) {
        let Some(number) = number else {
            self.nulls += 1;
            return;
        };
        self.count += 1;
        match number {
            Number::Int(int) => self.ints += i128::from(int),
            Number::Float(float) => self.floats.add(float),
        }
        self.widen(number, number);
    }

    fn widen(&mut self, least: Number, greatest: Number) {
        self.range = Some(match self.range {
            None => (least, greatest),
            Some((known_least, known_greatest)) => (
                if least.order(known_least).is_lt() { least } else { known_least },
                if greatest.order(known_greatest).is_gt() { greatest } else { known_greatest },
            ),
        });
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.nulls += other.nulls;
        self.ints += other.ints;
        self.floats.merge(other.floats);
        if let Some((least, greatest)) = other.range {
            self.widen(least, greatest);
        }
    }
}

/// Where a value is in a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Number of the bucket; of time, its start.
    In(i128),
    /// In no bucket: it is not finite.
    Nowhere,
    /// There are more buckets up to it than can be counted.
    TooFar,
}

impl Buckets {
    fn place(self, number: Number) -> Place {
        match (self, number) {
            (Self::Int { interval, offset }, Number::Int(value)) => {
                Place::In((i128::from(value) - i128::from(offset)).div_euclid(i128::from(interval)))
            }
            (Self::Float { .. }, Number::Float(value)) => self.place_float(value),
            (Self::Time { .. }, Number::Int(timestamp::INFINITY | timestamp::NEG_INFINITY)) => Place::Nowhere,
            (Self::Time { interval, offset }, Number::Int(value)) => {
                let bucket = value.checked_sub(offset).and_then(|value| interval.bucket(value));
                bucket.map_or(Place::TooFar, |(start, _)| Place::In(i128::from(start)))
            }
            _ => Place::Nowhere,
        }
    }

    fn place_float(self, value: f64) -> Place {
        let Self::Float { interval, offset } = self else { return Place::Nowhere };
        if !value.is_finite() {
            return Place::Nowhere;
        }
        let mut place = ((value - offset) / interval).floor();
        if place.is_nan() || place.abs() >= MAX_EXACT {
            return Place::TooFar;
        }
        // The division rounds: what counts are the bounds that the answer shows.
        if value < offset + place * interval {
            place -= 1.0;
        } else if value >= offset + (place + 1.0) * interval {
            place += 1.0;
        }
        Place::In(place as i128)
    }
}
