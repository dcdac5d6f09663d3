//! Score modifiers: what a candidate's attributes multiply its fused score with.
//!
//! Each gives a factor; with a weight w it counts `1 - w + w × factor`. A document without the attribute gets the worst factor
//! of `decay` and `saturate`, 0: what has no date is not new, what was never counted has no clicks. `missing` says otherwise.
//!
//! Shapes of `decay`, with d the distance to the origin beyond `offset`: at d = `scale` each is the value of `decay`.
//! * gauss: `decay ^ ((d / scale)²)`
//! * exp: `decay ^ (d / scale)`
//! * linear: `1 - (1 - decay) × d / scale`, at least 0

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::ranked_attribute;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::limits::{MAX_BOOST, MAX_MODIFIERS};
use crate::schema::{Attribute, AttributeId, AttributeType, NamespaceSchema, json_type, reject_unknown_keys};

const HINT: &str = "Examples: {\"type\": \"decay\", \"field\": \"published\", \"origin\": \"now\", \"scale\": \"30 days\"}, {\"type\": \"saturate\", \"field\": \"clicks\", \"k\": 10}, {\"type\": \"boost\", \"filter\": {\"field\": \"lang\", \"op\": \"eq\", \"value\": \"en\"}, \"factor\": 2}.";

/// The curve of a decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecayShape {
    /// Flat near the origin, then steep, then flat.
    Gauss,
    /// Steepest at the origin.
    Exp,
    /// A straight line down to 0.
    Linear,
}

/// A checked modifier, its numbers in the attribute's own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Modifier {
    /// Less the farther a number is from the origin.
    Decay {
        /// An attribute of numbers or times.
        attribute: AttributeId,
        /// Where the factor is 1.
        origin: f64,
        /// Where, counted from `offset` on, it is `decay`.
        scale: f64,
        /// So far from the origin it stays 1.
        offset: f64,
        /// Between 0 and 1.
        decay: f64,
        /// The curve.
        shape: DecayShape,
        /// The factor of a document without the attribute.
        missing: f64,
        /// How much of the factor counts.
        weight: f64,
    },
    /// `x / (x + k)`: more is better, with ever smaller gain. Below 0 it is 0.
    Saturate {
        /// An attribute of numbers.
        attribute: AttributeId,
        /// Where it is a half.
        k: f64,
        /// The factor of a document without the attribute.
        missing: f64,
        /// How much of the factor counts.
        weight: f64,
    },
    /// A factor for documents that match a filter.
    Boost {
        /// The filter.
        filter: Filter,
        /// Above 1 raises, below 1 lowers.
        factor: f64,
        /// How much of the factor counts.
        weight: f64,
    },
}

impl Modifier {
    /// The attribute it reads.
    pub fn attribute(&self) -> Option<AttributeId> {
        match self {
            Self::Decay { attribute, .. } | Self::Saturate { attribute, .. } => Some(*attribute),
            Self::Boost { .. } => None,
        }
    }

    /// The filter it asks.
    pub fn filter(&self) -> Option<&Filter> {
        match self {
            Self::Boost { filter, .. } => Some(filter),
            _ => None,
        }
    }

    /// The factor of a document with this value of [`Self::attribute`], or that matches [`Self::filter`] or not.
    pub fn factor(&self, value: Option<&Value>, matches: bool) -> f64 {
        let (factor, weight) = match self {
            Self::Decay { origin, scale, offset, decay, shape, missing, weight, .. } => {
                let factor = number(value).map_or(*missing, |x| {
                    let distance = ((x - origin).abs() - offset).max(0.0) / scale;
                    match shape {
                        DecayShape::Gauss => decay.powf(distance * distance),
                        DecayShape::Exp => decay.powf(distance),
                        DecayShape::Linear => (1.0 - (1.0 - decay) * distance).max(0.0),
                    }
                });
                (factor, *weight)
            }
            Self::Saturate { k, missing, weight, .. } => {
                let factor = number(value).map_or(*missing, |x| {
                    let x = x.max(0.0);
                    // Of a value near the largest float the sum may overflow.
                    1.0 - k / (x + k)
                });
                (factor, *weight)
            }
            Self::Boost { factor, weight, .. } => (if matches { *factor } else { 1.0 }, *weight),
        };
        1.0 - weight + weight * factor
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value {
        Some(Value::Int(value) | Value::Timestamp(value)) => Some(*value as f64),
        Some(Value::Float(value)) => Some(*value),
        _ => None,
    }
}

/// What the numbers of an attribute count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Whatever the user counts with them. A time given as text is meant in seconds since 1970.
    Number,
    /// Microseconds since `epoch`, which is in seconds since 1970.
    Microseconds {
        /// Where they start.
        epoch: i64,
    },
    /// Days since `epoch`, which is in seconds since 1970.
    Days {
        /// Where they start.
        epoch: i64,
    },
}

