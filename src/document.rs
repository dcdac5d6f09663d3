//! Documents: typed values, the JSON form users write, and the binary payload of `elacsym.wal`.
//!
//! Payload, little-endian: magic `ED`, version 1, flags (bit 0: has a vector); if it has one, u16 dimensions and f32 values;
//! u16 number of attributes, each u16 id, u8 tag, value. The CRC32 beside it in the table covers the identity too: [`entry_crc`].
//! The payload of a patch is another one: [`Patch`].

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, Key, NamespaceId, Op, Uuid};
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_FILTERABLE_STRING_BYTES, MAX_LIST_VALUES};
use crate::schema::{Attribute, AttributeId, AttributeType, NamespaceSchema, json_type, reject_unknown_keys};
use crate::timestamp;
use crate::vector::Metric;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

mod id;
mod patch;

pub use id::DocumentId;
pub use patch::Patch;

const MAGIC: [u8; 2] = *b"ED";
const VERSION: u8 = 1;
const HAS_VECTOR: u8 = 1;

/// One attribute value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Value {
    String(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    ArrayString(Vec<String>),
    /// As in [`crate::timestamp`].
    Timestamp(i64),
    Uuid(Uuid),
    ArrayInt(Vec<i64>),
}

impl Value {
    /// The attribute type this value belongs to.
    pub fn kind(&self) -> AttributeType {
        match self {
            Self::String(_) => AttributeType::String,
            Self::Int(_) => AttributeType::Int,
            Self::Float(_) => AttributeType::Float,
            Self::Bool(_) => AttributeType::Bool,
            Self::ArrayString(_) => AttributeType::ArrayString,
            Self::Timestamp(_) => AttributeType::Timestamp,
            Self::Uuid(_) => AttributeType::Uuid,
            Self::ArrayInt(_) => AttributeType::ArrayInt,
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Json {
        match self {
            Self::String(value) => Json::from(value.as_str()),
            Self::Int(value) => Json::from(*value),
            Self::Float(value) => Json::from(*value),
            Self::Bool(value) => Json::from(*value),
            Self::ArrayString(values) => Json::from(values.clone()),
            Self::Timestamp(micros) => Json::from(timestamp::format(*micros)),
            Self::Uuid(uuid) => Json::from(uuid.to_string()),
            Self::ArrayInt(values) => Json::from(values.clone()),
        }
    }
}

/// The values of one document. A missing attribute is null.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// The vector, with the namespace's dimension.
    pub vector: Option<Vec<f32>>,
    /// Attributes that are not null, sorted by id.
    pub attributes: Vec<(AttributeId, Value)>,
}

impl Document {
    /// The value of an attribute, if it has one.
    pub fn get(&self, id: AttributeId) -> Option<&Value> {
        self.attributes.binary_search_by_key(&id, |(id, _)| *id).ok().map(|i| &self.attributes[i].1)
    }

