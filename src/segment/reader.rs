//! An open segment: the tail decoded, everything else read page by page through the block cache.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::columns::ColumnMap;
use super::format::{Footer, Span, VectorPage, decode_tail, is_sound_tail};
use super::key_index::{self, KeyRecord, Layout, TOMBSTONE};
use super::page_map;
use super::pinned_keys;
use super::source::TextFileReader;
use crate::cache::{BlockCache, BlockKey, PagedObject, ReadStats, object_id};
use crate::config::DATA_DIRECTORY_SCHEME;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, EntryOrder, Key};
use crate::schema::NamespaceSchema;
use crate::segment_info::SegmentInfo;
use crate::storage::ObjectStore;
use crate::text::{PlannedRead, RangeRead, TextSegment};
use crate::vector::Head;

/// Look-up results one open segment remembers before it begins anew. They are facts that never change, so this only bounds memory; it
/// is several times what the write buffer holds at the default size of a flush.
const MAX_REMEMBERED_KEYS: usize = 50_000;
/// What one of them takes in the hash table for which there is room, in bytes.
const REMEMBERED_KEY_BYTES: usize = (size_of::<(Key, Option<KeyHit>)>() + 1) * 8 / 7;
/// What an open segment takes in memory whatever its size, in bytes: as measured for one of five rows, most of it tantivy's.
const OPEN_BYTES: usize = 32 << 10;

/// Bytes of one read while all of an object or section is read: bounds memory, and is long enough that requests cost little.
/// A multiple of the key index's blocks.
pub(super) const CHECK_BYTES: u64 = 4 << 20;
const _: () = assert!(CHECK_BYTES.is_multiple_of(key_index::BLOCK_BYTES));

/// Stands for the tail of `search.idx` among its blocks in the cache; no page has this number.
const TAIL_BLOCK: u32 = u32::MAX;

/// What a segment says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHit {
    /// Order of its entry.
    pub order: EntryOrder,
    /// Its row (live or dead); None: the entry is a tombstone.
    pub ordinal: Option<u32>,
}

/// One segment, open for reading. Immutable; share it in an `Arc`. Reads count into the [`ReadStats`] given to each call.
#[derive(Debug)]
pub struct Segment {
    info: SegmentInfo,
    /// The schema it was written with; its attributes are those of `rows.parquet`.
    pub(super) schema: NamespaceSchema,
    pub(super) columns: ColumnMap,
    head: Option<Arc<Head>>,
    text: Option<Arc<TextSegment>>,
    pub(super) index: PagedObject,
    pub(super) parquet: Option<PagedObject>,
    pub(super) parquet_metadata: Option<ArrowReaderMetadata>,
    pub(super) pages: Vec<VectorPage>,
    pub(super) layout: Layout,
    fences: Vec<Key>,
    pub(super) key_index: Span,
    pub(super) identities: Span,
    pub(super) postings: Span,
    pub(super) row_codes: Span,
    pub(super) text_files: Vec<Span>,
    /// Bytes of a text index that is not the stored one but was made anew ([`Self::with_text`]).
    text_in_memory: Option<usize>,
    footer_bytes: usize,
    remembered: Mutex<HashMap<Key, Option<KeyHit>>>,
}

impl Segment {
    /// Reads the tail of a segment's `search.idx`: one request.
    ///
    /// # Errors
    /// `Corrupt` if the object is missing or too short, else the store's.
    pub async fn read_tail(info: &SegmentInfo, store: &dyn ObjectStore, stats: &ReadStats) -> Result<Bytes> {
        let key = info.index_key();
        let start = info.index_bytes.checked_sub(info.tail_bytes).ok_or_else(|| {
            Error::corrupt(&format!("{}/{key}", info.root), 0, "the catalog has a tail longer than the object")
        })?;
        let tail = store
            .get_range(&key, start..info.index_bytes)
            .await
            .map_err(|e| missing_is_corrupt(e, &info.root, &key))?;
        stats.count_request(tail.len() as u64);
        Ok(tail)
    }

    /// As [`Self::read_tail`], through the disk tier of the cache unless the store is local: an engine that is restarted opens what it
    /// had open without a request.
    ///
    /// # Errors
    /// As [`Self::read_tail`].
    pub async fn cached_tail(
        info: &SegmentInfo,
        store: &Arc<dyn ObjectStore>,
        cache: &Arc<BlockCache>,
        stats: &Arc<ReadStats>,
    ) -> Result<Bytes> {
        if store.is_local() || !cache.has_disk() {
            return Self::read_tail(info, store.as_ref(), stats).await;
        }
        let key = BlockKey { object: object_id(store.root(), &info.index_key()), block: TAIL_BLOCK };
        let fetch = || {
            let (info, store, stats) = (info.clone(), store.clone(), stats.clone());
            async move { Self::read_tail(&info, store.as_ref(), &stats).await }
        };
        let is_right = |tail: &Bytes| tail.len() as u64 == info.tail_bytes && is_sound_tail(tail);
        cache.get_or_fetch(key, true, is_right, fetch).await
    }

