//! The key index: which entry of which key a segment holds, dead rows and tombstones included.
//!
//! Records sorted by key, in blocks of one 16 KiB page each, so that with the fences of the footer one look-up reads one
//! page. Beside it the identities: the same facts by ordinal.

use crate::error::{Error, Result};
use crate::ids::{EntryId, EntryOrder, IdType, Key};

/// Ordinal of a record that says its key is deleted.
pub const TOMBSTONE: u32 = u32::MAX;
/// Bytes of one block: a page of the block cache; the key index starts at offset 0, so blocks are pages.
pub const BLOCK_BYTES: u64 = 16 << 10;
/// Bytes of an order: seq u64, xid u64.
const ORDER_BYTES: u64 = 16;
/// Bytes of an ordinal.
const ORDINAL_BYTES: u64 = 4;

/// How wide keys are: 8 bytes where ids are 64-bit numbers and in an index, else 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Keys are i64.
    Narrow,
    /// Keys are i128.
    Wide,
}

/// One entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which entry.
    pub id: EntryId,
    /// Its row, or [`TOMBSTONE`].
    pub ordinal: u32,
}

impl Layout {
    /// That of a namespace's segments.
    pub fn of(id: IdType) -> Self {
        if id.is_int() { Self::Narrow } else { Self::Wide }
    }

    /// Bytes of a key.
    pub fn key_bytes(self) -> u64 {
        match self {
            Self::Narrow => 8,
            Self::Wide => 16,
        }
    }

    /// Bytes of one identity: key, seq u64, xid u64.
    pub fn identity_bytes(self) -> u64 {
        self.key_bytes() + ORDER_BYTES
    }

    /// Bytes of one record: an identity, ordinal u32.
    pub fn record_bytes(self) -> u64 {
        self.identity_bytes() + ORDINAL_BYTES
    }

    /// Records of one block; a few bytes of zeros fill it up.
    pub fn records_per_block(self) -> u64 {
        BLOCK_BYTES / self.record_bytes()
    }

    /// Number of blocks for that many records.
    pub fn blocks(self, records: u64) -> u64 {
        records.div_ceil(self.records_per_block())
    }

    /// Length of the section for that many records: the last block is not filled up.
    pub fn encoded_len(self, records: u64) -> u64 {
        let (full, rest) = (records / self.records_per_block(), records % self.records_per_block());
        full.saturating_mul(BLOCK_BYTES).saturating_add(rest * self.record_bytes())
    }

    /// Appends one identity, whose key fits ([`BlockEncoder::push`] checks it).
    pub fn encode_identity(self, id: EntryId, out: &mut Vec<u8>) {
        self.encode_key(id.key, out);
        out.extend_from_slice(&id.order.seq.to_le_bytes());
        out.extend_from_slice(&id.order.xid.to_le_bytes());
    }

    /// Appends one key, which fits.
    pub fn encode_key(self, key: Key, out: &mut Vec<u8>) {
        // Two's complement: the lower half of a key that fits into it is the key.
        out.extend_from_slice(&key.to_le_bytes()[..self.key_bytes() as usize]);
    }

    /// Reads one key from the first bytes of `bytes`, which must be long enough.
    pub fn decode_key(self, bytes: &[u8]) -> Key {
        match self {
            Self::Narrow => Key::from(u64_at(bytes, 0).cast_signed()),
            Self::Wide => (u128::from(u64_at(bytes, 8)) << 64 | u128::from(u64_at(bytes, 0))).cast_signed(),
        }
    }

