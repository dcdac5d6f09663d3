//! What the catalog says of a segment, and the delete vector beside it.
//!
//! [`SegmentInfo`] is column `info` of `elacsym.segment`, travels in every query, and is what `manifest.json` lists.

use crate::error::{Error, Result};
use crate::ids::{Key, json_key};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// One live segment: identity, place, sizes, ranges. Immutable once published; the delete vector is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// ULID, 26 characters: unique and ordered by creation time.
    pub id: String,
    /// Storage root it was written to (`file:///…` or `s3://bucket/prefix`): a changed setting moves only new segments.
    pub root: String,
    /// Directory of its objects below the root: `<cluster>/<database oid>/<namespace>/<id>`.
    pub path: String,
    /// Version of the segment format.
    pub format: u32,
    /// Rows (live or dead) in `rows.parquet`.
    pub rows: u64,
    /// Rows that have a vector; they come first.
    pub vectors: u64,
    /// Keys that this segment says are deleted.
    pub tombstones: u64,
    /// Size of `rows.parquet` in bytes; 0 if there is none (only tombstones).
    pub parquet_bytes: u64,
    /// Size of `search.idx` in bytes.
    pub index_bytes: u64,
    /// Length of the tail of `search.idx` that opens the segment: one ranged read.
    pub tail_bytes: u64,
    /// Smallest key, tombstones included.
    #[serde(with = "json_key")]
    pub min_key: Key,
    /// Largest key, tombstones included.
    #[serde(with = "json_key")]
    pub max_key: Key,
    /// Smallest seq.
    pub min_seq: u64,
    /// Largest seq.
    pub max_seq: u64,
}

impl SegmentInfo {
    /// Key of the Parquet object below the root.
    pub fn parquet_key(&self) -> String {
        format!("{}/rows.parquet", self.path)
    }

    /// Key of the index object below the root.
    pub fn index_key(&self) -> String {
        format!("{}/search.idx", self.path)
    }

    /// Bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.parquet_bytes + self.index_bytes
    }

    /// Keys of all its objects below the root.
    pub fn object_keys(&self) -> Vec<String> {
        let mut keys = vec![self.index_key()];
        if self.parquet_bytes > 0 {
            keys.push(self.parquet_key());
        }
        keys
    }
}

/// Dead ordinals of one segment, as stored in `elacsym.segment.delete_vector`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeleteVector(pub RoaringBitmap);

const MAGIC: [u8; 4] = *b"EDV1";

impl DeleteVector {
    /// Magic and version `EDV1`, CRC32 of the rest, portable roaring form.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.0.serialized_size());
        self.0.serialize_into(&mut body).expect("invariant: writing to memory does not fail");
        let mut out = Vec::with_capacity(8 + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Reads what [`Self::encode`] wrote; `segment` names it in errors. No bytes at all is the empty vector.
    pub fn decode(bytes: &[u8], segment: &str) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let bad = |why: &str| Error::corrupt(&format!("delete vector of segment {segment}"), 0, why);
        if bytes.len() < 8 || bytes[..4] != MAGIC {
            return Err(bad("bad magic"));
        }
        let (crc, body) = bytes[4..].split_at(4);
        if crc != crc32fast::hash(body).to_le_bytes() {
            return Err(bad("checksum mismatch"));
        }
        RoaringBitmap::deserialize_from(body).map(Self).map_err(|error| bad(&error.to_string()))
    }
}

#[cfg(test)]
mod tests;
