//! A segment of rows that come from other segments, made on the local disk: in memory are a sample that the vector lists are trained
//! on, a part of the text index, a batch of rows, and some 20 bytes for each row.

use std::io::Write;
use std::sync::Arc;

use super::assemble::{Entries, Parts, RowFile, Section, assemble};
use super::columns::{BatchSize, ColumnMap, ParquetFile};
use super::key_index::{KeyRecord, Layout, TOMBSTONE};
use super::page_map;
use super::page_store::ScratchPages;
use super::paged_writer::PagedWriter;
use super::spill::SpilledRows;
use super::writer::{Place, ValueCounts, build_params};
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::schema::NamespaceSchema;
use crate::scratch::{Scratch, ScratchFile, ScratchWriter, from_io};
use crate::segment_info::SegmentInfo;
use crate::text::{SpilledText, SpillingTextBuilder};
use crate::vector::rotate::padded;
use crate::vector::{self, CodeSink, parallel};

/// Rows whose texts are analysed without a pause: some milliseconds.
const PACED_ROWS: usize = 128;
/// Bytes of the key index that are read at once.
const KEY_BYTES: u64 = 64 * super::key_index::BLOCK_BYTES;

/// How a merge is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// Threads for the vector index; does not change the bytes.
    pub threads: usize,
    /// Bytes of vectors that may be in memory for the training of the lists.
    pub training_bytes: usize,
    /// Bytes that the part of the text index that is not on disk may take; does not change the bytes of the segment.
    pub text_bytes: usize,
}

/// What a merge is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeStep {
    /// Make the vector index.
    Vectors,
    /// Write rows and the text index.
    Rows,
    /// So many more rows are written.
    Wrote(usize),
}

/// A segment that exists on the local disk only so far.
#[derive(Debug)]
pub struct MergedSegment {
    /// `rows.parquet`; None if the segment has only tombstones.
    pub parquet: Option<ScratchFile>,
    /// `search.idx`.
    pub index: ScratchFile,
    /// Its description for the catalog.
    pub info: SegmentInfo,
    layout: Layout,
}

impl MergedSegment {
    /// The key of every row, by ascending key.
    ///
    /// # Errors
    /// Of the local disk.
    pub fn key_records(&self) -> Result<Vec<KeyRecord>> {
        let end = self.layout.encoded_len(self.info.rows + self.info.tombstones);
        let mut records = Vec::with_capacity(self.info.rows as usize);
        let mut at = 0;
        while at < end {
            let bytes = self.index.read(at..end.min(at + KEY_BYTES))?;
            records.extend(self.layout.decode_blocks(&bytes).filter(|record| record.ordinal != TOMBSTONE));
            at += KEY_BYTES;
        }
        Ok(records)
    }
}

/// As [`super::write_segment`], of rows on disk: the same rows in the same order give the same bytes, if the vectors fit what training
/// may take, and each indexed attribute has a value or the texts fit what they may take. Within a list rows keep their order.
///
/// # Errors
/// As [`super::write_segment`]; those of the local disk and its check.
pub fn write_merged(
    schema: &NamespaceSchema,
    rows: &SpilledRows,
    options: &MergeOptions,
    place: Place,
    on: &dyn Fn(MergeStep),
) -> Result<MergedSegment> {
    // Libraries pass on only the text of what went wrong with a file.
    write(schema, rows, options, place, on).map_err(|error| rows.scratch().failure().unwrap_or(error))
}

fn write(
    schema: &NamespaceSchema,
    rows: &SpilledRows,
    options: &MergeOptions,
    place: Place,
    on: &dyn Fn(MergeStep),
) -> Result<MergedSegment> {
    let (scratch, keys) = (rows.scratch(), rows.keys());
    let vectors = keys.vectors() as usize;
    on(MergeStep::Vectors);
    let mut codes = Codes { postings: scratch.writer()?, row_codes: scratch.writer()? };
    let (mut order, head) = match schema.vector {
        Some(vector) if vectors > 0 => {
            let in_memory = options.training_bytes / (padded(vector.dim) * size_of::<f32>());
            vector::build_into(&build_params(vector, options.threads), rows, in_memory.max(1), &mut codes)?
        }
        None if vectors > 0 => {
            return Err(Error::new(ErrorKind::TypeMismatch, "a row has a vector, its namespace has none"));
        }
        _ => (Vec::new(), Vec::new()),
    };
    let (postings, row_codes) = (codes.postings.finish()?, codes.row_codes.finish()?);
    // Input rows in ordinal order.
    order.extend(vectors as u32..keys.rows() as u32);
    on(MergeStep::Rows);
    let mut values = ValueCounts::new(schema);
    let written =
        if order.is_empty() { None } else { Some(write_rows(schema, rows, &order, options, &mut values, on)?) };
    let (row_file, text) = match written {
        Some((row_file, text)) => (Some(row_file), text),
        None => (None, SpilledText { files: Vec::new(), hotcache: Vec::new() }),
    };
    let parquet = row_file.as_ref().map(|(file, _)| file.clone());
    let row_file = row_file.map(|(file, crcs)| {
        let vector_pages = match (schema.vector, ColumnMap::new(schema).vector) {
            (Some(vector), Some(leaf)) => {
                let is_vector = |ordinal: usize, bytes: &[u8]| rows.is_vector(order[ordinal], bytes);
                page_map::vector_pages(&file, leaf, vector.dim, vectors, is_vector)?
            }
            _ => Vec::new(),
        };
        Ok(RowFile { tail: page_map::parquet_tail(&file)?, crcs, vector_pages })
    });
    let entries = OnDisk::new(rows, order)?;
    let parts = Parts {
        entries: &entries,
        vectors: vectors as u64,
        head,
        postings: Section::File(postings),
        row_codes: Section::File(row_codes),
        row_file: row_file.transpose()?,
        text_files: text.files.into_iter().map(|(name, file)| (name, Section::File(file))).collect(),
        hotcache: text.hotcache,
        values,
    };
    let (index, info) = assemble(schema, parts, place, scratch.writer()?)?;
    Ok(MergedSegment { parquet, index: index.finish()?, info, layout: Layout::of(schema.id) })
}

