//! Reading all of a segment, past the block cache: a merge must not push out of it what queries need.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::key_index::{BLOCK_BYTES, KeyRecord};
use super::page_map;
use super::reader::{CHECK_BYTES, Segment, missing_is_corrupt};
use crate::cache::{MERGE_GAP, ReadStats};
use crate::error::{Error, Result};

/// Requests under way at once: storage answers slowly, and a merge is in no hurry.
const REQUESTS: usize = 4;

impl Segment {
    /// Length of the key index.
    pub fn key_index_len(&self) -> u64 {
        self.key_index.len
    }

    /// The records of a part of the key index, dead rows and tombstones included, by ascending key: from the offset `at` on, which is
    /// that of a block, `blocks` of them or as many as there are. Also where the next part begins.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn records_from(&self, at: u64, blocks: u64, stats: &Arc<ReadStats>) -> Result<(Vec<KeyRecord>, u64)> {
        let end = self.key_index.len.min(at + blocks.max(1) * BLOCK_BYTES);
        let index = self.index.with_stats(stats.clone());
        let read = index.read_uncached(self.key_index.offset + at..self.key_index.offset + end).await;
        let bytes = read.map_err(|e| missing_is_corrupt(e, &self.info().root, index.key()))?;
        Ok((self.layout.decode_blocks(&bytes).collect(), end))
    }

    /// The error for a key index that does not have each row once.
    pub fn bad_key_index(&self) -> Error {
        Error::corrupt(&self.object_name(), self.key_index.offset, "the key index does not list each row once")
    }

    /// As [`Self::vectors`], past the cache.
    ///
    /// # Errors
    /// As [`Self::vectors`].
    pub async fn vectors_uncached(&self, ordinals: &[u32], stats: &Arc<ReadStats>) -> Result<Vec<f32>> {
        let dim = self.schema.vector.map_or(0, |v| v.dim);
        let ranges = ordinals.iter().map(|ordinal| {
            page_map::vector_range(&self.pages, dim, *ordinal)
                .ok_or_else(|| Error::internal(format!("row {ordinal} of segment {} has no vector", self.info().id)))
        });
        let bytes = self.read_rows_uncached(&ranges.collect::<Result<Vec<_>>>()?, stats).await?;
        let mut values = Vec::with_capacity(ordinals.len() * dim);
        for vector in &bytes {
            values.extend(vector.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        Ok(values)
    }

    /// As [`Self::read_rows`], past the cache.
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub async fn read_rows_uncached(&self, ranges: &[Range<u64>], stats: &Arc<ReadStats>) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let object = self.parquet.as_ref().map(|object| object.with_stats(stats.clone()));
        let object =
            object.ok_or_else(|| Error::internal(format!("segment {} has no rows to read", self.info().id)))?;
        let runs = runs(ranges);
        let reads = futures::stream::iter(runs.clone()).map(|run| object.read_uncached(run));
        let read: Result<Vec<Bytes>> = reads.buffered(REQUESTS).try_collect().await;
        let read = read.map_err(|e| missing_is_corrupt(e, &self.info().root, object.key()))?;
        let part = |range: &Range<u64>| {
            let at = runs.partition_point(|run| run.start <= range.start) - 1;
            let start = (range.start - runs[at].start) as usize;
            read[at].slice(start..start + (range.end - range.start) as usize)
        };
        Ok(ranges.iter().map(part).collect())
    }
}

/// Ascending runs that the ranges lie in, each in one: neighbours are read together.
fn runs(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(run)
                if range.end <= run.end
                    || range.start < run.end
                    || range.start - run.end <= MERGE_GAP && range.end - run.start <= CHECK_BYTES =>
            {
                run.end = run.end.max(range.end);
            }
            _ => runs.push(range),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
