//! `search` and `search_keys`: hybrid search over an index (architecture 6.B). Candidates come from the engine, the heap
//! decides which are visible, and only those get ranks.

use super::Jsonb;
use super::arguments::{not_negative, required};
use super::search::{DEFAULT_TOP_K, candidates, effort, fusion, operator};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ids::Key;
use crate::ipc::message::{CorpusStats, Fusion, Operator, QueryRequest, Request, RequestStats, ResultRow, TextQuery};
use crate::limits::{MAX_QUERY_TEXT_BYTES, MAX_REPLY_ROWS, MAX_TOP_K};
use crate::pg::am::access::OpenIndex;
use crate::pg::am::columns::{Columns, Kind, attribute_id};
use crate::pg::am::heap_rows::HeapRows;
use crate::pg::am::relation::Rel;
use crate::pg::am::view::with_view;
use crate::pg::am::{self, corpus, open_scans};
use crate::pg::engine_call::rows_and_cost_of;
use crate::pg::error::OrRaise;
use crate::pg::snapshot::Snapshot;
use crate::pg::vector_type::PgVector;
use crate::pg::{policies, preload, query_stats, xact};
use crate::rank::{Arm, fuse};
use crate::schema::json_type;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use serde_json::Value as Json;
use std::collections::HashMap;

/// How much deeper a search goes when too few of its candidates were visible.
const DEEPER: usize = 4;
/// Most candidates of one arm: the engine returns those of both.
const MOST_CANDIDATES: usize = MAX_REPLY_ROWS / 2;

/// \[backend\] `elacsym.search(…)`
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_search(
    index: Option<pg_sys::Oid>,
    query_vector: Option<PgVector>,
    query_text: Option<&str>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<&str>,
    operator: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(ctid, pg_sys::ItemPointerData),
        name!(score, f32),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
    ),
> {
    let arguments = Arguments {
        query_vector,
        query_text,
        k,
        filter,
        fields,
        rrf_k,
        vector_weight,
        text_weight,
        candidates,
        effort,
        fusion,
        operator,
    };
    let found = search(required(index, "index"), arguments, false).or_raise();
    TableIterator::new(
        found.into_iter().map(|f| (f.tid, f.score, f.vector_rank, f.vector_distance, f.text_rank, f.text_score)),
    )
}

/// \[backend\] `elacsym.search_keys(…)`: the same, with the primary key instead of the ctid.
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_search_keys(
    index: Option<pg_sys::Oid>,
    query_vector: Option<PgVector>,
    query_text: Option<&str>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<&str>,
    operator: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(key, String),
        name!(score, f32),
        name!(vector_rank, Option<i32>),
        name!(vector_distance, Option<f32>),
        name!(text_rank, Option<i32>),
        name!(text_score, Option<f32>),
    ),
> {
    let arguments = Arguments {
        query_vector,
        query_text,
        k,
        filter,
        fields,
        rrf_k,
        vector_weight,
        text_weight,
        candidates,
        effort,
        fusion,
        operator,
    };
    let found = search(required(index, "index"), arguments, true).or_raise();
    TableIterator::new(
        found
            .into_iter()
            .map(|f| (f.primary_key, f.score, f.vector_rank, f.vector_distance, f.text_rank, f.text_score)),
    )
}

struct Arguments<'a> {
    query_vector: Option<PgVector>,
    query_text: Option<&'a str>,
    k: Option<i32>,
    filter: Option<Jsonb>,
    fields: Option<Jsonb>,
    rrf_k: Option<i32>,
    vector_weight: Option<f32>,
    text_weight: Option<f32>,
    candidates: Option<i32>,
    effort: Option<f32>,
    fusion: Option<&'a str>,
    operator: Option<&'a str>,
}

/// One result.
struct Found {
    tid: pg_sys::ItemPointerData,
    primary_key: String,
    score: f32,
    vector_rank: Option<i32>,
    vector_distance: Option<f32>,
    text_rank: Option<i32>,
    text_score: Option<f32>,
}

/// What a search of any index with these columns does.
struct Search {
    k: usize,
    candidates: usize,
    fusion: Fusion,
    effort: Option<f32>,
    vector: Option<Vec<f32>>,
    text: Option<TextQuery>,
    filter: Option<Filter>,
}

/// A visible candidate of one index.
struct Candidate {
    tid: pg_sys::ItemPointerData,
    primary_key: String,
    row: ResultRow,
}

