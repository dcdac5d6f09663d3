//! Exact filters over an index, which does not hold all values in full.
//!
//! An index holds `numeric` as floats, long strings by their beginning, and the outermost floats and times as one. Each of these
//! keeps the order: `a < b` implies `held(a) <= held(b)` (strings apart, see [`order_of_long_strings`]). A filter on such
//! values is split in two: one that the engine may use, which loses no row, and the exact one, which is asked of rows in full.
//!
//! Under a `not` the engine's part must find too few rows, so that it finds too many in the end: each part is made in both ways.

use super::{Comparison, Filter};
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Decimal;
use crate::limits::{MAX_FILTERABLE_STRING_BYTES, MIN_CUT_STRING_BYTES};
use crate::schema::{AttributeId, ZERO_VECTOR};
use crate::timestamp;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Attributes from this on are not those of an index, which has few: they stand for the outcomes of tests.
const FIRST_TEST: AttributeId = 0x4000;
/// Most tests of one filter: each is made of every row that is looked at.
const MAX_TESTS: usize = 10_000;

/// A value in full. Values of one attribute are of one kind, and in SQL's order; strings are in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exact {
    /// `numeric`.
    Number(Decimal),
    /// A float, as [`Exact::float`] makes it.
    Float(u64),
    /// Microseconds since 1970; infinities are the ends of the range.
    Time(i128),
    /// A string, or an element of an array.
    Text(String),
}

impl Exact {
    /// A float. Not a number is above everything and equal to itself, and zero has no sign.
    pub fn float(value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
        let bits = value.abs().to_bits();
        let is_negative = value.is_sign_negative() && !value.is_nan();
        // Magnitudes are ordered as their bits are.
        Self::Float(if is_negative { !(bits | (1 << 63)) } else { bits | (1 << 63) })
    }

    /// A point in time, from what an attribute holds.
    pub fn time(micros: i64) -> Self {
        Self::Time(match micros {
            timestamp::INFINITY => i128::MAX,
            timestamp::NEG_INFINITY => i128::MIN,
            micros => i128::from(micros),
        })
    }
}

/// What an index holds of a string.
pub fn held_string(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_FILTERABLE_STRING_BYTES)]
}

/// A condition on values in full.
#[derive(Debug, Clone, PartialEq)]
struct Test {
    attribute: AttributeId,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// The value, or an element of the array, is one of these.
    OneOf(BTreeSet<Exact>),
    Compare(Comparison, Exact),
    Prefix(String),
}

impl Test {
    /// `values`: the value, the elements of an array, or none.
    fn holds(&self, values: &[Exact]) -> bool {
        values.iter().any(|value| match (&self.condition, value) {
            (Condition::OneOf(wanted), value) => wanted.contains(value),
            (Condition::Compare(comparison, bound), value) => {
                let ordering = value.cmp(bound);
                match comparison {
                    Comparison::Gt => ordering.is_gt(),
                    Comparison::Gte => ordering.is_ge(),
                    Comparison::Lt => ordering.is_lt(),
                    Comparison::Lte => ordering.is_le(),
                }
            }
            (Condition::Prefix(prefix), Exact::Text(text)) => text.starts_with(prefix.as_str()),
            (Condition::Prefix(_), _) => false,
        })
    }
}

/// What [`ExactFilter`] is told of a row.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// The values of [`ExactFilter::attributes`] as the index holds them.
    pub held: Document,
    /// Those of [`ExactFilter::in_full`]: one value each, or the elements of an array; nothing for null.
    pub in_full: Vec<(AttributeId, Vec<Exact>)>,
}

/// What must be asked of a row that [`Widened::wide`] has found.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactFilter {
    /// Test `i` is an attribute that is true.
    filter: Filter,
    tests: Vec<Test>,
}

impl ExactFilter {
    /// The attributes that it looks at as they are held, ascending.
    pub fn attributes(&self) -> Vec<AttributeId> {
        let mut attributes = Vec::new();
        self.filter.attributes(&mut attributes);
        attributes.retain(|attribute| !(FIRST_TEST..ZERO_VECTOR).contains(attribute));
        sorted(attributes)
    }

    /// The attributes that it looks at in full, ascending.
    pub fn in_full(&self) -> Vec<AttributeId> {
        sorted(self.tests.iter().map(|test| test.attribute).collect())
    }

    /// Whether the row matches; `match_text` as for [`Filter::matches_with`].
    pub fn matches(&self, row: Row, match_text: &mut dyn FnMut(&Filter, &Document) -> bool) -> bool {
        let Row { mut held, in_full } = row;
        for (attribute, test) in (FIRST_TEST..).zip(&self.tests) {
            let values = in_full.iter().find(|(of, _)| *of == test.attribute);
            let holds = values.is_some_and(|(_, values)| test.holds(values));
            held.attributes.push((attribute, Value::Bool(holds)));
        }
        held.attributes.sort_unstable_by_key(|(attribute, _)| *attribute);
        self.filter.matches_with(&held, &mut |node| match_text(node, &held))
    }
}

