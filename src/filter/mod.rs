//! Attribute filters: the model, its JSON form (architecture 6.2) and its meaning on one document.
//!
//! Logic is two-valued: a comparison with a missing attribute is false, and `ne`, `not_in` and `not` are the exact
//! opposite of what they negate (so `ne` is true for a document that lacks the attribute).

use crate::document::{Document, Value, parse_value};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_FILTER_DEPTH, MAX_LIST_VALUES, MAX_QUERY_TEXT_BYTES};
use crate::schema::{Attribute, AttributeId, AttributeType, NamespaceSchema, json_type, reject_unknown_keys};
use crate::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

mod condition;
mod decimal;
mod prepared;
mod widened;
mod written;

pub use condition::Condition;
pub use decimal::Decimal;
pub use prepared::Prepared;
pub use widened::{Exact, ExactFilter, Row, Widened, held_string, order_of_long_strings};
pub use written::with_digits;

/// Order comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A checked filter: every attribute exists and is indexed, every value has the attribute's type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Filter {
    /// The attribute's value is one of these; `eq` is a list of one.
    In { attribute: AttributeId, values: Vec<Value> },
    /// The attribute's value compares so; strings compare by their UTF-8 bytes, UUIDs by theirs.
    Compare { attribute: AttributeId, comparison: Comparison, value: Value },
    /// The array attribute holds at least one of these elements.
    ContainsAny { attribute: AttributeId, values: Vec<Value> },
    /// The string attribute starts with this.
    Prefix { attribute: AttributeId, prefix: String },
    /// The document lacks the attribute.
    IsNull { attribute: AttributeId },
    /// The full-text attribute matches a query of the language that `text::query_language` describes.
    Match { attribute: AttributeId, query: String },
    /// The full-text attributes together match a query of that language, which may name them; `all`: every part without a sign
    /// is required. Not written by users: what the text arm of a search finds, as a filter.
    Search { attributes: Vec<AttributeId>, query: String, all: bool },
    /// All hold; true when empty.
    And(Vec<Filter>),
    /// At least one holds; false when empty.
    Or(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
}

const OPERATORS: &str = "eq, ne, gt, gte, lt, lte, in, not_in, contains, contains_any, is_null, prefix, match";

impl Filter {
    /// Parses the JSON form and checks it against the schema.
    pub fn parse(schema: &NamespaceSchema, json: &Json) -> Result<Self> {
        Self::parse_at(schema, json, 0)
    }

