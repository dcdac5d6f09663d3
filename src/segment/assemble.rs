//! Writes `search.idx` from its parts, which are in memory or on disk.

use std::io::Write;

use super::format::{
    Blob, FORMAT_VERSION, Footer, ParquetTail, SECTION_ALIGNMENT, Span, TextFile, VectorPage, encode_tail,
};
use super::key_index::{BlockEncoder, KeyRecord, Layout};
use super::paged_writer::PagedWriter;
use super::writer::{Place, ValueCounts};
use crate::cache::PAGE_BYTES;
use crate::error::{Error, Result};
use crate::ids::EntryId;
use crate::schema::NamespaceSchema;
use crate::scratch::{ScratchFile, from_io};
use crate::segment_info::SegmentInfo;

/// The tail of `search.idx` takes at most about this share of both objects besides the heads: the divisor.
const TAIL_SHARE: u64 = 256;
/// Bytes of records and identities collected before they are written.
const ENCODED_BYTES: usize = 1 << 20;

/// The bytes of a section.
#[derive(Debug)]
pub enum Section {
    /// In memory.
    Memory(Vec<u8>),
    /// On disk.
    File(ScratchFile),
}

impl Section {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.len(),
        }
    }
}

/// Which entries a segment has.
pub trait Entries {
    /// Number of rows.
    fn rows(&self) -> u64;

    /// Number of tombstones.
    fn tombstones(&self) -> u64;

    /// Calls `on` for each row, in ordinal order.
    ///
    /// # Errors
    /// Those of `on`, and of reading.
    fn identities(&self, on: &mut dyn FnMut(EntryId) -> Result<()>) -> Result<()>;

    /// Calls `on` for each entry, by ascending key.
    ///
    /// # Errors
    /// Those of `on`, and of reading.
    fn records(&self, on: &mut dyn FnMut(KeyRecord) -> Result<()>) -> Result<()>;
}

/// What the index says of `rows.parquet`.
pub struct RowFile {
    /// Its end.
    pub tail: ParquetTail,
    /// Checksums of its pages.
    pub crcs: Vec<u32>,
    /// Where it has the vectors.
    pub vector_pages: Vec<VectorPage>,
}

/// What a segment is made of.
pub struct Parts<'a> {
    /// Rows and deletes.
    pub entries: &'a dyn Entries,
    /// Rows with a vector; they come first.
    pub vectors: u64,
    /// Head of the vector index.
    pub head: Vec<u8>,
    /// Its one-bit codes.
    pub postings: Section,
    /// Its 8-bit codes.
    pub row_codes: Section,
    /// The row file, if there are rows.
    pub row_file: Option<RowFile>,
    /// The text index.
    pub text_files: Vec<(String, Section)>,
    /// What opens it.
    pub hotcache: Vec<u8>,
    /// Counted over the rows.
    pub values: ValueCounts,
}

impl Parts<'_> {
    /// About the length of `search.idx`, seldom less.
    pub fn expected_len(&self, layout: Layout) -> u64 {
        let sections =
            [&self.postings, &self.row_codes].into_iter().chain(self.text_files.iter().map(|(_, file)| file));
        let large: u64 = sections.map(|section| section.len() + SECTION_ALIGNMENT).sum();
        let entries = self.entries.rows() + self.entries.tombstones();
        let small = (layout.record_bytes() + layout.identity_bytes()) * entries + 2 * PAGE_BYTES as u64;
        // Heads, checksums, and the pages of the other object.
        let parquet = self.row_file.as_ref().map_or(0, |file| file.tail.len);
        large + small + (self.head.len() + self.hotcache.len()) as u64 + (large + parquet) / TAIL_SHARE
    }
}

