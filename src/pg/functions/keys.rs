//! `upsert_key`, `delete_keys`, `delete_keys_if`, `query_keys`, `fetch_keys`, `scan_keys`: the functions of documents with ids as
//! text, for ids of any type. They have names of their own: beside a bigint, a parameter of unknown type would become text, and
//! array literals would be ambiguous, so statements and drivers that work would not any more.

use super::arguments::{Ids, required};
use super::conditional::delete_if;
use super::ranking::{Options, arms_json, rank};
use super::scan::{DEFAULT_LIMIT, scan};
use super::search::{Answer, Arguments, fetch, query};
use super::write::{delete, upsert_row};
use super::{Jsonb, Text};
use crate::document::DocumentId;
use crate::error::Result;
use crate::ids::IdType;
use crate::ipc::message::ResultRow;
use crate::pg::error::{OrRaise, or_raise_or_retry};
use crate::pg::vector_type::PgVector;
use crate::pg::{acl, preload};
use crate::schema::NamespaceSchema;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};

/// \[backend\] `elacsym.upsert_key(namespace text, id text, vector vector, attributes jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_upsert_key(
    namespace: Option<Text>,
    id: Option<Text>,
    vector: Option<PgVector>,
    attributes: Option<Jsonb>,
) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.upsert_key()");
    let namespace = required(namespace, "namespace");
    let id = required(id, "id");
    let id = |schema: &NamespaceSchema| DocumentId::from_text(schema.id, &id);
    upsert_row(&namespace, id, vector, attributes).or_raise()
}

/// \[backend\] `elacsym.delete_keys(namespace text, ids text[]) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_delete_keys(namespace: Option<Text>, ids: Option<Vec<Option<Text>>>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.delete_keys()");
    let namespace = required(namespace, "namespace");
    Ids::texts(ids).and_then(|ids| delete(&namespace, ids)).or_raise()
}

/// \[backend\] `elacsym.delete_keys_if(namespace text, ids text[], condition jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_delete_keys_if(namespace: Option<Text>, ids: Option<Vec<Option<Text>>>, condition: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.delete_keys_if()");
    let namespace = required(namespace, "namespace");
    let condition = required(condition, "condition");
    or_raise_or_retry(Ids::texts(ids).and_then(|ids| delete_if(&namespace, ids, &condition)))
}

/// A row of `fetch_keys` and `scan_keys`.
type Row = (String, Option<PgVector>, Option<Jsonb>);

fn row(kind: IdType, row: ResultRow) -> Result<Row> {
    let id = DocumentId::text_of(kind, row.key, row.id)?;
    let vector = row.vector.map(PgVector::new).transpose()?;
    Ok((id, vector, row.attributes.map(Jsonb)))
}

/// \[backend\] `elacsym.fetch_keys(namespace text, ids text[], include_vector bool, include_attributes text[])`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_fetch_keys(
    namespace: Option<Text>,
    ids: Option<Vec<Option<Text>>>,
    include_vector: Option<bool>,
    include_attributes: Option<Vec<Option<Text>>>,
) -> TableIterator<'static, (name!(id, String), name!(vector, Option<PgVector>), name!(attributes, Option<Jsonb>))> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let include_vector = include_vector.unwrap_or(true);
    let found = Ids::texts(ids).and_then(|ids| fetch(&namespace, ids, include_vector, include_attributes));
    let (rows, kind) = found.or_raise();
    TableIterator::new(rows.into_iter().map(move |found| row(kind, found).or_raise()))
}

/// \[backend\] `elacsym.scan_keys(…)`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_scan_keys(
    namespace: Option<Text>,
    filter: Option<Jsonb>,
    after_id: Option<Text>,
    limit: Option<i32>,
    include_vector: Option<bool>,
    include_attributes: Option<Vec<Option<Text>>>,
) -> TableIterator<'static, (name!(id, String), name!(vector, Option<PgVector>), name!(attributes, Option<Jsonb>))> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let include_vector = include_vector.unwrap_or(false);
    let mut kind = IdType::Int;
    let after = |schema: &NamespaceSchema| {
        kind = schema.id;
        after_id.map(|id| DocumentId::from_text(schema.id, &id)).transpose()
    };
    let rows = scan(&namespace, filter, after, limit, include_vector, include_attributes).or_raise();
    TableIterator::new(rows.into_iter().map(move |found| row(kind, found).or_raise()))
}

/// \[backend\] `elacsym.query_keys(…)`
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_query_keys(
    namespace: Option<Text>,
    vector: Option<PgVector>,
    full_text: Option<Jsonb>,
    filter: Option<Jsonb>,
    top_k: Option<i32>,
    include_vector: Option<bool>,
    include_attributes: Option<Vec<Option<Text>>>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<Text>,
    queries: Option<Jsonb>,
    modifiers: Option<Jsonb>,
    per: Option<Jsonb>,
    offset: Option<i32>,
    order_by: Option<Jsonb>,
) -> TableIterator<
    'static,
    (
        name!(id, String),
        name!(score, Option<f32>),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
        name!(vector, Option<PgVector>),
        name!(attributes, Option<Jsonb>),
        name!(arms, Option<Jsonb>),
    ),
> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let options = Options {
        rrf_k,
        vector_weight,
        text_weight,
        candidates,
        effort,
        fusion,
        queries,
        modifiers,
        per,
        offset,
        order_by,
    };
    let arguments = Arguments {
        vector,
        full_text,
        filter,
        top_k,
        include_vector: include_vector.unwrap_or(false),
        include_attributes,
        options,
    };
    let Answer { rows, arms, by_arm, id: kind } = query(&namespace, arguments, |_| Ok(())).or_raise();
    TableIterator::new(rows.into_iter().map(move |mut found| {
        let places = std::mem::take(&mut found.arms);
        let ResultRow { score, vector_rank, vector_distance, text_rank, text_score, .. } = found;
        let (id, vector, attributes) = row(kind, found).or_raise();
        (
            id,
            // Nothing was searched for: there is no score.
            (!arms.is_empty()).then_some(score),
            vector_rank.map(rank),
            vector_distance,
            text_rank.map(rank),
            text_score,
            vector,
            attributes,
            by_arm.then(|| arms_json(&arms, &places)),
        )
    }))
}