    fn parse_at(schema: &NamespaceSchema, json: &Json, depth: usize) -> Result<Self> {
        if depth > MAX_FILTER_DEPTH {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("filter is nested more than {MAX_FILTER_DEPTH} deep"),
            ));
        }
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("a filter must be a JSON object, not {}", json_type(json))).with_hint(
                "Examples: {\"field\": \"year\", \"op\": \"gte\", \"value\": 2020} or {\"type\": \"and\", \"conditions\": [...]}",
            )
        })?;
        if map.contains_key("type") {
            Self::parse_group(schema, map, depth)
        } else {
            Self::parse_condition(schema, map)
        }
    }

    fn parse_group(schema: &NamespaceSchema, map: &Map<String, Json>, depth: usize) -> Result<Self> {
        reject_unknown_keys(map, &["type", "conditions"], "filter")?;
        let kind = map.get("type").and_then(Json::as_str).unwrap_or_default();
        let conditions = map
            .get("conditions")
            .and_then(Json::as_array)
            .ok_or_else(|| Error::invalid(format!("filter of type \"{kind}\" needs an array \"conditions\"")))?
            .iter()
            .map(|condition| Self::parse_at(schema, condition, depth + 1))
            .collect::<Result<Vec<_>>>()?;
        match kind {
            "and" => Ok(Self::And(conditions)),
            "or" => Ok(Self::Or(conditions)),
            "not" => match <[Self; 1]>::try_from(conditions) {
                Ok([condition]) => Ok(Self::Not(Box::new(condition))),
                Err(conditions) => Err(Error::invalid(format!(
                    "filter of type \"not\" needs exactly one condition, not {}",
                    conditions.len()
                ))),
            },
            _ => {
                Err(Error::invalid(format!("filter type {} is not known", map["type"]))
                    .with_hint("Types: and, or, not."))
            }
        }
    }

    fn parse_condition(schema: &NamespaceSchema, map: &Map<String, Json>) -> Result<Self> {
        let text = |key: &str| match map.get(key) {
            Some(Json::String(text)) => Ok(text.as_str()),
            Some(other) => {
                Err(Error::invalid(format!("filter key \"{key}\" must be a string, not {}", json_type(other))))
            }
            None => Err(Error::invalid(format!("a filter condition has no \"{key}\""))
                .with_hint("Example: {\"field\": \"year\", \"op\": \"gte\", \"value\": 2020}")),
        };
        let field = text("field")?;
        let op = text("op")?;
        reject_unknown_keys(map, &["field", "op", "value"], "filter")?;
        let attribute = schema.require(field)?;
        let value = map.get("value").unwrap_or(&Json::Null);
        if op == "match" {
            return Self::parse_match(attribute, value);
        }
        if !attribute.indexed {
            return Err(Error::invalid(format!("attribute \"{field}\" is not indexed for filters"))
                .with_hint("Declare it with \"indexed\": true in the schema of the namespace."));
        }
        let id = attribute.id;
        if op == "is_null" {
            return match value {
                Json::Null | Json::Bool(true) => Ok(Self::IsNull { attribute: id }),
                Json::Bool(false) => Ok(Self::Not(Box::new(Self::IsNull { attribute: id }))),
                other => Err(Error::invalid(format!(
                    "operator is_null takes true, false or no value, not {}",
                    json_type(other)
                ))),
            };
        }
        let unsuitable = || {
            Error::new(
                ErrorKind::TypeMismatch,
                format!("operator {op} does not apply to attribute \"{field}\" of type {}", attribute.kind.name()),
            )
        };
        let is_array = attribute.kind.is_array();
        match op {
            "eq" | "ne" | "in" | "not_in" if is_array => {
                Err(unsuitable().with_hint("Use contains or contains_any for arrays."))
            }
            "eq" => Ok(Self::In { attribute: id, values: vec![scalar(attribute, value, op)?] }),
            "ne" => Ok(Self::Not(Box::new(Self::In { attribute: id, values: vec![scalar(attribute, value, op)?] }))),
            "in" => Ok(Self::In { attribute: id, values: list(attribute, value, op)? }),
            "not_in" => Ok(Self::Not(Box::new(Self::In { attribute: id, values: list(attribute, value, op)? }))),
            "gt" | "gte" | "lt" | "lte" => {
                if is_array || attribute.kind == AttributeType::Bool {
                    return Err(unsuitable());
                }
                let comparison = match op {
                    "gt" => Comparison::Gt,
                    "gte" => Comparison::Gte,
                    "lt" => Comparison::Lt,
                    _ => Comparison::Lte,
                };
                Ok(Self::Compare { attribute: id, comparison, value: scalar(attribute, value, op)? })
            }
            "contains" | "contains_any" if !is_array => {
                Err(unsuitable().with_hint("contains and contains_any are for arrays."))
            }
            "contains" => match (attribute.kind, value) {
                (AttributeType::ArrayString, Json::String(text)) => {
                    Ok(Self::ContainsAny { attribute: id, values: vec![Value::String(text.clone())] })
                }
                (AttributeType::ArrayInt, Json::Number(_)) => {
                    let element = Attribute { kind: AttributeType::Int, ..attribute.clone() };
                    Ok(Self::ContainsAny { attribute: id, values: vec![scalar(&element, value, op)?] })
                }
                (kind, other) => {
                    let wanted = if kind == AttributeType::ArrayInt { "a number" } else { "a string" };
                    Err(Error::new(
                        ErrorKind::TypeMismatch,
                        format!("operator contains on attribute \"{field}\" takes {wanted}, not {}", json_type(other)),
                    ))
                }
            },
            "contains_any" => {
                let values = match parse_value(&Attribute { indexed: false, ..attribute.clone() }, value)? {
                    Value::ArrayString(values) => values.into_iter().map(Value::String).collect(),
                    Value::ArrayInt(values) => values.into_iter().map(Value::Int).collect(),
                    _ => return Err(unsuitable()),
                };
                Ok(Self::ContainsAny { attribute: id, values })
            }
            "prefix" => match (attribute.kind, value) {
                (AttributeType::String, Json::String(prefix)) => {
                    Ok(Self::Prefix { attribute: id, prefix: prefix.clone() })
                }
                (AttributeType::String, other) => Err(Error::new(
                    ErrorKind::TypeMismatch,
                    format!("operator prefix on attribute \"{field}\" takes a string, not {}", json_type(other)),
                )),
                _ => Err(unsuitable()),
            },
            _ => Err(Error::invalid(format!("filter operator \"{op}\" is not known"))
                .with_hint(format!("Operators: {OPERATORS}."))),
        }
    }

    fn parse_match(attribute: &Attribute, value: &Json) -> Result<Self> {
        let field = &attribute.name;
        if attribute.full_text.is_none() {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("operator match does not apply to attribute \"{field}\", which has no full text"),
            )
            .with_hint("Declare it with \"full_text\": true in the schema of the namespace."));
        }
        match value {
            Json::String(query) if query.len() > MAX_QUERY_TEXT_BYTES => Err(Error::new(
                ErrorKind::OutOfRange,
                format!("query text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", query.len()),
            )),
            Json::String(query) => Ok(Self::Match { attribute: attribute.id, query: query.clone() }),
            other => Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("operator match on attribute \"{field}\" takes a string, not {}", json_type(other)),
            )),
        }
    }

    /// Whether the document matches; a filter with text queries in it needs [`Self::matches_with`].
    pub fn matches(&self, document: &Document) -> bool {
        self.matches_with(document, &mut |_| false)
    }

    /// Whether the document matches. `match_text` says whether it matches a [`Filter::Match`] or [`Filter::Search`], which only
    /// an analyser can tell.
    pub fn matches_with(&self, document: &Document, match_text: &mut dyn FnMut(&Self) -> bool) -> bool {
        match self {
            Self::In { attribute, values } => document.get(*attribute).is_some_and(|v| values.contains(v)),
            Self::Compare { attribute, comparison, value } => {
                document.get(*attribute).and_then(|v| compare(v, value)).is_some_and(|ordering| match comparison {
                    Comparison::Gt => ordering.is_gt(),
                    Comparison::Gte => ordering.is_ge(),
                    Comparison::Lt => ordering.is_lt(),
                    Comparison::Lte => ordering.is_le(),
                })
            }
            Self::ContainsAny { attribute, values } => match document.get(*attribute) {
                Some(Value::ArrayString(held)) => {
                    values.iter().any(|value| matches!(value, Value::String(text) if held.contains(text)))
                }
                Some(Value::ArrayInt(held)) => {
                    values.iter().any(|value| matches!(value, Value::Int(int) if held.contains(int)))
                }
                _ => false,
            },
            Self::Prefix { attribute, prefix } => match document.get(*attribute) {
                Some(Value::String(text)) => text.as_bytes().starts_with(prefix.as_bytes()),
                _ => false,
            },
            Self::IsNull { attribute } => document.get(*attribute).is_none(),
            Self::Match { .. } | Self::Search { .. } => match_text(self),
            Self::And(filters) => filters.iter().all(|f| f.matches_with(document, match_text)),
            Self::Or(filters) => filters.iter().any(|f| f.matches_with(document, match_text)),
            Self::Not(filter) => !filter.matches_with(document, match_text),
        }
    }
}

