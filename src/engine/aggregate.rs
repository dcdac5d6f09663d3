//! Counts and facets over a view.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::arms::{CHUNK, Run, Spec};
use super::results::{Wanted, documents};
use super::stats::Kind;
use super::view::LiveSegment;
use super::{Engine, Provider};
use crate::aggregate::Aggregation;
use crate::cache::ReadStats;
use crate::error::{Error, Result};
use crate::ipc::message::{AggregateRequest, RequestStats};

/// Rows whose values are read and decoded at once: those of a row group, so that no page is read twice where all rows match.
const PART_ROWS: usize = crate::segment::ROW_GROUP_ROWS;
/// Parts that are read at the same time: hides the round trips, and bounds memory.
const PARTS_AHEAD: usize = 4;

/// Counts and facets.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregated {
    /// Rows that match.
    pub count: u64,
    /// The facets, as a JSON object.
    pub facets: String,
    /// What it cost.
    pub stats: RequestStats,
}

impl Engine {
    /// Counts what is live and matches, and computes the facets of it.
    ///
    /// # Errors
    /// As [`Engine::query`]; `Exhausted` or `OutOfRange` where a facet has too many values.
    pub async fn aggregate(&self, request: AggregateRequest, provider: &mut dyn Provider) -> Result<Aggregated> {
        let start = self.env.clock.monotonic();
        let result = self.run_aggregate(request, provider).await;
        let micros = self.micros_since(start);
        self.counters.count(Kind::Aggregate, micros, result.is_ok());
        result.map(|answer| Aggregated { stats: RequestStats { engine_micros: micros, ..answer.stats }, ..answer })
    }

    async fn run_aggregate(&self, request: AggregateRequest, provider: &mut dyn Provider) -> Result<Aggregated> {
        let schema = self.schema(&request.namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, request.filter));
        let run = Run { spec, view, cpu: self.cpu(), reads };
        let (allowed, buffered) = tokio::try_join!(run.allowed(), run.allowed_buffered())?;
        let aggregation = Aggregation::new(request.facets.into());
        let wanted = Wanted { vector: false, attributes: aggregation.attributes() };
        let mut aggregation = add_buffered(&run, aggregation, buffered).await?;
        for (live, allowed) in run.view.segments.iter().zip(allowed) {
            aggregation = self.add_segment(&run, aggregation, live, allowed, &wanted).await?;
        }
        let read = run.reads.snapshot();
        let stats = RequestStats {
            segments: run.view.segments.len() as u64,
            buffered: run.view.buffered.len() as u64,
            object_requests: read.requests,
            object_bytes: read.bytes,
            cache_hits: read.hits_memory + read.hits_disk,
            cache_misses: read.misses,
            ..RequestStats::default()
        };
        Ok(Aggregated { count: aggregation.rows(), facets: aggregation.to_json()?, stats })
    }

    /// `allowed`: None is all rows.
    async fn add_segment(
        &self,
        run: &Run,
        mut aggregation: Aggregation,
        live: &LiveSegment,
        allowed: Option<Arc<RoaringBitmap>>,
        wanted: &Wanted,
    ) -> Result<Aggregation> {
        let segment = &live.segment;
        if wanted.attributes.is_empty() {
            aggregation.add_rows(allowed.map_or(u64::from(segment.rows()), |allowed| allowed.len()));
            return Ok(aggregation);
        }
        let parts = parts(segment.rows(), allowed.as_deref());
        let reads = parts.into_iter().map(|ordinals| documents(run, segment, ordinals, wanted));
        let reads: Vec<_> = reads.collect();
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(PARTS_AHEAD));
        while let Some(documents) = reads.try_next().await? {
            aggregation = run
                .cpu
                .run(move |cancel| {
                    for (place, document) in documents.values().enumerate() {
                        if place.is_multiple_of(CHUNK) {
                            cancel.check()?;
                        }
                        aggregation.add(document)?;
                    }
                    Ok::<_, Error>(aggregation)
                })
                .await?;
        }
        Ok(aggregation)
    }
}

/// The rows in runs of at most [`PART_ROWS`] ordinals, none of which goes over a multiple of it.
fn parts(rows: u32, allowed: Option<&RoaringBitmap>) -> Vec<Vec<u32>> {
    let mut parts: Vec<Vec<u32>> = Vec::new();
    let mut last = None;
    let mut add = |ordinal: u32| {
        let part = ordinal as usize / PART_ROWS;
        if last != Some(part) {
            last = Some(part);
            parts.push(Vec::new());
        }
        parts.last_mut().expect("invariant: pushed above").push(ordinal);
    };
    match allowed {
        Some(allowed) => allowed.iter().for_each(&mut add),
        None => (0..rows).for_each(&mut add),
    }
    parts
}

async fn add_buffered(run: &Run, mut aggregation: Aggregation, places: RoaringBitmap) -> Result<Aggregation> {
    if places.is_empty() {
        return Ok(aggregation);
    }
    let view = run.view.clone();
    run.cpu
        .run(move |cancel| {
            for (at, place) in places.iter().enumerate() {
                if at.is_multiple_of(CHUNK) {
                    cancel.check()?;
                }
                let entry = view.buffered.get(place as usize);
                let entry = entry.ok_or_else(|| Error::internal("a buffered document is missing"))?;
                aggregation.add(&entry.document)?;
            }
            Ok(aggregation)
        })
        .await
}
