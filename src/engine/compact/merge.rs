//! Which entries of merged segments stay.

use roaring::RoaringBitmap;

use crate::ids::EntryId;
use crate::segment::{KeyRecord, TOMBSTONE};

/// What a segment to be merged says of keys.
pub struct Input {
    /// All its records.
    pub records: Vec<KeyRecord>,
    /// Its dead rows.
    pub deleted: RoaringBitmap,
    /// Its dead entries need not win against any other.
    pub forget: bool,
}

/// What stays.
pub struct Merged {
    /// For each input its rows that stay, by ascending ordinal.
    pub rows: Vec<Vec<(u32, EntryId)>>,
    /// Records of deletes, by ascending key.
    pub tombstones: Vec<EntryId>,
}

/// Of each key the entry with the highest order counts (INV-3). A live row stays; of a dead one, and of a delete, the record
/// stays, unless nothing can turn up any more that it would have to win against.
pub fn merge(inputs: &[Input]) -> Merged {
    let mut entries: Vec<(EntryId, u32, u32)> = Vec::with_capacity(inputs.iter().map(|i| i.records.len()).sum());
    for (number, input) in (0_u32..).zip(inputs) {
        entries.extend(input.records.iter().map(|record| (record.id, record.ordinal, number)));
    }
    // The highest of a key first; ids of different entries differ.
    entries.sort_unstable_by(|(a, ..), (b, ..)| a.key.cmp(&b.key).then(b.order.cmp(&a.order)));
    entries.dedup_by_key(|(id, ..)| id.key);
    let mut merged = Merged { rows: vec![Vec::new(); inputs.len()], tombstones: Vec::new() };
    for (id, ordinal, number) in entries {
        let input = &inputs[number as usize];
        if ordinal != TOMBSTONE && !input.deleted.contains(ordinal) {
            merged.rows[number as usize].push((ordinal, id));
        } else if !input.forget {
            merged.tombstones.push(id);
        }
    }
    merged.rows.iter_mut().for_each(|rows| rows.sort_unstable_by_key(|(ordinal, _)| *ordinal));
    merged
}

#[cfg(test)]
mod tests;
