//! Limits per group: at most so many rows with one value of an attribute.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::ranked_attribute;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_TOP_K;
use crate::schema::{AttributeId, NamespaceSchema, json_type, reject_unknown_keys};

const EXAMPLE: &str = "Example: {\"field\": \"author\", \"limit\": 2}";

/// At most `limit` rows with the same value of an attribute. Rows without a value are one group, as in SQL's GROUP BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Per {
    /// The attribute.
    pub attribute: AttributeId,
    /// Rows of one value.
    pub limit: u32,
}

impl Per {
    /// Reads `{"field": "author", "limit": 2}`; the limit is 1 if there is none.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch`, `OutOfRange`; `NotFound` for an unknown attribute.
    pub fn parse(schema: &NamespaceSchema, json: &Json) -> Result<Self> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("\"per\" must be an object, not {}", json_type(json))).with_hint(EXAMPLE)
        })?;
        reject_unknown_keys(map, &["field", "limit"], "per")?;
        let field = match map.get("field") {
            Some(Json::String(field)) => field,
            Some(other) => {
                return Err(Error::invalid(format!("\"field\" of per must be a string, not {}", json_type(other))));
            }
            None => return Err(Error::invalid("per has no \"field\"").with_hint(EXAMPLE)),
        };
        let attribute = ranked_attribute(schema, field)?;
        if attribute.kind.is_array() {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("per does not apply to attribute \"{field}\", which holds arrays"),
            ));
        }
        let limit = match map.get("limit") {
            None => Some(1),
            Some(limit) => limit.as_u64().filter(|limit| (1..=MAX_TOP_K as u64).contains(limit)),
        };
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).ok_or_else(|| {
            let limit = map.get("limit").unwrap_or(&Json::Null);
            Error::new(
                ErrorKind::OutOfRange,
                format!("\"limit\" of per must be an integer from 1 to {MAX_TOP_K}, not {limit}"),
            )
        })?;
        Ok(Self { attribute: attribute.id, limit })
    }
}

/// A value that rows are grouped by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// A whole number.
    Int(i64),
    /// Text.
    String(String),
    /// Anything else by its JSON form, which is one for each value.
    Other(String),
}

impl Group {
    /// The group of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Int(value) => Self::Int(*value),
            Value::String(text) => Self::String(text.clone()),
            // Two zeros are one value, as in filters.
            Value::Float(value) if *value == 0.0 => Self::Other("0.0".to_string()),
            other => Self::Other(other.to_json().to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
