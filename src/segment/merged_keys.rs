//! What stays of merged segments: entries by ascending key, on the local disk. In memory are two bits to two bytes a row.

use std::fs::File;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::key_index::TOMBSTONE;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, EntryOrder, Key};
use crate::scratch::{Scratch, ScratchFile, ScratchWriter};

/// Bytes of an id: key, seq, xid.
const ID_BYTES: usize = 32;
/// Bytes of a record: an id, input u32, ordinal u32.
const RECORD_BYTES: usize = ID_BYTES + 8;
/// Bytes of records read at once.
const READ_BYTES: u64 = (RECORD_BYTES as u64) << 12;

/// Takes what stays, by ascending key.
#[derive(Debug)]
pub struct MergedKeysWriter {
    scratch: Arc<Scratch>,
    records: ScratchWriter,
    inputs: Vec<Input>,
    tombstones: u64,
}

/// What stays of an input.
#[derive(Debug)]
struct Input {
    /// Ordinals of the rows.
    rows: RoaringBitmap,
    /// Ordinals below this one have a vector.
    vectors: u32,
    /// Rows with a vector that stay.
    with: u64,
    /// The same of the inputs before it.
    with_before: u64,
    /// Rows before its first one without.
    without_before: u64,
}

impl MergedKeysWriter {
    /// Nothing stays yet. `vectors`: of each input the number of rows with a vector.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn new(scratch: &Arc<Scratch>, vectors: impl IntoIterator<Item = u64>) -> Result<Self> {
        let input = |vectors| {
            let vectors = u32::try_from(vectors).map_err(|_| Error::internal("a segment with too many vectors"))?;
            Ok(Input { rows: RoaringBitmap::new(), vectors, with: 0, with_before: 0, without_before: 0 })
        };
        let inputs = vectors.into_iter().map(input).collect::<Result<_>>()?;
        Ok(Self { scratch: scratch.clone(), records: scratch.writer()?, inputs, tombstones: 0 })
    }

    /// A row of an input stays.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn row(&mut self, id: EntryId, input: u32, ordinal: u32) -> Result<()> {
        let place = self.inputs.get_mut(input as usize);
        let place = place.ok_or_else(|| Error::internal(format!("there is no input {input}")))?;
        place.rows.insert(ordinal);
        self.record(id, input, ordinal)
    }

    /// The record stays that a key is dead.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn tombstone(&mut self, id: EntryId) -> Result<()> {
        self.tombstones += 1;
        self.record(id, 0, TOMBSTONE)
    }

    fn record(&mut self, id: EntryId, input: u32, ordinal: u32) -> Result<()> {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..ID_BYTES].copy_from_slice(&encode(id));
        bytes[ID_BYTES..ID_BYTES + 4].copy_from_slice(&input.to_le_bytes());
        bytes[ID_BYTES + 4..].copy_from_slice(&ordinal.to_le_bytes());
        self.records.put(&bytes)
    }

    /// All of it: rows get numbers, those with a vector first, else in the order of inputs and ordinals.
    ///
    /// # Errors
    /// Of the local disk; `OutOfRange` for more rows than a segment holds.
    pub fn finish(mut self) -> Result<MergedKeys> {
        let (mut with, mut without) = (0, 0);
        for input in &mut self.inputs {
            (input.with_before, input.without_before) = (with, without);
            input.with = input.vectors.checked_sub(1).map_or(0, |last| input.rows.rank(last));
            with += input.with;
            without += input.rows.len() - input.with;
        }
        self.inputs.iter_mut().for_each(|input| input.without_before += with);
        if with + without >= u64::from(u32::MAX) {
            let what = format!("a segment cannot hold {} rows", with + without);
            return Err(Error::new(ErrorKind::OutOfRange, what));
        }
        let (scratch, inputs, tombstones) = (self.scratch, self.inputs, self.tombstones);
        let records = self.records.finish()?;
        let keys = MergedKeys { ids: scratch.file()?, scratch, records, inputs, with, without, tombstones };
        keys.for_each(&mut |id, row| match row {
            Some(row) => keys.scratch.write_at(&keys.ids, &encode(id), u64::from(row) * ID_BYTES as u64),
            None => Ok(()),
        })?;
        Ok(keys)
    }
}

/// What stays of merged segments.
#[derive(Debug)]
pub struct MergedKeys {
    scratch: Arc<Scratch>,
    records: ScratchFile,
    /// Id of each row, by its number.
    ids: File,
    inputs: Vec<Input>,
    with: u64,
    without: u64,
    tombstones: u64,
}

impl MergedKeys {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.with + self.without
    }

    /// Rows with a vector; they have the lowest numbers.
    pub fn vectors(&self) -> u64 {
        self.with
    }

    /// Number of records of deletes.
    pub fn tombstones(&self) -> u64 {
        self.tombstones
    }

    /// Ordinals of the rows that stay of an input.
    pub fn of_input(&self, input: usize) -> &RoaringBitmap {
        &self.inputs[input].rows
    }

    /// Which entry a row is.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn id(&self, row: u32) -> Result<EntryId> {
        let mut bytes = [0; ID_BYTES];
        self.scratch.read_at(&self.ids, &mut bytes, u64::from(row) * ID_BYTES as u64)?;
        Ok(decode(&bytes))
    }

    /// Calls `on` for each entry by ascending key, with the number of its row; None: its key is dead.
    ///
    /// # Errors
    /// Of the local disk; those of `on`.
    pub fn for_each(&self, on: &mut dyn FnMut(EntryId, Option<u32>) -> Result<()>) -> Result<()> {
        self.records.pieces(READ_BYTES, |bytes| {
            bytes.chunks_exact(RECORD_BYTES).try_for_each(|record| {
                let number =
                    |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
                let (input, ordinal) = (number(ID_BYTES), number(ID_BYTES + 4));
                let row = (ordinal != TOMBSTONE).then(|| self.inputs[input as usize].number_of(ordinal));
                on(decode(record), row)
            })
        })
    }
}

impl Input {
    /// The number of a row that stays.
    fn number_of(&self, ordinal: u32) -> u32 {
        let before = self.rows.rank(ordinal) - 1;
        let number =
            if ordinal < self.vectors { self.with_before + before } else { self.without_before + before - self.with };
        number as u32
    }
}

fn encode(id: EntryId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[..16].copy_from_slice(&id.key.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.order.seq.to_le_bytes());
    bytes[24..].copy_from_slice(&id.order.xid.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> EntryId {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let key = (u128::from(word(8)) << 64 | u128::from(word(0))).cast_signed() as Key;
    EntryId { key, order: EntryOrder { seq: word(16), xid: word(24) } }
}

#[cfg(test)]
mod tests;