fn sorted(mut attributes: Vec<AttributeId>) -> Vec<AttributeId> {
    attributes.sort_unstable();
    attributes.dedup();
    attributes
}

/// A filter over an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Widened {
    /// For the engine: finds every row that matches.
    pub wide: Filter,
    /// What else must hold for a row that `wide` finds; None if nothing.
    pub exact: Option<ExactFilter>,
}

impl Widened {
    /// Splits a filter. `written` is the JSON that it was parsed from, by [`super::with_digits`]; `is_numeric` says which
    /// attributes are floats made of `numeric`.
    ///
    /// # Errors
    /// `OutOfRange` for too many conditions on values that are not held in full.
    pub fn new(filter: &Filter, written: &Json, is_numeric: &dyn Fn(AttributeId) -> bool) -> Result<Self> {
        let mut widening = Widening { is_numeric, tests: Vec::new() };
        let part = widening.part(filter, written)?;
        let tests = widening.tests;
        Ok(Self { wide: part.wide, exact: part.left.map(|filter| ExactFilter { filter, tests }) })
    }
}

struct Widening<'a> {
    is_numeric: &'a dyn Fn(AttributeId) -> bool,
    tests: Vec<Test>,
}

/// A part of a filter, in its three forms.
struct Part {
    /// Finds no row less than the exact one.
    wide: Filter,
    /// Finds no row more.
    narrow: Filter,
    exact: Filter,
    /// What is to be asked of rows that `wide` finds.
    left: Option<Filter>,
}

impl Part {
    /// Of values that are held in full.
    fn as_it_is(filter: &Filter) -> Self {
        Self { wide: filter.clone(), narrow: filter.clone(), exact: filter.clone(), left: None }
    }
}

/// What a list of parts comes to, form by form.
struct Parts {
    wide: Vec<Filter>,
    narrow: Vec<Filter>,
    exact: Vec<Filter>,
    left: Vec<Filter>,
}

