//! Patches: what to change of a document without knowing it.
//!
//! Payload, little-endian: magic `EP`, version 1, flags (bit 0: sets the vector, bit 1: removes it); if it sets one, the vector
//! as in a document; the attributes it sets, as in a document; u16 number of attributes it removes, each u16 id.

use super::{
    Document, Reader, Value, encode_attributes, encode_vector, parse_id, parse_value, parse_vector,
    reject_unknown_keys, value_len,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::limits::MAX_DOCUMENT_BYTES;
use crate::schema::{AttributeId, NamespaceSchema, json_type};
use serde_json::{Map, Value as Json};

const MAGIC: [u8; 2] = *b"EP";
const VERSION: u8 = 1;
const SETS_VECTOR: u8 = 1;
const REMOVES_VECTOR: u8 = 2;

/// Changes of one document. What it does not name stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// None: stays; Some(None): removed.
    pub vector: Option<Option<Vec<f32>>>,
    /// New values, sorted by id.
    pub set: Vec<(AttributeId, Value)>,
    /// Attributes to remove, sorted; none of them is in `set`.
    pub removed: Vec<AttributeId>,
}

impl Patch {
    /// Parses one element of `elacsym.patch(namespace, documents)`: a document with an id that has only what changes. A null
    /// removes an attribute or the vector.
    ///
    /// # Errors
    /// As [`Document::parse`].
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
        Ok((id.key(), Self::parse_values(schema, map).map_err(in_document)?))
    }

    /// Parses the changes alone: `{"vector": […], "attributes": {…}}`.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_changes(schema: &NamespaceSchema, json: &Json) -> Result<Self> {
        let map = json
            .as_object()
            .ok_or_else(|| Error::invalid(format!("a patch must be a JSON object, not {}", json_type(json))))?;
        reject_unknown_keys(map, &["vector", "attributes"], "patch")
            .map_err(|e| e.with_hint("Attributes go under the key \"attributes\"."))?;
        Self::parse_values(schema, map)
    }

    fn parse_values(schema: &NamespaceSchema, map: &Map<String, Json>) -> Result<Self> {
        let vector = match map.get("vector") {
            None => None,
            Some(Json::Null) => Some(None),
            Some(json) => {
                let vector = parse_vector(json)?;
                Document::check_vector(schema, &vector)?;
                Some(Some(vector))
            }
        };
        let (mut set, mut removed) = (Vec::new(), Vec::new());
        match map.get("attributes") {
            None | Some(Json::Null) => {}
            Some(Json::Object(attributes)) => {
                for (name, json) in attributes {
                    let attribute = schema.require_own(name)?;
                    if json.is_null() {
                        removed.push(attribute.id);
                    } else {
                        set.push((attribute.id, parse_value(attribute, json)?));
                    }
                }
            }
            Some(other) => {
                return Err(Error::invalid(format!("\"attributes\" must be a JSON object, not {}", json_type(other))));
            }
        }
        set.sort_by_key(|(id, _)| *id);
        removed.sort_unstable();
        let patch = Self { vector, set, removed };
        let bytes = patch.encoded_len();
        if bytes > MAX_DOCUMENT_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("patch of {bytes} bytes is larger than {MAX_DOCUMENT_BYTES}"),
            ));
        }
        Ok(patch)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.vector.is_none() && self.set.is_empty() && self.removed.is_empty()
    }

    /// Changes a document.
    pub fn apply(&self, document: &mut Document) {
        if let Some(vector) = &self.vector {
            document.vector.clone_from(vector);
        }
        let replaced = |id: &AttributeId| {
            self.removed.binary_search(id).is_ok() || self.set.binary_search_by_key(id, |(id, _)| *id).is_ok()
        };
        document.attributes.retain(|(id, _)| !replaced(id));
        document.attributes.extend(self.set.iter().cloned());
        document.attributes.sort_by_key(|(id, _)| *id);
    }

    /// Adds the changes of a later patch.
    pub fn then(&mut self, later: Self) {
        if later.vector.is_some() {
            self.vector = later.vector;
        }
        let replaced = |id: &AttributeId| {
            later.removed.binary_search(id).is_ok() || later.set.binary_search_by_key(id, |(id, _)| *id).is_ok()
        };
        self.set.retain(|(id, _)| !replaced(id));
        self.removed.retain(|id| !replaced(id));
        self.set.extend(later.set);
        self.removed.extend(later.removed);
        self.set.sort_by_key(|(id, _)| *id);
        self.removed.sort_unstable();
    }

    fn encoded_len(&self) -> usize {
        let vector = self.vector.as_ref().and_then(Option::as_ref).map_or(0, |v| 2 + v.len() * 4);
        let values: usize = self.set.iter().map(|(_, value)| 3 + value_len(value)).sum();
        4 + vector + 2 + values + 2 + self.removed.len() * 2
    }

    /// The binary payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(match self.vector {
            None => 0,
            Some(Some(_)) => SETS_VECTOR,
            Some(None) => REMOVES_VECTOR,
        });
        if let Some(Some(vector)) = &self.vector {
            encode_vector(vector, &mut out);
        }
        encode_attributes(&self.set, &mut out);
        out.extend_from_slice(&(self.removed.len() as u16).to_le_bytes());
        for id in &self.removed {
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    /// Reads a payload back. `what` names its origin in errors.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0, what };
        if reader.take(2)? != MAGIC {
            return Err(reader.bad("bad magic"));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(reader.bad(&format!("unknown patch version {version}")));
        }
        let vector = match reader.u8()? {
            0 => None,
            SETS_VECTOR => Some(Some(reader.vector()?)),
            REMOVES_VECTOR => Some(None),
            flags => return Err(reader.bad(&format!("unknown flags {flags}"))),
        };
        let set = reader.attributes()?;
        let count = reader.u16()?;
        let removed = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>>>()?;
        if reader.at != bytes.len() {
            return Err(reader.bad("trailing bytes"));
        }
        let ascending = set.windows(2).all(|pair| pair[0].0 < pair[1].0) && removed.is_sorted();
        if !ascending || set.iter().any(|(id, _)| removed.binary_search(id).is_ok()) {
            return Err(reader.bad("its attributes are not in order"));
        }
        Ok(Self { vector, set, removed })
    }
}

#[cfg(test)]
mod tests;
