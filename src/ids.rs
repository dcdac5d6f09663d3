//! Newtypes for the things that must not be mixed up.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The UUID of a namespace or of one life (incarnation) of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamespaceId(pub [u8; 16]);

impl std::fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Uuid(self.0).fmt(f)
    }
}

/// Crockford's alphabet, in which a ULID is written.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of 128 bits in it.
const SHORT_DIGITS: usize = 26;

impl NamespaceId {
    /// As a ULID is written: 26 characters, ten fewer than [`std::fmt::Display`] has.
    pub fn short(self) -> String {
        let number = u128::from_be_bytes(self.0);
        let digit = |place: usize| CROCKFORD[(number >> (5 * place)) as usize & 31] as char;
        (0..SHORT_DIGITS).rev().map(digit).collect()
    }

    /// The reverse of [`Self::short`].
    pub fn parse_short(text: &str) -> Option<Self> {
        if text.len() != SHORT_DIGITS || text.as_bytes()[0] > b'7' {
            return None;
        }
        let digit = |byte: u8| CROCKFORD.iter().position(|digit| *digit == byte);
        let number = text.bytes().try_fold(0_u128, |number, byte| Some(number << 5 | digit(byte)? as u128));
        number.map(|number| Self(number.to_be_bytes()))
    }
}

/// A UUID as a value. Ordered by its bytes, as PostgreSQL does; so is its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Reads 32 hexadecimal digits of any case, with hyphens in the usual places or none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let mut digits = 0;
        let hyphens = text.len() == 36;
        if !hyphens && text.len() != 32 {
            return None;
        }
        for (place, byte) in text.bytes().enumerate() {
            if hyphens && matches!(place, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = (byte as char).to_digit(16)? as u8;
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
            digits += 1;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Uuid {
    /// The usual 8-4-4-4-12 form in lower case, as PostgreSQL prints a uuid.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Lists of thousands are written for every segment: byte by byte through the formatter would take milliseconds.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut place = 0;
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                place += 1;
            }
            text[place] = DIGITS[usize::from(byte >> 4)];
            text[place + 1] = DIGITS[usize::from(byte & 15)];
            place += 2;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| std::fmt::Error)?)
    }
}

impl Uuid {
    /// As a key: keys are ordered as their UUIDs are, and no two UUIDs share one.
    pub fn key(self) -> Key {
        (u128::from_be_bytes(self.0) ^ SIGN).cast_signed()
    }

    /// The reverse of [`Self::key`].
    pub fn of_key(key: Key) -> Self {
        Self((key.cast_unsigned() ^ SIGN).to_be_bytes())
    }
}

/// The highest bit: flipped, it turns the order of unsigned numbers into that of signed ones.
const SIGN: u128 = 1 << 127;

/// What an entry belongs to: a document of a namespace, named by its id ([`IdType`] says how), or a row of an index, named by its
/// heap tid.
pub type Key = i128;

/// The key of a text id: the first 128 bits of its SHA-256. Of a million million texts two share one with a probability of
/// 10^-15, and a text that shares one with a given text cannot be found. (Any two that share one take 2^64 tries.)
pub fn text_key(text: &str) -> Key {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    Key::from_be_bytes(bytes)
}

/// What the ids of a namespace's documents are. Keys of an index are as those of `Int`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdType {
    /// 64-bit numbers, which are their keys.
    #[default]
    Int,
    /// UUIDs: [`Uuid::key`].
    Uuid,
    /// Texts: [`text_key`]. The text itself is an attribute, [`crate::schema::TEXT_ID`].
    Text,
}

impl IdType {
    /// The name used in schemas and error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Uuid => "uuid",
            Self::Text => "text",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Int, Self::Uuid, Self::Text].into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is what it is when nobody says otherwise; stored schemas leave it out then.
    pub fn is_int(&self) -> bool {
        *self == Self::Int
    }

    /// A key as messages name it. Of a text only the hash is known.
    pub fn describe(self, key: Key) -> String {
        match self {
            Self::Int => key.to_string(),
            Self::Uuid => Uuid::of_key(key).to_string(),
            Self::Text => format!("with hash {:032x}", key.cast_unsigned()),
        }
    }
}

/// Keys in JSON, for `#[serde(with)]`: a number if 64 bits hold it, else a string of its digits, because JSON readers (ours, and
/// PostgreSQL's as bigint) keep no larger integers. In postcard's encoding a plain number.
pub mod json_key {
    use super::Key;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a key.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i128(*key);
        }
        match i64::try_from(*key) {
            Ok(key) => serializer.serialize_i64(key),
            Err(_) => serializer.collect_str(key),
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The deserializer's; a string that is no integer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        if !deserializer.is_human_readable() {
            return Key::deserialize(deserializer);
        }
        deserializer.deserialize_any(Visitor)
    }

    struct Visitor;

    impl serde::de::Visitor<'_> for Visitor {
        type Value = Key;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a key")
        }

        fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
            Ok(Key::from(key))
        }

        fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
            Ok(Key::from(key))
        }

        fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key, E> {
            key.parse().map_err(E::custom)
        }
    }
}

/// The order of entries of one key: the highest wins, everywhere (INV-3).
///
/// `seq` is the WAL insert position at the time of the write; two sessions may draw the same one, so the full
/// transaction id breaks the tie. Within one session `seq` strictly increases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryOrder {
    /// WAL insert position.
    pub seq: u64,
    /// Full transaction id of the writer's top-level transaction.
    pub xid: u64,
}

/// The identity of one entry: (namespace, key, order) is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId {
    /// Which document or row.
    pub key: Key,
    /// Its place in the history of that key.
    pub order: EntryOrder,
}

/// What an entry does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Op {
    /// The payload is the whole new document.
    Upsert = 1,
    /// The document is gone; there is no payload.
    Delete = 2,
    /// The payload is a [`crate::document::Patch`]: what to change of the document that is there, if one is.
    Patch = 3,
}

impl Op {
    /// The persisted form (column `op` of `elacsym.wal`).
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Upsert),
            2 => Some(Self::Delete),
            3 => Some(Self::Patch),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
