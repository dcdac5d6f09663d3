//! Adapters: what the vector and text indexes read through.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::format::Span;
use super::reader::{Segment, missing_is_corrupt};
use super::rows::RowRead;
use crate::cache::{PagedObject, ReadStats};
use crate::error::{Error, Result};
use crate::schema::AttributeId;
use crate::text::RangeRead;
use crate::vector::{Pieces, VectorSource};

/// Most bytes of attributes that are fetched before it is known which rows are results: transferring that takes less time
/// than one more round trip.
const MAX_PREFETCH_BYTES: u64 = 1 << 20;
/// Most rows whose attributes are looked for before it is known that they are results: more would not fit above anyway.
const MAX_PREFETCH_ROWS: usize = 1_024;

/// One search's view of a segment for the vector index; reads count into its statistics.
///
/// It saves a round trip while nothing is cached: with the exact vectors it fetches what results are made of (keys, and attributes
/// if the caller says which).
#[derive(Debug, Clone)]
pub struct SegmentSource {
    segment: Arc<Segment>,
    stats: Arc<ReadStats>,
    attributes: Vec<AttributeId>,
}

impl SegmentSource {
    /// Reads of `segment`, counted in `stats`. `attributes` are those that will be read of most rows whose exact vectors are
    /// asked for; none if that is not so.
    pub fn new(segment: Arc<Segment>, stats: Arc<ReadStats>, attributes: Vec<AttributeId>) -> Self {
        Self { segment, stats, attributes }
    }
}

#[async_trait]
impl VectorSource for SegmentSource {
    async fn postings(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.segment.postings(ranges, &self.stats).await
    }

    async fn posting_pieces(&self, ranges: &[Range<u64>]) -> Result<Vec<Pieces>> {
        let postings = self.segment.posting_pieces(ranges, &self.stats).await?;
        Ok(postings.into_iter().map(Pieces::from).collect())
    }

    async fn row_codes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.segment.row_codes(ranges, &self.stats).await
    }

    async fn vectors(&self, ordinals: &[u32]) -> Result<Vec<f32>> {
        // What has its vectors in memory has its keys there too, most probably.
        if let Some(vectors) = self.segment.vectors_in_memory(ordinals, &self.stats)? {
            return Ok(vectors);
        }
        // Results are picked from these rows and then need their keys and attributes: fetching those pages now saves round trips.
        let (vectors, identities, attributes) = tokio::join!(
            self.segment.vectors(ordinals, &self.stats),
            self.segment.identities(ordinals, &self.stats),
            prefetch_attributes(&self.segment, ordinals, &self.attributes, &self.stats)
        );
        identities?;
        attributes?;
        vectors
    }
}

/// Brings the attribute values of rows that are probably results into the cache. Does nothing for a request that has found
/// everything cached so far: then they probably are too, and looking for them would only cost time.
///
/// # Errors
/// As [`RowRead::new`] and [`Segment::read_rows`].
pub async fn prefetch_attributes(
    segment: &Arc<Segment>,
    ordinals: &[u32],
    attributes: &[AttributeId],
    stats: &Arc<ReadStats>,
) -> Result<()> {
    if attributes.is_empty() || ordinals.len() > MAX_PREFETCH_ROWS || stats.snapshot().misses == 0 {
        return Ok(());
    }
    let read = RowRead::new(segment, ordinals, attributes)?;
    if read.need().iter().map(|range| range.end - range.start).sum::<u64>() > MAX_PREFETCH_BYTES {
        return Ok(());
    }
    segment.read_rows(read.need(), stats).await.map(drop)
}

/// One tantivy file inside `search.idx`.
#[derive(Debug)]
pub struct TextFileReader {
    object: PagedObject,
    root: String,
    span: Span,
    runtime: Handle,
}

impl TextFileReader {
    /// Reads `span` of `object`; `runtime` drives what the cache lacks.
    pub fn new(object: PagedObject, root: String, span: Span, runtime: Handle) -> Self {
        Self { object, root, span, runtime }
    }
}

impl RangeRead for TextFileReader {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let absolute = self.span.absolute(&range).ok_or_else(|| {
            Error::internal(format!("range {range:?} is outside a text file of \"{}\"", self.object.key()))
        })?;
        let bytes = self.object.read_blocking(&self.runtime, absolute);
        bytes.map(|bytes| bytes.to_vec()).map_err(|e| missing_is_corrupt(e, &self.root, self.object.key()))
    }
}
