//! Index scans: everything live that matches, each key once, for as long as the caller asks.
//!
//! A scan has two parts. The *head* are the rows that the order ranks: rows with a vector, or rows that hold a term. It is a
//! merge of one [`Ranked`] stream for each segment and one for the buffer. The *tail* are the other rows in no order of their
//! own, group after group ([`Walk`]). Only bitmaps and the rows found ahead are held; what is alive was decided when the scan
//! was opened, and the segments stay open for it.

mod ranked;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::arms::{Hit, Run, Spec};
use super::stats::Kind;
use super::view::Schema;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ids::Key;
use crate::ipc::message::{RequestStats, ScanOrder, ScanRequest, ScanRow, TextQuery};
use crate::limits::MAX_SCAN_ROWS;
use crate::schema::{AttributeId, ZERO_VECTOR};
use crate::text::{CorpusStats, ParsedTextQuery, QueryShape};
use crate::vector::{Metric, SearchStats};
use ranked::Ranked;
use walk::{Rows, Walk};

/// Some rows of a scan, and what the whole scan has cost so far.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanPart {
    /// The rows, in the scan's order.
    pub rows: Vec<ScanRow>,
    /// Nothing is left.
    pub exhausted: bool,
    /// What the scan has cost so far.
    pub stats: RequestStats,
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    run: Run,
    order: Order,
    /// Rows that no part has returned or holds yet.
    state: State,
    search: SearchStats,
    micros: u64,
}

/// What ranks the head, checked.
#[derive(Debug)]
enum Order {
    None,
    Distance,
    /// The query vector has no direction: no distance is a number.
    NoDistance,
    Bm25 {
        attribute: AttributeId,
        stats: CorpusStats,
        /// The filter wants rows that hold a term: there is no tail.
        only_head: bool,
    },
}

#[derive(Debug)]
enum State {
    /// One stream for each segment, then the buffer's.
    Head(Vec<Ranked>),
    Tail(VecDeque<Walk>),
}

impl Engine {
    /// Opens a scan and returns its first rows: at most [`MAX_SCAN_ROWS`], whatever was asked for.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn scan_open(&self, request: ScanRequest, provider: &mut dyn Provider) -> Result<(Scan, ScanPart)> {
        let start = self.env.clock.monotonic();
        let result = self.open_scan(request, provider, start).await;
        self.counters.count(Kind::ScanOpen, self.micros_since(start), result.is_ok());
        result
    }

    async fn open_scan(
        &self,
        request: ScanRequest,
        provider: &mut dyn Provider,
        start: Duration,
    ) -> Result<(Scan, ScanPart)> {
        let schema = self.schema(&request.namespace.schema)?;
        let (spec, order) = check(&request, &schema)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let run = Run { spec: Arc::new(spec), view, cpu: self.cpu(), reads };
        let open = async move {
            let mut scan = Scan::new(run, order).await?;
            let rows = scan.next(request.rows).await?;
            Ok((scan, rows))
        };
        let (mut scan, rows) = self.cpu().drive(open).await?;
        let part = self.part(&mut scan, rows, start);
        Ok((scan, part))
    }

    /// The next rows of a scan, at most [`MAX_SCAN_ROWS`], and the scan. After an error there is none any more.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn scan_next(&self, mut scan: Box<Scan>, rows: u32) -> Result<(Box<Scan>, ScanPart)> {
        let start = self.env.clock.monotonic();
        let next = async move {
            let rows = scan.next(rows).await?;
            Ok((scan, rows))
        };
        let result = self.cpu().drive(next).await;
        self.counters.count(Kind::ScanNext, self.micros_since(start), result.is_ok());
        let (mut scan, rows) = result?;
        let part = self.part(&mut scan, rows, start);
        Ok((scan, part))
    }

    fn part(&self, scan: &mut Scan, rows: Vec<ScanRow>, start: Duration) -> ScanPart {
        scan.micros += self.micros_since(start);
        let read = scan.run.reads.snapshot();
        let stats = RequestStats {
            segments: scan.run.view.segments.len() as u64,
            buffered: scan.run.view.buffered.len() as u64,
            lists_probed: scan.search.lists_probed as u64,
            rows_scanned: scan.search.rows_scanned as u64,
            rows_reranked: scan.search.rows_reranked as u64,
            object_requests: read.requests,
            object_bytes: read.bytes,
            cache_hits: read.hits_memory + read.hits_disk,
            cache_misses: read.misses,
            engine_micros: scan.micros,
        };
        ScanPart { rows, exhausted: scan.is_exhausted(), stats }
    }
}

