//! The function behind the view `elacsym.stat_buffer`.

use crate::pg::{back_pressure, gucs, preload};
use pgrx::prelude::*;

/// \[backend\] One row: bytes committed and not flushed, bytes of running transactions, how long one entry waits now (ms),
/// how long all have waited (s) and how many were refused since the server's start, when the buffer was counted last,
/// whether the last flush failed.
#[pg_extern(volatile, parallel_safe)]
#[allow(clippy::type_complexity)] // the columns
fn stat_buffer() -> TableIterator<
    'static,
    (
        name!(bytes, i64),
        name!(uncommitted_bytes, i64),
        name!(delay_ms, f64),
        name!(waited_seconds, f64),
        name!(refused, i64),
        name!(counted_at, Option<TimestampWithTimeZone>),
        name!(flush_failing, bool),
    ),
> {
    preload::require();
    let Some(now) = back_pressure::gauge().map(back_pressure::Gauge::read) else {
        return TableIterator::new(Vec::new());
    };
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let delay = gucs::buffer_limits().delay_at(now.committed);
    let counted_at = now.counted_at.and_then(|at| TimestampWithTimeZone::try_from(at).ok());
    TableIterator::once((
        number(now.committed),
        number(now.in_flight),
        delay.as_secs_f64() * 1e3,
        now.waited.as_secs_f64(),
        number(now.refused),
        counted_at,
        now.failing,
    ))
}
