//! `evaluate`: how good the rankings of a namespace or an index are by relevance judgements, each arm alone and all fused.

use super::arguments::required;
use super::index_ranking::IndexSearch;
use super::index_search::IndexColumns;
use super::ranking::{Options, Prepared, Target, vector_of};
use super::search::{ask, target};
use super::{Jsonb, Text};
use crate::document::DocumentId;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::Operator;
use crate::limits::{MAX_EVALUATED_QUERIES, MAX_GRADE};
use crate::pg::am::access::OpenIndex;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::namespace::{self, Namespace};
use crate::pg::{preload, xact};
use crate::rank::{Judged, Quality};
use crate::schema::{json_type, reject_unknown_keys};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use serde_json::{Map, Value as Json};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

const QUERIES_HINT: &str = "Example: [{\"id\": \"q1\", \"vector\": [0.1, 0.2], \"text\": \"words\"}]";
const QRELS_HINT: &str =
    "Forms: {\"q1\": {\"17\": 1}} or [{\"query\": \"q1\", \"document\": \"17\", \"relevance\": 1}].";

/// \[backend\] `elacsym.evaluate(…)`
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_evaluate(
    target: Option<Text>,
    queries: Option<Jsonb>,
    qrels: Option<Jsonb>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<Text>,
    modifiers: Option<Jsonb>,
) -> TableIterator<
    'static,
    (name!(arm, String), name!(queries, i64), name!(ndcg, f32), name!(recall, f32), name!(mrr, f32)),
> {
    preload::require();
    let target = required(target, "target");
    let queries = required(queries, "queries");
    let qrels = required(qrels, "qrels");
    let ranking =
        Shared { k, filter, fields, rrf_k, vector_weight, text_weight, candidates, effort, fusion, modifiers };
    let figures = evaluate(&target, &queries, &qrels, &ranking).or_raise();
    TableIterator::new(figures.into_iter().filter_map(|(arm, quality)| {
        let [ndcg, recall, mrr] = quality.means()?.map(|mean| mean as f32);
        Some((arm.to_string(), i64::try_from(quality.queries).unwrap_or(i64::MAX), ndcg, recall, mrr))
    }))
}

/// What all queries have in common.
struct Shared {
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<Text>,
    modifiers: Option<Jsonb>,
}

/// One query, parsed but not checked against the target.
struct Query {
    id: String,
    vector: Option<Vec<f32>>,
    text: Option<String>,
    filter: Option<Jsonb>,
}

/// What is evaluated: a namespace, or an index that is open.
enum Evaluated {
    Namespace(Rc<Namespace>),
    Index(OpenIndex),
}

impl Evaluated {
    fn open(name: &str) -> Result<Self> {
        match namespace::resolve(name, Mode::AccessShare) {
            Ok(namespace) => Ok(Self::Namespace(namespace)),
            Err(error) if error.kind == ErrorKind::NotFound => {
                OpenIndex::named_by_name(name, pg_sys::AccessShareLock)?.map(Self::Index).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

fn evaluate(name: &str, queries: &Jsonb, qrels: &Jsonb, shared: &Shared) -> Result<Vec<(&'static str, Quality)>> {
    xact::register();
    let evaluated = Evaluated::open(name)?;
    let judged = judgements(&qrels.parse("qrels")?)?;
    let mut queries = parse_queries(&queries.parse("queries")?)?;
    queries.retain(|query| judged.get(&query.id).is_some_and(Judged::is_measurable));
    if queries.is_empty() {
        return Err(Error::invalid("no query has a relevant document in \"qrels\"").with_hint(QRELS_HINT));
    }
    match &evaluated {
        Evaluated::Namespace(namespace) => {
            let target = target(&namespace.schema);
            measure(&queries, &judged, shared, &target, |prepared| {
                let rows = ask(namespace, prepared.request)?;
                rows.into_iter().map(|row| DocumentId::text_of(namespace.schema.id, row.key, row.id)).collect()
            })
        }
        Evaluated::Index(open) => {
            let search = IndexSearch::open(open)?;
            let columns = IndexColumns::of(open)?;
            columns.target(|target| {
                measure(&queries, &judged, shared, target, |prepared| {
                    let rows = search.run(&prepared, true)?;
                    Ok(rows.into_iter().map(|row| row.primary_key).collect())
                })
            })
        }
    }
}

/// The rows of the result that there is something to say about. `find` gives the ids of a ranking.
fn measure(
    queries: &[Query],
    judged: &HashMap<String, Judged>,
    shared: &Shared,
    target: &Target<'_>,
    mut find: impl FnMut(Prepared) -> Result<Vec<String>>,
) -> Result<Vec<(&'static str, Quality)>> {
    let [mut vector, mut text, mut fused] = [Quality::default(); 3];
    let any_fused = queries.iter().any(|query| query.vector.is_some() && query.text.is_some());
    for query in queries {
        let Some(judged) = judged.get(&query.id) else { continue };
        let mut quality_of = |vector: bool, text: bool| {
            let prepared = shared.prepare(query, target, vector, text)?;
            let k = prepared.request.top_k;
            Ok::<_, Error>(judged.measure(find(prepared)?.iter().map(String::as_str), k))
        };
        let in_query = |error: Error| match error.detail {
            Some(_) => error,
            None => error.with_detail(format!("Query \"{}\".", query.id)),
        };
        if query.vector.is_some() {
            vector.add(quality_of(true, false).map_err(in_query)?);
        }
        if query.text.is_some() {
            text.add(quality_of(false, true).map_err(in_query)?);
        }
        if any_fused {
            fused.add(quality_of(query.vector.is_some(), query.text.is_some()).map_err(in_query)?);
        }
        pgrx::check_for_interrupts!();
    }
    Ok(vec![("vector", vector), ("text", text), ("fused", fused)])
}

impl Shared {
    fn prepare(&self, query: &Query, target: &Target<'_>, vector: bool, text: bool) -> Result<Prepared> {
        let options = Options {
            rrf_k: self.rrf_k,
            vector_weight: self.vector_weight,
            text_weight: self.text_weight,
            candidates: self.candidates,
            effort: self.effort,
            fusion: self.fusion.clone(),
            modifiers: self.modifiers.clone(),
            ..Options::default()
        };
        let fields = self.fields.as_ref().map(|json| json.parse("fields")).transpose()?;
        let text = match &query.text {
            Some(words) if text => Some(target.text(words, Operator::Or, fields.as_ref())?),
            _ => None,
        };
        let vector = query.vector.clone().filter(|_| vector);
        let filter = match (&self.filter, &query.filter) {
            (Some(Jsonb(all)), Some(Jsonb(one))) => {
                Some(Jsonb(format!("{{\"type\": \"and\", \"conditions\": [{all}, {one}]}}")))
            }
            (all, one) => all.clone().or_else(|| one.clone()),
        };
        options.prepare(target, vector, text, self.k, filter)
    }
}

fn parse_queries(json: &Json) -> Result<Vec<Query>> {
    let list = json.as_array().ok_or_else(|| {
        Error::invalid(format!("\"queries\" must be an array, not {}", json_type(json))).with_hint(QUERIES_HINT)
    })?;
    if list.len() > MAX_EVALUATED_QUERIES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("{} queries are more than {MAX_EVALUATED_QUERIES}", list.len()),
        )
        .with_hint("Evaluate a sample of them."));
    }
    let mut seen = HashSet::with_capacity(list.len());
    let mut queries = Vec::with_capacity(list.len());
    for (at, json) in list.iter().enumerate() {
        let query = parse_query(json).map_err(|error| match error.detail {
            Some(_) => error,
            None => error.with_detail(format!("Element {} of \"queries\".", at + 1)),
        })?;
        if !seen.insert(query.id.clone()) {
            return Err(Error::invalid(format!("query id \"{}\" is there twice", query.id)));
        }
        queries.push(query);
    }
    Ok(queries)
}

fn parse_query(json: &Json) -> Result<Query> {
    let map = json.as_object().ok_or_else(|| {
        Error::invalid(format!("a query must be an object, not {}", json_type(json))).with_hint(QUERIES_HINT)
    })?;
    reject_unknown_keys(map, &["id", "vector", "text", "filter"], "query")?;
    let given = |key: &str| map.get(key).filter(|json| !json.is_null());
    let vector = given("vector").map(vector_of).transpose()?;
    let text = match given("text") {
        None => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(other) => {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("\"text\" of a query must be a string, not {}", json_type(other)),
            ));
        }
    };
    if vector.is_none() && text.is_none() {
        return Err(Error::invalid("a query has neither \"vector\" nor \"text\"").with_hint(QUERIES_HINT));
    }
    let filter = given("filter").map(|filter| Jsonb(filter.to_string()));
    Ok(Query { id: id_of(map, "id", "query")?, vector, text, filter })
}

