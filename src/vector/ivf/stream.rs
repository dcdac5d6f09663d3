//! A search that goes on: batch after batch until every allowed row has been returned.

use std::collections::VecDeque;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::head::Head;
use super::search::{SearchParams, SearchStats, search};
use super::source::VectorSource;
use crate::error::{Error, ErrorKind, Result};
use crate::vector::validate;

/// Rows found ahead per row asked for: the next batch often needs no search.
const AHEAD: usize = 2;

/// A resumable search for an index scan, which learns only from its caller how many rows it must deliver.
///
/// Every search covers what has not been returned and finds at least as many rows as all before it together, so that
/// `n` rows cost a number of searches that grows with the logarithm of `n`.
#[derive(Debug)]
pub struct SearchStream {
    head: Arc<Head>,
    query: Vec<f32>,
    effort: f32,
    /// Allowed rows that no search has found yet.
    left: RoaringBitmap,
    /// Found and not returned yet, nearest first.
    ready: VecDeque<(u32, f32)>,
    found: usize,
    stats: SearchStats,
}

impl SearchStream {
    /// Prepares a stream over `allowed` (`None` = all rows). Errors: as [`search`].
    pub fn new(head: Arc<Head>, query: Vec<f32>, effort: f32, allowed: Option<RoaringBitmap>) -> Result<Self> {
        validate(&query, head.dim(), head.metric())?;
        if effort.is_nan() || effort <= 0.0 {
            return Err(Error::new(ErrorKind::OutOfRange, format!("the search effort must be positive, not {effort}")));
        }
        let mut left = allowed.unwrap_or_else(|| (0..head.rows() as u32).collect());
        left.remove_range(head.rows() as u32..);
        Ok(Self { head, query, effort, left, ready: VecDeque::new(), found: 0, stats: SearchStats::default() })
    }

    /// The next rows: exactly `min(count, rows left)`, each allowed row once in the whole stream, sorted by (distance,
    /// ordinal) within the batch; empty once everything has been returned.
    ///
    /// Batches follow each other in order of distance as far as the search is exact. A row that an earlier, approximate
    /// search missed comes as soon as it is found, with its true distance, which may then be below that of a row
    /// returned before: a late row is wrong order, a withheld one is a wrong result.
    pub async fn next_batch(&mut self, source: &dyn VectorSource, count: usize) -> Result<Vec<(u32, f32)>> {
        while self.ready.len() < count && !self.left.is_empty() {
            let k = count.saturating_mul(AHEAD).max(self.found);
            let params = SearchParams { k, effort: self.effort, allowed: Some(&self.left) };
            let (results, stats) = search(&self.head, source, &self.query, &params).await?;
            self.stats.lists_probed += stats.lists_probed;
            self.stats.rows_scanned += stats.rows_scanned;
            self.stats.rows_coded += stats.rows_coded;
            self.stats.rows_reranked += stats.rows_reranked;
            self.found += results.len();
            for (ordinal, _) in &results {
                self.left.remove(*ordinal);
            }
            self.ready.extend(results);
            let nearest_first = |a: &(u32, f32), b: &(u32, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
            self.ready.make_contiguous().sort_unstable_by(nearest_first);
        }
        let count = count.min(self.ready.len());
        Ok(self.ready.drain(..count).collect())
    }

    /// What the stream has cost so far.
    #[must_use]
    pub fn stats(&self) -> SearchStats {
        self.stats
    }
}
