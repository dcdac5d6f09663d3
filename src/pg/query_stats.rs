//! What the last search of this session cost: `elacsym.last_query_stats()`.

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
