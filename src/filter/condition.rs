//! Conditions of writes: a filter on the document as it is before the write, which may also ask whether there is one.

use super::Filter;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_FILTER_DEPTH;
use crate::schema::{AttributeId, NamespaceSchema, reject_unknown_keys};
use serde_json::Value as Json;

/// A checked condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What a document must match.
    pub filter: Filter,
    /// The answer where there is no document.
    pub if_missing: bool,
}

impl Condition {
    /// Parses a filter in which `{"type": "not_exists"}` and `{"type": "exists"}` may stand for a condition. What a filter says
    /// of attributes is never fulfilled where there is no document, not even `ne`, `is_null` or `not`.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn parse(schema: &NamespaceSchema, json: &Json) -> Result<Self> {
        Self::parse_at(schema, json, 0)
    }

    fn parse_at(schema: &NamespaceSchema, json: &Json, depth: usize) -> Result<Self> {
        if depth > MAX_FILTER_DEPTH {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("condition is nested more than {MAX_FILTER_DEPTH} deep"),
            ));
        }
        if !asks_for_existence(json, depth) {
            return Ok(Self { filter: Filter::parse(schema, json)?, if_missing: false });
        }
        let kind = json.get("type").and_then(Json::as_str).unwrap_or_default();
        match (kind, json.as_object()) {
            ("exists" | "not_exists", Some(map)) => {
                reject_unknown_keys(map, &["type"], "condition")?;
                let exists = kind == "exists";
                // Empty: `and` is true, `or` is false.
                let filter = if exists { Filter::And(Vec::new()) } else { Filter::Or(Vec::new()) };
                return Ok(Self { filter, if_missing: !exists });
            }
            (_, Some(map)) => reject_unknown_keys(map, &["type", "conditions"], "condition")?,
            _ => {}
        }
        let parts = json.get("conditions").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let parts = parts.iter().map(|part| Self::parse_at(schema, part, depth + 1)).collect::<Result<Vec<_>>>()?;
        let missing: Vec<bool> = parts.iter().map(|part| part.if_missing).collect();
        let filters = parts.into_iter().map(|part| part.filter).collect();
        match (kind, missing.as_slice()) {
            ("and", missing) => {
                Ok(Self { filter: Filter::And(filters), if_missing: missing.iter().all(|missing| *missing) })
            }
            ("or", missing) => {
                Ok(Self { filter: Filter::Or(filters), if_missing: missing.iter().any(|missing| *missing) })
            }
            ("not", [missing]) => {
                Ok(Self { filter: Filter::Not(Box::new(Filter::And(filters))), if_missing: !missing })
            }
            ("not", missing) => Err(Error::invalid(format!(
                "condition of type \"not\" needs exactly one condition, not {}",
                missing.len()
            ))),
            _ => Err(Error::invalid(format!("condition type \"{kind}\" is not known"))
                .with_hint("Types: and, or, not, exists, not_exists.")),
        }
    }
}

impl Filter {
    /// Adds the attributes it looks at.
    pub fn attributes(&self, found: &mut Vec<AttributeId>) {
        match self {
            Self::In { attribute, .. }
            | Self::Compare { attribute, .. }
            | Self::ContainsAny { attribute, .. }
            | Self::Prefix { attribute, .. }
            | Self::IsNull { attribute }
            | Self::Match { attribute, .. } => found.push(*attribute),
            Self::Search { attributes, .. } => found.extend(attributes),
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(|filter| filter.attributes(found)),
            Self::Not(filter) => filter.attributes(found),
        }
    }
}

/// Whether `exists` or `not_exists` is somewhere in it, not deeper than a condition may be.
fn asks_for_existence(json: &Json, depth: usize) -> bool {
    let here = matches!(json.get("type").and_then(Json::as_str), Some("exists" | "not_exists"));
    let below = || json.get("conditions").and_then(Json::as_array);
    here || depth <= MAX_FILTER_DEPTH
        && below().is_some_and(|parts| parts.iter().any(|part| asks_for_existence(part, depth + 1)))
}

#[cfg(test)]
mod tests;