/// Checks the request and prepares what does not depend on the view.
fn check(request: &ScanRequest, schema: &Schema) -> Result<(Spec, Order)> {
    if request.effort.is_nan() || request.effort <= 0.0 {
        return Err(Error::new(ErrorKind::OutOfRange, format!("effort must be above 0, not {}", request.effort)));
    }
    let mut spec = Spec::of_rows(&schema.schema, request.filter.clone());
    spec.effort = request.effort;
    let order = match &request.order {
        ScanOrder::Unordered => Order::None,
        ScanOrder::Distance { vector } => {
            let metric = schema.schema.vector.map(|of_schema| of_schema.metric);
            let dim = schema.schema.vector.map(|of_schema| of_schema.dim);
            let zeros = vector.iter().all(|element| *element == 0.0);
            if metric == Some(Metric::Cosine) && zeros && dim == Some(vector.len()) {
                Order::NoDistance
            } else {
                Document::check_vector(&schema.schema, vector)?;
                spec.vector = metric.map(|metric| (vector.clone(), metric));
                Order::Distance
            }
        }
        ScanOrder::Bm25 { attribute, query, corpus } => {
            let text = TextQuery::of_attribute(*attribute, query.clone());
            spec.text = Some(ParsedTextQuery::parse(&schema.schema, &text)?);
            spec.corpus.clone_from(corpus);
            let only_head = take_implied(&mut spec, *attribute, query);
            // Counted once the view is known.
            Order::Bm25 { attribute: *attribute, stats: CorpusStats::default(), only_head }
        }
    };
    Ok((spec, order))
}

/// Takes the condition out of the filter that a row matches the query it is ordered by; whether it was there. With plain words that
/// is what ranks a row at all, so the search need not be told which rows these are. They are many, and finding them cost twice the search.
fn take_implied(spec: &mut Spec, attribute: AttributeId, query: &str) -> bool {
    let words = spec.text.as_ref().is_some_and(|text| text.shape == QueryShape::Words);
    let is_implied = |filter: &Filter| {
        words && matches!(filter, Filter::Match { attribute: of, query: same } if *of == attribute && same == query)
    };
    match &mut spec.filter {
        Some(filter) if is_implied(filter) => {
            spec.filter = None;
            true
        }
        Some(Filter::And(filters)) => {
            let before = filters.len();
            filters.retain(|filter| !is_implied(filter));
            filters.len() < before
        }
        _ => false,
    }
}

impl Scan {
    async fn new(run: Run, mut order: Order) -> Result<Self> {
        let rows = allowed(&run).await?;
        if let Order::Bm25 { stats, .. } = &mut order {
            *stats = run.corpus().await?;
        }
        let mut scan =
            Self { run, order, state: State::Tail(VecDeque::new()), search: SearchStats::default(), micros: 0 };
        scan.state = match &scan.order {
            Order::None => State::Tail(VecDeque::from([Walk::new(rows, None)])),
            Order::NoDistance => {
                let (with, without) = scan.split_by_vector(rows);
                let zeros = scan.matching(zero_vector(&scan.run)).await?;
                let (zeros, without) = without.split(&zeros);
                State::Tail(
                    [Walk::new(with, Some(f32::NAN)), Walk::new(zeros, Some(f32::NAN)), Walk::new(without, None)]
                        .into(),
                )
            }
            Order::Distance | Order::Bm25 { .. } => State::Head(scan.streams(rows).await?),
        };
        Ok(scan)
    }

    /// The next rows, at most that many; fewer only at the end.
    async fn next(&mut self, count: u32) -> Result<Vec<ScanRow>> {
        let count = count.min(MAX_SCAN_ROWS) as usize;
        let mut rows = Vec::new();
        if let State::Head(streams) = &mut self.state {
            let ranked = ranked::merge(&self.run, streams, count, &mut self.search, bm25_stats(&self.order)).await?;
            rows = self.identified(ranked.into_iter().map(|(hit, value)| (hit, Some(value))).collect()).await?;
            // Late rows of an approximate search take their place within the answer.
            let by_value = |a: &ScanRow, b: &ScanRow| {
                a.value.unwrap_or_default().total_cmp(&b.value.unwrap_or_default()).then(a.key.cmp(&b.key))
            };
            rows.sort_unstable_by(by_value);
            if rows.len() < count {
                self.state = State::Tail(self.tail().await?);
            }
        }
        if let State::Tail(walks) = &mut self.state {
            let mut hits = Vec::new();
            while let Some(walk) = walks.front_mut()
                && rows.len() + hits.len() < count
            {
                let value = walk.value;
                hits.extend(walk.take(count - rows.len() - hits.len()).into_iter().map(|hit| (hit, value)));
                if walk.is_empty() {
                    walks.pop_front();
                }
            }
            rows.extend(self.identified(hits).await?);
        }
        Ok(rows)
    }

    /// Whether nothing is left, as far as it is known without looking.
    fn is_exhausted(&self) -> bool {
        matches!(&self.state, State::Tail(walks) if walks.iter().all(Walk::is_empty))
    }

