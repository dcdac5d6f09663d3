//! Newtypes for the things that must not be mixed up.

use serde::{Deserialize, Serialize};

/// The UUID of a namespace or of one life (incarnation) of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamespaceId(pub [u8; 16]);

impl std::fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Uuid(self.0).fmt(f)
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

/// What an entry belongs to: a document id of a namespace (an index will use the heap TID).
pub type Key = i64;

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
    /// Document id.
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
