//! A page of a ranking over a view, and the candidates of one.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use tokio::sync::OnceCell;

use super::arms::{Hit, Run, Spec};
use super::candidates::{ArmSpecs, Arms, FactReader, Known, value_of};
use super::ordered::{OrderedRow, Ordering};
use super::result_cache::{Answer, Asked};
use super::results::{Wanted, values};
use super::stats::Kind;
use super::view::{LiveView, Schema};
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{CandidateRow, NamespaceView, QueryRequest, RequestStats, ResultRow};
use crate::limits::{MAX_OFFSET, MAX_REPLY_ROWS};
use crate::rank::{Plan, Ranked, Ranking};
use crate::vector::SearchStats;

/// A request that is being answered.
struct Question {
    request: QueryRequest,
    arms: ArmSpecs,
    /// Of the filter alone.
    base: Run,
    view: Arc<LiveView>,
    reads: Arc<ReadStats>,
}

impl Engine {
    /// Answers a query: `min(top_k, matching rows after the offset)` rows in rank order (INV-7), and what it cost.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch` or `OutOfRange` for the request; `Exhausted` for a page beyond what can be ranked;
    /// `Corrupt` or `Unavailable` for the objects; the provider's. Never part of a result.
    pub async fn query(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let start = self.env.clock.monotonic();
        let question = self.results.question(Asked::Rows, &request);
        let result = match question.as_ref().and_then(|question| self.results.get(question)) {
            Some((Answer::Rows(rows), stats)) => Ok((rows, stats)),
            _ => self.run_query(request, provider).await.map(|(rows, stats)| {
                let Some(question) = question else { return (rows, stats) };
                (self.results.keep_rows(question, rows, &stats), stats)
            }),
        };
        let micros = self.micros_since(start);
        self.counters.count(Kind::Query, micros, result.is_ok());
        result.map(|(rows, stats)| (rows, RequestStats { engine_micros: micros, ..stats }))
    }

    /// What a ranking is made of: the best `candidates` rows of each arm, or the first `top_k` rows of an order, with the
    /// values that modifiers and groups need.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn candidates(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<CandidateRow>, RequestStats)> {
        let start = self.env.clock.monotonic();
        let question = self.results.question(Asked::Candidates, &request);
        let result = match question.as_ref().and_then(|question| self.results.get(question)) {
            Some((Answer::Candidates(rows), stats)) => Ok((rows, stats)),
            _ => self.run_candidates(request, provider).await.map(|(rows, stats)| {
                let Some(question) = question else { return (rows, stats) };
                (self.results.keep_candidates(question, rows, &stats), stats)
            }),
        };
        let micros = self.micros_since(start);
        self.counters.count(Kind::Query, micros, result.is_ok());
        result.map(|(rows, stats)| (rows, RequestStats { engine_micros: micros, ..stats }))
    }

    async fn run_query(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let none = request.top_k == 0;
        let schema = self.schema(&request.namespace.schema)?;
        let arms = check(&request, &schema)?;
        if none {
            return Ok((Vec::new(), RequestStats::default()));
        }
        let question = self.resolved(request, &schema, arms, provider).await?;
        let answer = async move {
            let (page, search) = if question.arms.specs.is_empty() {
                question.ordered_page().await?
            } else {
                question.ranked_page().await?
            };
            let request = &question.request;
            let wanted = Wanted { vector: request.include_vector, attributes: request.include_attributes.clone() };
            let rows = values(&question.base, page, &wanted).await?;
            Ok((rows, question.cost(&search)))
        };
        self.cpu().drive(answer).await
    }

    async fn run_candidates(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<CandidateRow>, RequestStats)> {
        let schema = self.schema(&request.namespace.schema)?;
        let arms = check(&request, &schema)?;
        if request.arms.len().saturating_mul(request.candidates) > MAX_REPLY_ROWS {
            let message = format!("{} candidates of each query are too many", request.candidates);
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        let question = self.resolved(request, &schema, arms, provider).await?;
        let answer = async move {
            let (rows, search) = if question.arms.specs.is_empty() {
                question.ordered_candidates().await?
            } else {
                question.candidates().await?
            };
            Ok((rows, question.cost(&search)))
        };
        self.cpu().drive(answer).await
    }

    async fn resolved(
        &self,
        mut request: QueryRequest,
        schema: &Schema,
        arms: ArmSpecs,
        provider: &mut dyn Provider,
    ) -> Result<Question> {
        let reads = Arc::new(ReadStats::default());
        let namespace = std::mem::replace(&mut request.namespace, NamespaceView::nothing());
        let view = self.resolve(namespace, schema, provider, &reads).await?;
        reads.share_among(view.segments.len());
        let spec = Arc::new(Spec::of_rows(&schema.schema, request.filter.clone()));
        let base = Run { spec, view: view.clone(), cpu: self.cpu(), reads: reads.clone() };
        Ok(Question { request, arms, base, view, reads })
    }
}

