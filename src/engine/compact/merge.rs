//! Which entries of merged segments stay: their key indexes are read side by side, a part of each at a time.

use std::collections::VecDeque;

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::ids::Key;
use crate::segment::{KeyRecord, MergedKeys, MergedKeysWriter, TOMBSTONE};

/// A segment to be merged.
#[derive(Debug, Default)]
pub struct Input {
    /// Its dead rows.
    deleted: RoaringBitmap,
    /// Its dead entries need not win against any other.
    forget: bool,
    /// Its number of rows and of tombstones, as the catalog says.
    entries: (u64, u64),
    /// Records that are read and wait for their turn, by ascending key.
    records: VecDeque<KeyRecord>,
    /// There are no others.
    is_read: bool,
    /// The last key read, and the ordinals and tombstones so far.
    last: Option<Key>,
    ordinals: RoaringBitmap,
    tombstones: u64,
}

impl Input {
    /// Nothing is read of it. `forget`: its dead entries need not win against any other; `entries`: its number of rows and of
    /// tombstones, as the catalog says.
    pub fn new(deleted: RoaringBitmap, forget: bool, entries: (u64, u64)) -> Self {
        Self { deleted, forget, entries, ..Self::default() }
    }

    fn wants_more(&self) -> bool {
        self.records.is_empty() && !self.is_read
    }

    /// Takes the next records.
    ///
    /// # Errors
    /// The input's key index does not have each row once.
    fn supply(&mut self, records: Vec<KeyRecord>, is_last: bool) -> std::result::Result<(), BadKeyIndex> {
        for record in &records {
            let is_new = match record.ordinal {
                TOMBSTONE => true,
                ordinal => u64::from(ordinal) < self.entries.0 && self.ordinals.insert(ordinal),
            };
            self.tombstones += u64::from(record.ordinal == TOMBSTONE);
            if !is_new || self.last.is_some_and(|last| record.id.key <= last) {
                return Err(BadKeyIndex);
            }
            self.last = Some(record.id.key);
        }
        self.is_read = is_last;
        self.records.extend(records);
        if is_last && (self.ordinals.len(), self.tombstones) != self.entries { Err(BadKeyIndex) } else { Ok(()) }
    }
}

/// A key index does not have each row once.
#[derive(Debug, PartialEq, Eq)]
pub struct BadKeyIndex;

/// Merges keys as far as they are read.
#[derive(Debug)]
pub struct Merger {
    inputs: Vec<Input>,
    stays: MergedKeysWriter,
}

impl Merger {
    /// Nothing is read yet.
    pub fn new(inputs: Vec<Input>, stays: MergedKeysWriter) -> Self {
        Self { inputs, stays }
    }

    /// The inputs of which more has to be read; none at the end.
    pub fn wanted(&self) -> Vec<usize> {
        (0..self.inputs.len()).filter(|i| self.inputs[*i].wants_more()).collect()
    }

    /// Takes the next records of an input.
    ///
    /// # Errors
    /// [`BadKeyIndex`].
    pub fn supply(
        &mut self,
        input: usize,
        records: Vec<KeyRecord>,
        is_last: bool,
    ) -> std::result::Result<(), BadKeyIndex> {
        self.inputs[input].supply(records, is_last)
    }

    /// Decides about the keys that are known of all inputs. Of each key the entry with the highest order counts (INV-3). A live row
    /// stays; of a dead one, and of a delete, the record stays, unless nothing can turn up any more that it would have to win against.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn advance(&mut self) -> Result<()> {
        while !self.inputs.iter().any(Input::wants_more) {
            let Some(key) = self.inputs.iter().filter_map(|input| Some(input.records.front()?.id.key)).min() else {
                return Ok(());
            };
            let mut winner: Option<(KeyRecord, usize)> = None;
            for (number, input) in self.inputs.iter_mut().enumerate() {
                let Some(record) = input.records.pop_front_if(|record| record.id.key == key) else { continue };
                if winner.is_none_or(|(best, _)| record.id.order > best.id.order) {
                    winner = Some((record, number));
                }
            }
            let Some((KeyRecord { id, ordinal }, number)) = winner else { return Ok(()) };
            let input = &self.inputs[number];
            if ordinal != TOMBSTONE && !input.deleted.contains(ordinal) {
                self.stays.row(id, number as u32, ordinal)?;
            } else if !input.forget {
                self.stays.tombstone(id)?;
            }
        }
        Ok(())
    }

    /// What stays, once nothing is wanted any more.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn finish(self) -> Result<MergedKeys> {
        self.stays.finish()
    }
}

#[cfg(test)]
mod tests;
