//! What the functions have in common in reading their arguments.

use super::Text;
use crate::document::DocumentId;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::ResultRow;
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
pub fn ids<T: Clone + Eq + std::hash::Hash>(ids: Option<Vec<Option<T>>>) -> Result<Vec<T>> {
    let ids = required(ids, "ids");
    if ids.len() > MAX_IDS {
        return Err(Error::new(ErrorKind::OutOfRange, format!("{} ids are more than {MAX_IDS}", ids.len()))
            .with_hint("Split them into several calls."));
    }
    if let Some(at) = ids.iter().position(Option::is_none) {
        raise_null(format!("argument \"ids\" has a null at position {}", at + 1));
    }
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    Ok(ids.into_iter().flatten().filter(|id| seen.insert(id.clone())).collect())
}

/// Ids of documents as a function takes them: numbers for namespaces with ids of type int, their text form for every namespace.
#[derive(Debug)]
pub enum Ids {
    /// As bigint.
    Ints(Vec<i64>),
    /// As text.
    Texts(Vec<Text>),
}

impl Ids {
    /// An array of bigint, checked as [`ids`].
    pub fn ints(values: Option<Vec<Option<i64>>>) -> Result<Self> {
        ids(values).map(Self::Ints)
    }

    /// An array of text, checked as [`ids`].
    pub fn texts(values: Option<Vec<Option<Text>>>) -> Result<Self> {
        ids(values).map(Self::Texts)
    }

    /// The keys, each once, in the order of their first place.
    ///
    /// # Errors
    /// `StatementType` for numbers where ids are none; what [`DocumentId::from_text`] says of a text.
    pub fn keys(self, schema: &NamespaceSchema) -> Result<Vec<Key>> {
        let keys: Vec<Key> = match self {
            Self::Ints(ids) => {
                require_int(schema)?;
                ids.into_iter().map(Key::from).collect()
            }
            Self::Texts(ids) => {
                let key = |id: Text| DocumentId::from_text(schema.id, &id).map(|id| id.key());
                ids.into_iter().map(key).collect::<Result<_>>()?
            }
        };
        // Several texts may stand for one uuid or number.
        let mut seen = std::collections::HashSet::with_capacity(keys.len());
        Ok(keys.into_iter().filter(|key| seen.insert(*key)).collect())
    }
}

/// Checks that ids are 64-bit numbers, for a function that takes or returns them as bigint.
///
/// # Errors
/// `StatementType`.
pub fn require_int(schema: &NamespaceSchema) -> Result<()> {
    if schema.id.is_int() {
        return Ok(());
    }
    let message = format!("ids of this namespace are of type {}, not bigint", schema.id.name());
    Err(Error::new(ErrorKind::StatementType, message).with_hint(
        "Use upsert_key, delete_keys, delete_keys_if, fetch_keys, scan_keys or query_keys, whose ids are text.",
    ))
}

/// The id of a result as bigint. The function has checked with [`require_int`] that it is one.
pub fn int_id(row: &ResultRow) -> i64 {
    i64::try_from(row.key).expect("invariant: ids of this namespace are 64-bit numbers")
}

/// The attributes a caller wants back: null or `{}` is none, `{*}` is all.
pub fn attributes(schema: &NamespaceSchema, names: Option<Vec<Option<Text>>>) -> Result<Vec<AttributeId>> {
    let mut wanted = Vec::new();
    for name in names.unwrap_or_default() {
        match name.as_deref() {
            None => raise_null("argument \"include_attributes\" must not contain nulls".to_string()),
            Some("*") => return Ok(schema.own_attributes().map(|a| a.id).collect()),
            Some(name) => wanted.push(schema.require_own(name)?.id),
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
