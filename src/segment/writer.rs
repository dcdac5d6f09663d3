//! Entries in, object bytes out. The same input gives the same bytes: the order is derived from keys, the seed is fixed.

use bytes::Bytes;

use super::assemble::{Entries, Parts, RowFile, Section, assemble};
use super::columns::{ColumnMap, write_parquet};
use super::key_index::{KeyRecord, Layout, TOMBSTONE};
use super::page_map;
use crate::cache::page_crcs;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::schema::{AttributeId, NamespaceSchema, VectorSchema};
use crate::segment_info::SegmentInfo;
use crate::text::{self, TextBundle};
use crate::vector::{self, BuildParams, BuiltIndex};

/// Seed of the vector index's rotation and training. Any number does; one number makes segments reproducible.
const SEED: u64 = 0x656c_6163_7379_6d31;

/// Where a new segment will live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// ULID of the segment.
    pub id: String,
    /// Storage root.
    pub root: String,
    /// Directory of the segment below the root, its id included.
    pub path: String,
}

/// How a segment is built; does not change its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Threads for the vector index.
    pub threads: usize,
}

/// A segment that exists in memory only so far.
#[derive(Debug, Clone)]
pub struct WrittenSegment {
    /// `rows.parquet`; None if the segment has only tombstones.
    pub parquet: Option<Bytes>,
    /// `search.idx`.
    pub index: Bytes,
    /// Its description for the catalog.
    pub info: SegmentInfo,
    layout: Layout,
}

impl WrittenSegment {
    /// The key of every row, by ascending key.
    pub fn key_records(&self) -> Vec<KeyRecord> {
        let section = self.layout.encoded_len(self.info.rows + self.info.tombstones) as usize;
        self.layout.decode_blocks(&self.index[..section]).filter(|record| record.ordinal != TOMBSTONE).collect()
    }
}

/// Builds one segment of `entries` (upserts) and `tombstones` (deletes). Each key may occur once in all of them, and there
/// must be at least one.
///
/// # Errors
/// `Internal` for a key that occurs twice or a failed writer, `OutOfRange` for more rows than ordinals, `TypeMismatch` for a
/// vector that does not fit the schema.
pub fn write_segment(
    schema: &NamespaceSchema,
    mut entries: Vec<(EntryId, Document)>,
    tombstones: Vec<EntryId>,
    options: &WriteOptions,
    place: Place,
) -> Result<WrittenSegment> {
    if entries.len() >= u32::MAX as usize {
        return Err(Error::new(ErrorKind::OutOfRange, format!("a segment cannot hold {} rows", entries.len())));
    }
    entries.sort_by_key(|(id, _)| *id);
    let (rows, vectors, index) = order_rows(schema, entries, options)?;
    let borrowed: Vec<(EntryId, &Document)> = rows.iter().map(|(id, document)| (*id, document)).collect();
    let parquet = if rows.is_empty() { None } else { Some(write_parquet(schema, &borrowed)?) };
    let vector_pages = match (&parquet, schema.vector, ColumnMap::new(schema).vector) {
        (Some(file), Some(vector), Some(leaf)) => {
            page_map::vector_pages(file, leaf, vector.dim, vectors, |ordinal, bytes| {
                Ok(page_map::is_same(bytes, rows[ordinal].1.vector.as_deref().unwrap_or_default()))
            })?
        }
        _ => Vec::new(),
    };
    let text = if rows.is_empty() {
        TextBundle { files: Vec::new(), hotcache: Vec::new() }
    } else {
        text::builder::build(schema, rows.iter().map(|(_, document)| document))?
    };
    let mut values = ValueCounts::new(schema);
    rows.iter().for_each(|(_, document)| values.add(document));
    let entries = InMemory::new(rows.into_iter().map(|(id, _)| id).collect(), &tombstones);
    let row_file = parquet
        .as_ref()
        .map(|file| Ok(RowFile { tail: page_map::parquet_tail(file)?, crcs: page_crcs(file), vector_pages }));
    let parts = Parts {
        entries: &entries,
        vectors: vectors as u64,
        head: index.head,
        postings: Section::Memory(index.postings),
        row_codes: Section::Memory(index.row_codes),
        row_file: row_file.transpose()?,
        text_files: text.files.into_iter().map(|(name, bytes)| (name, Section::Memory(bytes))).collect(),
        hotcache: text.hotcache,
        values,
    };
    let layout = Layout::of(schema.id);
    // Growing would hold it twice for a moment.
    let bytes = Vec::with_capacity(usize::try_from(parts.expected_len(layout)).unwrap_or_default());
    let (bytes, info) = assemble(schema, parts, place, bytes)?;
    Ok(WrittenSegment { parquet, index: bytes.into(), info, layout })
}

