//! `query` and `fetch`: the statement's snapshot decides what is searched, the engine searches.

use super::arguments::{attributes, ids, not_negative, required};
use super::{Jsonb, Text};
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ipc::message::{FetchRequest, Fusion, Operator, QueryRequest, Request, ResultRow, TextQuery};
use crate::limits::{DEFAULT_CANDIDATES, DEFAULT_RRF_K, MAX_QUERY_TEXT_BYTES, MAX_TOP_K};
use crate::pg::engine_call::{Source, rows_of};
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::namespace::{self, Namespace};
use crate::pg::snapshot::Snapshot;
use crate::pg::vector_type::PgVector;
use crate::pg::view::View;
use crate::pg::{catalog, gucs, preload};
use crate::schema::{Attribute, NamespaceSchema, json_type, reject_unknown_keys};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};
use serde_json::{Map, Value as Json};

/// Rows of one answer when the caller gives no number.
pub(super) const DEFAULT_TOP_K: i32 = 10;
/// Most candidates an arm may be asked for: ten for each of the most rows an answer may have.
const MAX_CANDIDATES: usize = 10 * MAX_TOP_K;
/// Largest k of RRF: beyond this all ranks score alike.
const MAX_RRF_K: i32 = 1_000_000;

/// \[backend\] `elacsym.query(…)`
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_query(
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
) -> TableIterator<
    'static,
    (
        name!(id, i64),
        name!(score, f32),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
        name!(vector, Option<PgVector>),
        name!(attributes, Option<Jsonb>),
    ),
> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let arguments = Arguments {
        vector,
        full_text,
        filter,
        top_k: top_k.unwrap_or(DEFAULT_TOP_K),
        include_vector: include_vector.unwrap_or(false),
        include_attributes,
        rrf_k,
        vector_weight: vector_weight.unwrap_or(1.0),
        text_weight: text_weight.unwrap_or(1.0),
        candidates,
        effort,
        fusion,
    };
    let rows = query(&namespace, arguments).or_raise();
    TableIterator::new(rows.into_iter().map(|row| {
        (
            row.key,
            row.score,
            row.vector_rank.map(rank),
            row.vector_distance,
            row.text_rank.map(rank),
            row.text_score,
            row.vector.map(|vector| PgVector::new(vector).or_raise()),
            row.attributes.map(Jsonb),
        )
    }))
}

fn rank(rank: u32) -> i32 {
    i32::try_from(rank).unwrap_or(i32::MAX)
}

/// Arguments of a query, before they are checked.
struct Arguments {
    vector: Option<PgVector>,
    full_text: Option<Jsonb>,
    filter: Option<Jsonb>,
    top_k: i32,
    include_vector: bool,
    include_attributes: Option<Vec<Option<Text>>>,
    rrf_k: Option<i32>,
    vector_weight: f32,
    text_weight: f32,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<Text>,
}

fn query(name: &str, arguments: Arguments) -> Result<Vec<ResultRow>> {
    let namespace = namespace::resolve(name, Mode::AccessShare)?;
    let request = arguments.check(&namespace.schema)?;
    if request.vector.is_none() && request.text.is_none() {
        return Err(Error::invalid("a query needs \"vector\", \"full_text\" or both")
            .with_hint("To read documents by id use elacsym.fetch()."));
    }
    let snapshot = Snapshot::statement()?;
    let view = visible(&namespace, &snapshot)?;
    let request = Request::Query(Box::new(QueryRequest { namespace: view.message(), ..request }));
    rows_of(&request, Source { view: &view, snapshot: &snapshot })
}

/// What the statement's snapshot shows of the namespace.
fn visible(namespace: &Namespace, snapshot: &Snapshot) -> Result<View> {
    // A snapshot older than the namespace shows it empty, as it does a table; its rows cannot be visible either.
    let watermark = catalog::namespace_by_id(namespace.id, snapshot)?.map_or(0, |row| row.watermark);
    View::read(namespace.id, namespace.stored_schema.clone(), watermark, snapshot, None)
}

impl Arguments {
    /// The request without the namespace's state.
    fn check(self, schema: &NamespaceSchema) -> Result<QueryRequest> {
        let top_k = usize::try_from(self.top_k).ok().filter(|k| (1..=MAX_TOP_K).contains(k)).ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, format!("top_k must be from 1 to {MAX_TOP_K}, not {}", self.top_k))
        })?;
        let vector = self.vector.map(PgVector::into_elements);
        if let Some(vector) = &vector {
            Document::check_vector(schema, vector)?;
        }
        let text = self.full_text.map(|json| text_query(schema, &json.parse("full_text")?)).transpose()?;
        let filter = self.filter.map(|json| Filter::parse(schema, &json.parse("filter")?)).transpose()?;
        Ok(QueryRequest {
            namespace: empty_view(),
            include_attributes: attributes(schema, self.include_attributes)?,
            fusion: fusion(self.fusion.as_deref(), self.rrf_k, self.vector_weight, self.text_weight)?,
            candidates: candidates(self.candidates, top_k)?,
            effort: effort(self.effort)?,
            include_vector: self.include_vector,
            corpus: None,
            vector,
            text,
            filter,
            top_k,
        })
    }
}

