//! How hard a search of an index looks: its options, the session's setting, and what a client of pgvector has asked for.

use super::options;
use super::relation::Rel;
use crate::pg::gucs;
use pgrx::pg_sys;
use std::ffi::CStr;

/// pgvector's default of `hnsw.ef_search`, at which its clients expect the usual recall.
const DEFAULT_EF_SEARCH: f32 = 40.0;

/// \[backend\] The effort of a search of `index` that names none; 1 is the default, infinity means exact.
pub fn of(index: Rel) -> f32 {
    let session = gucs::effort();
    let asked = if session == gucs::DEFAULT_EFFORT { asked_of_pgvector() } else { session };
    asked * options::effort(index)
}

/// The effort that `hnsw.ef_search` stands for: in proportion to its default, and never below 1, because a client that lowers
/// it knows a graph that is not here. The setting is pgvector's, or a placeholder where pgvector is not loaded; it is never
/// defined by us.
fn asked_of_pgvector() -> f32 {
    const NAME: &CStr = c"hnsw.ef_search";
    // SAFETY: a C string literal; a setting that does not exist is null.
    let value = unsafe { pg_sys::GetConfigOption(NAME.as_ptr(), true, false) };
    if value.is_null() {
        return 1.0;
    }
    // SAFETY: PostgreSQL's own string, valid until settings are looked at again.
    let value = unsafe { CStr::from_ptr(value) };
    let asked =
        value.to_str().ok().and_then(|value| value.trim().parse::<f32>().ok()).filter(|asked| asked.is_finite());
    asked.map_or(1.0, |asked| (asked / DEFAULT_EF_SEARCH).max(1.0))
}