impl Question {
    /// The page by the fusion of the arms.
    async fn ranked_page(&self) -> Result<(Vec<(Hit, ResultRow)>, SearchStats)> {
        let request = &self.request;
        let plan = Plan {
            arms: self.arms.kinds.clone(),
            fusion: request.fusion,
            modified: !request.modifiers.is_empty(),
            per: request.per.map(|per| per.limit),
            depth: request.candidates,
            offset: request.offset,
            count: request.top_k,
        };
        let (mut arms, mut hits) = (Arms::new(&self.base, &self.arms.specs), HashMap::new());
        let facts = OnceCell::new();
        let mut ranking: Ranking<Key> = Ranking::new(plan);
        while let Some(depth) = ranking.depth() {
            let mut lists = Vec::with_capacity(self.arms.kinds.len());
            let facts = facts.get_or_try_init(|| FactReader::new(&self.base, request));
            let (best, facts) = tokio::try_join!(arms.best(depth), facts)?;
            for (list, (kind, _)) in best.into_iter().zip(&self.arms.kinds) {
                hits.extend(list.iter().map(|candidate| (candidate.key, candidate.item)));
                lists.push(list.into_iter().map(|c| (c.key, value_of(*kind, c.score))).collect());
            }
            let more = lists.iter().any(|list: &Vec<(Key, f32)>| list.len() >= depth);
            let block = ranking.block(lists, more);
            let new = block.rows.iter().filter_map(|row| hits.get(&row.id).map(|hit| (row.id, *hit)));
            let known = facts.read(new).await?;
            ranking.add(block, |key| Ok(known.get(key).map(Known::facts).unwrap_or_default()))?;
        }
        let plan = ranking.plan().clone();
        let rows = ranking.finish().into_iter().map(|ranked| {
            let hit = hits.get(&ranked.id).copied().ok_or_else(|| Error::internal("a ranked row is nowhere"))?;
            Ok((hit, result_row(ranked, &plan)))
        });
        Ok((rows.collect::<Result<_>>()?, arms.search))
    }

    /// The page by an order of attributes.
    async fn ordered_page(&self) -> Result<(Vec<(Hit, ResultRow)>, SearchStats)> {
        let count = self.request.offset.saturating_add(self.request.top_k);
        let rows = self.ordering(count, self.request.per.map(|per| per.limit)).rows(&self.base).await?;
        let row = |row: OrderedRow| (row.hit, ResultRow { key: row.key, ..ResultRow::default() });
        Ok((rows.into_iter().skip(self.request.offset).map(row).collect(), SearchStats::default()))
    }

    async fn ordered_candidates(&self) -> Result<(Vec<CandidateRow>, SearchStats)> {
        let rows = self.ordering(self.request.top_k, None).rows(&self.base).await?;
        let row = |row: OrderedRow| CandidateRow {
            key: row.key,
            values: Vec::new(),
            factor: 1.0,
            group: row.group,
            sort: row.sort,
        };
        Ok((rows.into_iter().map(row).collect(), SearchStats::default()))
    }