    /// Opens a segment from its tail; computes, does not read. `schema` is the namespace's, which may be newer than the
    /// segment's own. Call it within a tokio runtime.
    ///
    /// # Errors
    /// `Corrupt`, naming object and offset.
    pub fn open(
        info: &SegmentInfo,
        schema: &NamespaceSchema,
        tail: &[u8],
        store: Arc<dyn ObjectStore>,
        cache: Arc<BlockCache>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let object = format!("{}/{}", info.root, info.index_key());
        let footer = decode_tail(tail, &object, info.index_bytes)?;
        let body_len = info.index_bytes.saturating_sub(tail.len() as u64);
        let corrupt = |what: &str| Error::corrupt(&object, body_len, what);
        check_against_catalog(&footer, info).map_err(|what| corrupt(&what))?;
        let stored = NamespaceSchema::from_stored(&footer.schema).map_err(|e| corrupt(&e.message))?;
        let body_crcs = footer.body_crcs.to_u32s().ok_or_else(|| corrupt("the page checksums are cut"))?;
        let parquet_crcs = footer.parquet_crcs.to_u32s().ok_or_else(|| corrupt("the page checksums are cut"))?;
        let layout = Layout::of(stored.id);
        let fences = layout.decode_fences(&footer.fences.0).ok_or_else(|| corrupt("the fences are cut"))?;
        let index = PagedObject::new(store.clone(), info.index_key(), body_len, body_crcs.into(), cache.clone())?;
        let head = open_head(&footer, &stored, &object, body_len)?;
        let text = if footer.rows > 0 {
            let files = footer.text_files.iter().map(|file| {
                let reader = TextFileReader::new(index.clone(), info.root.clone(), file.span, runtime.clone());
                (file.name.clone(), file.span.len, Arc::new(reader) as Arc<dyn RangeRead>)
            });
            let text = TextSegment::open(schema, &object, files.collect(), &footer.hotcache.0)?;
            if u64::from(text.rows()) != footer.rows {
                return Err(corrupt("the text index has another number of rows"));
            }
            Some(Arc::new(text))
        } else {
            None
        };
        let (mut parquet, mut parquet_metadata) = (None, None);
        if let Some(tail) = &footer.parquet {
            let rows_object = format!("{}/{}", info.root, info.parquet_key());
            let metadata = page_map::parse_metadata(&tail.bytes.0, tail.len, &rows_object)?;
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)
                .map_err(|e| Error::corrupt(&rows_object, tail.offset, e))?;
            let rows = metadata.metadata().file_metadata().num_rows();
            let width = metadata.schema().fields().len();
            if rows != footer.rows as i64 || width != ColumnMap::new(&stored).len() {
                return Err(Error::corrupt(&rows_object, tail.offset, "the row file does not fit its index"));
            }
            parquet = Some(PagedObject::new(store, info.parquet_key(), tail.len, parquet_crcs.into(), cache)?);
            parquet_metadata = Some(metadata);
        }
        Ok(Self {
            info: info.clone(),
            columns: ColumnMap::new(&stored),
            schema: stored,
            head,
            text,
            index,
            parquet,
            parquet_metadata,
            pages: footer.vector_pages,
            layout,
            fences,
            key_index: footer.key_index,
            identities: footer.identities,
            postings: footer.postings,
            row_codes: footer.row_codes,
            text_files: footer.text_files.iter().map(|file| file.span).collect(),
            text_in_memory: None,
            footer_bytes: tail.len(),
            remembered: Mutex::default(),
        })
    }

    /// Whether it was written without an index that the namespace's schema wants by now; [`Self::with_text`] gives it one.
    pub fn lacks_index(&self, schema: &NamespaceSchema) -> bool {
        self.rows() > 0 && schema.index_lacks(&self.schema)
    }

    /// With another text index of the same rows, all of whose `bytes` are in memory.
    ///
    /// # Errors
    /// `Internal` if it has another number of rows.
    pub fn with_text(mut self, text: TextSegment, bytes: usize) -> Result<Self> {
        if text.rows() != self.rows() {
            return Err(Error::internal("a text index that was made anew has another number of rows"));
        }
        self.text = Some(Arc::new(text));
        self.text_in_memory = Some(bytes);
        Ok(self)
    }

    /// The catalog's description.
    pub fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// Head of the vector index; None without vectors.
    pub fn head(&self) -> Option<&Arc<Head>> {
        self.head.as_ref()
    }

    /// The text index; None without rows.
    pub fn text(&self) -> Option<&Arc<TextSegment>> {
        self.text.as_ref()
    }

    /// Rows, dead ones included.
    pub fn rows(&self) -> u32 {
        // Checked when the footer was decoded.
        u32::try_from(self.info.rows).unwrap_or(u32::MAX)
    }

    /// About how much memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| head.memory_bytes());
        let text = self.text.as_ref().map_or(0, |text| text.memory_bytes());
        let text = text + self.text_in_memory.unwrap_or(0);
        let remembered =
            self.remembered.lock().unwrap_or_else(PoisonError::into_inner).capacity() * REMEMBERED_KEY_BYTES;
        let pages = [Some(&self.index), self.parquet.as_ref()];
        let pages: usize = pages.into_iter().flatten().map(PagedObject::memory_bytes).sum();
        // The footer bounds what was decoded from it; Parquet metadata takes about four times its encoded form.
        OPEN_BYTES + head + text + self.footer_bytes * 2 + remembered + pages
    }

    /// What this segment says of each key, dead rows and tombstones included. Results are remembered.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn lookup(&self, keys: &[Key], stats: &Arc<ReadStats>) -> Result<Vec<Option<KeyHit>>> {
        let mut hits: Vec<Option<KeyHit>> = vec![None; keys.len()];
        // (block, place in `keys`) of what is neither out of range nor remembered.
        let mut open: Vec<(usize, usize)> = Vec::new();
        {
            let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            for (place, key) in keys.iter().enumerate() {
                if *key < self.info.min_key || *key > self.info.max_key {
                    continue;
                }
                match remembered.get(key) {
                    Some(hit) => hits[place] = *hit,
                    None => open.extend(key_index::block_of(&self.fences, *key).map(|block| (block, place))),
                }
            }
        }
        if open.is_empty() {
            return Ok(hits);
        }
        open.sort_unstable();
        let mut blocks: Vec<usize> = open.iter().map(|(block, _)| *block).collect();
        blocks.dedup();
        let ranges: Vec<Range<u64>> =
            blocks.iter().map(|block| key_index::block_range(*block, self.key_index.len)).collect();
        let bytes = self.read_section(self.key_index, &ranges, stats).await?;
        let mut at = 0;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() + open.len() > MAX_REMEMBERED_KEYS {
            remembered.clear();
        }
        for (block, place) in open {
            while blocks[at] != block {
                at += 1;
            }
            let hit = match self.layout.find(&bytes[at], keys[place]) {
                None => None,
                Some(record) if record.ordinal == TOMBSTONE => Some(KeyHit { order: record.id.order, ordinal: None }),
                Some(record) if record.ordinal < self.rows() => {
                    Some(KeyHit { order: record.id.order, ordinal: Some(record.ordinal) })
                }
                Some(record) => {
                    let offset = self.key_index.offset + ranges[at].start;
                    let what = format!("ordinal {} of key {} is out of range", record.ordinal, keys[place]);
                    return Err(Error::corrupt(&self.object_name(), offset, what));
                }
            };
            hits[place] = hit;
            remembered.insert(keys[place], hit);
        }
        Ok(hits)
    }

    /// Which entries these rows are, in their order.
    ///
    /// # Errors
    /// `Corrupt`, or the store's; `Internal` for an ordinal that is no row.
    pub async fn identities(&self, ordinals: &[u32], stats: &Arc<ReadStats>) -> Result<Vec<EntryId>> {
        let width = self.layout.identity_bytes();
        let ranges: Vec<Range<u64>> =
            ordinals.iter().map(|ordinal| u64::from(*ordinal) * width..(u64::from(*ordinal) + 1) * width).collect();
        let ranges = self.within(self.identities, &ranges)?;
        let read = self.index.with_stats(stats.clone()).read_joined(&ranges).await;
        let bytes = read.map_err(|e| missing_is_corrupt(e, &self.info.root, self.index.key()))?;
        Ok(bytes.chunks_exact(width as usize).map(|bytes| self.layout.decode_identity(bytes)).collect())
    }

    /// The key of every row, dead ones included, by ascending key.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn key_records(&self, stats: &Arc<ReadStats>) -> Result<Vec<KeyRecord>> {
        let mut records = Vec::with_capacity(self.rows() as usize);
        let mut at = 0;
        while at < self.key_index.len {
            let range = at..self.key_index.len.min(at + CHECK_BYTES);
            for bytes in self.read_section(self.key_index, std::slice::from_ref(&range), stats).await? {
                records.extend(self.layout.decode_blocks(&bytes).filter(|record| record.ordinal != TOMBSTONE));
            }
            at = range.end;
        }
        pinned_keys::check(&records, &self.info)
            .map_err(|what| Error::corrupt(&self.object_name(), self.key_index.offset, what))?;
        Ok(records)
    }

    /// Entries in a block of the key index, the last one apart.
    pub fn records_per_block(&self) -> u64 {
        self.layout.records_per_block()
    }

    /// The blocks of the key index that may hold keys from this one on.
    pub fn key_blocks_from(&self, key: Key) -> Range<usize> {
        key_index::block_of(&self.fences, key).unwrap_or(0)..self.fences.len()
    }

    /// What some blocks of the key index say of rows, dead ones included, by ascending key.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn key_records_of(&self, blocks: Range<usize>, stats: &Arc<ReadStats>) -> Result<Vec<KeyRecord>> {
        let range = |block| key_index::block_range(block, self.key_index.len);
        let Some(last) = blocks.clone().next_back() else { return Ok(Vec::new()) };
        let range = range(blocks.start).start..range(last).end;
        let offset = self.key_index.offset + range.start;
        let bytes = self.read_section(self.key_index, std::slice::from_ref(&range), stats).await?;
        let records = bytes.iter().flat_map(|bytes| self.layout.decode_blocks(bytes));
        let records: Vec<KeyRecord> = records.filter(|record| record.ordinal != TOMBSTONE).collect();
        match records.iter().find(|record| record.ordinal >= self.rows()) {
            None => Ok(records),
            Some(record) => {
                let what = format!("ordinal {} of key {} is out of range", record.ordinal, record.id.key);
                Err(Error::corrupt(&self.object_name(), offset, what))
            }
        }
    }

    /// Ranges of the postings section.
    pub(super) async fn postings(&self, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        self.read_section(self.postings, ranges, stats).await
    }

    /// As [`Self::postings`], each in the pieces that are in the cache.
    pub(super) async fn posting_pieces(
        &self,
        ranges: &[Range<u64>],
        stats: &Arc<ReadStats>,
    ) -> Result<Vec<Vec<Bytes>>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let absolute = self.within(self.postings, ranges)?;
        let read = self.index.with_stats(stats.clone()).read_pieces(&absolute).await;
        read.map_err(|e| missing_is_corrupt(e, &self.info.root, self.index.key()))
    }

    /// Ranges of the row-code section.
    pub(super) async fn row_codes(&self, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        self.read_section(self.row_codes, ranges, stats).await
    }

    /// Vectors of these rows, row-major.
    ///
    /// # Errors
    /// `Corrupt`, or the store's; `Internal` for a row without a vector.
    pub async fn vectors(&self, ordinals: &[u32], stats: &Arc<ReadStats>) -> Result<Vec<f32>> {
        let ranges = self.vector_ranges(ordinals)?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let object = self.rows_object()?.with_stats(stats.clone());
        let read = object.read_joined(&ranges).await;
        read.map(|bytes| floats(&bytes)).map_err(|e| missing_is_corrupt(e, &self.info.root, object.key()))
    }

    /// As [`Self::vectors`] if all of them are in memory.
    ///
    /// # Errors
    /// `Corrupt`; `Internal` for a row without a vector.
    pub fn vectors_in_memory(&self, ordinals: &[u32], stats: &Arc<ReadStats>) -> Result<Option<Vec<f32>>> {
        let ranges = self.vector_ranges(ordinals)?;
        if ranges.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let read = self.rows_object()?.with_stats(stats.clone()).joined_in_memory(&ranges)?;
        Ok(read.map(|bytes| floats(&bytes)))
    }

    /// Where in `rows.parquet` the vectors of these rows are.
    fn vector_ranges(&self, ordinals: &[u32]) -> Result<Vec<Range<u64>>> {
        let dim = self.schema.vector.map_or(0, |v| v.dim);
        let range = |ordinal: &u32| {
            page_map::vector_range(&self.pages, dim, *ordinal)
                .ok_or_else(|| Error::internal(format!("row {ordinal} of segment {} has no vector", self.info.id)))
        };
        ordinals.iter().map(range).collect()
    }

    fn rows_object(&self) -> Result<&PagedObject> {
        let no_rows = || Error::internal(format!("segment {} has no rows to read", self.info.id));
        self.parquet.as_ref().ok_or_else(no_rows)
    }

    /// Ranges of `rows.parquet`.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn read_rows(&self, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let object = self.rows_object()?;
        let read = object.with_stats(stats.clone()).read_many(ranges).await;
        read.map_err(|e| missing_is_corrupt(e, &self.info.root, object.key()))
    }

    /// Brings what a text operation is going to read into the cache, in one round trip.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn prefetch_text(&self, reads: &[PlannedRead], stats: &Arc<ReadStats>) -> Result<()> {
        if reads.is_empty() || self.text_in_memory.is_some() {
            // No round trip, so nothing to read ahead in.
            return Ok(());
        }
        let mut ranges = Vec::with_capacity(reads.len());
        for read in reads {
            let range = self.text_files.get(read.file).and_then(|span| span.absolute(&read.range));
            ranges.push(range.ok_or_else(|| Error::internal("the text index planned a read outside its files"))?);
        }
        self.read_index(&ranges, stats).await.map(drop)
    }

    /// Reads all of its objects from storage and checks every page of them. (The tail was checked when it was opened.)
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn check_objects(&self, stats: &Arc<ReadStats>) -> Result<()> {
        for object in std::iter::once(&self.index).chain(&self.parquet) {
            let object = object.with_stats(stats.clone());
            let mut at = 0;
            while at < object.len() {
                let end = object.len().min(at + CHECK_BYTES);
                let read = object.read_uncached(at..end).await;
                read.map_err(|e| missing_is_corrupt(e, &self.info.root, object.key()))?;
                at = end;
            }
        }
        Ok(())
    }

    async fn read_section(&self, section: Span, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        self.read_index(&self.within(section, ranges)?, stats).await
    }

    /// Ranges of a section as ranges of the object.
    fn within(&self, section: Span, ranges: &[Range<u64>]) -> Result<Vec<Range<u64>>> {
        let outside = |range: &Range<u64>| {
            Error::internal(format!("range {range:?} is outside its section of segment {}", self.info.id))
        };
        ranges.iter().map(|range| section.absolute(range).ok_or_else(|| outside(range))).collect()
    }

    async fn read_index(&self, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.index.with_stats(stats.clone()).read_many(ranges).await;
        read.map_err(|e| missing_is_corrupt(e, &self.info.root, self.index.key()))
    }

    pub(super) fn object_name(&self) -> String {
        format!("{}/{}", self.info.root, self.info.index_key())
    }
}

