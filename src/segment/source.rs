//! Adapters: what the vector and text indexes read through.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::format::Span;
use super::reader::{Segment, missing_is_corrupt};
use crate::cache::{PagedObject, ReadStats};
use crate::error::{Error, Result};
use crate::text::RangeRead;
use crate::vector::VectorSource;

/// One search's view of a segment for the vector index; reads count into its statistics.
#[derive(Debug, Clone)]
pub struct SegmentSource {
    segment: Arc<Segment>,
    stats: Arc<ReadStats>,
}

impl SegmentSource {
    /// Reads of `segment`, counted in `stats`.
    pub fn new(segment: Arc<Segment>, stats: Arc<ReadStats>) -> Self {
        Self { segment, stats }
    }
}

#[async_trait]
impl VectorSource for SegmentSource {
    async fn postings(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.segment.postings(ranges, &self.stats).await
    }

    async fn row_codes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.segment.row_codes(ranges, &self.stats).await
    }

    async fn vectors(&self, ordinals: &[u32]) -> Result<Vec<f32>> {
        // Results are picked from these rows and then need their keys: fetching those pages now saves a round trip.
        let (vectors, identities) =
            tokio::join!(self.segment.vectors(ordinals, &self.stats), self.segment.identities(ordinals, &self.stats));
        identities?;
        vectors
    }
}

/// One tantivy file inside `search.idx`.
#[derive(Debug)]
pub struct TextFileReader {
    object: PagedObject,
    span: Span,
    runtime: Handle,
}

impl TextFileReader {
    /// Reads `span` of `object`; `runtime` drives what the cache lacks.
    pub fn new(object: PagedObject, span: Span, runtime: Handle) -> Self {
        Self { object, span, runtime }
    }
}

impl RangeRead for TextFileReader {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let absolute = self.span.absolute(&range).ok_or_else(|| {
            Error::internal(format!("range {range:?} is outside a text file of \"{}\"", self.object.key()))
        })?;
        let bytes = self.object.read_blocking(&self.runtime, absolute);
        bytes.map(|bytes| bytes.to_vec()).map_err(|e| missing_is_corrupt(e, "text index", self.object.key()))
    }
}