fn search(relation: pg_sys::Oid, arguments: Arguments<'_>, with_keys: bool) -> Result<Vec<Found>> {
    preload::require();
    xact::register();
    // Of a partitioned index too: privileges and policies are those of the table that is named, not of its partitions.
    let named = OpenIndex::named(relation, pg_sys::AccessShareLock)?;
    named.check_may_select()?;
    named.check_parts()?;
    named.check_no_foreign_rows()?;
    let row_security = named.has_row_security();
    let search = arguments.check(&Columns::of(named.index)?)?;
    let corpus = match &search.text {
        Some(text) => corpus::of_whole(relation, text)?,
        None => None,
    };
    let mut all = Vec::new();
    let mut cost = RequestStats::default();
    for leaf in named.leaves() {
        let open = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
        open.check_usable()?;
        let part = Part { named: &named, open: &open, row_security, corpus: corpus.as_ref() };
        all.extend(part.candidates(&search, with_keys, &mut cost)?);
    }
    Ok(rank(all, &search))
}

/// The index that is searched, or one leaf of it.
struct Part<'a> {
    named: &'a OpenIndex,
    open: &'a OpenIndex,
    /// Whether policies of the named table hide rows.
    row_security: bool,
    /// Statistics of the named index, if it has leaves.
    corpus: Option<&'a CorpusStats>,
}

impl Arguments<'_> {
    fn check(self, columns: &Columns) -> Result<Search> {
        let k = self.k.unwrap_or(DEFAULT_TOP_K);
        let k = usize::try_from(k)
            .ok()
            .filter(|k| (1..=MAX_TOP_K).contains(k))
            .ok_or_else(|| Error::new(ErrorKind::OutOfRange, format!("k must be from 1 to {MAX_TOP_K}, not {k}")))?;
        if self.query_vector.is_none() && self.query_text.is_none() {
            return Err(Error::invalid("a search needs \"query_vector\", \"query_text\" or both"));
        }
        let vector = self.query_vector.map(PgVector::into_elements);
        let schema = columns.schema();
        if let Some(vector) = &vector {
            columns.check_vector(vector)?;
            crate::document::Document::check_vector(&schema, vector)?;
        }
        let fields = self.fields.map(|json| json.parse("fields")).transpose()?;
        let operator = operator(self.operator)?;
        let text = self.query_text.map(|words| text_query(columns, words, operator, fields.as_ref())).transpose()?;
        let filter = self.filter.map(|json| Filter::parse(&schema, &json.parse("filter")?)).transpose()?;
        Ok(Search {
            k,
            candidates: candidates(self.candidates, k)?,
            fusion: fusion(
                self.fusion,
                self.rrf_k,
                self.vector_weight.unwrap_or(1.0),
                self.text_weight.unwrap_or(1.0),
            )?,
            effort: self.effort.map(|e| effort(Some(e))).transpose()?,
            vector,
            text,
            filter,
        })
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

impl Part<'_> {
    /// Visible candidates of both arms; goes deeper while too few are visible.
    /// `cost` grows by what each step down costs; it is that of the whole search.
    fn candidates(&self, search: &Search, with_keys: bool, cost: &mut RequestStats) -> Result<Vec<Candidate>> {
        let open = self.open;
        let snapshot = Snapshot::statement()?;
        open.lock_predicate(&snapshot);
        let key_columns = if with_keys { primary_key(open.heap)? } else { Vec::new() };
        self.named.check_may_select_columns(&self.columns_of_named(&key_columns)?)?;
        let effort = search.effort.unwrap_or_else(|| am::effort::of(open.index));
        let mut depth = search.candidates;
        loop {
            open_scans::close_pending()?;
            let (rows, stats) = with_view(open.index, |view| {
                let request = Request::Query(Box::new(QueryRequest {
                    namespace: view.message(),
                    vector: search.vector.clone(),
                    text: search.text.clone(),
                    corpus: self.corpus.cloned(),
                    filter: search.filter.clone(),
                    // Every candidate of both arms: ranks are given here.
                    top_k: depth.saturating_mul(2),
                    candidates: depth,
                    fusion: search.fusion,
                    effort,
                    include_vector: false,
                    include_attributes: Vec::new(),
                }));
                rows_and_cost_of(&request, view)
            })?;
            *cost = query_stats::sum(*cost, stats);
            query_stats::record(*cost);
            let full =
                |rank: fn(&ResultRow) -> Option<u32>| rows.iter().filter(|row| rank(row).is_some()).count() >= depth;
            let more = full(|row| row.vector_rank) || full(|row| row.text_rank);
            let mut visible = visible(open, &snapshot, rows, &key_columns)?;
            if self.row_security {
                let tids = visible.iter().map(|candidate| candidate.tid).collect();
                let allowed = policies::allowed(self.named.heap, open.heap, tids)?;
                visible.retain(|candidate| allowed.contains(&tid_key(candidate.tid)));
            }
            if visible.len() >= search.k || !more {
                return Ok(visible);
            }
            if depth >= MOST_CANDIDATES {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("fewer than {} of the {depth} best candidates are visible to this transaction", search.k),
                )
                .with_hint("Run VACUUM if many rows are dead, use a filter, or ORDER BY with a distance operator."));
            }
            depth = depth.saturating_mul(DEEPER).min(MOST_CANDIDATES);
            pgrx::check_for_interrupts!();
        }
    }

    /// The numbers that columns of the leaf's table have in the named one.
    fn columns_of_named(&self, columns: &[i16]) -> Result<Vec<i16>> {
        let (leaf, named) = (self.open.heap.oid(), self.named.heap.oid());
        let number = |column: &i16| {
            // SAFETY: a column of an open table; raises if there is none.
            let name = unsafe { pg_sys::get_attname(leaf, *column, false) };
            // SAFETY: a C string; a missing column is 0.
            let number = unsafe { pg_sys::get_attnum(named, name) };
            let missing = || Error::internal("a partition has a column that its table has not");
            (number > 0).then_some(number).ok_or_else(missing)
        };
        columns.iter().map(number).collect()
    }
}

