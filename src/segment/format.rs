//! The tail of `search.idx`: footer and trailer. The byte tables are in `docs/format.md`; change both together.
//!
//! Reading starts at the end: the trailer's last four bytes are its own CRC, it names the footer's place and CRC, and the
//! footer has everything else, among it a CRC of every page before it. So no byte is believed before it is verified.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::key_index::Layout;
use crate::error::{Error, Result};
use crate::ids::Key;
use crate::schema::{AttributeId, NamespaceSchema};

/// Version of the segment format that this code writes. It reads this one only: it is the first.
pub const FORMAT_VERSION: u32 = 1;
/// First eight bytes of the trailer.
pub const INDEX_MAGIC: [u8; 8] = *b"ELACSIX1";
/// First eight bytes of the footer, so that a footer can be found by eye in a damaged file.
pub const FOOTER_MAGIC: [u8; 8] = *b"ELACFTR1";
/// Length of the trailer in bytes.
pub const TRAILER_BYTES: usize = 64;
/// Sections start at multiples of this: a cache line, so that codes can be read in place with aligned loads.
pub const SECTION_ALIGNMENT: u64 = 64;

/// A place in an object: offset and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte.
    pub offset: u64,
    /// Length.
    pub len: u64,
}

impl Span {
    /// The absolute range of a range relative to this span; None if it leaves the span.
    pub fn absolute(&self, relative: &std::ops::Range<u64>) -> Option<std::ops::Range<u64>> {
        if relative.start > relative.end || relative.end > self.len {
            return None;
        }
        Some(self.offset + relative.start..self.offset + relative.end)
    }

