//! The tombstone log: VACUUM's notes, in pages of the index, that keys are dead up to a seq (pitfalls 3.15).
//!
//! Tombstone `i` of a generation lies in block `1 + i / PER_PAGE`. The metapage's count, written last, says how many there
//! are. Trimming starts a new generation in the same blocks; every page carries its generation, so that a reader who
//! comes too late notices.

use super::metapage::Metapage;
use super::page;
use super::relation::Rel;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{Tombstone, TombstonesVersion};

const MAGIC: [u8; 4] = *b"ELCT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const ITEM_BYTES: usize = 16;
/// Tombstones in one page.
const PER_PAGE: usize = (page::CONTENT_BYTES - HEADER_BYTES) / ITEM_BYTES;
const FIRST_BLOCK: u32 = 1;

fn encode(generation: u64, items: &[Tombstone]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + items.len() * ITEM_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&(items.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for item in items {
        let key = u64::try_from(item.key).expect("invariant: a heap tid has 48 bits");
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&item.seq.to_le_bytes());
    }
    let crc = crc32fast::hash(&out);
    out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The items of a page; `None` when it belongs to another generation.
fn decode(block: u32, bytes: &[u8], generation: u64) -> Result<Option<Vec<Tombstone>>> {
    let u64_at = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC {
        return Err(page::corrupt(block, "it is no page of the tombstone log"));
    }
    let head = u64_at(16);
    let (count, crc) = ((head & 0xffff_ffff) as usize, (head >> 32) as u32);
    let mut plain = bytes.to_vec();
    plain[HEADER_BYTES - 4..HEADER_BYTES].fill(0);
    if bytes.len() != HEADER_BYTES + count * ITEM_BYTES || crc != crc32fast::hash(&plain) {
        return Err(page::corrupt(block, "checksum mismatch in the tombstone log"));
    }
    if u64_at(8) != generation {
        return Ok(None);
    }
    let item = |at: usize| Tombstone { key: u64_at(at).cast_signed().into(), seq: u64_at(at + 8) };
    Ok(Some((0..count).map(|i| item(HEADER_BYTES + i * ITEM_BYTES)).collect()))
}

/// Block and the number of tombstones in it that belong to the first `count` ones.
fn place(index: usize) -> (u32, usize) {
    let block = u32::try_from(index / PER_PAGE).expect("invariant: an index has less than 2^32 pages");
    (FIRST_BLOCK + block, index % PER_PAGE)
}

/// The first tombstones of the log, as many as `version` says.
///
/// # Errors
/// `Fenced` when the log was trimmed since the version was read: look at everything again. `Corrupt`.
pub fn read(index: Rel, version: TombstonesVersion) -> Result<Vec<Tombstone>> {
    let count = usize::try_from(version.count).map_err(|_| page::corrupt(0, "too many tombstones"))?;
    let mut all = Vec::with_capacity(count);
    let trimmed = || Error::new(ErrorKind::Fenced, "the tombstone log was trimmed meanwhile");
    while all.len() < count {
        let (block, _) = place(all.len());
        let items = decode(block, &page::read(index, block)?, version.generation)?.ok_or_else(trimmed)?;
        if items.is_empty() {
            return Err(page::corrupt(block, "the tombstone log ends early"));
        }
        all.extend(items);
        pgrx::check_for_interrupts!();
    }
    all.truncate(count);
    Ok(all)
}

/// Appends to the log. The caller holds the publish lock alone: nobody trims meanwhile.
///
/// # Errors
/// `Corrupt`.
pub fn append(index: Rel, dead: &[Tombstone]) -> Result<()> {
    let mut meta = Metapage::read(index)?;
    let generation = meta.tombstones.generation;
    let mut left = dead;
    while !left.is_empty() {
        let at = usize::try_from(meta.tombstones.count).map_err(|_| page::corrupt(0, "too many tombstones"))?;
        let (block, used) = place(at);
        let mut items = if used == 0 {
            Vec::new()
        } else {
            let mut items = decode(block, &page::read(index, block)?, generation)?
                .ok_or_else(|| page::corrupt(block, "a page of another generation in the tombstone log"))?;
            // What a crash left beyond the count is written anew.
            items.truncate(used);
            items
        };
        let (now, later) = left.split_at(left.len().min(PER_PAGE - used));
        items.extend_from_slice(now);
        left = later;
        page::write(index, &[(block, &encode(generation, &items))]);
        meta.tombstones.count += now.len() as u64;
    }
    meta.horizon = crate::pg::snapshot::next_transaction_id();
    crate::pg::gucs::fault_point("vacuum.after_pages");
    // Counts once all of it is there.
    meta.write(index);
    Ok(())
}

/// Empties the log, if it is still the one of `version`. The caller holds the publish lock alone, and a commit that has
/// folded these tombstones into delete vectors is visible to everybody.
///
/// # Errors
/// `Corrupt`.
pub fn trim(index: Rel, version: TombstonesVersion) -> Result<()> {
    let mut meta = Metapage::read(index)?;
    if meta.tombstones == version {
        meta.tombstones = TombstonesVersion { generation: version.generation + 1, count: 0 };
        meta.write(index);
    }
    Ok(())
}