    /// Checks a vector against the schema: dimension, finite, for cosine not zero.
    pub fn check_vector(schema: &NamespaceSchema, vector: &[f32]) -> Result<()> {
        let Some(expected) = schema.vector else {
            return Err(Error::new(ErrorKind::TypeMismatch, "this namespace has no vectors")
                .with_hint("Create the namespace with \"vector_dim\" in its schema."));
        };
        if vector.len() != expected.dim {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("expected {} dimensions, not {}", expected.dim, vector.len()),
            ));
        }
        if let Some(at) = vector.iter().position(|v| !v.is_finite()) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("vector has {} at dimension {}", if vector[at].is_nan() { "NaN" } else { "infinity" }, at + 1),
            ));
        }
        if expected.metric == Metric::Cosine && vector.iter().all(|v| *v == 0.0) {
            return Err(Error::new(ErrorKind::OutOfRange, "a zero vector has no cosine distance")
                .with_hint("Leave the vector out, or create the namespace with metric l2 or dot."));
        }
        Ok(())
    }

    /// Parses one element of `elacsym.upsert(namespace, documents)`: `{"id": 1, "vector": […], "attributes": {…}}`.
    pub fn parse(schema: &NamespaceSchema, json: &Json) -> Result<(Key, Self)> {
        let map = json
            .as_object()
            .ok_or_else(|| Error::invalid(format!("a document must be a JSON object, not {}", json_type(json))))?;
        let id = parse_id(schema, map)?;
        let in_document = |error: Error| {
            let detail = format!("document id {id}");
            error.with_detail(detail)
        };
        reject_unknown_keys(map, &["id", "vector", "attributes"], "document")
            .map_err(|e| in_document(e.with_hint("Attributes go under the key \"attributes\".")))?;
        let vector = match map.get("vector") {
            None | Some(Json::Null) => None,
            Some(json) => Some(parse_vector(json).map_err(in_document)?),
        };
        let attributes = match map.get("attributes") {
            None | Some(Json::Null) => Vec::new(),
            Some(json) => Self::parse_attributes(schema, json).map_err(in_document)?,
        };
        let document = Self::new(&id, vector, attributes);
        document.check(schema).map_err(in_document)?;
        Ok((id.key(), document))
    }

    /// The document with this id; `attributes` as from [`Self::parse_attributes`].
    pub fn new(id: &DocumentId, vector: Option<Vec<f32>>, mut attributes: Vec<(AttributeId, Value)>) -> Self {
        attributes.extend(id.attribute());
        Self { vector, attributes }
    }

    /// Parses the attributes object of a document.
    pub fn parse_attributes(schema: &NamespaceSchema, json: &Json) -> Result<Vec<(AttributeId, Value)>> {
        let map: &Map<String, Json> = json
            .as_object()
            .ok_or_else(|| Error::invalid(format!("\"attributes\" must be a JSON object, not {}", json_type(json))))?;
        let mut values = Vec::with_capacity(map.len());
        for (name, json) in map {
            let attribute = schema.require_own(name)?;
            if !json.is_null() {
                values.push((attribute.id, parse_value(attribute, json)?));
            }
        }
        values.sort_by_key(|(id, _)| *id);
        Ok(values)
    }

    /// Checks the vector and the size.
    pub fn check(&self, schema: &NamespaceSchema) -> Result<()> {
        if let Some(vector) = &self.vector {
            Self::check_vector(schema, vector)?;
        }
        self.check_size()
    }

    /// Checks the size.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub fn check_size(&self) -> Result<()> {
        let bytes = self.encoded_len();
        if bytes > MAX_DOCUMENT_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("document of {bytes} bytes is larger than {MAX_DOCUMENT_BYTES}"),
            ));
        }
        Ok(())
    }

    /// The attributes as a JSON object; `only` limits them to these ids.
    pub fn attributes_json(&self, schema: &NamespaceSchema, only: Option<&[AttributeId]>) -> Json {
        let mut map = Map::new();
        for (id, value) in &self.attributes {
            if only.is_none_or(|ids| ids.contains(id))
                && let Some(attribute) = schema.by_id(*id)
            {
                map.insert(attribute.name.clone(), value.to_json());
            }
        }
        Json::Object(map)
    }

    /// Length of [`Self::encode`] in bytes.
    pub fn encoded_len(&self) -> usize {
        let vector = self.vector.as_ref().map_or(0, |v| 2 + v.len() * 4);
        let values: usize = self.attributes.iter().map(|(_, value)| 3 + value_len(value)).sum();
        4 + vector + 2 + values
    }

    /// The binary payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(if self.vector.is_some() { HAS_VECTOR } else { 0 });
        if let Some(vector) = &self.vector {
            encode_vector(vector, &mut out);
        }
        encode_attributes(&self.attributes, &mut out);
        out
    }

    /// Reads a payload back. `what` names its origin in errors.
    pub fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0, what };
        if reader.take(2)? != MAGIC {
            return Err(reader.bad("bad magic"));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(reader.bad(&format!("unknown document version {version}")));
        }
        let flags = reader.u8()?;
        let vector = if flags & HAS_VECTOR != 0 { Some(reader.vector()?) } else { None };
        let attributes = reader.attributes()?;
        if reader.at != bytes.len() {
            return Err(reader.bad("trailing bytes"));
        }
        Ok(Self { vector, attributes })
    }
}