    /// The streams of the head, out of all rows that the scan returns.
    async fn streams(&self, rows: Rows) -> Result<Vec<Ranked>> {
        let Rows { mut segments, mut buffered } = rows;
        if matches!(self.order, Order::Distance) {
            for (live, rows) in self.run.view.segments.iter().zip(&mut segments) {
                rows.remove_range(u32::try_from(live.segment.info().vectors).unwrap_or(u32::MAX)..);
            }
            buffered &= self.buffered_with_vector();
        }
        let mut streams: Vec<Ranked> =
            segments.into_iter().enumerate().map(|(place, rows)| Ranked::of_segment(place, rows)).collect();
        streams.push(ranked::of_buffer(&self.run, buffered, bm25_stats(&self.order)).await?);
        Ok(streams)
    }

    /// What is left once the head is exhausted.
    async fn tail(&self) -> Result<VecDeque<Walk>> {
        let State::Head(streams) = &self.state else { return Err(Error::internal("a scan has two tails")) };
        match &self.order {
            Order::Bm25 { only_head: true, .. } => Ok(VecDeque::new()),
            Order::Bm25 { attribute, .. } => {
                // The streams took what matches out.
                let mut left = Rows::new(self.run.view.segments.len());
                for stream in streams {
                    match stream.place {
                        Some(place) => left.segments[place] = stream.left.as_ref().clone(),
                        None => left.buffered = stream.left.as_ref().clone(),
                    }
                }
                let present = self.matching(Filter::Not(Box::new(Filter::IsNull { attribute: *attribute }))).await?;
                let (with, without) = left.split(&present);
                Ok([Walk::new(with, Some(0.0)), Walk::new(without, None)].into())
            }
            _ => {
                let (_, without) = self.split_by_vector(allowed(&self.run).await?);
                let zeros = self.matching(zero_vector(&self.run)).await?;
                let (zeros, without) = without.split(&zeros);
                Ok([Walk::new(zeros, Some(f32::NAN)), Walk::new(without, None)].into())
            }
        }
    }

    /// Rows that have a vector, and the others.
    fn split_by_vector(&self, rows: Rows) -> (Rows, Rows) {
        let mut with = Rows::new(rows.segments.len());
        for (live, with) in self.run.view.segments.iter().zip(&mut with.segments) {
            with.insert_range(0..u32::try_from(live.segment.info().vectors).unwrap_or(u32::MAX));
        }
        with.buffered = self.buffered_with_vector();
        rows.split(&with)
    }

    fn buffered_with_vector(&self) -> RoaringBitmap {
        let buffered = self.run.view.buffered.iter().zip(0..);
        buffered.filter(|(entry, _)| entry.document.vector.is_some()).map(|(_, place)| place).collect()
    }

    /// Live rows that match this filter instead of the scan's.
    async fn matching(&self, filter: Filter) -> Result<Rows> {
        let spec = Spec::of_rows(&self.run.spec.schema, Some(filter));
        allowed(&Run { spec: Arc::new(spec), ..self.run.clone() }).await
    }

    /// The keys of hits, in their order.
    async fn identified(&self, hits: Vec<(Hit, Option<f32>)>) -> Result<Vec<ScanRow>> {
        let view = &self.run.view;
        let mut ordinals: Vec<Vec<u32>> = vec![Vec::new(); view.segments.len()];
        for (hit, _) in &hits {
            if let Hit::Row(place, ordinal) = hit {
                ordinals[*place].push(*ordinal);
            }
        }
        ordinals.iter_mut().for_each(|ordinals| ordinals.sort_unstable());
        let reads = view.segments.iter().zip(&ordinals);
        let keys = reads.map(|(live, ordinals)| live.segment.identities(ordinals, &self.run.reads));
        let keys = try_join_all(keys).await?;
        let row = |(hit, value): (Hit, Option<f32>)| {
            let key: Option<Key> = match hit {
                Hit::Buffered(place) => view.buffered.get(place).map(|entry| entry.id.key),
                Hit::Row(place, ordinal) => {
                    ordinals[place].binary_search(&ordinal).ok().and_then(|at| keys[place].get(at)).map(|id| id.key)
                }
            };
            let key = key.ok_or_else(|| Error::internal("a row of a scan has no key"))?;
            Ok(ScanRow { key, value })
        };
        hits.into_iter().map(row).collect()
    }
}

fn bm25_stats(order: &Order) -> Option<&CorpusStats> {
    if let Order::Bm25 { stats, .. } = order { Some(stats) } else { None }
}

/// Everything live that matches the filter of the run.
async fn allowed(run: &Run) -> Result<Rows> {
    let segments = run.allowed().await?.into_iter().zip(&run.view.segments).map(|(rows, live)| match rows {
        Some(rows) => rows.as_ref().clone(),
        None => {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..live.segment.rows());
            all
        }
    });
    Ok(Rows { segments: segments.collect(), buffered: run.allowed_buffered().await? })
}

/// Rows whose vector is all zeros.
fn zero_vector(run: &Run) -> Filter {
    match run.spec.schema.by_id(ZERO_VECTOR) {
        Some(_) => Filter::In { attribute: ZERO_VECTOR, values: vec![Value::Bool(true)] },
        None => Filter::Or(Vec::new()),
    }
}
