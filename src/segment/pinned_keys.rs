//! The keys of a segment as the engine keeps them on its own disk, so that VACUUM can list them without object storage.
//!
//! Bytes: `docs/format.md`. A copy of what the segment's key index says of its rows, without tombstones: anything wrong with it
//! is reason to throw it away, never an error.

use serde::{Deserialize, Serialize};

use super::key_index::KeyRecord;
use crate::error::{Error, Result};
use crate::ids::{EntryId, EntryOrder, Key};
use crate::segment_info::SegmentInfo;

const MAGIC: [u8; 8] = *b"ELACKEYS";
/// A file of another version is thrown away.
const VERSION: u32 = 1;
/// Magic, version, CRC32.
const HEADER_BYTES: usize = 16;
/// Level of zstd: deltas are small already, and higher levels gain under 2 % for several times the time.
const COMPRESSION: i32 = 1;
/// Most bytes of a row before compression: a number of 128 bits, two of 64 bits and one of 32 bits as varints.
const MAX_ROW_BYTES: usize = 44;
/// Most bytes before compression besides rows: lengths of the four columns.
const MAX_LENGTHS_BYTES: usize = 40;

/// What follows the header, in postcard's encoding.
#[derive(Serialize, Deserialize)]
struct Body {
    /// The segment's id.
    segment: String,
    rows: u64,
    /// [`Columns`] in postcard's encoding, compressed.
    columns: Vec<u8>,
}

/// By ascending key. The first three hold differences to the row before, the first one's to 0.
#[derive(Default, Serialize, Deserialize)]
struct Columns {
    keys: Vec<Key>,
    seqs: Vec<i64>,
    xids: Vec<i64>,
    ordinals: Vec<u32>,
}

/// Encodes the records of a segment's rows, which are sorted by key.
///
/// # Errors
/// `Internal` if the compressor fails.
pub fn encode(segment: &str, records: &[KeyRecord]) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Error::internal(format!("keys of segment {segment} are not encoded: {e}"));
    let mut columns = Columns::default();
    let mut last = EntryId { key: 0, order: EntryOrder { seq: 0, xid: 0 } };
    for KeyRecord { id, ordinal } in records {
        columns.keys.push(id.key.wrapping_sub(last.key));
        columns.seqs.push(id.order.seq.wrapping_sub(last.order.seq).cast_signed());
        columns.xids.push(id.order.xid.wrapping_sub(last.order.xid).cast_signed());
        columns.ordinals.push(*ordinal);
        last = *id;
    }
    let columns = postcard::to_allocvec(&columns).map_err(|e| failed(&e))?;
    let columns = zstd::bulk::compress(&columns, COMPRESSION).map_err(|e| failed(&e))?;
    let body = Body { segment: segment.to_string(), rows: records.len() as u64, columns };
    let body = postcard::to_allocvec(&body).map_err(|e| failed(&e))?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

/// Decodes what [`encode`] made of this segment, or says what is wrong with it.
///
/// # Errors
/// The damage, or that it is of another version or another segment.
pub fn decode(bytes: &[u8], info: &SegmentInfo) -> std::result::Result<Vec<KeyRecord>, String> {
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err("bad magic".to_string());
    }
    let (header, body) = bytes.split_at(HEADER_BYTES);
    if header[8..12] != VERSION.to_le_bytes() {
        return Err("another format version".to_string());
    }
    if header[12..] != crc32fast::hash(body).to_le_bytes() {
        return Err("checksum mismatch".to_string());
    }
    let body: Body = exactly(body)?;
    if body.segment != info.id {
        return Err(format!("it is of segment {:?}", body.segment));
    }
    if body.rows != info.rows {
        return Err(format!("it has {} rows, the segment {}", body.rows, info.rows));
    }
    let rows = usize::try_from(body.rows).map_err(|e| e.to_string())?;
    let most = rows.saturating_mul(MAX_ROW_BYTES).saturating_add(MAX_LENGTHS_BYTES);
    let columns = zstd::bulk::decompress(&body.columns, most).map_err(|e| e.to_string())?;
    let Columns { keys, seqs, xids, ordinals } = exactly(&columns)?;
    if [keys.len(), seqs.len(), xids.len(), ordinals.len()] != [rows; 4] {
        return Err("its columns have another number of rows".to_string());
    }
    let mut last = EntryId { key: 0, order: EntryOrder { seq: 0, xid: 0 } };
    let differences = keys.into_iter().zip(seqs).zip(xids).zip(ordinals);
    let records: Vec<KeyRecord> = differences
        .map(|(((key, seq), xid), ordinal)| {
            last.key = last.key.wrapping_add(key);
            last.order.seq = last.order.seq.wrapping_add(seq.cast_unsigned());
            last.order.xid = last.order.xid.wrapping_add(xid.cast_unsigned());
            KeyRecord { id: last, ordinal }
        })
        .collect();
    check(&records, info)?;
    Ok(records)
}

/// Whether these can be the rows of the segment: keys ascend, seqs and keys are in its ranges, each ordinal occurs once.
///
/// # Errors
/// What is wrong.
pub fn check(records: &[KeyRecord], info: &SegmentInfo) -> std::result::Result<(), String> {
    if records.len() as u64 != info.rows {
        return Err(format!("there are keys of {} rows, not of {}", records.len(), info.rows));
    }
    let mut seen = vec![false; records.len()];
    for (at, KeyRecord { id, ordinal }) in records.iter().enumerate() {
        let ascends = at == 0 || records[at - 1].id.key < id.key;
        let inside =
            (info.min_key..=info.max_key).contains(&id.key) && (info.min_seq..=info.max_seq).contains(&id.order.seq);
        let new = seen.get_mut(*ordinal as usize).is_some_and(|seen| !std::mem::replace(seen, true));
        if !ascends || !inside || !new {
            return Err(format!("key {} at {} of row {ordinal} is out of order or range", id.key, id.order.seq));
        }
    }
    Ok(())
}

/// Decodes all of `bytes`.
fn exactly<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> std::result::Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests;