/// Writes `search.idx` to `to`; returns that, and the segment's description for the catalog.
pub fn assemble<W: Write>(schema: &NamespaceSchema, parts: Parts<'_>, place: Place, to: W) -> Result<(W, SegmentInfo)> {
    let Parts { entries, vectors, head, postings, row_codes, row_file, text_files, hotcache, values } = parts;
    let layout = Layout::of(schema.id);
    let mut body = Body { to: PagedWriter::new(to) };
    // First, so that its blocks are pages.
    let at = body.begin()?;
    let mut encoder = BlockEncoder::new(layout);
    let mut bounds: Option<Bounds> = None;
    let mut encoded = Vec::new();
    let mut count = 0;
    entries.records(&mut |record| {
        bounds = Some(Bounds::including(bounds, record.id));
        count += 1;
        encoder.push(record, &mut encoded)?;
        body.put_many(&mut encoded, ENCODED_BYTES)
    })?;
    body.put_many(&mut encoded, 0)?;
    let key_index = body.end(at);
    let Some(Bounds { first, last, min_seq, max_seq }) = bounds else {
        return Err(Error::internal("a segment without entries"));
    };
    let at = body.begin()?;
    entries.identities(&mut |id| {
        layout.encode_identity(id, &mut encoded);
        body.put_many(&mut encoded, ENCODED_BYTES)
    })?;
    body.put_many(&mut encoded, 0)?;
    let identities = body.end(at);
    let (rows, tombstones) = (entries.rows(), entries.tombstones());
    if count != rows + tombstones || identities.len != rows * layout.identity_bytes() {
        return Err(Error::internal("the entries of a new segment are not those that were announced"));
    }
    drop(encoded);
    let postings = body.section(postings)?;
    let row_codes = body.section(row_codes)?;
    let text_files = text_files.into_iter().map(|(name, section)| Ok(TextFile { name, span: body.section(section)? }));
    let text_files = text_files.collect::<Result<Vec<_>>>()?;
    let body_len = body.to.len();
    let (mut to, body_crcs) = body.to.finish();
    let (parquet, parquet_crcs, vector_pages) =
        row_file.map_or((None, Vec::new(), Vec::new()), |file| (Some(file.tail), file.crcs, file.vector_pages));
    let parquet_bytes = parquet.as_ref().map_or(0, |tail| tail.len);
    let footer = Footer {
        rows,
        vectors,
        tombstones,
        min_key: first.key,
        max_key: last.key,
        min_seq,
        max_seq,
        schema: schema.to_stored(),
        key_index,
        fences: Blob(layout.encode_fences(&encoder.finish()).into()),
        identities,
        postings,
        row_codes,
        head: Blob(head.into()),
        text_files,
        hotcache: Blob(hotcache.into()),
        attribute_values: values.into_counts(),
        vector_pages,
        parquet,
        parquet_crcs: Blob::from_u32s(&parquet_crcs),
        body_crcs: Blob::from_u32s(&body_crcs),
    };
    let tail = encode_tail(&footer, body_len);
    to.write_all(&tail).map_err(|error| from_io(&error))?;
    let info = SegmentInfo {
        id: place.id,
        root: place.root,
        path: place.path,
        format: FORMAT_VERSION,
        rows,
        vectors,
        tombstones,
        parquet_bytes,
        index_bytes: body_len + tail.len() as u64,
        tail_bytes: tail.len() as u64,
        min_key: footer.min_key,
        max_key: footer.max_key,
        min_seq,
        max_seq,
    };
    Ok((to, info))
}

/// Of the entries so far, which come by ascending key.
#[derive(Clone, Copy)]
struct Bounds {
    first: EntryId,
    last: EntryId,
    min_seq: u64,
    max_seq: u64,
}

impl Bounds {
    fn including(before: Option<Self>, id: EntryId) -> Self {
        let seq = id.order.seq;
        match before {
            None => Self { first: id, last: id, min_seq: seq, max_seq: seq },
            Some(b) => Self { last: id, min_seq: b.min_seq.min(seq), max_seq: b.max_seq.max(seq), ..b },
        }
    }
}

/// The body of `search.idx` while it grows.
struct Body<W> {
    to: PagedWriter<W>,
}

impl<W: Write> Body<W> {
    /// Goes on to where a section may begin.
    fn begin(&mut self) -> Result<u64> {
        let at = self.to.len().next_multiple_of(SECTION_ALIGNMENT);
        let gap = at - self.to.len();
        self.put(&[0; SECTION_ALIGNMENT as usize][..gap as usize])?;
        Ok(at)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(|error| from_io(&error))
    }

    /// Appends what was collected, and forgets it, if it is at least so much.
    fn put_many(&mut self, bytes: &mut Vec<u8>, least: usize) -> Result<()> {
        if bytes.len() >= least {
            self.put(bytes)?;
            bytes.clear();
        }
        Ok(())
    }

    fn end(&self, at: u64) -> Span {
        Span { offset: at, len: self.to.len() - at }
    }

    /// Appends a section that is not needed any more.
    fn section(&mut self, section: Section) -> Result<Span> {
        let at = self.begin()?;
        match section {
            Section::Memory(bytes) => self.put(&bytes)?,
            Section::File(file) => file.copy_to(&mut self.to)?,
        }
        Ok(self.end(at))
    }
}