/// Stored values of vectors.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// A published segment's objects exist until nothing refers to them (INV-4): a missing one is damage, and must never look
/// like an empty result (INV-6).
pub(super) fn missing_is_corrupt(error: Error, root: &str, key: &str) -> Error {
    if error.kind != ErrorKind::NotFound {
        return error;
    }
    let missing = Error::corrupt(&format!("{root}/{key}"), 0, "it does not exist, although the catalog refers to it")
        .with_detail(error.message);
    if root.starts_with(DATA_DIRECTORY_SCHEME) {
        return missing.with_hint(
            "This elacsym.storage_url is inside the data directory, so a standby or a restored server has only the objects that its base backup had: \
             copy that directory from the server that wrote them, or let elacsym.storage_url name storage that both reach.",
        );
    }
    missing
}

fn open_head(footer: &Footer, stored: &NamespaceSchema, object: &str, at: u64) -> Result<Option<Arc<Head>>> {
    if footer.vectors == 0 {
        return Ok(None);
    }
    let corrupt = |what: &str| Error::corrupt(object, at, what);
    let head = Head::decode(&footer.head.0, object)?;
    let vector = stored.vector.ok_or_else(|| corrupt("there are vectors, but not in the schema"))?;
    if head.rows() as u64 != footer.vectors || head.dim() != vector.dim || head.metric() != vector.metric {
        return Err(corrupt("the vector index does not fit the schema or the number of vectors"));
    }
    if head.postings_len() != footer.postings.len || head.row_codes_len() != footer.row_codes.len {
        return Err(corrupt("the vector index does not fit its sections"));
    }
    Ok(Some(Arc::new(head)))
}

fn check_against_catalog(footer: &Footer, info: &SegmentInfo) -> std::result::Result<(), String> {
    let of_footer = (footer.rows, footer.vectors, footer.tombstones, footer.min_key, footer.max_key);
    let of_catalog = (info.rows, info.vectors, info.tombstones, info.min_key, info.max_key);
    let parquet_len = footer.parquet.as_ref().map_or(0, |parquet| parquet.len);
    if of_footer != of_catalog || parquet_len != info.parquet_bytes {
        return Err("the segment is not the one the catalog describes".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