pub(super) fn empty_view() -> crate::ipc::message::NamespaceView {
    crate::ipc::message::NamespaceView {
        id: crate::ids::NamespaceId([0; 16]),
        schema: String::new(),
        segments: Vec::new(),
        buffered: Vec::new(),
        tombstones: None,
    }
}

pub(super) fn fusion(name: Option<&str>, rrf_k: Option<i32>, vector_weight: f32, text_weight: f32) -> Result<Fusion> {
    let name = name.unwrap_or("rrf");
    if name != "rrf" {
        return Err(Error::invalid(format!("fusion \"{name}\" is not known")).with_hint("Fusions: rrf."));
    }
    let rrf_k = match rrf_k {
        None => DEFAULT_RRF_K,
        Some(k) => u32::try_from(k).ok().filter(|_| (1..=MAX_RRF_K).contains(&k)).ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, format!("rrf_k must be from 1 to {MAX_RRF_K}, not {k}"))
        })?,
    };
    let vector_weight = not_negative(vector_weight, "vector_weight")?;
    let text_weight = not_negative(text_weight, "text_weight")?;
    if vector_weight == 0.0 && text_weight == 0.0 {
        return Err(Error::invalid("vector_weight and text_weight are both 0"));
    }
    Ok(Fusion { rrf_k, vector_weight, text_weight })
}

pub(super) fn candidates(candidates: Option<i32>, top_k: usize) -> Result<usize> {
    match candidates {
        None => Ok(DEFAULT_CANDIDATES.max(10 * top_k)),
        // Fewer than top_k from an arm could leave an answer short (INV-7).
        Some(n) => {
            usize::try_from(n).ok().filter(|n| (1..=MAX_CANDIDATES).contains(n)).map(|n| n.max(top_k)).ok_or_else(
                || Error::new(ErrorKind::OutOfRange, format!("candidates must be from 1 to {MAX_CANDIDATES}, not {n}")),
            )
        }
    }
}

pub(super) fn effort(effort: Option<f32>) -> Result<f32> {
    let effort = effort.unwrap_or_else(gucs::effort);
    if effort > 0.0 {
        return Ok(effort);
    }
    Err(Error::new(ErrorKind::OutOfRange, format!("effort must be greater than 0, not {effort}"))
        .with_hint("1 is the default, larger finds more, 'infinity' is exact."))
}

const FULL_TEXT_HINT: &str = "Forms: \"words\", {\"field\": \"title\", \"query\": \"words\"}, or {\"fields\": [\"title\", \"body\"], \"query\": \"words\", \"weights\": {\"title\": 2.0}}.";

/// The three forms of architecture 6.3.
fn text_query(schema: &NamespaceSchema, json: &Json) -> Result<TextQuery> {
    let (query, fields, operator) = match json {
        Json::String(words) => (words.as_str(), all_fields(schema)?, Operator::Or),
        Json::Object(map) => {
            reject_unknown_keys(map, &["field", "fields", "query", "weights", "operator"], "full_text")?;
            let query = match map.get("query") {
                Some(Json::String(words)) => words.as_str(),
                Some(other) => {
                    return Err(Error::invalid(format!(
                        "\"query\" of full_text must be a string, not {}",
                        json_type(other)
                    )));
                }
                None => return Err(Error::invalid("full_text has no \"query\"").with_hint(FULL_TEXT_HINT)),
            };
            let operator = match map.get("operator") {
                None | Some(Json::Null) => Operator::Or,
                Some(Json::String(name)) => operator(Some(name))?,
                Some(other) => {
                    return Err(Error::invalid(format!(
                        "\"operator\" of full_text must be a string, not {}",
                        json_type(other)
                    )));
                }
            };
            (query, named_fields(schema, map)?, operator)
        }
        other => {
            return Err(Error::invalid(format!("full_text must be a string or an object, not {}", json_type(other)))
                .with_hint(FULL_TEXT_HINT));
        }
    };
    if query.len() > MAX_QUERY_TEXT_BYTES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("full_text query of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", query.len()),
        ));
    }
    if query.trim().is_empty() {
        return Err(Error::invalid("full_text query is empty"));
    }
    Ok(TextQuery { query: query.to_string(), fields, operator })
}

/// How parts of a query without a sign are joined; null: by or.
pub(super) fn operator(name: Option<&str>) -> Result<Operator> {
    let Some(name) = name else { return Ok(Operator::Or) };
    Operator::from_name(name)
        .ok_or_else(|| Error::invalid(format!("operator \"{name}\" is not known")).with_hint("Operators: or, and."))
}

fn all_fields(schema: &NamespaceSchema) -> Result<Vec<(u16, f32)>> {
    let fields: Vec<_> = schema.full_text_attributes().map(|(attribute, _)| (attribute.id, 1.0)).collect();
    if fields.is_empty() {
        return Err(Error::invalid("this namespace has no full-text attributes")
            .with_hint("Declare an attribute of type string with \"full_text\": true."));
    }
    Ok(fields)
}

