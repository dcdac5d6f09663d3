//! `scan`: documents by ascending id, a page at a time.

use super::arguments::{attributes, int_id, require_int, required};
use super::search::visible;
use super::{Jsonb, Text};
use crate::document::DocumentId;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ipc::message::{PageRequest, Request, ResultRow};
use crate::limits::MAX_PAGE_ROWS;
use crate::pg::engine_call::{Source, rows_of};
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::snapshot::Snapshot;
use crate::pg::vector_type::PgVector;
use crate::pg::{namespace, preload};
use crate::schema::NamespaceSchema;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};

/// Documents of one page when the caller gives no number, as the SQL declaration says.
pub(super) const DEFAULT_LIMIT: i32 = 1_000;

/// \[backend\] `elacsym.scan(…)`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_scan(
    namespace: Option<Text>,
    filter: Option<Jsonb>,
    after_id: Option<i64>,
    limit: Option<i32>,
    include_vector: Option<bool>,
    include_attributes: Option<Vec<Option<Text>>>,
) -> TableIterator<'static, (name!(id, i64), name!(vector, Option<PgVector>), name!(attributes, Option<Jsonb>))> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let include_vector = include_vector.unwrap_or(false);
    let after = |schema: &NamespaceSchema| require_int(schema).map(|()| after_id.map(DocumentId::Int));
    let rows = scan(&namespace, filter, after, limit, include_vector, include_attributes).or_raise();
    TableIterator::new(rows.into_iter().map(|row| {
        (int_id(&row), row.vector.map(|vector| PgVector::new(vector).or_raise()), row.attributes.map(Jsonb))
    }))
}

/// `after` says by the schema after which id the page begins.
pub(super) fn scan(
    name: &str,
    filter: Option<Jsonb>,
    after: impl FnOnce(&NamespaceSchema) -> Result<Option<DocumentId>>,
    limit: i32,
    include_vector: bool,
    include_attributes: Option<Vec<Option<Text>>>,
) -> Result<Vec<ResultRow>> {
    let rows = u32::try_from(limit).ok().filter(|rows| (1..=MAX_PAGE_ROWS).contains(&(*rows as usize)));
    let rows = rows.ok_or_else(|| {
        Error::new(ErrorKind::OutOfRange, format!("limit must be from 1 to {MAX_PAGE_ROWS}, not {limit}"))
            .with_hint("Read the next page with after_id => the last id of this one.")
    })?;
    let namespace = namespace::resolve(name, Mode::AccessShare)?;
    let (after, after_text) = match after(&namespace.schema)? {
        None => (None, None),
        Some(DocumentId::Text(text)) => (None, Some(text)),
        Some(id) => (Some(id.key()), None),
    };
    let filter = filter.map(|json| Filter::parse(&namespace.schema, &json.parse("filter")?)).transpose()?;
    let include_attributes = attributes(&namespace.schema, include_attributes)?;
    let snapshot = Snapshot::statement()?;
    let view = visible(&namespace, &snapshot)?;
    let request =
        PageRequest { namespace: view.message(), filter, after, after_text, rows, include_vector, include_attributes };
    rows_of(&Request::Page(Box::new(request)), Source { view: &view, snapshot: &snapshot })
}
