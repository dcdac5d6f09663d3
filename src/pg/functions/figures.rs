//! Functions behind `elacsym.metrics()`, `elacsym.stat_namespaces` and `elacsym.activity`.

use super::arguments::required;
use crate::error::Error;
use crate::ipc::message::Request;
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::error::OrRaise;
use crate::pg::view::in_this_database;
use crate::pg::{counters, gucs, metrics, preload};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};

const MICROS_PER_SECOND: f64 = 1e6;

/// \[backend\] `elacsym.metrics() RETURNS text`: figures of the engine and of the server. Without an engine only the latter: a
/// scraper needs to see that there is none, and not to wait for one.
#[pg_extern(sql = "")]
fn elacsym_metrics() -> String {
    preload::require();
    if !client::engine_answers() {
        return metrics::server_text();
    }
    let mut text = match client::call(&Request::Metrics, &mut NoNeeds).or_raise() {
        Reply::Metrics(text) => text,
        other => unexpected(&other, "metrics"),
    };
    text.push_str(&metrics::server_text());
    text
}

fn unexpected(reply: &Reply, wanted: &str) -> ! {
    crate::pg::error::raise(Error::internal(format!("the engine answered \"{}\" instead of {wanted}", reply.name())))
}

/// \[backend\] `elacsym.engine_activity()`: the requests that the engine is answering.
#[pg_extern(sql = "")]
#[allow(clippy::type_complexity)] // the columns
fn elacsym_engine_activity() -> TableIterator<
    'static,
    (
        name!(pid, Option<i32>),
        name!(namespace, Option<pgrx::Uuid>),
        name!(kind, String),
        name!(phase, Option<String>),
        name!(rows_done, Option<i64>),
        name!(rows_total, Option<i64>),
        name!(seconds, f64),
    ),
> {
    preload::require();
    let running = match client::call(&Request::Activity, &mut NoNeeds).or_raise() {
        Reply::Activity(running) => running,
        other => unexpected(&other, "its activity"),
    };
    TableIterator::new(running.into_iter().map(|activity| {
        (
            activity.pid,
            activity.namespace.map(|id| pgrx::Uuid::from_bytes(in_this_database(id).0)),
            activity.kind,
            activity.phase,
            activity.rows_done.map(count),
            activity.rows_total.map(count),
            activity.elapsed_micros as f64 / MICROS_PER_SECOND,
        )
    }))
}

/// \[backend\] `elacsym.namespace_counters()`: what the namespaces of this database have cost since they are counted.
#[pg_extern(sql = "")]
#[allow(clippy::type_complexity)] // the columns
fn elacsym_namespace_counters() -> TableIterator<
    'static,
    (
        name!(namespace, pgrx::Uuid),
        name!(since, f64),
        name!(queries, i64),
        name!(query_ms, f64),
        name!(object_requests, i64),
        name!(object_bytes, i64),
        name!(cache_hits, i64),
        name!(cache_misses, i64),
        name!(flushes, i64),
        name!(flush_ms, f64),
        name!(flushed_entries, i64),
        name!(last_flush, Option<f64>),
        name!(compactions, i64),
        name!(compaction_ms, f64),
        name!(last_compaction, Option<f64>),
        name!(maintenance_reads, i64),
        name!(objects_written, i64),
    ),
> {
    preload::require();
    TableIterator::new(counters::namespaces().into_iter().map(|figures| {
        (
            pgrx::Uuid::from_bytes(figures.id.0),
            epoch(figures.since),
            count(figures.searches),
            millis(figures.search_micros),
            count(figures.object_requests),
            count(figures.object_bytes),
            count(figures.cache_hits),
            count(figures.cache_misses),
            count(figures.flushes),
            millis(figures.flush_micros),
            count(figures.flushed_entries),
            (figures.last_flush != 0).then(|| epoch(figures.last_flush)),
            count(figures.compactions),
            millis(figures.compaction_micros),
            (figures.last_compaction != 0).then(|| epoch(figures.last_compaction)),
            count(figures.maintenance_reads),
            count(figures.objects_written),
        )
    }))
}

/// \[backend\] `elacsym.stat_reset()`: what is counted for the namespaces of this database begins anew.
#[pg_extern(sql = "")]
fn elacsym_stat_reset() {
    preload::require();
    counters::reset_namespaces();
}

/// \[backend\] `elacsym.object_cost(reads bigint, writes bigint, stored_bytes bigint) RETURNS double precision`: the estimate, by
/// the prices in the settings; bytes are kept for a month.
#[pg_extern(sql = "")]
fn elacsym_object_cost(reads: Option<i64>, writes: Option<i64>, stored_bytes: Option<i64>) -> f64 {
    let number = |value: Option<i64>, name| {
        let value = required(value, name);
        u64::try_from(value).map_err(|_| Error::invalid(format!("{name} is {value}, less than 0"))).or_raise()
    };
    let (reads, writes) = (number(reads, "reads"), number(writes, "writes"));
    let stored_bytes = number(stored_bytes, "stored_bytes");
    let prices = gucs::prices();
    prices.of_requests(reads, writes) + prices.of_month(stored_bytes)
}

/// A counter as `bigint`.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// A time of PostgreSQL's clock in seconds since 1970, as `to_timestamp()` takes it.
fn epoch(time: i64) -> f64 {
    let days = i64::from(pg_sys::POSTGRES_EPOCH_JDATE) - i64::from(pg_sys::UNIX_EPOCH_JDATE);
    let seconds = days * i64::from(pg_sys::SECS_PER_DAY);
    time as f64 / MICROS_PER_SECOND + seconds as f64
}
