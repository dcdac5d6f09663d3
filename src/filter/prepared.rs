//! Filters ready to be asked of many documents: long lists are looked up, not walked.

use super::Filter;
use crate::document::{Document, Value};
use crate::ids::Uuid;
use crate::schema::AttributeId;
use std::collections::HashSet;

/// Lists up to this length are walked: as quick, and nothing to prepare.
const SHORT_LIST: usize = 8;

/// A filter with the meaning of [`Filter::matches_with`].
#[derive(Debug)]
pub struct Prepared<'a>(Node<'a>);

#[derive(Debug)]
enum Node<'a> {
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    /// The value, or an element of the array, is one of these.
    OneOf {
        attribute: AttributeId,
        of_array: bool,
        values: HashSet<Scalar<'a>>,
    },
    Leaf(&'a Filter),
}

/// A value that is no array, as a key. Equal when the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scalar<'a> {
    String(&'a str),
    Int(i64),
    /// Bits of a number; both zeros are one.
    Float(u64),
    Bool(bool),
    Timestamp(i64),
    Uuid(Uuid),
}

impl<'a> Scalar<'a> {
    /// None for an array, and for NaN, which equals nothing.
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::String(text)),
            Value::Int(int) => Some(Self::Int(*int)),
            Value::Float(float) if float.is_nan() => None,
            Value::Float(float) => Some(Self::Float(if *float == 0.0 { 0 } else { float.to_bits() })),
            Value::Bool(bool) => Some(Self::Bool(*bool)),
            Value::Timestamp(micros) => Some(Self::Timestamp(*micros)),
            Value::Uuid(uuid) => Some(Self::Uuid(*uuid)),
            Value::ArrayString(_) | Value::ArrayInt(_) => None,
        }
    }
}

impl<'a> Prepared<'a> {
    /// Prepares a filter.
    pub fn new(filter: &'a Filter) -> Self {
        Self(Node::new(filter))
    }

    /// Whether the document matches; `match_text` as for [`Filter::matches_with`].
    pub fn matches(&self, document: &Document, match_text: &mut dyn FnMut(&Filter) -> bool) -> bool {
        self.0.matches(document, match_text)
    }
}

impl<'a> Node<'a> {
    fn new(filter: &'a Filter) -> Self {
        match filter {
            Filter::And(filters) => Self::And(filters.iter().map(Self::new).collect()),
            Filter::Or(filters) => Self::Or(filters.iter().map(Self::new).collect()),
            Filter::Not(filter) => Self::Not(Box::new(Self::new(filter))),
            Filter::In { attribute, values } if are_long(values) => {
                Self::OneOf { attribute: *attribute, of_array: false, values: scalars(values) }
            }
            Filter::ContainsAny { attribute, values } if are_long(values) => {
                Self::OneOf { attribute: *attribute, of_array: true, values: scalars(values) }
            }
            leaf => Self::Leaf(leaf),
        }
    }

    fn matches(&self, document: &Document, match_text: &mut dyn FnMut(&Filter) -> bool) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(document, match_text)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(document, match_text)),
            Self::Not(node) => !node.matches(document, match_text),
            Self::Leaf(filter) => filter.matches_with(document, match_text),
            Self::OneOf { attribute, of_array: false, values } => {
                document.get(*attribute).and_then(Scalar::of).is_some_and(|value| values.contains(&value))
            }
            Self::OneOf { attribute, of_array: true, values } => match document.get(*attribute) {
                Some(Value::ArrayString(held)) => held.iter().any(|text| values.contains(&Scalar::String(text))),
                Some(Value::ArrayInt(held)) => held.iter().any(|int| values.contains(&Scalar::Int(*int))),
                _ => false,
            },
        }
    }
}

fn are_long(values: &[Value]) -> bool {
    let is_array = |value: &Value| matches!(value, Value::ArrayString(_) | Value::ArrayInt(_));
    values.len() > SHORT_LIST && !values.iter().any(is_array)
}

fn scalars(values: &[Value]) -> HashSet<Scalar<'_>> {
    values.iter().filter_map(Scalar::of).collect()
}