const MICROSECONDS: f64 = 1e6;
const SECONDS_OF_DAY: f64 = 86_400.0;

impl Unit {
    /// What an attribute of a namespace counts.
    pub fn of(attribute: &Attribute) -> Self {
        match attribute.kind {
            AttributeType::Timestamp => Self::Microseconds { epoch: 0 },
            _ => Self::Number,
        }
    }

    /// A moment, from seconds since 1970.
    fn moment(self, seconds: f64) -> f64 {
        match self {
            Self::Number => seconds,
            Self::Microseconds { epoch } => (seconds - epoch as f64) * MICROSECONDS,
            Self::Days { epoch } => (seconds - epoch as f64) / SECONDS_OF_DAY,
        }
    }

    /// A length, from seconds.
    fn length(self, seconds: f64) -> f64 {
        match self {
            Self::Number => seconds,
            Self::Microseconds { .. } => seconds * MICROSECONDS,
            Self::Days { .. } => seconds / SECONDS_OF_DAY,
        }
    }
}

/// Reads times as SQL does.
pub trait Times {
    /// Seconds since 1970 of a timestamp, `now` included.
    ///
    /// # Errors
    /// For text that is none.
    fn moment(&self, text: &str) -> Result<f64>;
    /// Seconds of an interval.
    ///
    /// # Errors
    /// For text that is none.
    fn length(&self, text: &str) -> Result<f64>;
}

/// Reads an array of modifiers, or a single one. `unit` says what an attribute counts.
///
/// # Errors
/// `Invalid`, `TypeMismatch`, `OutOfRange`; `NotFound` for an unknown attribute. Those of `times`.
pub fn parse_modifiers(
    schema: &NamespaceSchema,
    json: &Json,
    unit: &dyn Fn(&Attribute) -> Unit,
    times: &dyn Times,
) -> Result<Vec<Modifier>> {
    let one;
    let list = match json {
        Json::Array(list) => list,
        Json::Object(_) => {
            one = vec![json.clone()];
            &one
        }
        other => {
            let message = format!("\"modifiers\" must be an array, not {}", json_type(other));
            return Err(Error::invalid(message).with_hint(HINT));
        }
    };
    if list.len() > MAX_MODIFIERS {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("{} modifiers are more than {MAX_MODIFIERS}", list.len()),
        ));
    }
    let parser = Parser { schema, unit, times };
    list.iter().map(|json| parser.modifier(json)).collect()
}

struct Parser<'a> {
    schema: &'a NamespaceSchema,
    unit: &'a dyn Fn(&Attribute) -> Unit,
    times: &'a dyn Times,
}

