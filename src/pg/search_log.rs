//! The end of a search: its duration counts, and one that took long is written to the server log with the figures that EXPLAIN
//! shows.

use crate::error::Error;
use crate::ids::NamespaceId;
use crate::ipc::message::RequestStats;
use crate::pg::catalog::{self, KIND_INDEX};
use crate::pg::counters;
use crate::pg::error::log_line;
use crate::pg::gucs;
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Most bytes of the statement in the log: a statement may hold vectors of thousands of digits, and its beginning says which it is.
const MAX_STATEMENT_BYTES: usize = 1_000;

/// What a search did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// How often the engine was asked for the first rows.
    pub searches: u64,
    /// Rows that it returned.
    pub fetched: u64,
    /// What it cost.
    pub cost: RequestStats,
    /// Time that the session spent on it, in microseconds.
    pub micros: u64,
}

impl Figures {
    /// What was looked at, as EXPLAIN says it.
    pub fn found(&self) -> String {
        let Self { searches, fetched, cost, .. } = self;
        format!(
            "searches={searches} segments={} lists probed={} candidates={} reranked={} buffered={} fetched={fetched}",
            cost.segments, cost.lists_probed, cost.rows_scanned, cost.rows_reranked, cost.buffered,
        )
    }

    /// What was read, as EXPLAIN says it.
    pub fn read(&self) -> String {
        let cost = &self.cost;
        format!(
            "requests={} bytes={} cache hits={} cache misses={} cost={:.8}",
            cost.object_requests,
            cost.object_bytes,
            cost.cache_hits,
            cost.cache_misses,
            self.price(),
        )
    }

    /// Estimate of what its requests to object storage cost.
    pub fn price(&self) -> f64 {
        gucs::prices().of_requests(self.cost.object_requests, 0)
    }
}

/// \[backend\] A search of one namespace has ended. `kind` says what it was: a function or a scan.
pub fn of_namespace(kind: &str, id: NamespaceId, figures: &Figures) {
    counters::charge(id, figures.searches, figures.micros, &figures.cost);
    ended(kind, figures, || name_of(id), statement);
}

/// \[backend\] A search has ended whose parts were charged to their namespaces. `target` is asked for a name, and `statement` for
/// the statement it is part of, if it is logged.
pub fn ended(
    kind: &str,
    figures: &Figures,
    target: impl FnOnce() -> String,
    statement: impl FnOnce() -> Option<String>,
) {
    let slow = gucs::log_min_duration().is_some_and(|limit| u128::from(figures.micros) >= limit.as_micros());
    counters::searched(figures.micros, slow);
    if !slow {
        return;
    }
    let message = format!(
        "elacsym {kind} of \"{}\" took {:.3} ms: {} {} engine time={:.3} ms",
        target(),
        figures.micros as f64 / 1e3,
        figures.found(),
        figures.read(),
        figures.cost.engine_micros as f64 / 1e3,
    );
    log_line(message, statement().map(|statement| format!("Statement: {statement}")));
}

/// The name of a namespace, or of the index whose incarnation it is. The UUID if the catalog does not tell.
fn name_of(id: NamespaceId) -> String {
    let row = Snapshot::statement().and_then(|snapshot| catalog::namespace_by_id(id, &snapshot));
    match row {
        Ok(Some(row)) if row.kind == KIND_INDEX => relation_name(row.relation).unwrap_or_else(|| id.to_string()),
        Ok(Some(row)) => row.name,
        Ok(None) | Err(Error { .. }) => id.to_string(),
    }
}

fn relation_name(relation: pg_sys::Oid) -> Option<String> {
    // SAFETY: any oid; null if there is no such relation.
    let name = unsafe { pg_sys::get_rel_name(relation) };
    // SAFETY: not null, a C string of the current memory context.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Whether searches that take long are logged, so that it is worth remembering the statement.
pub fn is_on() -> bool {
    gucs::log_min_duration().is_some()
}

/// The beginning of the statement that runs.
pub fn statement() -> Option<String> {
    // SAFETY: null, or a C string that lives as long as the statement runs.
    let text = unsafe { pg_sys::debug_query_string };
    if text.is_null() {
        return None;
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if text.len() <= MAX_STATEMENT_BYTES {
        return Some(text.into_owned());
    }
    let end = (0..=MAX_STATEMENT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Some(format!("{} [cut]", &text[..end]))
}
