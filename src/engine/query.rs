//! Top-k over a view.

use std::collections::HashMap;
use std::sync::Arc;

use super::arms::{ArmResults, Candidates, Hit, Run, Spec};
use super::results::Wanted;
use super::stats::Kind;
use super::view::Schema;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{Fusion, QueryRequest, RequestStats, ResultRow};
use crate::limits::{MAX_REPLY_ROWS, MAX_TOP_K};
use crate::rank::{Arm, fuse};
use crate::text::ParsedTextQuery;
use crate::vector::Metric;

/// A result before its values are read.
struct Ranked {
    hit: Hit,
    row: ResultRow,
}

impl Engine {
    /// Answers a query: `min(top_k, matching rows)` rows in rank order (INV-7), and what it cost.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch` or `OutOfRange` for the request; `Corrupt` or `Unavailable` for the objects; the
    /// provider's. Never part of a result.
    pub async fn query(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let start = self.env.clock.monotonic();
        let result = self.run_query(request, provider).await;
        let micros = self.micros_since(start);
        self.counters.count(Kind::Query, micros, result.is_ok());
        result.map(|(rows, stats)| (rows, RequestStats { engine_micros: micros, ..stats }))
    }

    async fn run_query(
        &self,
        request: QueryRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let schema = Schema::new(&request.namespace.schema)?;
        let spec = Arc::new(check(&request, &schema)?);
        if request.top_k == 0 {
            return Ok((Vec::new(), RequestStats::default()));
        }
        let reads = Arc::new(ReadStats::default());
        let QueryRequest { namespace, top_k, fusion, include_vector, include_attributes, .. } = request;
        let view = self.resolve(namespace, &schema, provider, &reads).await?;
        let run = Run { spec: spec.clone(), view: view.clone(), cpu: self.cpu(), reads: reads.clone() };
        let results = run.arms().await?;
        let search = results.search;
        let metric = spec.vector.as_ref().map_or(Metric::L2, |(_, metric)| *metric);
        let mut ranked = rank(results, metric, &fusion);
        ranked.truncate(top_k);
        let wanted = Wanted { vector: include_vector, attributes: include_attributes };
        let rows = self.values(&run, ranked.into_iter().map(|r| (r.hit, r.row)).collect(), &wanted).await?;
        let read = reads.snapshot();
        let stats = RequestStats {
            segments: view.segments.len() as u64,
            buffered: view.buffered.len() as u64,
            lists_probed: search.lists_probed as u64,
            rows_scanned: search.rows_scanned as u64,
            rows_reranked: search.rows_reranked as u64,
            object_requests: read.requests,
            object_bytes: read.bytes,
            cache_hits: read.hits_memory + read.hits_disk,
            cache_misses: read.misses,
            engine_micros: 0,
        };
        Ok((rows, stats))
    }
}

/// Checks the request and prepares what does not depend on the view.
fn check(request: &QueryRequest, schema: &Schema) -> Result<Spec> {
    if request.vector.is_none() && request.text.is_none() {
        return Err(Error::invalid("a query needs a vector, a text, or both"));
    }
    if request.top_k > MAX_REPLY_ROWS {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("top_k is {}, more than {MAX_REPLY_ROWS}", request.top_k),
        ));
    }
    if request.effort.is_nan() || request.effort <= 0.0 {
        return Err(Error::new(ErrorKind::OutOfRange, format!("effort must be above 0, not {}", request.effort)));
    }
    let vector = match (&request.vector, schema.schema.vector) {
        (None, _) => None,
        (Some(vector), of_schema) => {
            Document::check_vector(&schema.schema, vector)?;
            of_schema.map(|of_schema| (vector.clone(), of_schema.metric))
        }
    };
    let text = request.text.as_ref().map(|text| ParsedTextQuery::parse(&schema.schema, text)).transpose()?;
    // One arm alone has nothing to fuse: more candidates than results would be wasted work.
    let both = vector.is_some() && text.is_some();
    let depth =
        if both { request.candidates.clamp(request.top_k, MAX_TOP_K.max(request.top_k)) } else { request.top_k };
    Ok(Spec {
        schema: schema.schema.clone(),
        vector,
        text,
        corpus: request.corpus.clone(),
        filter: request.filter.clone(),
        depth,
        effort: request.effort,
        prefetch: if both { Vec::new() } else { request.include_attributes.clone() },
    })
}

/// One ranked list out of the arms: a single arm as it is, two by RRF.
fn rank(results: ArmResults, metric: Metric, fusion: &Fusion) -> Vec<Ranked> {
    match (results.vector, results.text) {
        (Some(vector), Some(text)) => fused(&vector, &text, fusion),
        (Some(vector), None) => enumerate(vector, |row, rank, score| {
            row.score = similarity(metric, -score);
            row.vector_rank = Some(rank);
            row.vector_distance = Some(-score);
        }),
        (None, Some(text)) => enumerate(text, |row, rank, score| {
            row.score = score;
            row.text_rank = Some(rank);
            row.text_score = Some(score);
        }),
        (None, None) => Vec::new(),
    }
}

fn enumerate(candidates: Candidates, fill: impl Fn(&mut ResultRow, u32, f32)) -> Vec<Ranked> {
    let ranked = candidates.into_iter().zip(1..).map(|(candidate, rank)| {
        let mut row = ResultRow { key: candidate.key, ..ResultRow::default() };
        fill(&mut row, rank, candidate.score);
        Ranked { hit: candidate.item, row }
    });
    ranked.collect()
}

fn fused(vector: &Candidates, text: &Candidates, fusion: &Fusion) -> Vec<Ranked> {
    let keys = |candidates: &Candidates| candidates.iter().map(|c| c.key).collect();
    let arms = [
        Arm { weight: fusion.vector_weight, keys: keys(vector) },
        Arm { weight: fusion.text_weight, keys: keys(text) },
    ];
    let hits: HashMap<Key, Hit> = vector.iter().chain(text).map(|c| (c.key, c.item)).collect();
    let scored = |candidates: &Candidates, rank: Option<u32>| {
        rank.and_then(|rank| candidates.get(rank as usize - 1)).map(|candidate| candidate.score)
    };
    let ranked = fuse(&arms, fusion.rrf_k).into_iter().filter_map(|f| {
        let row = ResultRow {
            key: f.key,
            score: f.score,
            vector_rank: f.ranks[0],
            vector_distance: scored(vector, f.ranks[0]).map(|score| -score),
            text_rank: f.ranks[1],
            text_score: scored(text, f.ranks[1]),
            ..ResultRow::default()
        };
        hits.get(&f.key).map(|hit| Ranked { hit: *hit, row })
    });
    ranked.collect()
}

/// The score of a single vector arm: larger is better.
fn similarity(metric: Metric, distance: f32) -> f32 {
    match metric {
        Metric::Cosine => 1.0 - distance,
        Metric::L2 | Metric::Dot => -distance,
    }
}