fn full_text_field<'s>(schema: &'s NamespaceSchema, name: &str) -> Result<&'s Attribute> {
    let attribute = schema.require(name)?;
    if attribute.full_text.is_some() {
        return Ok(attribute);
    }
    let names: Vec<&str> = schema.full_text_attributes().map(|(a, _)| a.name.as_str()).collect();
    Err(Error::invalid(format!("attribute \"{name}\" has no full text"))
        .with_hint(format!("Full-text attributes of this namespace: {}.", names.join(", "))))
}

fn named_fields(schema: &NamespaceSchema, map: &Map<String, Json>) -> Result<Vec<(u16, f32)>> {
    let mut fields: Vec<(u16, f32)> = match (map.get("field"), map.get("fields")) {
        (Some(_), Some(_)) => return Err(Error::invalid("full_text has both \"field\" and \"fields\"")),
        (None, None) => all_fields(schema)?,
        (Some(Json::String(name)), None) => vec![(full_text_field(schema, name)?.id, 1.0)],
        (Some(other), None) => {
            return Err(Error::invalid(format!("\"field\" of full_text must be a string, not {}", json_type(other))));
        }
        (None, Some(Json::Array(names))) => {
            let mut fields = Vec::with_capacity(names.len());
            for name in names {
                let name = name.as_str().ok_or_else(|| {
                    Error::invalid(format!("\"fields\" of full_text holds strings, not {}", json_type(name)))
                })?;
                let id = full_text_field(schema, name)?.id;
                if fields.iter().any(|(other, _)| *other == id) {
                    return Err(Error::invalid(format!("\"fields\" of full_text names \"{name}\" twice")));
                }
                fields.push((id, 1.0));
            }
            if fields.is_empty() {
                return Err(Error::invalid("\"fields\" of full_text is empty").with_hint(FULL_TEXT_HINT));
            }
            fields
        }
        (None, Some(other)) => {
            return Err(Error::invalid(format!("\"fields\" of full_text must be an array, not {}", json_type(other)))
                .with_hint(FULL_TEXT_HINT));
        }
    };
    match map.get("weights") {
        None | Some(Json::Null) => {}
        Some(Json::Object(weights)) => {
            for (name, weight) in weights {
                let id = full_text_field(schema, name)?.id;
                let field = fields.iter_mut().find(|(other, _)| *other == id).ok_or_else(|| {
                    Error::invalid(format!("\"weights\" of full_text names \"{name}\", which is not searched"))
                })?;
                let number = weight.as_f64().ok_or_else(|| {
                    Error::new(
                        ErrorKind::TypeMismatch,
                        format!("weight of \"{name}\" must be a number, not {}", json_type(weight)),
                    )
                })?;
                field.1 = not_negative(number as f32, &format!("weight of \"{name}\""))?;
            }
        }
        Some(other) => {
            return Err(Error::invalid(format!(
                "\"weights\" of full_text must be an object, not {}",
                json_type(other)
            ))
            .with_hint(FULL_TEXT_HINT));
        }
    }
    Ok(fields)
}

/// \[backend\] `elacsym.fetch(namespace text, ids bigint[], include_vector bool, include_attributes text[])`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_fetch(
    namespace: Option<Text>,
    ids: Option<Vec<Option<i64>>>,
    include_vector: Option<bool>,
    include_attributes: Option<Vec<Option<Text>>>,
) -> TableIterator<'static, (name!(id, i64), name!(vector, Option<PgVector>), name!(attributes, Option<Jsonb>))> {
    preload::require();
    let namespace = required(namespace, "namespace");
    let rows = fetch(&namespace, ids, include_vector.unwrap_or(true), include_attributes).or_raise();
    TableIterator::new(
        rows.into_iter()
            .map(|row| (row.key, row.vector.map(|vector| PgVector::new(vector).or_raise()), row.attributes.map(Jsonb))),
    )
}

/// Documents by id, in the order of the ids; missing ones are left out.
fn fetch(
    name: &str,
    keys: Option<Vec<Option<i64>>>,
    include_vector: bool,
    include_attributes: Option<Vec<Option<Text>>>,
) -> Result<Vec<ResultRow>> {
    let keys = ids(keys)?;
    let namespace = namespace::resolve(name, Mode::AccessShare)?;
    let include_attributes = attributes(&namespace.schema, include_attributes)?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = Snapshot::statement()?;
    let view = visible(&namespace, &snapshot)?;
    let request = Request::Fetch(Box::new(FetchRequest {
        namespace: view.message(),
        keys: keys.clone(),
        include_vector,
        include_attributes,
    }));
    let rows = rows_of(&request, Source { view: &view, snapshot: &snapshot })?;
    let mut by_key: std::collections::HashMap<i64, ResultRow> = rows.into_iter().map(|row| (row.key, row)).collect();
    Ok(keys.iter().filter_map(|key| by_key.remove(key)).collect())
}