impl Parser<'_> {
    fn modifier(&self, json: &Json) -> Result<Modifier> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("a modifier must be an object, not {}", json_type(json))).with_hint(HINT)
        })?;
        match map.get("type") {
            Some(Json::String(kind)) => match kind.as_str() {
                "decay" => self.decay(map),
                "saturate" => self.saturate(map),
                "boost" => self.boost(map),
                other => Err(Error::invalid(format!("modifier type \"{other}\" is not known"))
                    .with_hint("Types: decay, saturate, boost.")),
            },
            Some(other) => {
                Err(Error::invalid(format!("\"type\" of a modifier must be a string, not {}", json_type(other))))
            }
            None => Err(Error::invalid("a modifier has no \"type\"").with_hint(HINT)),
        }
    }

    fn decay(&self, map: &Map<String, Json>) -> Result<Modifier> {
        let what = "decay";
        reject_unknown_keys(
            map,
            &["type", "field", "origin", "scale", "offset", "decay", "function", "missing", "weight"],
            what,
        )?;
        let attribute = self.attribute(map, what)?;
        let unit = (self.unit)(attribute);
        let origin = match map.get("origin") {
            Some(Json::String(text)) => unit.moment(self.times.moment(text)?),
            Some(json) => unit.moment(finite(json, "origin", what)?),
            None => return Err(missing_key("origin", what)),
        };
        let length = |key: &str| -> Result<Option<f64>> {
            match map.get(key) {
                None => Ok(None),
                Some(Json::String(text)) => Ok(Some(unit.length(self.times.length(text)?))),
                Some(json) => Ok(Some(unit.length(finite(json, key, what)?))),
            }
        };
        let scale = length("scale")?.ok_or_else(|| missing_key("scale", what))?;
        if scale <= 0.0 || !scale.is_finite() {
            return Err(Error::new(ErrorKind::OutOfRange, "\"scale\" of decay must be above 0"));
        }
        let offset = length("offset")?.unwrap_or(0.0);
        if offset < 0.0 || !offset.is_finite() {
            return Err(Error::new(ErrorKind::OutOfRange, "\"offset\" of decay must be 0 or more"));
        }
        let decay = within(map, "decay", what, 0.5, 0.0, 1.0)?;
        if decay == 0.0 || decay == 1.0 {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "\"decay\" of decay must be between 0 and 1, not one of them",
            ));
        }
        let shape = match map.get("function") {
            None => DecayShape::Gauss,
            Some(Json::String(name)) => match name.as_str() {
                "gauss" => DecayShape::Gauss,
                "exp" => DecayShape::Exp,
                "linear" => DecayShape::Linear,
                other => {
                    return Err(Error::invalid(format!("decay function \"{other}\" is not known"))
                        .with_hint("Functions: gauss, exp, linear."));
                }
            },
            Some(other) => {
                return Err(Error::invalid(format!(
                    "\"function\" of decay must be a string, not {}",
                    json_type(other)
                )));
            }
        };
        Ok(Modifier::Decay {
            attribute: attribute.id,
            origin,
            scale,
            offset,
            decay,
            shape,
            missing: within(map, "missing", what, 0.0, 0.0, 1.0)?,
            weight: within(map, "weight", what, 1.0, 0.0, 1.0)?,
        })
    }

    fn saturate(&self, map: &Map<String, Json>) -> Result<Modifier> {
        let what = "saturate";
        reject_unknown_keys(map, &["type", "field", "k", "missing", "weight"], what)?;
        let attribute = self.attribute(map, what)?;
        if (self.unit)(attribute) != Unit::Number {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("saturate does not apply to attribute \"{}\", which holds times", attribute.name),
            )
            .with_hint("Use decay."));
        }
        let k = finite(map.get("k").ok_or_else(|| missing_key("k", what))?, "k", what)?;
        if k <= 0.0 {
            return Err(Error::new(ErrorKind::OutOfRange, format!("\"k\" of saturate must be above 0, not {k}")));
        }
        Ok(Modifier::Saturate {
            attribute: attribute.id,
            k,
            missing: within(map, "missing", what, 0.0, 0.0, 1.0)?,
            weight: within(map, "weight", what, 1.0, 0.0, 1.0)?,
        })
    }

    fn boost(&self, map: &Map<String, Json>) -> Result<Modifier> {
        let what = "boost";
        reject_unknown_keys(map, &["type", "filter", "factor", "weight"], what)?;
        let filter = Filter::parse(self.schema, map.get("filter").ok_or_else(|| missing_key("filter", what))?)?;
        if !map.contains_key("factor") {
            return Err(missing_key("factor", what));
        }
        Ok(Modifier::Boost {
            filter,
            factor: within(map, "factor", what, 1.0, 0.0, MAX_BOOST)?,
            weight: within(map, "weight", what, 1.0, 0.0, 1.0)?,
        })
    }

    /// The attribute of numbers that `field` names.
    fn attribute(&self, map: &Map<String, Json>, what: &str) -> Result<&Attribute> {
        let field = match map.get("field") {
            Some(Json::String(field)) => field,
            Some(other) => {
                return Err(Error::invalid(format!("\"field\" of {what} must be a string, not {}", json_type(other))));
            }
            None => return Err(missing_key("field", what)),
        };
        let attribute = ranked_attribute(self.schema, field)?;
        let is_number = matches!(attribute.kind, AttributeType::Int | AttributeType::Float);
        if is_number || (self.unit)(attribute) != Unit::Number {
            return Ok(attribute);
        }
        Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("{what} does not apply to attribute \"{field}\" of type {}", attribute.kind.name()),
        )
        .with_hint("It is for numbers and times."))
    }
}

fn missing_key(key: &str, what: &str) -> Error {
    Error::invalid(format!("{what} has no \"{key}\"")).with_hint(HINT)
}

fn finite(json: &Json, key: &str, what: &str) -> Result<f64> {
    json.as_f64().filter(|number| number.is_finite()).ok_or_else(|| {
        let message = format!("\"{key}\" of {what} must be a number, not {}", json_type(json));
        Error::new(ErrorKind::TypeMismatch, message)
    })
}

fn within(map: &Map<String, Json>, key: &str, what: &str, default: f64, low: f64, high: f64) -> Result<f64> {
    let Some(json) = map.get(key) else { return Ok(default) };
    let number = finite(json, key, what)?;
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    Err(Error::new(ErrorKind::OutOfRange, format!("\"{key}\" of {what} must be from {low} to {high}, not {number}")))
}

#[cfg(test)]
mod tests;
