//! `search` and `search_keys`: hybrid search over an index (architecture 6.B).

use super::arguments::{not_negative, required};
use super::index_ranking::{Found, IndexSearch};
use super::ranking::{FullTextField, Options, Prepared, Target};
use super::search::operator;
use super::{Jsonb, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{Operator, TextQuery};
use crate::limits::MAX_QUERY_TEXT_BYTES;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::columns::{Columns, Kind, attribute_id};
use crate::pg::error::OrRaise;
use crate::pg::vector_type::PgVector;
use crate::pg::{preload, xact};
use crate::rank::Unit;
use crate::schema::{NamespaceSchema, json_type};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use serde_json::Value as Json;

/// \[backend\] `elacsym.search(…)`
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_search(
    index: Option<pg_sys::Oid>,
    query_vector: Option<PgVector>,
    query_text: Option<Text>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
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
    operator: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(ctid, pg_sys::ItemPointerData),
        name!(score, Option<f32>),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
        name!(arms, Option<Jsonb>),
    ),
> {
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
    let arguments = Arguments { query_vector, query_text, k, filter, fields, options, operator };
    let found = search(required(index, "index"), arguments, false).or_raise();
    TableIterator::new(
        found
            .into_iter()
            .map(|f| (f.tid, f.score, f.vector_rank, f.vector_distance, f.text_rank, f.text_score, f.arms)),
    )
}

/// \[backend\] `elacsym.search_keys(…)`: the same, with the primary key instead of the ctid.
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_search_keys(
    index: Option<pg_sys::Oid>,
    query_vector: Option<PgVector>,
    query_text: Option<Text>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
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
    operator: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(key, String),
        name!(score, Option<f32>),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
        name!(arms, Option<Jsonb>),
    ),
> {
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
    let arguments = Arguments { query_vector, query_text, k, filter, fields, options, operator };
    let found = search(required(index, "index"), arguments, true).or_raise();
    TableIterator::new(
        found
            .into_iter()
            .map(|f| (f.primary_key, f.score, f.vector_rank, f.vector_distance, f.text_rank, f.text_score, f.arms)),
    )
}

struct Arguments {
    query_vector: Option<PgVector>,
    query_text: Option<Text>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    options: Options,
    operator: Option<Text>,
}

fn search(relation: pg_sys::Oid, arguments: Arguments, with_keys: bool) -> Result<Vec<Found>> {
    preload::require();
    xact::register();
    let named = OpenIndex::named(relation, pg_sys::AccessShareLock)?;
    let search = IndexSearch::open(&named)?;
    let prepared = arguments.check(&IndexColumns::of(&named)?)?;
    search.run(&prepared, with_keys)
}

/// The columns of an index as a target of ranking.
pub(super) struct IndexColumns {
    columns: Columns,
    schema: NamespaceSchema,
}

impl IndexColumns {
    /// Of an open index.
    ///
    /// # Errors
    /// As [`Columns::of`].
    pub fn of(index: &OpenIndex) -> Result<Self> {
        let columns = Columns::of(index.index)?;
        Ok(Self { schema: columns.schema(), columns })
    }

    /// Runs `with` on them.
    pub fn target<T>(&self, with: impl FnOnce(&Target<'_>) -> T) -> T {
        let full_text = self.columns.columns.iter().enumerate().filter_map(|(i, column)| match &column.kind {
            Kind::Text(options) => {
                Some(FullTextField { id: attribute_id(i), name: column.name.clone(), weight: options.weight.0 })
            }
            _ => None,
        });
        with(&Target {
            schema: &self.schema,
            full_text: full_text.collect(),
            unit: &Unit::of,
            check_vector: &|vector| self.columns.check_vector(vector),
            rows_argument: "k",
            is_numeric: Some(&|attribute| self.columns.is_numeric(attribute)),
        })
    }
}

impl Arguments {
    fn check(self, index: &IndexColumns) -> Result<Prepared> {
        let vector = self.query_vector.map(PgVector::into_elements);
        let fields = self.fields.map(|json| json.parse("fields")).transpose()?;
        let words = self.query_text.as_deref();
        let operator = operator(self.operator.as_deref())?;
        let text = words.map(|words| text_query(&index.columns, words, operator, fields.as_ref())).transpose()?;
        let (k, filter, options) = (self.k, self.filter, self.options);
        let prepared = index.target(|target| options.prepare(target, vector, text, k, filter))?;
        if prepared.request.arms.is_empty() && prepared.request.order_by.is_empty() {
            return Err(Error::invalid("a search needs \"query_vector\", \"query_text\", \"queries\" or \"order_by\""));
        }
        Ok(prepared)
    }
}

/// The full-text columns to search and their weights: those named, else all with the weights of their options.
fn text_query(columns: &Columns, words: &str, operator: Operator, fields: Option<&Json>) -> Result<TextQuery> {
    if words.len() > MAX_QUERY_TEXT_BYTES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("query_text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", words.len()),
        ));
    }
    let full_text: Vec<(u16, &str, f32)> = columns
        .columns
        .iter()
        .enumerate()
        .filter_map(|(i, column)| match &column.kind {
            Kind::Text(options) => Some((attribute_id(i), column.name.as_str(), options.weight.0)),
            _ => None,
        })
        .collect();
    if full_text.is_empty() {
        return Err(Error::invalid("the index has no full-text column")
            .with_hint("Create the index with a text column and operator class bm25_ops."));
    }
    let fields = match fields {
        None | Some(Json::Null) => full_text.iter().map(|(id, _, weight)| (*id, *weight)).collect(),
        Some(Json::Object(map)) => {
            let mut fields = Vec::with_capacity(map.len());
            for (name, weight) in map {
                let (id, ..) = full_text.iter().find(|(_, column, _)| column == name).ok_or_else(|| {
                    let names: Vec<&str> = full_text.iter().map(|(_, name, _)| *name).collect();
                    Error::new(ErrorKind::NotFound, format!("full-text column \"{name}\" does not exist"))
                        .with_hint(format!("Full-text columns of this index: {}.", names.join(", ")))
                })?;
                let weight = weight.as_f64().ok_or_else(|| {
                    Error::new(
                        ErrorKind::TypeMismatch,
                        format!("weight of \"{name}\" must be a number, not {}", json_type(weight)),
                    )
                })?;
                fields.push((*id, not_negative(weight as f32, &format!("weight of \"{name}\""))?));
            }
            if fields.is_empty() {
                return Err(Error::invalid("\"fields\" is empty").with_hint("Example: {\"title\": 2.0, \"body\": 1.0}"));
            }
            fields
        }
        Some(other) => {
            return Err(Error::invalid(format!("\"fields\" must be an object, not {}", json_type(other)))
                .with_hint("Example: {\"title\": 2.0, \"body\": 1.0}"));
        }
    };
    Ok(TextQuery { query: words.to_string(), fields, operator })
}