    /// Offset of the first byte after it; None if that is beyond u64.
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// Bytes inside the footer, written as one length-prefixed run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Bytes);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> std::result::Result<Blob, E> {
                Ok(Blob(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

impl Blob {
    /// Little-endian u32 values as bytes.
    pub fn from_u32s(values: &[u32]) -> Self {
        Self(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into())
    }

    /// The reverse of [`Self::from_u32s`]; None if the length is no multiple of four.
    pub fn to_u32s(&self) -> Option<Vec<u32>> {
        let chunks = self.0.chunks_exact(4);
        chunks.remainder().is_empty().then(|| chunks.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// One tantivy file inside `search.idx`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Name in tantivy's directory.
    pub name: String,
    /// Absolute place in `search.idx`.
    pub span: Span,
}

/// One data page of the vector column of `rows.parquet`: where its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorPage {
    /// Ordinal of its first vector.
    pub first: u32,
    /// Vectors in it.
    pub count: u32,
    /// Offset in `rows.parquet` of its first value; `count * dim` little-endian f32 follow.
    pub offset: u64,
}

/// The end of `rows.parquet`: page indexes and Parquet footer, so that reading values needs no read of its tail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParquetTail {
    /// Length of `rows.parquet`.
    pub len: u64,
    /// Offset of the first byte of `bytes` in `rows.parquet`.
    pub offset: u64,
    /// Everything from there to the end of the file.
    pub bytes: Blob,
}

/// Everything known about a segment before its body is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Rows of `rows.parquet`.
    pub rows: u64,
    /// Rows that have a vector; they come first.
    pub vectors: u64,
    /// Keys said to be deleted.
    pub tombstones: u64,
    /// Smallest key, tombstones included.
    pub min_key: Key,
    /// Largest key.
    pub max_key: Key,
    /// Smallest seq.
    pub min_seq: u64,
    /// Largest seq.
    pub max_seq: u64,
    /// Stored form of the schema the segment was written with.
    pub schema: String,
    /// Blocks of the key index.
    pub key_index: Span,
    /// First key of each block of the key index, little-endian, as wide as there.
    pub fences: Blob,
    /// Key, seq, xid of each row.
    pub identities: Span,
    /// One-bit codes of the vector index.
    pub postings: Span,
    /// Eight-bit codes of the vector index.
    pub row_codes: Span,
    /// Head of the vector index; empty without vectors.
    pub head: Blob,
    /// The tantivy files.
    pub text_files: Vec<TextFile>,
    /// What opens them without reading them; empty without text files.
    pub hotcache: Blob,
    /// Rows that have a value, for each attribute of the schema.
    pub attribute_values: Vec<(AttributeId, u64)>,
    /// Data pages of the vector column that hold vectors, in order.
    pub vector_pages: Vec<VectorPage>,
    /// None: there is no `rows.parquet`.
    pub parquet: Option<ParquetTail>,
    /// CRC32 of each page of `rows.parquet`, u32 little-endian.
    pub parquet_crcs: Blob,
    /// CRC32 of each page of `search.idx` before the footer, u32 little-endian.
    pub body_crcs: Blob,
}

/// Encodes footer and trailer, to be appended to a body of `body_len` bytes.
pub fn encode_tail(footer: &Footer, body_len: u64) -> Vec<u8> {
    let mut tail = Vec::new();
    tail.extend_from_slice(&FOOTER_MAGIC);
    tail.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    tail.extend_from_slice(&[0; 4]);
    let tail = postcard::to_extend(footer, tail).expect("invariant: writing to memory does not fail");
    let footer_crc = crc32fast::hash(&tail);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&INDEX_MAGIC);
    trailer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    trailer.extend_from_slice(&footer_crc.to_le_bytes());
    trailer.extend_from_slice(&body_len.to_le_bytes());
    trailer.extend_from_slice(&(tail.len() as u64).to_le_bytes());
    trailer.resize(TRAILER_BYTES - 4, 0);
    let crc = crc32fast::hash(&trailer);
    trailer.extend_from_slice(&crc.to_le_bytes());
    let mut tail = tail;
    tail.extend_from_slice(&trailer);
    tail
}

/// Decodes and checks the tail of `search.idx`. `object` names it in errors, `object_len` is its whole length; the body
/// before the footer is `object_len - tail.len()` bytes long.
///
/// # Errors
/// `Corrupt` with the offset for anything that [`encode_tail`] did not write. No input makes it panic.
pub fn decode_tail(tail: &[u8], object: &str, object_len: u64) -> Result<Footer> {
    let at = |in_tail: usize| object_len.saturating_sub(tail.len() as u64) + in_tail as u64;
    let Some(footer_len) = tail.len().checked_sub(TRAILER_BYTES) else {
        return Err(Error::corrupt(object, at(0), "too short for a trailer"));
    };
    let trailer = &tail[footer_len..];
    let bad_trailer = |what: &str| Error::corrupt(object, at(footer_len), what);
    if trailer[..8] != INDEX_MAGIC {
        return Err(bad_trailer("the trailer has a bad magic"));
    }
    if crc32fast::hash(&trailer[..TRAILER_BYTES - 4]) != le_u32(trailer, TRAILER_BYTES - 4) {
        return Err(bad_trailer("checksum mismatch of the trailer"));
    }
    let version = le_u32(trailer, 8);
    if version != FORMAT_VERSION {
        return Err(bad_trailer(&format!("unknown segment format {version}"))
            .with_hint("The segment was written by a newer version of elacsym."));
    }
    if le_u64(trailer, 16) != at(0) || le_u64(trailer, 24) != footer_len as u64 {
        return Err(bad_trailer("the footer is not where the catalog says"));
    }
    let footer = &tail[..footer_len];
    let bad_footer = |what: &str| Error::corrupt(object, at(0), what);
    if crc32fast::hash(footer) != le_u32(trailer, 12) {
        return Err(bad_footer("checksum mismatch of the footer"));
    }
    if footer.len() < 16 || footer[..8] != FOOTER_MAGIC || le_u32(footer, 8) != FORMAT_VERSION {
        return Err(bad_footer("the footer has a bad magic or version"));
    }
    let (footer, rest) = postcard::take_from_bytes::<Footer>(&footer[16..])
        .map_err(|error| bad_footer(&format!("the footer is not readable: {error}")))?;
    if !rest.is_empty() {
        return Err(bad_footer("the footer has trailing bytes"));
    }
    check_footer(&footer, at(0)).map_err(|what| bad_footer(&what))?;
    Ok(footer)
}

/// Whether the checksums of a tail are right; what [`decode_tail`] checks first.
pub fn is_sound_tail(tail: &[u8]) -> bool {
    let Some(footer_len) = tail.len().checked_sub(TRAILER_BYTES) else { return false };
    let trailer = &tail[footer_len..];
    crc32fast::hash(&trailer[..TRAILER_BYTES - 4]) == le_u32(trailer, TRAILER_BYTES - 4)
        && crc32fast::hash(&tail[..footer_len]) == le_u32(trailer, 12)
}

/// Checks that everything the footer points at lies in the body and that counts agree, so that readers need not.
fn check_footer(footer: &Footer, body_len: u64) -> std::result::Result<(), String> {
    let mut spans = vec![
        ("key index", footer.key_index),
        ("identities", footer.identities),
        ("postings", footer.postings),
        ("row codes", footer.row_codes),
    ];
    spans.extend(footer.text_files.iter().map(|file| (file.name.as_str(), file.span)));
    for (name, span) in spans {
        if span.end().is_none_or(|end| end > body_len) {
            return Err(format!("section \"{name}\" lies outside the object"));
        }
    }
    if footer.vectors > footer.rows || footer.rows >= u64::from(u32::MAX) {
        return Err("the numbers of rows and vectors do not agree".to_string());
    }
    // What the schema says else is checked by who opens the segment.
    let schema = NamespaceSchema::from_stored(&footer.schema).map_err(|error| error.message)?;
    let layout = Layout::of(schema.id);
    let records = footer.rows.checked_add(footer.tombstones).ok_or("the number of tombstones is too large")?;
    if footer.key_index.len != layout.encoded_len(records)
        || Some(footer.identities.len) != footer.rows.checked_mul(layout.identity_bytes())
    {
        return Err("the key index does not fit the number of rows".to_string());
    }
    if footer.fences.0.len() as u64 != layout.blocks(records) * layout.key_bytes() {
        return Err("the fences do not fit the key index".to_string());
    }
    if footer.parquet.is_none() && footer.rows > 0 {
        return Err("there are rows but no row file".to_string());
    }
    if let Some(parquet) = &footer.parquet
        && parquet.offset.checked_add(parquet.bytes.0.len() as u64) != Some(parquet.len)
    {
        return Err("the end of the row file is not at its end".to_string());
    }
    let mut next = 0_u64;
    for page in &footer.vector_pages {
        if u64::from(page.first) != next || page.count == 0 {
            return Err("the vector pages are not contiguous".to_string());
        }
        next += u64::from(page.count);
    }
    if next != footer.vectors {
        return Err("the vector pages do not hold all vectors".to_string());
    }
    Ok(())
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests;
