//! What the functions have in common in reading their arguments.

use super::Text;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{AttributeId, NamespaceSchema};
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// Most ids in one call: an array of them and an answer for each are held in memory.
pub const MAX_IDS: usize = 1_000_000;

/// The argument, or the error 22004 (null value not allowed).
#[track_caller]
pub fn required<T>(value: Option<T>, argument: &str) -> T {
    value.unwrap_or_else(|| raise_null(format!("argument \"{argument}\" must not be null")))
}

#[track_caller]
fn raise_null(message: String) -> ! {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, message, "elacsym").report(PgLogLevel::ERROR);
    unreachable!("invariant: ERROR does not return")
}

/// Document ids without nulls, each once, in the order of their first place.
#[track_caller]
pub fn ids(ids: Option<Vec<Option<i64>>>) -> Result<Vec<i64>> {
    let ids = required(ids, "ids");
    if ids.len() > MAX_IDS {
        return Err(Error::new(ErrorKind::OutOfRange, format!("{} ids are more than {MAX_IDS}", ids.len()))
            .with_hint("Split them into several calls."));
    }
    if let Some(at) = ids.iter().position(Option::is_none) {
        raise_null(format!("argument \"ids\" has a null at position {}", at + 1));
    }
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    Ok(ids.into_iter().flatten().filter(|id| seen.insert(*id)).collect())
}

/// The attributes a caller wants back: null or `{}` is none, `{*}` is all.
pub fn attributes(schema: &NamespaceSchema, names: Option<Vec<Option<Text>>>) -> Result<Vec<AttributeId>> {
    let mut wanted = Vec::new();
    for name in names.unwrap_or_default() {
        match name.as_deref() {
            None => raise_null("argument \"include_attributes\" must not contain nulls".to_string()),
            Some("*") => return Ok(schema.attributes.iter().map(|a| a.id).collect()),
            Some(name) => wanted.push(schema.require(name)?.id),
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

/// A finite number that is not negative.
pub fn not_negative(value: f32, what: &str) -> Result<f32> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(Error::new(ErrorKind::OutOfRange, format!("{what} must be a finite number of 0 or more, not {value}")))
}