/// One value of the attribute's type. Integers may be written as floats without a fraction and the other way round.
fn scalar(attribute: &Attribute, json: &Json, op: &str) -> Result<Value> {
    if json.is_null() {
        return Err(Error::invalid(format!("operator {op} on attribute \"{}\" has no value", attribute.name))
            .with_hint("Use the operator is_null to find documents without the attribute."));
    }
    if attribute.kind == AttributeType::Int
        && let Some(float) = json.as_f64()
        && json.as_i64().is_none()
        && float.fract() == 0.0
        && float.abs() < 9e15
    {
        return Ok(Value::Int(float as i64));
    }
    if attribute.kind == AttributeType::Timestamp {
        // Rows of an index may hold these.
        match json.as_str() {
            Some("infinity") => return Ok(Value::Timestamp(timestamp::INFINITY)),
            Some("-infinity") => return Ok(Value::Timestamp(timestamp::NEG_INFINITY)),
            _ => {}
        }
    }
    // The limit on stored values does not apply to what is compared with them.
    parse_value(&Attribute { indexed: false, ..attribute.clone() }, json)
}

fn list(attribute: &Attribute, json: &Json, op: &str) -> Result<Vec<Value>> {
    let values = json.as_array().ok_or_else(|| {
        Error::new(
            ErrorKind::TypeMismatch,
            format!("operator {op} on attribute \"{}\" takes an array, not {}", attribute.name, json_type(json)),
        )
    })?;
    if values.len() > MAX_LIST_VALUES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("list of {} values for operator {op} is longer than {MAX_LIST_VALUES}", values.len()),
        ));
    }
    values.iter().map(|value| scalar(attribute, value, op)).collect()
}

/// Order of two values of one type; None across types (which parsing rules out) and for arrays.
pub fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Uuid(a), Value::Uuid(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