/// An id: a string, or a whole number, which stands for its digits.
fn id_of(map: &Map<String, Json>, key: &str, what: &str) -> Result<String> {
    match map.get(key) {
        Some(Json::String(id)) => Ok(id.clone()),
        Some(Json::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Some(other) => Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("\"{key}\" of a {what} must be a string or a whole number, not {}", json_type(other)),
        )),
        None => Err(Error::invalid(format!("a {what} has no \"{key}\""))),
    }
}

/// The judgements by query id.
fn judgements(json: &Json) -> Result<HashMap<String, Judged>> {
    let mut judged: HashMap<String, Judged> = HashMap::new();
    match json {
        Json::Object(queries) => {
            for (query, documents) in queries {
                let documents = documents.as_object().ok_or_else(|| {
                    Error::invalid(format!(
                        "the judgements of query \"{query}\" must be an object, not {}",
                        json_type(documents)
                    ))
                    .with_hint(QRELS_HINT)
                })?;
                let of_query = judged.entry(query.clone()).or_default();
                for (document, relevance) in documents {
                    of_query.add(document.clone(), grade(relevance, document)?);
                }
            }
        }
        Json::Array(list) => {
            for json in list {
                let map = json.as_object().ok_or_else(|| {
                    Error::invalid(format!("a judgement must be an object, not {}", json_type(json)))
                        .with_hint(QRELS_HINT)
                })?;
                reject_unknown_keys(map, &["query", "document", "relevance"], "judgement")?;
                let (query, document) = (id_of(map, "query", "judgement")?, id_of(map, "document", "judgement")?);
                let relevance = map.get("relevance").unwrap_or(&Json::Null);
                let grade = grade(relevance, &document)?;
                judged.entry(query).or_default().add(document, grade);
            }
        }
        other => {
            let message = format!("\"qrels\" must be an object or an array, not {}", json_type(other));
            return Err(Error::invalid(message).with_hint(QRELS_HINT));
        }
    }
    Ok(judged)
}

/// A grade; below 0, which some collections use for spam, it is not relevant.
fn grade(json: &Json, document: &str) -> Result<u32> {
    let number = json.as_i64().ok_or_else(|| {
        Error::new(
            ErrorKind::TypeMismatch,
            format!("relevance of document \"{document}\" must be a whole number, not {json}"),
        )
    })?;
    let grade = u64::try_from(number).unwrap_or(0);
    u32::try_from(grade).ok().filter(|_| grade <= MAX_GRADE).ok_or_else(|| {
        Error::new(
            ErrorKind::OutOfRange,
            format!("relevance of document \"{document}\" is {number}, more than {MAX_GRADE}"),
        )
    })
}