fn tid_key(tid: pg_sys::ItemPointerData) -> Key {
    crate::pg::am::key::of_tid(tid)
}

fn visible(open: &OpenIndex, snapshot: &Snapshot, rows: Vec<ResultRow>, key_columns: &[i16]) -> Result<Vec<Candidate>> {
    let mut heap_rows = HeapRows::new(open.heap, snapshot.as_ptr());
    let mut visible = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(found) = heap_rows.visible(row.key) {
            let primary_key = key_text(&found, key_columns);
            visible.push(Candidate { tid: found.tid, primary_key, row });
        }
    }
    Ok(visible)
}

/// The primary key as text: of one column as it is, of several as a JSON array of their text forms.
fn key_text(row: &crate::pg::am::heap_rows::VisibleRow<'_>, columns: &[i16]) -> String {
    match columns {
        [] => String::new(),
        [column] => row.text(*column).unwrap_or_default(),
        columns => Json::from(columns.iter().map(|column| row.text(*column)).collect::<Vec<_>>()).to_string(),
    }
}

fn primary_key(heap: Rel) -> Result<Vec<i16>> {
    #[cfg(feature = "pg18")]
    // SAFETY: an open relation.
    let index = unsafe { pg_sys::RelationGetPrimaryKeyIndex(heap.ptr(), true) };
    #[cfg(not(feature = "pg18"))]
    // SAFETY: an open relation.
    let index = unsafe { pg_sys::RelationGetPrimaryKeyIndex(heap.ptr()) };
    if index == pg_sys::InvalidOid {
        return Err(Error::new(ErrorKind::Fenced, format!("table \"{}\" has no primary key", heap.name()))
            .with_hint("Add one, or use elacsym.search(), which returns the ctid."));
    }
    // SAFETY: an index of an open table.
    let open = unsafe { pg_sys::index_open(index, pg_sys::AccessShareLock as i32) };
    // SAFETY: just opened.
    let form = unsafe { &*(*open).rd_index };
    let count = usize::try_from(form.indnkeyatts).unwrap_or(0);
    // SAFETY: one number for each column; copied before the index is closed.
    let columns = unsafe { std::slice::from_raw_parts(form.indkey.values.as_ptr(), count) }.to_vec();
    // SAFETY: opened above.
    unsafe { pg_sys::index_close(open, pg_sys::NoLock as i32) };
    Ok(columns)
}

/// Ranks among what is visible, fused.
fn rank(candidates: Vec<Candidate>, search: &Search) -> Vec<Found> {
    // Keys of different partitions may be equal, so places stand for rows.
    let arm = |value: fn(&ResultRow) -> Option<f32>, weight: f32| {
        let mut places: Vec<(f32, usize)> =
            candidates.iter().enumerate().filter_map(|(place, c)| value(&c.row).map(|v| (v, place))).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.truncate(search.candidates);
        Arm { weight, keys: places.into_iter().map(|(_, place)| place as Key).collect() }
    };
    let by_distance = |row: &ResultRow| row.vector_distance;
    let by_text = |row: &ResultRow| row.text_score.map(|score| -score);
    let arms = [arm(by_distance, search.fusion.vector_weight), arm(by_text, search.fusion.text_weight)];
    let hybrid = search.vector.is_some() && search.text.is_some();
    let mut rows: HashMap<Key, Candidate> =
        candidates.into_iter().enumerate().map(|(place, candidate)| (place as Key, candidate)).collect();
    let mut found = Vec::new();
    for fused in fuse(&arms, search.fusion.rrf_k) {
        let Some(candidate) = rows.remove(&fused.key) else { continue };
        let number = |rank: Option<u32>| rank.map(|rank| i32::try_from(rank).unwrap_or(i32::MAX));
        let [vector_rank, text_rank] = [number(fused.ranks[0]), number(fused.ranks[1])];
        found.push(Found {
            tid: candidate.tid,
            primary_key: candidate.primary_key,
            // With one arm the engine's score says more than a rank does.
            score: if hybrid { fused.score } else { candidate.row.score },
            vector_rank,
            vector_distance: candidate.row.vector_distance,
            text_rank,
            text_score: candidate.row.text_score,
        });
        if found.len() == search.k {
            break;
        }
    }
    found
}
