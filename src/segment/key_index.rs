//! The key index: which entry of which key a segment holds, dead rows and tombstones included.
//!
//! Records sorted by key, in blocks of one 16 KiB page each, so that with the fences of the footer one look-up reads one
//! page. Beside it the identities: the same facts by ordinal.

use crate::error::{Error, Result};
use crate::ids::{EntryId, EntryOrder, Key};

/// Ordinal of a record that says its key is deleted.
pub const TOMBSTONE: u32 = u32::MAX;
/// Bytes of one record: key i64, seq u64, xid u64, ordinal u32.
pub const RECORD_BYTES: u64 = 28;
/// Bytes of one block: a page of the block cache; the key index starts at offset 0, so blocks are pages.
pub const BLOCK_BYTES: u64 = 16 << 10;
/// Records of one block; four bytes of zeros fill it up.
pub const RECORDS_PER_BLOCK: u64 = BLOCK_BYTES / RECORD_BYTES;
/// Bytes of one identity: key i64, seq u64, xid u64.
pub const IDENTITY_BYTES: u64 = 24;

/// One entry of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which entry.
    pub id: EntryId,
    /// Its row, or [`TOMBSTONE`].
    pub ordinal: u32,
}

/// Number of blocks for that many records.
pub fn blocks(records: u64) -> u64 {
    records.div_ceil(RECORDS_PER_BLOCK)
}

/// Length of the section for that many records: the last block is not filled up.
pub fn encoded_len(records: u64) -> u64 {
    (records / RECORDS_PER_BLOCK).saturating_mul(BLOCK_BYTES).saturating_add(records % RECORDS_PER_BLOCK * RECORD_BYTES)
}

/// Encodes records that are sorted by key; returns the section and the first key of each block.
pub fn encode(records: &[KeyRecord]) -> (Vec<u8>, Vec<Key>) {
    let mut out = Vec::with_capacity(encoded_len(records.len() as u64) as usize);
    let mut fences = Vec::new();
    for block in records.chunks(RECORDS_PER_BLOCK as usize) {
        fences.push(block[0].id.key);
        for record in block {
            encode_identity(record.id, &mut out);
            out.extend_from_slice(&record.ordinal.to_le_bytes());
        }
        if block.len() as u64 == RECORDS_PER_BLOCK {
            out.resize(out.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        }
    }
    (out, fences)
}

/// Appends one identity.
pub fn encode_identity(id: EntryId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.key.to_le_bytes());
    out.extend_from_slice(&id.order.seq.to_le_bytes());
    out.extend_from_slice(&id.order.xid.to_le_bytes());
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

/// Finds a key in the bytes of its block.
pub fn find(block: &[u8], key: Key) -> Option<KeyRecord> {
    let record = RECORD_BYTES as usize;
    let count = (block.len() / record).min(RECORDS_PER_BLOCK as usize);
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        let bytes = &block[middle * record..(middle + 1) * record];
        let found = decode_identity(bytes);
        match found.key.cmp(&key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some(decode_record(bytes)),
        }
    }
    None
}

/// All records of whole blocks, in their order; the last block may be shorter.
pub fn decode_blocks(blocks: &[u8]) -> impl Iterator<Item = KeyRecord> {
    // What fills a block up is shorter than a record.
    blocks.chunks(BLOCK_BYTES as usize).flat_map(|block| block.chunks_exact(RECORD_BYTES as usize)).map(decode_record)
}

/// Reads one record from `bytes`, which must be [`RECORD_BYTES`] long.
fn decode_record(bytes: &[u8]) -> KeyRecord {
    let ordinal = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    KeyRecord { id: decode_identity(bytes), ordinal }
}

/// Reads one identity from the first [`IDENTITY_BYTES`] of `bytes`, which must be that long.
pub fn decode_identity(bytes: &[u8]) -> EntryId {
    let word = |at: usize| {
        let mut value = [0; 8];
        value.copy_from_slice(&bytes[at..at + 8]);
        value
    };
    EntryId {
        key: i64::from_le_bytes(word(0)),
        order: EntryOrder { seq: u64::from_le_bytes(word(8)), xid: u64::from_le_bytes(word(16)) },
    }
}

/// Checks what the writer is given: sorted by key, each key once.
///
/// # Errors
/// `Internal`, naming the key: the caller must have resolved INV-3 already.
pub fn check_unique(records: &[KeyRecord]) -> Result<()> {
    match records.windows(2).find(|pair| pair[0].id.key >= pair[1].id.key) {
        None => Ok(()),
        Some(pair) => Err(Error::internal(format!("key {} occurs twice in one segment", pair[1].id.key))),
    }
}

#[cfg(test)]
mod tests;
