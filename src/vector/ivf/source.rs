//! Where the bytes of one segment's index come from.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::pieces::Pieces;
use crate::error::Result;

/// Reads the parts of one segment that a search needs. The implementor merges neighbouring ranges, caches, and verifies
/// checksums; the search asks for everything of one stage in one call, so one call is one round trip.
#[async_trait]
pub trait VectorSource: Send + Sync {
    /// Byte ranges relative to the start of the postings section, ascending and disjoint; one `Bytes` per range, in
    /// that order and of exactly that length.
    async fn postings(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;

    /// As [`VectorSource::postings`], without putting together what lies in several pieces.
    async fn posting_pieces(&self, ranges: &[Range<u64>]) -> Result<Vec<Pieces>> {
        Ok(self.postings(ranges).await?.into_iter().map(Pieces::from).collect())
    }

    /// Byte ranges relative to the start of the row-code section, as for [`VectorSource::postings`].
    async fn row_codes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;

    /// The original vectors of these rows (ascending ordinals): `ordinals.len() * dim` values, row-major.
    async fn vectors(&self, ordinals: &[u32]) -> Result<Vec<f32>>;
}