    /// Finds a key in the bytes of its block.
    pub fn find(self, block: &[u8], key: Key) -> Option<KeyRecord> {
        let record = self.record_bytes() as usize;
        let count = (block.len() / record).min(self.records_per_block() as usize);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            let bytes = &block[middle * record..(middle + 1) * record];
            match self.decode_key(bytes).cmp(&key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(self.decode_record(bytes)),
            }
        }
        None
    }

    /// All records of whole blocks, in their order; the last block may be shorter.
    pub fn decode_blocks(self, blocks: &[u8]) -> impl Iterator<Item = KeyRecord> {
        // What fills a block up is shorter than a record.
        let record = self.record_bytes() as usize;
        let records = blocks.chunks(BLOCK_BYTES as usize).flat_map(move |block| block.chunks_exact(record));
        records.map(move |bytes| self.decode_record(bytes))
    }

    /// Reads one record from `bytes`, which must be [`Self::record_bytes`] long.
    fn decode_record(self, bytes: &[u8]) -> KeyRecord {
        let at = self.identity_bytes() as usize;
        let ordinal = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        KeyRecord { id: self.decode_identity(bytes), ordinal }
    }

    /// Reads one identity from the first [`Self::identity_bytes`] of `bytes`, which must be that long.
    pub fn decode_identity(self, bytes: &[u8]) -> EntryId {
        let at = self.key_bytes() as usize;
        EntryId {
            key: self.decode_key(bytes),
            order: EntryOrder { seq: u64_at(bytes, at), xid: u64_at(bytes, at + 8) },
        }
    }

    /// The section of fences.
    pub fn encode_fences(self, fences: &[Key]) -> Vec<u8> {
        let mut out = Vec::with_capacity(fences.len() * self.key_bytes() as usize);
        fences.iter().for_each(|key| self.encode_key(*key, &mut out));
        out
    }

    /// The reverse of [`Self::encode_fences`]; None if the length is no multiple of a key's.
    pub fn decode_fences(self, bytes: &[u8]) -> Option<Vec<Key>> {
        let chunks = bytes.chunks_exact(self.key_bytes() as usize);
        chunks.remainder().is_empty().then(|| chunks.map(|bytes| self.decode_key(bytes)).collect())
    }
}

/// Encodes records that come by ascending key.
#[derive(Debug)]
pub struct BlockEncoder {
    layout: Layout,
    records: u64,
    /// First key of each block.
    fences: Vec<Key>,
    last: Key,
}

impl BlockEncoder {
    /// Nothing encoded.
    pub fn new(layout: Layout) -> Self {
        Self { layout, records: 0, fences: Vec::new(), last: 0 }
    }

    /// Appends a record to the section.
    ///
    /// # Errors
    /// `Internal`, naming the key, if it is not greater than the one before or does not fit: the caller must have resolved INV-3
    /// already.
    pub fn push(&mut self, record: KeyRecord, out: &mut Vec<u8>) -> Result<()> {
        let key = record.id.key;
        if self.records > 0 && key <= self.last {
            return Err(Error::internal(format!("key {key} occurs twice in one segment")));
        }
        if self.layout == Layout::Narrow && i64::try_from(key).is_err() {
            return Err(Error::internal(format!("key {key} is wider than 64 bits")));
        }
        let per_block = self.layout.records_per_block();
        if self.records.is_multiple_of(per_block) {
            self.fences.push(key);
        }
        self.layout.encode_identity(record.id, out);
        out.extend_from_slice(&record.ordinal.to_le_bytes());
        self.records += 1;
        self.last = key;
        if self.records.is_multiple_of(per_block) {
            let rest = BLOCK_BYTES - per_block * self.layout.record_bytes();
            out.resize(out.len() + rest as usize, 0);
        }
        Ok(())
    }

    /// The first key of each block.
    pub fn finish(self) -> Vec<Key> {
        self.fences
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// The block that holds `key` if any does.
pub fn block_of(fences: &[Key], key: Key) -> Option<usize> {
    fences.partition_point(|fence| *fence <= key).checked_sub(1)
}

/// The byte range of a block within a section of `section_len` bytes.
pub fn block_range(block: usize, section_len: u64) -> std::ops::Range<u64> {
    let start = block as u64 * BLOCK_BYTES;
    start..(start + BLOCK_BYTES).min(section_len)
}

#[cfg(test)]
mod tests;