/// The entries of a segment whose rows are in memory.
struct InMemory {
    /// In ordinal order.
    ids: Vec<EntryId>,
    /// By ascending key.
    records: Vec<KeyRecord>,
}

impl InMemory {
    fn new(ids: Vec<EntryId>, tombstones: &[EntryId]) -> Self {
        let mut records: Vec<KeyRecord> =
            ids.iter().enumerate().map(|(ordinal, id)| KeyRecord { id: *id, ordinal: ordinal as u32 }).collect();
        records.extend(tombstones.iter().map(|id| KeyRecord { id: *id, ordinal: TOMBSTONE }));
        records.sort_by_key(|record| record.id);
        Self { ids, records }
    }
}

impl Entries for InMemory {
    fn rows(&self) -> u64 {
        self.ids.len() as u64
    }

    fn tombstones(&self) -> u64 {
        (self.records.len() - self.ids.len()) as u64
    }

    fn identities(&self, on: &mut dyn FnMut(EntryId) -> Result<()>) -> Result<()> {
        self.ids.iter().try_for_each(|id| on(*id))
    }

    fn records(&self, on: &mut dyn FnMut(KeyRecord) -> Result<()>) -> Result<()> {
        self.records.iter().try_for_each(|record| on(*record))
    }
}

/// How many rows have a value for each attribute of the schema.
#[derive(Debug)]
pub(super) struct ValueCounts(Vec<(AttributeId, u64)>);

impl ValueCounts {
    /// Nothing counted.
    pub fn new(schema: &NamespaceSchema) -> Self {
        Self(schema.attributes.iter().map(|a| (a.id, 0)).collect())
    }

    /// What was counted.
    pub fn into_counts(self) -> Vec<(AttributeId, u64)> {
        self.0
    }

    /// Counts a row.
    pub fn add(&mut self, document: &Document) {
        for (id, _) in &document.attributes {
            if let Ok(at) = self.0.binary_search_by_key(id, |(id, _)| *id) {
                self.0[at].1 += 1;
            }
        }
    }
}

/// One row to write.
type Row = (EntryId, Document);

/// Rows in ordinal order, how many of them have a vector, and the vector index.
fn order_rows(
    schema: &NamespaceSchema,
    entries: Vec<(EntryId, Document)>,
    options: &WriteOptions,
) -> Result<(Vec<Row>, usize, BuiltIndex)> {
    let empty = BuiltIndex::default();
    let (with, without): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, document)| document.vector.is_some());
    let Some(vector) = schema.vector else {
        return match with.first() {
            None => Ok((without, 0, empty)),
            Some((id, _)) => Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("document {} has a vector, its namespace has none", schema.id.describe(id.key)),
            )),
        };
    };
    if with.is_empty() {
        return Ok((without, 0, empty));
    }
    let mut flat = Vec::with_capacity(with.len() * vector.dim);
    for (id, document) in &with {
        let values = document.vector.as_deref().unwrap_or_default();
        if values.len() != vector.dim {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!(
                    "vector of document {} has {} dimensions, not {}",
                    schema.id.describe(id.key),
                    values.len(),
                    vector.dim
                ),
            ));
        }
        flat.extend_from_slice(values);
    }
    let index = vector::build(&build_params(vector, options.threads), &flat)?;
    drop(flat);
    let vectors = with.len();
    let mut with: Vec<Option<(EntryId, Document)>> = with.into_iter().map(Some).collect();
    let mut rows = Vec::with_capacity(vectors + without.len());
    for input in &index.order {
        let row = with.get_mut(*input as usize).and_then(Option::take);
        rows.push(row.ok_or_else(|| Error::internal("the vector index ordered a row twice"))?);
    }
    if rows.len() != vectors {
        return Err(Error::internal("the vector index lost a row"));
    }
    rows.extend(without);
    Ok((rows, vectors, index))
}

/// How the vector index of a segment is built.
pub(super) fn build_params(vector: VectorSchema, threads: usize) -> BuildParams {
    let lists = vector.lists.map(|lists| lists as usize);
    BuildParams { metric: vector.metric, dim: vector.dim, seed: SEED, threads, lists }
}

#[cfg(test)]
mod tests;
