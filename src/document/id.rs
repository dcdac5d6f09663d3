//! Ids of documents as users write them: numbers, UUIDs or texts, as the schema of the namespace says.

use super::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IdType, Key, Uuid, text_key};
use crate::limits::MAX_TEXT_ID_BYTES;
use crate::schema::{AttributeId, TEXT_ID, json_type};
use serde_json::Value as Json;

/// The id of a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentId {
    /// Of a namespace with ids of type int.
    Int(i64),
    /// Of one with ids of type uuid.
    Uuid(Uuid),
    /// Of one with ids of type text: not empty, at most [`MAX_TEXT_ID_BYTES`].
    Text(String),
}

impl std::fmt::Display for DocumentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(id) => id.fmt(f),
            Self::Uuid(id) => id.fmt(f),
            Self::Text(id) => write!(f, "\"{}\"", id.escape_debug()),
        }
    }
}

impl DocumentId {
    /// Reads the "id" of a document in JSON.
    ///
    /// # Errors
    /// `TypeMismatch` for another type of value, `OutOfRange` for a text of a length that no id has.
    pub fn from_json(kind: IdType, json: &Json) -> Result<Self> {
        let mismatch = |what: &str| {
            let found = if matches!(json, Json::Array(_) | Json::Object(_)) {
                json_type(json).to_string()
            } else {
                json.to_string()
            };
            Error::new(ErrorKind::TypeMismatch, format!("document id must be {what}, not {found}"))
        };
        match (kind, json) {
            (IdType::Int, Json::Number(number)) => {
                number.as_i64().map(Self::Int).ok_or_else(|| mismatch("a 64-bit integer"))
            }
            (IdType::Int, _) => Err(mismatch("a 64-bit integer")),
            (IdType::Uuid, Json::String(text)) => Self::from_text(kind, text),
            (IdType::Uuid, _) => Err(mismatch("a string that holds a uuid")),
            (IdType::Text, Json::String(text)) => Self::from_text(kind, text),
            (IdType::Text, _) => Err(mismatch("a string")),
        }
    }

    /// Reads the text form, which every type of id has.
    ///
    /// # Errors
    /// `TypeMismatch` for what is no number or UUID, `OutOfRange` for a text of a length that no id has.
    pub fn from_text(kind: IdType, text: &str) -> Result<Self> {
        let mismatch = |what: &str| {
            let shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
            Error::new(ErrorKind::TypeMismatch, format!("document id must be {what}, not \"{}\"", shown.escape_debug()))
        };
        match kind {
            IdType::Int => text.parse().map(Self::Int).map_err(|_| mismatch("a 64-bit integer")),
            IdType::Uuid => Uuid::parse(text)
                .map(Self::Uuid)
                .ok_or_else(|| mismatch("a uuid").with_hint("Write 32 hexadecimal digits, with or without hyphens.")),
            IdType::Text if text.is_empty() => Err(Error::new(ErrorKind::OutOfRange, "document id is empty")),
            IdType::Text if text.len() > MAX_TEXT_ID_BYTES => Err(Error::new(
                ErrorKind::OutOfRange,
                format!("document id of {} bytes is longer than {MAX_TEXT_ID_BYTES}", text.len()),
            )),
            IdType::Text => Ok(Self::Text(text.to_string())),
        }
    }

    /// What the id is called in buffer and segments.
    pub fn key(&self) -> Key {
        match self {
            Self::Int(id) => Key::from(*id),
            Self::Uuid(id) => id.key(),
            Self::Text(id) => text_key(id),
        }
    }

    /// The hidden attribute that a document with this id has, if it has one: it comes after all others.
    pub fn attribute(&self) -> Option<(AttributeId, Value)> {
        match self {
            Self::Text(id) => Some((TEXT_ID, Value::String(id.clone()))),
            Self::Int(_) | Self::Uuid(_) => None,
        }
    }

    /// The text form of the id with this key; `text` is the value of [`TEXT_ID`].
    ///
    /// # Errors
    /// `Internal` for a text id without its text.
    pub fn text_of(kind: IdType, key: Key, text: Option<String>) -> Result<String> {
        match (kind, text) {
            (IdType::Text, None) => {
                Err(Error::internal(format!("the id of document {} was not read", kind.describe(key))))
            }
            (IdType::Text, Some(text)) => Ok(text),
            (IdType::Int | IdType::Uuid, _) => Ok(kind.describe(key)),
        }
    }
}

/// Characters of a wrong id that a message repeats.
const SHOWN_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests;