/// Takes the codes of the vector index.
struct Codes {
    postings: ScratchWriter,
    row_codes: ScratchWriter,
}

impl CodeSink for Codes {
    fn postings(&mut self, bytes: &[u8]) -> Result<()> {
        self.postings.put(bytes)
    }

    fn row_codes(&mut self, bytes: &[u8]) -> Result<()> {
        self.row_codes.put(bytes)
    }
}

/// `rows.parquet` with the checksums of its pages, and the text index.
type WrittenRows = ((ScratchFile, Vec<u32>), SpilledText);

fn write_rows(
    schema: &NamespaceSchema,
    rows: &SpilledRows,
    order: &[u32],
    options: &MergeOptions,
    values: &mut ValueCounts,
    on: &dyn Fn(MergeStep),
) -> Result<WrittenRows> {
    let scratch: &Arc<Scratch> = rows.scratch();
    let mut text = SpillingTextBuilder::new(schema, scratch, options.text_bytes);
    let pages = Arc::new(ScratchPages::new(scratch)?);
    let mut file = ParquetFile::new(schema, PagedWriter::new(scratch.writer()?), Some(pages))?;
    let mut batch: Vec<(EntryId, Document)> = Vec::new();
    let mut size = BatchSize::new(schema);
    for (ordinal, row) in order.iter().enumerate() {
        if ordinal.is_multiple_of(PACED_ROWS) {
            parallel::pace();
        }
        let document = rows.document(*row)?;
        text.add(&document)?;
        values.add(&document);
        let is_last = size.add(&document);
        batch.push((rows.id(*row)?, document));
        if is_last || ordinal + 1 == order.len() {
            parallel::pace();
            file.write(&batch.iter().map(|(id, document)| (*id, document)).collect::<Vec<_>>())?;
            on(MergeStep::Wrote(batch.len()));
            batch.clear();
            size = BatchSize::new(schema);
        }
    }
    drop(batch);
    let (mut parquet, crcs) = file.finish()?.finish();
    parquet.flush().map_err(|error| from_io(&error))?;
    Ok(((parquet.finish()?, crcs), text.finish()?))
}

/// The entries of a segment whose rows are on disk.
struct OnDisk<'a> {
    rows: &'a SpilledRows,
    /// Row of each ordinal.
    order: Vec<u32>,
    /// Ordinal of each row.
    ordinals: Vec<u32>,
}

impl<'a> OnDisk<'a> {
    fn new(rows: &'a SpilledRows, order: Vec<u32>) -> Result<Self> {
        let mut ordinals = vec![TOMBSTONE; order.len()];
        for (ordinal, row) in order.iter().enumerate() {
            let place = ordinals.get_mut(*row as usize).filter(|place| **place == TOMBSTONE);
            *place.ok_or_else(|| Error::internal("the vector index ordered a row twice"))? = ordinal as u32;
        }
        Ok(Self { rows, order, ordinals })
    }
}

impl Entries for OnDisk<'_> {
    fn rows(&self) -> u64 {
        self.order.len() as u64
    }

    fn tombstones(&self) -> u64 {
        self.rows.keys().tombstones()
    }

    fn identities(&self, on: &mut dyn FnMut(EntryId) -> Result<()>) -> Result<()> {
        self.order.iter().try_for_each(|row| on(self.rows.id(*row)?))
    }

    fn records(&self, on: &mut dyn FnMut(KeyRecord) -> Result<()>) -> Result<()> {
        self.rows.keys().for_each(&mut |id, row| {
            let ordinal = row.map_or(TOMBSTONE, |row| self.ordinals[row as usize]);
            on(KeyRecord { id, ordinal })
        })
    }
}

#[cfg(test)]
mod tests;
