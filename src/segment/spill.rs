//! Rows on their way from old segments into a new one: on the local disk, because they need not fit into memory.

use std::ops::Range;
use std::sync::Arc;

use super::merged_keys::MergedKeys;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::scratch::{Scratch, ScratchFile, ScratchWriter};
use crate::vector::VectorInput;

/// Bytes of a place: offset u64, length u32.
const PLACE_BYTES: usize = 12;

/// Takes rows.
#[derive(Debug)]
pub struct Spill {
    scratch: Arc<Scratch>,
    dim: usize,
    vectors: ScratchWriter,
    documents: ScratchWriter,
    /// Of the attributes in the file of documents: of rows with a vector, and of those without.
    places: [ScratchWriter; 2],
}

impl Spill {
    /// No rows yet. `dim`: of the vectors.
    ///
    /// # Errors
    /// As [`Scratch::file`].
    pub fn new(scratch: &Arc<Scratch>, dim: usize) -> Result<Self> {
        Ok(Self {
            dim,
            vectors: scratch.writer()?,
            documents: scratch.writer()?,
            places: [scratch.writer()?, scratch.writer()?],
            scratch: scratch.clone(),
        })
    }

    /// Adds the next row: by input, then by ordinal.
    ///
    /// # Errors
    /// `TypeMismatch` for a vector of another dimension; `Unavailable` or `Exhausted`.
    pub fn add(&mut self, mut document: Document) -> Result<()> {
        let vector = document.vector.take();
        let bytes = document.encode();
        let len = u32::try_from(bytes.len()).map_err(|_| Error::internal("a document of more than 4 GiB"))?;
        let mut place = [0; PLACE_BYTES];
        place[..8].copy_from_slice(&self.documents.len().to_le_bytes());
        place[8..].copy_from_slice(&len.to_le_bytes());
        self.documents.put(&bytes)?;
        self.places[usize::from(vector.is_none())].put(&place)?;
        let Some(vector) = vector else { return Ok(()) };
        if vector.len() != self.dim {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("a stored vector has {} dimensions, not {}", vector.len(), self.dim),
            ));
        }
        vector.iter().try_for_each(|value| self.vectors.put(&value.to_le_bytes()))
    }

    /// All rows, to be read by the numbers that `keys` gives them.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted`; `Internal` if they are not the rows that stay.
    pub fn finish(self, keys: MergedKeys) -> Result<SpilledRows> {
        let [with, without] = self.places;
        let (with, without) = (with.finish()?, without.finish()?);
        let count = |places: &ScratchFile| places.len() / PLACE_BYTES as u64;
        if (count(&with), count(&with) + count(&without)) != (keys.vectors(), keys.rows()) {
            let what = format!("{} rows with and {} without a vector are not those", count(&with), count(&without));
            return Err(Error::internal(format!("{what} that stay of a merge")));
        }
        Ok(SpilledRows {
            dim: self.dim,
            vectors: self.vectors.finish()?,
            documents: self.documents.finish()?,
            places: [with, without],
            keys,
            scratch: self.scratch,
        })
    }
}

/// Gives rows back, in any order.
#[derive(Debug)]
pub struct SpilledRows {
    dim: usize,
    vectors: ScratchFile,
    documents: ScratchFile,
    places: [ScratchFile; 2],
    keys: MergedKeys,
    scratch: Arc<Scratch>,
}

impl SpilledRows {
    /// Which rows there are, and which keys are dead.
    pub fn keys(&self) -> &MergedKeys {
        &self.keys
    }

    /// Where they are.
    pub fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    /// Which entry a row is.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn id(&self, row: u32) -> Result<EntryId> {
        self.keys.id(row)
    }

    /// A row.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn document(&self, row: u32) -> Result<Document> {
        let with = self.keys.vectors();
        let row = u64::from(row);
        let (places, at) = if row < with { (&self.places[0], row) } else { (&self.places[1], row - with) };
        let mut place = [0; PLACE_BYTES];
        places.read_into(&mut place, at * PLACE_BYTES as u64)?;
        let [a, b, c, d, e, f, g, h, len @ ..] = place;
        let offset = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let bytes = self.documents.read(offset..offset + u64::from(u32::from_le_bytes(len)))?;
        let mut document = Document::decode(&bytes, "temporary file")?;
        if row < with {
            let mut vector = Vec::with_capacity(self.dim);
            self.read(row as usize..row as usize + 1, &mut vector)?;
            document.vector = Some(vector);
        }
        Ok(document)
    }

    /// Whether these bytes are the values of a row's vector.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn is_vector(&self, row: u32, bytes: &[u8]) -> Result<bool> {
        Ok(self.vector_bytes(row as usize..row as usize + 1)? == bytes)
    }

    fn vector_bytes(&self, rows: Range<usize>) -> Result<Vec<u8>> {
        let width = (self.dim * size_of::<f32>()) as u64;
        self.vectors.read(rows.start as u64 * width..rows.end as u64 * width)
    }
}

impl VectorInput for SpilledRows {
    fn rows(&self) -> usize {
        self.keys.vectors() as usize
    }

    fn read(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let bytes = self.vector_bytes(rows)?;
        out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