/// CRC32 of a buffered entry: identity, operation and payload, so that a row that changed places is caught too. A key takes 8
/// bytes if they hold it, else 16.
pub fn entry_crc(namespace: NamespaceId, id: EntryId, op: Op, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&namespace.0);
    match i64::try_from(id.key) {
        Ok(key) => hasher.update(&key.to_le_bytes()),
        Err(_) => hasher.update(&id.key.to_le_bytes()),
    }
    hasher.update(&id.order.seq.to_le_bytes());
    hasher.update(&id.order.xid.to_le_bytes());
    hasher.update(&[op as u8]);
    hasher.update(payload);
    hasher.finalize()
}

/// The id of a document.
fn parse_id(schema: &NamespaceSchema, map: &Map<String, Json>) -> Result<DocumentId> {
    let json = map.get("id").ok_or_else(|| Error::invalid("a document has no \"id\""))?;
    DocumentId::from_json(schema.id, json)
}

/// Reads a vector.
///
/// # Errors
/// `TypeMismatch` for what is no array of numbers, `OutOfRange` for a number that is too large.
pub fn parse_vector(json: &Json) -> Result<Vec<f32>> {
    let values = json.as_array().ok_or_else(|| {
        Error::new(ErrorKind::TypeMismatch, format!("\"vector\" must be an array of numbers, not {}", json_type(json)))
    })?;
    values
        .iter()
        .enumerate()
        .map(|(i, json)| {
            let value = json.as_f64().ok_or_else(|| {
                Error::new(ErrorKind::TypeMismatch, format!("vector has {} at dimension {}", json_type(json), i + 1))
            })? as f32;
            if value.is_finite() {
                Ok(value)
            } else {
                Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("{json} at dimension {} is out of range for a vector", i + 1),
                ))
            }
        })
        .collect()
}

/// Parses one attribute value against its declared type.
pub fn parse_value(attribute: &Attribute, json: &Json) -> Result<Value> {
    let name = &attribute.name;
    let mismatch = || {
        Error::new(
            ErrorKind::TypeMismatch,
            format!("attribute \"{name}\" is of type {}, not {}", attribute.kind.name(), json_type(json)),
        )
    };
    let check_len = |text: &str| {
        if attribute.indexed && text.len() > MAX_FILTERABLE_STRING_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "value of {} bytes for attribute \"{name}\" is longer than {MAX_FILTERABLE_STRING_BYTES}, the limit for indexed strings",
                    text.len()
                ),
            )
            .with_hint("Declare the attribute with \"indexed\": false if it is not used in filters."));
        }
        Ok(())
    };
    let not_one = |kind: &str, json: &Json| {
        Error::new(ErrorKind::TypeMismatch, format!("attribute \"{name}\" is of type {kind}, and {json} is not one"))
    };
    match attribute.kind {
        AttributeType::String => {
            let text = json.as_str().ok_or_else(mismatch)?;
            check_len(text)?;
            Ok(Value::String(text.to_string()))
        }
        AttributeType::Int => match json {
            Json::Number(number) => number.as_i64().map(Value::Int).ok_or_else(|| not_one("int (64 bits)", json)),
            _ => Err(mismatch()),
        },
        AttributeType::Timestamp => {
            let text = json.as_str().ok_or_else(mismatch)?;
            let micros = timestamp::parse(text).map(Value::Timestamp);
            micros.ok_or_else(|| not_one("timestamp", json).with_hint(timestamp::FORMS))
        }
        AttributeType::Uuid => {
            let text = json.as_str().ok_or_else(mismatch)?;
            let uuid = Uuid::parse(text).map(Value::Uuid);
            uuid.ok_or_else(|| not_one("uuid", json).with_hint("Write 32 hexadecimal digits, with or without hyphens."))
        }
        AttributeType::Float => {
            json.as_f64().filter(|v| json.is_number() && v.is_finite()).map(Value::Float).ok_or_else(mismatch)
        }
        AttributeType::Bool => json.as_bool().map(Value::Bool).ok_or_else(mismatch),
        AttributeType::ArrayString => {
            let values = elements(name, json.as_array().ok_or_else(mismatch)?)?;
            let string = |value: &Json| {
                let text = value.as_str().ok_or_else(|| wrong_element(name, "strings", json_type(value)))?;
                check_len(text)?;
                Ok(text.to_string())
            };
            values.iter().map(string).collect::<Result<_>>().map(Value::ArrayString)
        }
        AttributeType::ArrayInt => {
            let values = elements(name, json.as_array().ok_or_else(mismatch)?)?;
            let int = |value: &Json| match value {
                Json::Number(number) => number.as_i64().ok_or_else(|| wrong_element(name, "ints (64 bits)", value)),
                other => Err(wrong_element(name, "ints (64 bits)", json_type(other))),
            };
            values.iter().map(int).collect::<Result<_>>().map(Value::ArrayInt)
        }
    }
}

