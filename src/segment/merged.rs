//! A segment of rows that come from other segments: written from the local disk, so that in memory are only the new objects, the
//! sample that the vector lists are trained on, and what a batch of rows takes.

use bytes::Bytes;

use super::columns::{BATCH_ROWS, ColumnMap, ParquetFile};
use super::page_map;
use super::spill::SpilledRows;
use super::writer::{Parts, Place, ValueCounts, WrittenSegment, assemble, build_params};
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::schema::NamespaceSchema;
use crate::text::{TextBuilder, TextBundle};
use crate::vector::rotate::padded;
use crate::vector::{self, BuiltIndex, parallel};

/// Bytes of documents in one batch of rows.
const BATCH_BYTES: usize = 8 << 20;

/// Rows whose texts are analysed without a pause: some milliseconds.
const PACED_ROWS: usize = 128;

/// How a merge is done; the first does not change its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// Threads for the vector index.
    pub threads: usize,
    /// Bytes of vectors that may be in memory for the training of the lists.
    pub training_bytes: usize,
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

/// As [`super::write_segment`], of rows on disk. Within a list rows keep their order.
///
/// # Errors
/// As [`super::write_segment`]; those of reading the rows.
pub fn write_merged(
    schema: &NamespaceSchema,
    rows: &SpilledRows,
    tombstones: Vec<EntryId>,
    options: &MergeOptions,
    place: Place,
    on: &dyn Fn(MergeStep),
) -> Result<WrittenSegment> {
    if rows.len() >= u32::MAX as usize {
        return Err(Error::new(ErrorKind::OutOfRange, format!("a segment cannot hold {} rows", rows.len())));
    }
    let vectors = rows.vectors();
    on(MergeStep::Vectors);
    let mut index = match schema.vector {
        Some(vector) if vectors > 0 => {
            let in_memory = options.training_bytes / (padded(vector.dim) * size_of::<f32>());
            vector::build_from(&build_params(vector, options.threads), rows, in_memory.max(1))?
        }
        None if vectors > 0 => {
            return Err(Error::new(ErrorKind::TypeMismatch, "a row has a vector, its namespace has none"));
        }
        _ => BuiltIndex::default(),
    };
    // Input rows in ordinal order.
    let mut order = std::mem::take(&mut index.order);
    order.extend(vectors as u32..rows.len() as u32);
    on(MergeStep::Rows);
    let mut values = ValueCounts::new(schema);
    let (parquet, text) = if rows.is_empty() {
        (None, TextBundle { files: Vec::new(), hotcache: Vec::new() })
    } else {
        let mut text = TextBuilder::new(schema)?;
        let parquet = rows.by_way_of_disk(|to| {
            let mut file = ParquetFile::new(schema, to)?;
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let (batch, others) = rest.split_at(rows.fitting(rest, BATCH_BYTES).min(BATCH_ROWS));
                rest = others;
                let documents = batch.iter().map(|row| rows.document(*row as usize));
                let documents = documents.collect::<Result<Vec<Document>>>()?;
                for documents in documents.chunks(PACED_ROWS) {
                    parallel::pace();
                    for document in documents {
                        text.add(document)?;
                        values.add(document);
                    }
                }
                parallel::pace();
                let ids = batch.iter().map(|row| rows.id(*row as usize));
                file.write(&ids.zip(&documents).collect::<Vec<_>>())?;
                on(MergeStep::Wrote(batch.len()));
            }
            file.finish()
        })?;
        (Some(Bytes::from(parquet)), text.finish()?)
    };
    let vector_pages = match (&parquet, schema.vector, ColumnMap::new(schema).vector) {
        (Some(file), Some(vector), Some(leaf)) => {
            let is_vector = |ordinal: usize, bytes: &[u8]| rows.is_vector(order[ordinal] as usize, bytes);
            page_map::vector_pages(file, leaf, vector.dim, vectors, is_vector)?
        }
        _ => Vec::new(),
    };
    let ids = order.iter().map(|row| rows.id(*row as usize)).collect();
    let parts = Parts { ids, tombstones, vectors, index, parquet, vector_pages, text, values };
    assemble(schema, parts, place)
}

#[cfg(test)]
mod tests;
