//! Entries in, object bytes out. The same input gives the same bytes: the order is derived from keys, the seed is fixed.

use bytes::Bytes;

use super::columns::{ColumnMap, write_parquet};
use super::format::{Blob, FORMAT_VERSION, Footer, SECTION_ALIGNMENT, Span, TextFile, VectorPage, encode_tail};
use super::key_index::{KeyRecord, Layout, TOMBSTONE};
use super::page_map;
use crate::cache::{PAGE_BYTES, page_crcs};
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::schema::{AttributeId, NamespaceSchema, VectorSchema};
use crate::segment_info::SegmentInfo;
use crate::text::{self, TextBundle};
use crate::vector::{self, BuildParams, BuiltIndex};

/// Seed of the vector index's rotation and training. Any number does; one number makes segments reproducible.
const SEED: u64 = 0x656c_6163_7379_6d31;

/// The tail of `search.idx` takes at most about this share of both objects besides the heads: the divisor.
const TAIL_SHARE: usize = 256;

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
    let ids = rows.into_iter().map(|(id, _)| id).collect();
    let parts = Parts { ids, tombstones, vectors, index, parquet, vector_pages, text, values };
    assemble(schema, parts, place)
}

/// What a segment is made of.
pub(super) struct Parts {
    /// Of the rows, in ordinal order.
    pub ids: Vec<EntryId>,
    /// Deletes.
    pub tombstones: Vec<EntryId>,
    /// Rows with a vector; they come first.
    pub vectors: usize,
    /// Of them.
    pub index: BuiltIndex,
    /// `rows.parquet`, if there are rows.
    pub parquet: Option<Bytes>,
    /// Where it has the vectors.
    pub vector_pages: Vec<VectorPage>,
    /// The text index.
    pub text: TextBundle,
    /// Counted over the rows.
    pub values: ValueCounts,
}

/// Writes `search.idx`.
pub(super) fn assemble(schema: &NamespaceSchema, parts: Parts, place: Place) -> Result<WrittenSegment> {
    let Parts { ids, tombstones, vectors, index, parquet, vector_pages, text, values } = parts;
    let mut records: Vec<KeyRecord> =
        ids.iter().enumerate().map(|(ordinal, id)| KeyRecord { id: *id, ordinal: ordinal as u32 }).collect();
    records.extend(tombstones.iter().map(|id| KeyRecord { id: *id, ordinal: TOMBSTONE }));
    records.sort_by_key(|record| record.id);
    let layout = Layout::of(schema.id);
    layout.check(&records)?;
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Err(Error::internal("a segment without entries"));
    };
    let (min_key, max_key) = (first.id.key, last.id.key);
    let seqs = || records.iter().map(|record| record.id.order.seq);
    let (min_seq, max_seq) = (seqs().min().unwrap_or_default(), seqs().max().unwrap_or_default());

    let sections = [&index.postings, &index.row_codes].into_iter().chain(text.files.iter().map(|(_, bytes)| bytes));
    let large: usize = sections.map(|bytes| bytes.len() + SECTION_ALIGNMENT as usize).sum();
    let small = (layout.record_bytes() + layout.identity_bytes()) as usize * records.len() + 2 * PAGE_BYTES;
    // Heads, checksums, and the pages of the other object.
    let tail = index.head.len() + text.hotcache.len() + (large + parquet.as_ref().map_or(0, Bytes::len)) / TAIL_SHARE;
    // Growing would hold it twice for a moment.
    let mut body = Body { bytes: Vec::with_capacity(large + small + tail) };
    let (key_bytes, fences) = layout.encode(&records);
    // First, so that its blocks are pages.
    let key_section = body.add(&key_bytes);
    let mut identity_bytes = Vec::with_capacity(ids.len() * layout.identity_bytes() as usize);
    ids.iter().for_each(|id| layout.encode_identity(*id, &mut identity_bytes));
    let identities = body.add(&identity_bytes);
    let BuiltIndex { head, postings, row_codes, .. } = index;
    let postings = body.add_all(postings);
    let row_codes = body.add_all(row_codes);
    let text_files = text.files.into_iter().map(|(name, bytes)| TextFile { name, span: body.add_all(bytes) }).collect();

    let footer = Footer {
        rows: ids.len() as u64,
        vectors: vectors as u64,
        tombstones: tombstones.len() as u64,
        min_key,
        max_key,
        min_seq,
        max_seq,
        schema: schema.to_stored(),
        key_index: key_section,
        fences: Blob(layout.encode_fences(&fences).into()),
        identities,
        postings,
        row_codes,
        head: Blob(head.into()),
        text_files,
        hotcache: Blob(text.hotcache.into()),
        attribute_values: values.0,
        vector_pages,
        parquet: parquet.as_ref().map(page_map::parquet_tail).transpose()?,
        parquet_crcs: Blob::from_u32s(&parquet.as_ref().map(|file| page_crcs(file)).unwrap_or_default()),
        body_crcs: Blob::from_u32s(&page_crcs(&body.bytes)),
    };
    let tail = encode_tail(&footer, body.bytes.len() as u64);
    let tail_bytes = tail.len() as u64;
    let mut index_bytes = body.bytes;
    index_bytes.extend_from_slice(&tail);
    let info = SegmentInfo {
        id: place.id,
        root: place.root,
        path: place.path,
        format: FORMAT_VERSION,
        rows: footer.rows,
        vectors: footer.vectors,
        tombstones: footer.tombstones,
        parquet_bytes: parquet.as_ref().map_or(0, |file| file.len() as u64),
        index_bytes: index_bytes.len() as u64,
        tail_bytes,
        min_key,
        max_key,
        min_seq,
        max_seq,
    };
    Ok(WrittenSegment { parquet, index: index_bytes.into(), info, layout })
}

/// How many rows have a value for each attribute of the schema.
pub(super) struct ValueCounts(Vec<(AttributeId, u64)>);

impl ValueCounts {
    /// Nothing counted.
    pub fn new(schema: &NamespaceSchema) -> Self {
        Self(schema.attributes.iter().map(|a| (a.id, 0)).collect())
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

/// The body of `search.idx` while it grows.
struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Appends a section at the next aligned offset.
    fn add(&mut self, section: &[u8]) -> Span {
        let aligned = self.bytes.len().next_multiple_of(SECTION_ALIGNMENT as usize);
        self.bytes.resize(aligned, 0);
        self.bytes.extend_from_slice(section);
        Span { offset: aligned as u64, len: section.len() as u64 }
    }

    /// As [`Self::add`], of what is not needed any more: each section is large.
    fn add_all(&mut self, section: Vec<u8>) -> Span {
        self.add(&section)
    }
}

#[cfg(test)]
mod tests;