/// The elements of an array, which are not too many.
fn elements<'j>(name: &str, values: &'j [Json]) -> Result<&'j [Json]> {
    if values.len() <= MAX_LIST_VALUES {
        return Ok(values);
    }
    let message = format!("array of {} values for attribute \"{name}\" is longer than {MAX_LIST_VALUES}", values.len());
    Err(Error::new(ErrorKind::OutOfRange, message))
}

fn wrong_element(name: &str, of: &str, found: impl std::fmt::Display) -> Error {
    let message = format!("attribute \"{name}\" is an array of {of}, and one element is {found}");
    Error::new(ErrorKind::TypeMismatch, message)
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::String(text) => 4 + text.len(),
        Value::Int(_) | Value::Float(_) | Value::Timestamp(_) => 8,
        Value::Bool(_) => 1,
        Value::Uuid(_) => 16,
        Value::ArrayInt(values) => 4 + 8 * values.len(),
        Value::ArrayString(values) => 4 + values.iter().map(|v| 4 + v.len()).sum::<usize>(),
    }
}

fn encode_vector(vector: &[f32], out: &mut Vec<u8>) {
    out.extend_from_slice(&(vector.len() as u16).to_le_bytes());
    for value in vector {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn encode_attributes(attributes: &[(AttributeId, Value)], out: &mut Vec<u8>) {
    out.extend_from_slice(&(attributes.len() as u16).to_le_bytes());
    for (id, value) in attributes {
        out.extend_from_slice(&id.to_le_bytes());
        encode_value(value, out);
    }
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    let put_str = |text: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::String(text) => {
            out.push(1);
            put_str(text, out);
        }
        Value::Int(value) => {
            out.push(2);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Float(value) => {
            out.push(3);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Bool(value) => {
            out.push(4);
            out.push(u8::from(*value));
        }
        Value::ArrayString(values) => {
            out.push(5);
            out.extend_from_slice(&(values.len() as u32).to_le_bytes());
            for text in values {
                put_str(text, out);
            }
        }
        Value::Timestamp(micros) => {
            out.push(6);
            out.extend_from_slice(&micros.to_le_bytes());
        }
        Value::Uuid(uuid) => {
            out.push(7);
            out.extend_from_slice(&uuid.0);
        }
        Value::ArrayInt(values) => {
            out.push(8);
            out.extend_from_slice(&(values.len() as u32).to_le_bytes());
            for value in values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'a str,
}

impl<'a> Reader<'a> {
    fn bad(&self, why: &str) -> Error {
        Error::corrupt(self.what, self.at as u64, why)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.bad("payload ends early"))?;
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn string(&mut self) -> Result<String> {
        let len = self.u32()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(str::to_string).map_err(|_| self.bad("string is not UTF-8"))
    }

    fn vector(&mut self) -> Result<Vec<f32>> {
        let dim = usize::from(self.u16()?);
        Ok(self.take(dim * 4)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn attributes(&mut self) -> Result<Vec<(AttributeId, Value)>> {
        let count = self.u16()?;
        let mut attributes = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let id = self.u16()?;
            attributes.push((id, self.value()?));
        }
        Ok(attributes)
    }

    fn value(&mut self) -> Result<Value> {
        Ok(match self.u8()? {
            1 => Value::String(self.string()?),
            2 => Value::Int(i64::from_le_bytes(self.array()?)),
            3 => Value::Float(f64::from_le_bytes(self.array()?)),
            4 => Value::Bool(self.u8()? != 0),
            5 => {
                let count = self.u32()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.string()?);
                }
                Value::ArrayString(values)
            }
            6 => Value::Timestamp(i64::from_le_bytes(self.array()?)),
            7 => Value::Uuid(Uuid(self.array()?)),
            8 => {
                let count = self.u32()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(i64::from_le_bytes(self.array()?));
                }
                Value::ArrayInt(values)
            }
            tag => return Err(self.bad(&format!("unknown value tag {tag}"))),
        })
    }
}

#[cfg(test)]
mod tests;
