//! One segment's text part, open for searching.

use super::directory::{PlannedRead, RangeRead};
use super::query::ParsedTextQuery;
use super::stats::CorpusStats;
use crate::error::Result;
use crate::filter::Filter;
use crate::schema::NamespaceSchema;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// One segment's text part, open for searching. Cheap to share; every method may be called from many threads.
///
/// All methods run on the calling thread, start no thread and block it in [`RangeRead::read`] only.
#[derive(Debug)]
pub struct TextSegment {}

impl TextSegment {
    /// Opens a bundle. `object_name` names it in errors; `files` are the names, lengths and readers of the bundle's files in
    /// any order. With the hotcache made for these files, opening reads none of them.
    ///
    /// `schema` may be newer than the bundle: attributes the bundle does not know are null in all its documents.
    ///
    /// Errors: `Corrupt` if the hotcache or a file is not what was written, and the reader's errors.
    pub fn open(
        schema: &NamespaceSchema,
        object_name: &str,
        files: Vec<(String, u64, Arc<dyn RangeRead>)>,
        hotcache: &[u8],
    ) -> Result<Self> {
        let _ = (schema, object_name, files, hotcache);
        unimplemented!()
    }

    /// Number of rows, dead ones included: ordinals are 0 up to this.
    pub fn rows(&self) -> u32 {
        unimplemented!()
    }

    /// About how much memory it holds, in bytes (grows when large dictionaries are first used).
    pub fn memory_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Optional, to save round trips: the dictionaries that the operation needs and that are neither hot nor loaded yet.
    /// Have these ranges fetched into the cache in parallel before [`Self::plan_postings`].
    pub fn plan_dictionaries(
        &self,
        query: Option<&ParsedTextQuery>,
        filter: Option<&Filter>,
    ) -> Result<Vec<PlannedRead>> {
        let _ = (query, filter);
        unimplemented!()
    }

    /// Optional, to save round trips: all ranges that [`Self::search`] and [`Self::filter`] are going to read (dictionaries
    /// apart, which this loads). Have them fetched into the cache in parallel; the operations find them there.
    pub fn plan_postings(&self, query: Option<&ParsedTextQuery>, filter: Option<&Filter>) -> Result<Vec<PlannedRead>> {
        let _ = (query, filter);
        unimplemented!()
    }

    /// This segment's part of the statistics for that query. Reads nothing if the dictionaries are hot.
    pub fn stats(&self, query: &ParsedTextQuery) -> Result<CorpusStats> {
        let _ = query;
        unimplemented!()
    }

    /// The best `k` rows by BM25 with the statistics of the whole corpus: (ordinal, score), best first, equal scores by
    /// ascending ordinal. `allowed` restricts the rows (filter matches, dead rows left out); the result always has
    /// min(k, allowed rows that match) rows (INV-7).
    pub fn search(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        k: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(u32, f32)>> {
        let _ = (query, stats, k, allowed);
        unimplemented!()
    }

    /// The scores of these rows, by ascending ordinal; rows that hold none of the terms are left out. The same numbers as
    /// [`Self::search`] gives.
    pub fn score_ordinals(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        ordinals: &RoaringBitmap,
    ) -> Result<Vec<(u32, f32)>> {
        let _ = (query, stats, ordinals);
        unimplemented!()
    }

    /// The ordinals of all rows (dead ones included) that the filter matches: the same rows as `Filter::matches` says.
    pub fn filter(&self, filter: &Filter) -> Result<RoaringBitmap> {
        let _ = filter;
        unimplemented!()
    }
}