    fn ordering(&self, count: usize, per: Option<u32>) -> Ordering {
        let group = self.request.per.map(|per| per.attribute);
        Ordering { by: self.request.order_by.clone(), count, group, per }
    }

    async fn candidates(&self) -> Result<(Vec<CandidateRow>, SearchStats)> {
        let mut arms = Arms::new(&self.base, &self.arms.specs);
        let facts = FactReader::new(&self.base, &self.request);
        let (best, facts) = tokio::try_join!(arms.best(self.request.candidates), facts)?;
        let most = best.iter().map(Vec::len).sum();
        let mut places: HashMap<Key, usize> = HashMap::with_capacity(most);
        let mut rows: Vec<(Hit, CandidateRow)> = Vec::with_capacity(most);
        for (number, list) in best.into_iter().enumerate() {
            let (kind, _) = self.arms.kinds[number];
            for candidate in list {
                let place = *places.entry(candidate.key).or_insert_with(|| {
                    let values = vec![None; self.arms.kinds.len()];
                    rows.push((
                        candidate.item,
                        CandidateRow { key: candidate.key, values, factor: 1.0, ..CandidateRow::default() },
                    ));
                    rows.len() - 1
                });
                rows[place].1.values[number] = Some(value_of(kind, candidate.score));
            }
        }
        let mut known = facts.read(rows.iter().map(|(hit, row)| (row.key, *hit))).await?;
        // As the table has them: a page of it that holds several is looked at once.
        rows.sort_unstable_by_key(|(_, row)| row.key);
        let row = |(_, mut row): (Hit, CandidateRow)| {
            if let Some(known) = known.remove(&row.key) {
                (row.factor, row.group) = (known.factor, known.group);
            }
            row
        };
        Ok((rows.into_iter().map(row).collect(), arms.search))
    }

    fn cost(&self, search: &SearchStats) -> RequestStats {
        let read = self.reads.snapshot();
        RequestStats {
            segments: self.view.segments.len() as u64,
            buffered: self.view.buffered.len() as u64,
            lists_probed: search.lists_probed as u64,
            rows_scanned: search.rows_scanned as u64,
            rows_reranked: search.rows_reranked as u64,
            object_requests: read.requests,
            object_bytes: read.bytes,
            cache_hits: read.hits_memory + read.hits_disk,
            cache_misses: read.misses,
            engine_micros: 0,
        }
    }
}

/// Checks the request and prepares what does not depend on the view.
fn check(request: &QueryRequest, schema: &Schema) -> Result<ArmSpecs> {
    match (request.arms.is_empty(), request.order_by.is_empty()) {
        (true, true) => return Err(Error::invalid("a query needs a vector, a text, or both")),
        (false, false) => return Err(Error::invalid("an order by attributes is for rows that are not searched for")),
        _ => {}
    }
    for (what, number, most) in [("top_k", request.top_k, MAX_REPLY_ROWS), ("offset", request.offset, MAX_OFFSET)] {
        if number > most {
            return Err(Error::new(ErrorKind::OutOfRange, format!("{what} is {number}, more than {most}")));
        }
    }
    if request.effort.is_nan() || request.effort <= 0.0 {
        return Err(Error::new(ErrorKind::OutOfRange, format!("effort must be above 0, not {}", request.effort)));
    }
    ArmSpecs::new(request, &schema.schema)
}

fn result_row(ranked: Ranked<Key>, plan: &Plan) -> ResultRow {
    let (vector, text) = (ranked.vector_place(plan), ranked.text_place(plan));
    ResultRow {
        key: ranked.id,
        id: None,
        score: ranked.score,
        vector_rank: vector.map(|place| place.rank),
        vector_distance: vector.map(|place| place.value),
        text_rank: text.map(|place| place.rank),
        text_score: text.map(|place| place.value),
        arms: ranked.places,
        ..ResultRow::default()
    }
}
