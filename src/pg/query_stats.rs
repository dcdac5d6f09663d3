//! What searches cost: the last one of this session (`elacsym.last_query_stats()`), and sums of several.

use crate::ipc::message::RequestStats;
use pgrx::prelude::*;
use std::cell::Cell;

thread_local! {
    static LAST: Cell<Option<RequestStats>> = const { Cell::new(None) };
}

/// \[backend\] Remembers what a search, scan or query cost, all its batches together.
pub fn record(stats: RequestStats) {
    LAST.set(Some(stats));
}

/// What two searches cost together.
#[must_use]
pub fn sum(a: RequestStats, b: RequestStats) -> RequestStats {
    RequestStats {
        segments: a.segments + b.segments,
        buffered: a.buffered + b.buffered,
        lists_probed: a.lists_probed + b.lists_probed,
        rows_scanned: a.rows_scanned + b.rows_scanned,
        rows_reranked: a.rows_reranked + b.rows_reranked,
        object_requests: a.object_requests + b.object_requests,
        object_bytes: a.object_bytes + b.object_bytes,
        cache_hits: a.cache_hits + b.cache_hits,
        cache_misses: a.cache_misses + b.cache_misses,
        engine_micros: a.engine_micros + b.engine_micros,
    }
}

/// What was spent after `earlier`, which `later` includes.
#[must_use]
pub fn difference(later: RequestStats, earlier: RequestStats) -> RequestStats {
    RequestStats {
        segments: later.segments.saturating_sub(earlier.segments),
        buffered: later.buffered.saturating_sub(earlier.buffered),
        lists_probed: later.lists_probed.saturating_sub(earlier.lists_probed),
        rows_scanned: later.rows_scanned.saturating_sub(earlier.rows_scanned),
        rows_reranked: later.rows_reranked.saturating_sub(earlier.rows_reranked),
        object_requests: later.object_requests.saturating_sub(earlier.object_requests),
        object_bytes: later.object_bytes.saturating_sub(earlier.object_bytes),
        cache_hits: later.cache_hits.saturating_sub(earlier.cache_hits),
        cache_misses: later.cache_misses.saturating_sub(earlier.cache_misses),
        engine_micros: later.engine_micros.saturating_sub(earlier.engine_micros),
    }
}

/// What the scans of a series have cost. The engine counts from zero in each and reports the scan's cost so far with every
/// batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    ended: RequestStats,
    present: RequestStats,
}

impl Cost {
    /// A scan is opened: the one before has ended.
    pub fn opened(&mut self) {
        self.ended = self.total();
        self.present = RequestStats::default();
    }

    /// What the present scan has cost so far.
    pub fn reported(&mut self, stats: RequestStats) {
        self.present = stats;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> RequestStats {
        sum(self.ended, self.present)
    }
}

/// A counter as `bigint`.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// \[backend\] One row, or none if this session has not searched yet.
#[pg_extern(volatile, parallel_restricted)]
#[allow(clippy::type_complexity)] // the columns
fn last_query_stats() -> TableIterator<
    'static,
    (
        name!(segments, i64),
        name!(buffered, i64),
        name!(lists_probed, i64),
        name!(rows_scanned, i64),
        name!(rows_reranked, i64),
        name!(object_requests, i64),
        name!(object_bytes, i64),
        name!(cache_hits, i64),
        name!(cache_misses, i64),
        name!(engine_micros, i64),
    ),
> {
    TableIterator::new(LAST.get().map(|s| {
        (
            count(s.segments),
            count(s.buffered),
            count(s.lists_probed),
            count(s.rows_scanned),
            count(s.rows_reranked),
            count(s.object_requests),
            count(s.object_bytes),
            count(s.cache_hits),
            count(s.cache_misses),
            count(s.engine_micros),
        )
    }))
}