impl Widening<'_> {
    fn part(&mut self, filter: &Filter, written: &Json) -> Result<Part> {
        Ok(match filter {
            Filter::And(filters) => {
                let Parts { wide, narrow, exact, mut left } = self.parts(filters, written)?;
                let left = if left.len() > 1 { Some(Filter::And(left)) } else { left.pop() };
                Part { wide: Filter::And(wide), narrow: Filter::And(narrow), exact: Filter::And(exact), left }
            }
            Filter::Or(filters) => {
                let Parts { wide, narrow, exact, left } = self.parts(filters, written)?;
                let exact = Filter::Or(exact);
                let left = (!left.is_empty()).then(|| exact.clone());
                Part { wide: Filter::Or(wide), narrow: Filter::Or(narrow), exact, left }
            }
            Filter::Not(inner) => {
                // `ne`, `not_in` and a negated `is_null` are conditions themselves.
                let written = if written.get("type").is_some() { &written["conditions"][0] } else { written };
                let part = self.part(inner, written)?;
                let exact = Filter::Not(Box::new(part.exact));
                Part {
                    wide: Filter::Not(Box::new(part.narrow)),
                    narrow: Filter::Not(Box::new(part.wide)),
                    left: part.left.is_some().then(|| exact.clone()),
                    exact,
                }
            }
            condition => self.condition(condition, &written["value"])?,
        })
    }

    fn parts(&mut self, filters: &[Filter], written: &Json) -> Result<Parts> {
        let mut parts = Parts { wide: Vec::new(), narrow: Vec::new(), exact: Vec::new(), left: Vec::new() };
        for (place, filter) in filters.iter().enumerate() {
            let part = self.part(filter, &written["conditions"][place])?;
            parts.wide.push(part.wide);
            parts.narrow.push(part.narrow);
            parts.exact.push(part.exact);
            parts.left.extend(part.left);
        }
        Ok(parts)
    }

    fn condition(&mut self, filter: &Filter, written: &Json) -> Result<Part> {
        match filter {
            Filter::In { attribute, values } => self.one_of(filter, *attribute, values, written),
            Filter::ContainsAny { attribute, values } => self.one_of(filter, *attribute, values, written),
            Filter::Compare { attribute, comparison, value } if !self.is_in_full(*attribute, value) => {
                let bound = self.exact(*attribute, value, written)?;
                let (wide, narrow) = match value {
                    Value::String(text) => order_of_long_strings(*attribute, *comparison, text),
                    _ => Self::order(*attribute, *comparison, value),
                };
                self.tested(*attribute, Condition::Compare(*comparison, bound), wide, narrow)
            }
            Filter::Prefix { attribute, prefix } if prefix.len() >= MIN_CUT_STRING_BYTES => {
                let wide = Filter::Prefix { attribute: *attribute, prefix: beginning(prefix).to_string() };
                self.tested(*attribute, Condition::Prefix(prefix.clone()), wide, nothing())
            }
            _ => Ok(Part::as_it_is(filter)),
        }
    }

    /// The value, or an element of the array, is one of these.
    fn one_of(&mut self, filter: &Filter, attribute: AttributeId, values: &[Value], written: &Json) -> Result<Part> {
        if values.iter().all(|value| self.is_in_full(attribute, value)) {
            return Ok(Part::as_it_is(filter));
        }
        let like = |values: Vec<Value>| match filter {
            Filter::ContainsAny { .. } => Filter::ContainsAny { attribute, values },
            _ => Filter::In { attribute, values },
        };
        let wide = values.iter().map(held).collect();
        let narrow = values.iter().filter(|value| self.is_in_full(attribute, value)).cloned().collect();
        let mut wanted = BTreeSet::new();
        for (place, value) in values.iter().enumerate() {
            let written = if written.is_array() { &written[place] } else { written };
            wanted.insert(self.exact(attribute, value, written)?);
        }
        self.tested(attribute, Condition::OneOf(wanted), like(wide), like(narrow))
    }

    fn tested(&mut self, attribute: AttributeId, condition: Condition, wide: Filter, narrow: Filter) -> Result<Part> {
        if self.tests.len() == MAX_TESTS {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("filter has more than {MAX_TESTS} conditions on numeric values and long strings"),
            ));
        }
        let number = FIRST_TEST + self.tests.len() as AttributeId;
        self.tests.push(Test { attribute, condition });
        let exact = Filter::In { attribute: number, values: vec![Value::Bool(true)] };
        Ok(Part { wide, narrow, left: Some(exact.clone()), exact })
    }

    /// Bounds of an order that is kept, if not strictly.
    fn order(attribute: AttributeId, comparison: Comparison, value: &Value) -> (Filter, Filter) {
        let (wide, narrow) = match comparison {
            Comparison::Gt | Comparison::Gte => (Comparison::Gte, Comparison::Gt),
            Comparison::Lt | Comparison::Lte => (Comparison::Lte, Comparison::Lt),
        };
        let compare = |comparison| Filter::Compare { attribute, comparison, value: value.clone() };
        (compare(wide), compare(narrow))
    }

    /// Whether other values than this one are never held as it is.
    fn is_in_full(&self, attribute: AttributeId, value: &Value) -> bool {
        match value {
            Value::Float(float) => !(self.is_numeric)(attribute) && float.abs() < f64::MAX,
            Value::Timestamp(micros) => *micros != timestamp::INFINITY,
            Value::String(text) => text.len() < MIN_CUT_STRING_BYTES,
            _ => true,
        }
    }

    fn exact(&self, attribute: AttributeId, value: &Value, written: &Json) -> Result<Exact> {
        let unknown = || Error::internal(format!("a filter compares attribute {attribute} with {written}"));
        match value {
            Value::Float(_) if (self.is_numeric)(attribute) => {
                written.as_str().and_then(Decimal::parse).map(Exact::Number).ok_or_else(unknown)
            }
            Value::Float(float) => Ok(Exact::float(*float)),
            Value::Timestamp(micros) => Ok(Exact::time(*micros)),
            Value::String(text) => Ok(Exact::Text(text.clone())),
            _ => Err(unknown()),
        }
    }
}

/// A comparison with a string that is not held in full, by what is held: a filter that loses no row, and one that finds none too
/// many. Strings that are cut within characters of different lengths change their order, so the bound is cut where none is: what
/// is held of any string goes at least so far, or is all of it. `text` may have been cut already.
pub fn order_of_long_strings(attribute: AttributeId, comparison: Comparison, text: &str) -> (Filter, Filter) {
    let prefix = beginning(text).to_string();
    let compare = |comparison| Filter::Compare { attribute, comparison, value: Value::String(prefix.clone()) };
    let begins = || Filter::Prefix { attribute, prefix: prefix.clone() };
    match comparison {
        Comparison::Gt | Comparison::Gte => {
            let above = vec![compare(Comparison::Gt), Filter::Not(Box::new(begins()))];
            (compare(Comparison::Gte), Filter::And(above))
        }
        Comparison::Lt | Comparison::Lte => {
            (Filter::Or(vec![compare(Comparison::Lte), begins()]), compare(Comparison::Lt))
        }
    }
}

/// A value as the index holds it.
fn held(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(held_string(text).to_string()),
        value => value.clone(),
    }
}

/// What of a string is held wherever a string begins with it.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MIN_CUT_STRING_BYTES)]
}

fn nothing() -> Filter {
    Filter::Or(Vec::new())
}

#[cfg(test)]
mod tests;
