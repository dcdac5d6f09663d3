//! `query` and `fetch`: the statement's snapshot decides what is searched, the engine searches.

use super::arguments::{Ids, attributes, int_id, not_negative, require_int, required};
use super::ranking::{FullTextField, Options, Prepared, Target, arms_json, rank};
use super::{Jsonb, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IdType, Key};
use crate::ipc::message::{ArmRequest, FetchRequest, Operator, QueryRequest, Request, ResultRow, TextQuery};
use crate::limits::MAX_QUERY_TEXT_BYTES;
use crate::pg::engine_call::{Source, rows_of};
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::namespace::{self, Namespace};
use crate::pg::snapshot::Snapshot;
use crate::pg::vector_type::PgVector;
use crate::pg::view::View;
use crate::pg::{catalog, preload};
use crate::rank::Unit;
use crate::schema::{Attribute, NamespaceSchema, json_type, reject_unknown_keys};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};
use serde_json::{Map, Value as Json};

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
    queries: Option<Jsonb>,
    modifiers: Option<Jsonb>,
    per: Option<Jsonb>,
    offset: Option<i32>,
    order_by: Option<Jsonb>,
) -> TableIterator<
    'static,
    (
        name!(id, i64),
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
    let answer = query(&namespace, arguments, require_int).or_raise();
    let Answer { rows, arms, by_arm, .. } = answer;
    TableIterator::new(rows.into_iter().map(move |row| {
        (
            int_id(&row),
            // Nothing was searched for: there is no score.
            (!arms.is_empty()).then_some(row.score),
            row.vector_rank.map(rank),
            row.vector_distance,
            row.text_rank.map(rank),
            row.text_score,
            row.vector.map(|vector| PgVector::new(vector).or_raise()),
            row.attributes.map(Jsonb),
            by_arm.then(|| arms_json(&arms, &row.arms)),
        )
    }))
}

/// Arguments of a query, before they are checked.
pub(super) struct Arguments {
    pub vector: Option<PgVector>,
    pub full_text: Option<Jsonb>,
    pub filter: Option<Jsonb>,
    pub top_k: Option<i32>,
    pub include_vector: bool,
    pub include_attributes: Option<Vec<Option<Text>>>,
    pub options: Options,
}

/// The rows of a query, and the arms that their places are in.
pub(super) struct Answer {
    /// The rows.
    pub rows: Vec<ResultRow>,
    /// The arms.
    pub arms: Vec<ArmRequest>,
    /// The caller wants places arm by arm.
    pub by_arm: bool,
    /// What ids are.
    pub id: IdType,
}

/// `check` looks at the schema before anything else does.
pub(super) fn query(
    name: &str,
    arguments: Arguments,
    check: impl FnOnce(&NamespaceSchema) -> Result<()>,
) -> Result<Answer> {
    let namespace = namespace::resolve(name, Mode::AccessShare)?;
    check(&namespace.schema)?;
    let prepared = arguments.check(&namespace.schema)?;
    let request = prepared.request;
    if request.arms.is_empty() && request.order_by.is_empty() {
        return Err(Error::invalid("a query needs \"vector\", \"full_text\", \"queries\" or \"order_by\"")
            .with_hint("To read documents by id use elacsym.fetch()."));
    }
    let arms = request.arms.clone();
    Ok(Answer { rows: ask(&namespace, request)?, arms, by_arm: prepared.by_arm, id: namespace.schema.id })
}

/// Runs a prepared request over what the statement's snapshot shows.
///
/// # Errors
/// The engine's.
pub(super) fn ask(namespace: &Namespace, request: QueryRequest) -> Result<Vec<ResultRow>> {
    let snapshot = Snapshot::statement()?;
    let view = visible(namespace, &snapshot)?;
    let request = Request::Query(Box::new(QueryRequest { namespace: view.message(), ..request }));
    rows_of(&request, Source { view: &view, snapshot: &snapshot })
}

/// What the statement's snapshot shows of the namespace.
pub(super) fn visible(namespace: &Namespace, snapshot: &Snapshot) -> Result<View> {
    // A snapshot older than the namespace shows it empty, as it does a table; its rows cannot be visible either.
    let watermark = catalog::namespace_by_id(namespace.id, snapshot)?.map_or(0, |row| row.watermark);
    View::read(namespace.id, namespace.stored_schema.clone(), watermark, snapshot)
}

/// A namespace as a target of ranking.
pub(super) fn target(schema: &NamespaceSchema) -> Target<'_> {
    let full_text = schema.full_text_attributes();
    Target {
        schema,
        full_text: full_text
            .map(|(attribute, options)| FullTextField {
                id: attribute.id,
                name: attribute.name.clone(),
                weight: options.weight.0,
            })
            .collect(),
        unit: &Unit::of,
        check_vector: &|_| Ok(()),
        rows_argument: "top_k",
        is_numeric: None,
    }
}

impl Arguments {
    /// The request without the namespace's state.
    fn check(self, schema: &NamespaceSchema) -> Result<Prepared> {
        let text = self.full_text.map(|json| text_query(schema, &json.parse("full_text")?)).transpose()?;
        let vector = self.vector.map(PgVector::into_elements);
        let mut prepared = self.options.prepare(&target(schema), vector, text, self.top_k, self.filter)?;
        prepared.request.include_attributes = attributes(schema, self.include_attributes)?;
        prepared.request.include_vector = self.include_vector;
        Ok(prepared)
    }
}

const FULL_TEXT_HINT: &str = "Forms: \"words\", {\"field\": \"title\", \"query\": \"words\"}, or {\"fields\": [\"title\", \"body\"], \"query\": \"words\", \"weights\": {\"title\": 2.0}}.";

/// The three forms of architecture 6.3.
pub(super) fn text_query(schema: &NamespaceSchema, json: &Json) -> Result<TextQuery> {
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
    let fields: Vec<_> =
        schema.full_text_attributes().map(|(attribute, options)| (attribute.id, options.weight.0)).collect();
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
    let include_vector = include_vector.unwrap_or(true);
    let rows = Ids::ints(ids).and_then(|ids| fetch(&namespace, ids, include_vector, include_attributes)).or_raise().0;
    TableIterator::new(rows.into_iter().map(|row| {
        (int_id(&row), row.vector.map(|vector| PgVector::new(vector).or_raise()), row.attributes.map(Jsonb))
    }))
}

/// Documents by id, in the order of the ids, and what ids are; missing ones are left out.
pub(super) fn fetch(
    name: &str,
    ids: Ids,
    include_vector: bool,
    include_attributes: Option<Vec<Option<Text>>>,
) -> Result<(Vec<ResultRow>, IdType)> {
    let namespace = namespace::resolve(name, Mode::AccessShare)?;
    let id = namespace.schema.id;
    let keys = ids.keys(&namespace.schema)?;
    let include_attributes = attributes(&namespace.schema, include_attributes)?;
    if keys.is_empty() {
        return Ok((Vec::new(), id));
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
    let mut by_key: std::collections::HashMap<Key, ResultRow> = rows.into_iter().map(|row| (row.key, row)).collect();
    Ok((keys.iter().filter_map(|key| by_key.remove(key)).collect(), id))
}
