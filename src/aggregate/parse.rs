//! The JSON form of facets: `{"name": {"type": "terms", "field": "category", "limit": 10}, …}`.

use super::{Bound, Buckets, Facet, Number, Range, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{DEFAULT_FACET_TERMS, MAX_FACET_BUCKETS, MAX_FACET_TERMS, MAX_FACETS};
use crate::schema::{Attribute, AttributeType, NamespaceSchema, json_type, reject_unknown_keys};
use crate::timestamp::{self, Interval};
use serde_json::{Map, Value as Json};

const EXAMPLE: &str = "Example: {\"by_year\": {\"type\": \"terms\", \"field\": \"year\", \"limit\": 10}}.";
const INTERVALS: &str = "Write a number and a unit, as \"1 day\", \"6 hours\" or \"3 months\"; units: second, minute, hour, day, week, month, quarter, year.";

impl Facet {
    /// Parses the facets of one call and checks them against the schema.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch`, `OutOfRange` or `NotFound`, naming the facet.
    pub fn parse_all(schema: &NamespaceSchema, json: &Json) -> Result<Vec<Self>> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("facets must be a JSON object, not {}", json_type(json))).with_hint(EXAMPLE)
        })?;
        if map.is_empty() {
            return Err(Error::invalid("facets is empty").with_hint(EXAMPLE));
        }
        if map.len() > MAX_FACETS {
            let message = format!("{} facets are more than {MAX_FACETS}", map.len());
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        map.iter().map(|(name, json)| Self::parse(schema, name, json)).collect()
    }

    fn parse(schema: &NamespaceSchema, name: &str, json: &Json) -> Result<Self> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("facet \"{name}\" must be a JSON object, not {}", json_type(json)))
                .with_hint(EXAMPLE)
        })?;
        let text = |key: &str| match map.get(key) {
            Some(Json::String(text)) => Ok(text.as_str()),
            Some(other) => {
                Err(Error::invalid(format!("\"{key}\" of facet \"{name}\" must be a string, not {}", json_type(other))))
            }
            None => Err(Error::invalid(format!("facet \"{name}\" has no \"{key}\"")).with_hint(EXAMPLE)),
        };
        let kind = text("type")?;
        let own: &[&str] = match kind {
            "terms" => &["limit"],
            "stats" => &[],
            "histogram" => &["interval", "offset"],
            "range" => &["ranges"],
            other => {
                return Err(Error::invalid(format!("type \"{other}\" of facet \"{name}\" is not known"))
                    .with_hint("Types: terms, stats, histogram, range."));
            }
        };
        reject_unknown_keys(map, &[&["type", "field"], own].concat(), &format!("facet \"{name}\""))?;
        let attribute =
            schema.require(text("field")?).map_err(|error| error.with_detail(format!("facet \"{name}\"")))?;
        let context = Context { name, attribute, map };
        let shape = match kind {
            "terms" => context.terms()?,
            "stats" => context.with_numbers().map(|()| Shape::Stats)?,
            "histogram" => Shape::Histogram(context.histogram()?),
            _ => Shape::Range(context.ranges()?),
        };
        Ok(Self { name: name.to_string(), attribute: attribute.id, kind: attribute.kind, shape })
    }
}

struct Context<'a> {
    name: &'a str,
    attribute: &'a Attribute,
    map: &'a Map<String, Json>,
}

