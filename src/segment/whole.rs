//! Reading all of a segment, past the block cache: a merge must not push out of it what queries need.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;

use super::key_index::{KeyRecord, TOMBSTONE};
use super::page_map;
use super::reader::{CHECK_BYTES, Segment, missing_is_corrupt};
use crate::cache::{MERGE_GAP, ReadStats};
use crate::error::{Error, Result};

/// Requests under way at once: storage answers slowly, and a merge is in no hurry.
const REQUESTS: usize = 4;

impl Segment {
    /// Every record of the key index, dead rows and tombstones included, by ascending key.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn all_records(&self, stats: &Arc<ReadStats>) -> Result<Vec<KeyRecord>> {
        let info = self.info();
        let mut records = Vec::with_capacity((info.rows + info.tombstones) as usize);
        let index = self.index.with_stats(stats.clone());
        let mut at = 0;
        while at < self.key_index.len {
            let end = self.key_index.len.min(at + CHECK_BYTES);
            let range = self.key_index.offset + at..self.key_index.offset + end;
            let read = index.read_uncached(range).await;
            let bytes = read.map_err(|e| missing_is_corrupt(e, &info.root, index.key()))?;
            records.extend(self.layout.decode_blocks(&bytes));
            at = end;
        }
        let mut ordinals = RoaringBitmap::new();
        let rows = records.iter().filter(|record| record.ordinal != TOMBSTONE);
        let distinct = rows.filter(|record| ordinals.insert(record.ordinal)).count() as u64;
        let is_complete = records.len() as u64 == info.rows + info.tombstones
            && distinct == info.rows
            && ordinals.max().is_none_or(|last| u64::from(last) < info.rows)
            && records.is_sorted_by(|a, b| a.id.key < b.id.key);
        if is_complete {
            return Ok(records);
        }
        let what = "the key index does not list each row once";
        Err(Error::corrupt(&self.object_name(), self.key_index.offset, what))
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