impl Context<'_> {
    fn get(&self, key: &str) -> Option<&Json> {
        self.map.get(key).filter(|json| !json.is_null())
    }

    /// Only numbers and timestamps have an order with sums and widths.
    fn with_numbers(&self) -> Result<()> {
        if matches!(self.attribute.kind, AttributeType::Int | AttributeType::Float | AttributeType::Timestamp) {
            return Ok(());
        }
        let Attribute { name, kind, .. } = self.attribute;
        let message = format!("facet \"{}\" does not apply to attribute \"{name}\" of type {}", self.name, kind.name());
        Err(Error::new(ErrorKind::TypeMismatch, message)
            .with_hint("stats, histogram and range are for int, float and timestamp; terms is for every type."))
    }

    fn terms(&self) -> Result<Shape> {
        let Some(json) = self.get("limit") else { return Ok(Shape::Terms { limit: DEFAULT_FACET_TERMS }) };
        let limit = json.as_u64().and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| (1..=MAX_FACET_TERMS).contains(limit)).ok_or_else(|| {
            let message = format!(
                "\"limit\" of facet \"{}\" must be an integer from 1 to {MAX_FACET_TERMS}, not {json}",
                self.name
            );
            Error::new(ErrorKind::OutOfRange, message)
        })?;
        Ok(Shape::Terms { limit })
    }

    fn histogram(&self) -> Result<Buckets> {
        self.with_numbers()?;
        let interval = self
            .get("interval")
            .ok_or_else(|| Error::invalid(format!("facet \"{}\" has no \"interval\"", self.name)))?;
        let offset = self.get("offset");
        match self.attribute.kind {
            AttributeType::Int => {
                let interval = self.whole("interval", interval)?;
                self.positive("interval", interval > 0, interval)?;
                let offset = offset.map_or(Ok(0), |json| self.whole("offset", json))?;
                Ok(Buckets::Int { interval, offset })
            }
            AttributeType::Float => {
                let interval = self.float("interval", interval)?;
                self.positive("interval", interval > 0.0, interval)?;
                let offset = offset.map_or(Ok(0.0), |json| self.float("offset", json))?;
                Ok(Buckets::Float { interval, offset })
            }
            _ => {
                let interval = interval.as_str().and_then(Interval::parse).ok_or_else(|| {
                    Error::invalid(format!("\"interval\" of facet \"{}\" is no length of time: {interval}", self.name))
                        .with_hint(INTERVALS)
                })?;
                let offset = match offset {
                    None => 0,
                    Some(json) => json.as_str().and_then(timestamp::parse_duration).ok_or_else(|| {
                        Error::invalid(format!(
                            "\"offset\" of facet \"{}\" is no fixed length of time: {json}",
                            self.name
                        ))
                        .with_hint("Example: \"-5 hours\"; units: second, minute, hour, day, week.")
                    })?,
                };
                Ok(Buckets::Time { interval, offset })
            }
        }
    }

    fn positive(&self, key: &str, holds: bool, value: impl std::fmt::Display) -> Result<()> {
        if holds {
            return Ok(());
        }
        let message = format!("\"{key}\" of facet \"{}\" must be above 0, not {value}", self.name);
        Err(Error::new(ErrorKind::OutOfRange, message))
    }

    fn float(&self, key: &str, json: &Json) -> Result<f64> {
        json.as_f64().filter(|_| json.is_number()).ok_or_else(|| self.mismatch(key, "a number", json))
    }

    /// A whole number; it may be written as a float.
    fn whole(&self, key: &str, json: &Json) -> Result<i64> {
        let float = json.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15).map(|float| float as i64);
        json.as_i64().or(float).ok_or_else(|| self.mismatch(key, "a whole number of 64 bits", json))
    }

    fn mismatch(&self, key: &str, wanted: &str, json: &Json) -> Error {
        let message = format!("\"{key}\" of facet \"{}\" must be {wanted}, not {json}", self.name);
        Error::new(ErrorKind::TypeMismatch, message)
    }

    fn ranges(&self) -> Result<Vec<Range>> {
        self.with_numbers()?;
        let ranges = self.get("ranges").and_then(Json::as_array).filter(|ranges| !ranges.is_empty());
        let ranges = ranges.ok_or_else(|| {
            Error::invalid(format!("facet \"{}\" needs an array \"ranges\" that is not empty", self.name))
                .with_hint("Example: [{\"to\": 10}, {\"from\": 10, \"to\": 20}, {\"from\": 20}].")
        })?;
        if ranges.len() > MAX_FACET_BUCKETS {
            let message = format!("facet \"{}\" has {} ranges, more than {MAX_FACET_BUCKETS}", self.name, ranges.len());
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        ranges.iter().map(|range| self.range(range)).collect()
    }

    fn range(&self, json: &Json) -> Result<Range> {
        let map = json.as_object().ok_or_else(|| self.mismatch("ranges", "an array of objects", json))?;
        reject_unknown_keys(map, &["key", "from", "to"], &format!("a range of facet \"{}\"", self.name))?;
        let key = match map.get("key") {
            None | Some(Json::Null) => None,
            Some(Json::String(key)) => Some(key.clone()),
            Some(other) => return Err(self.mismatch("key", "a string", other)),
        };
        let bound = |name: &str| {
            let json = map.get(name).filter(|json| !json.is_null());
            json.map(|json| Ok::<_, Error>(Bound { written: json.to_string(), number: self.bound(name, json)? }))
                .transpose()
        };
        Ok(Range { key, from: bound("from")?, to: bound("to")? })
    }

    fn bound(&self, key: &str, json: &Json) -> Result<Number> {
        match self.attribute.kind {
            AttributeType::Int => match (json.as_i64(), json.as_f64().map(f64::ceil)) {
                (Some(int), _) => Ok(Number::Int(int)),
                // Between two ints: the greater one.
                (None, Some(float)) if float.abs() < 9e15 => Ok(Number::Int(float as i64)),
                _ => Err(self.mismatch(key, "a number of 64 bits", json)),
            },
            AttributeType::Float => self.float(key, json).map(Number::Float),
            _ => json
                .as_str()
                .and_then(timestamp::parse)
                .map(Number::Int)
                .ok_or_else(|| self.mismatch(key, "a timestamp", json).with_hint(timestamp::FORMS)),
        }
    }
}
