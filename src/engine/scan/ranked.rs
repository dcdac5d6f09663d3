//! The head of a scan: rows by rising value, merged from one stream for each segment and one for the buffer.
//!
//! A stream asks its segment for the best rows among those it has not found yet. The first search asks for as many as the
//! caller wants, which is what a query with that LIMIT asks, so both find the same. Each later one asks for at least as many as
//! all before it together, so that n rows cost a number of searches that grows with the logarithm of n. A row that an
//! approximate search missed comes as soon as a later one finds it: late is wrong order, withheld would be a wrong result.

use std::collections::VecDeque;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::engine::arms::{CHUNK, Hit, Run};
use crate::error::Result;
use crate::text::{BufferScorer, CorpusStats};
use crate::vector::{SearchStats, distance};

/// Rows found ahead per row asked for, from the second search of a stream on.
const AHEAD: usize = 2;

/// Rows of one segment, or of the buffer, by rising value.
#[derive(Debug)]
pub struct Ranked {
    /// Place of the segment in the view; None: the buffer.
    pub place: Option<usize>,
    /// Rows not found yet. Once the stream is dry: rows that have no value.
    pub left: Arc<RoaringBitmap>,
    /// Found and not returned yet.
    ready: VecDeque<(u32, f32)>,
    found: usize,
    /// Nothing of `left` has a value.
    dry: bool,
}

impl Ranked {
    /// Rows of a segment; nothing is searched yet.
    pub fn of_segment(place: usize, rows: RoaringBitmap) -> Self {
        let dry = rows.is_empty();
        Self { place: Some(place), left: Arc::new(rows), ready: VecDeque::new(), found: 0, dry }
    }

    fn needs_search(&self) -> bool {
        self.ready.is_empty() && !self.dry
    }

    fn hit(&self, at: u32) -> Hit {
        match self.place {
            Some(place) => Hit::Row(place, at),
            None => Hit::Buffered(at as usize),
        }
    }

    /// How many rows the next search asks for when the caller wants `count`.
    fn wanted(&self, count: usize) -> usize {
        if self.found == 0 { count } else { count.saturating_mul(AHEAD).max(self.found) }
    }

    /// Searches for more: [`Self::take`] takes what it finds.
    fn search(
        &self,
        run: &Run,
        wanted: usize,
        stats: Option<&CorpusStats>,
    ) -> impl Future<Output = Result<Found>> + Send + use<> {
        let (run, place, stats) = (run.clone(), self.place, stats.cloned());
        // A search that may return everything tests no bitmap.
        let all = place.is_some_and(|place| {
            let info = run.view.segments[place].segment.info();
            self.left.len() == if stats.is_some() { info.rows } else { info.vectors }
        });
        let allowed = (!all).then(|| self.left.clone());
        async move {
            let Some(place) = place else { return Ok(Found::default()) };
            let Some(stats) = stats else { return run.nearest(place, wanted, 0, allowed).await };
            let best = run.best(place, wanted, 0, allowed, &stats).await?;
            // The operator's value is the negated score, and 0 for 0.
            Ok((best.into_iter().map(|(ordinal, score)| (ordinal, 0.0 - score)).collect(), SearchStats::default()))
        }
    }

    /// Takes the answer to a search for `wanted` rows.
    fn take(&mut self, wanted: usize, found: Vec<(u32, f32)>) {
        let left = Arc::make_mut(&mut self.left);
        found.iter().for_each(|(ordinal, _)| {
            left.remove(*ordinal);
        });
        self.dry = found.len() < wanted || left.is_empty();
        self.found += found.len();
        self.ready.extend(found);
    }
}

/// Rows with their values, nearest first, and what they cost.
type Found = (Vec<(u32, f32)>, SearchStats);

/// The stream of the buffer's rows among `rows`: all are compared at once.
///
/// # Errors
/// `Cancelled`.
pub async fn of_buffer(run: &Run, rows: RoaringBitmap, stats: Option<&CorpusStats>) -> Result<Ranked> {
    if rows.is_empty() {
        return Ok(Ranked { place: None, left: Arc::new(rows), ready: VecDeque::new(), found: 0, dry: true });
    }
    let (spec, view, stats) = (run.spec.clone(), run.view.clone(), stats.cloned());
    run.cpu
        .run(move |cancel| {
            let scorer = match (&spec.text, &stats) {
                (Some(query), Some(stats)) => Some(BufferScorer::new(query, stats)),
                _ => None,
            };
            let mut ready: Vec<(u32, f32)> = Vec::new();
            for (nth, at) in rows.iter().enumerate() {
                if nth % CHUNK == 0 {
                    cancel.check()?;
                }
                let Some(entry) = view.buffered.get(at as usize) else { continue };
                let value = match (&scorer, &spec.vector, &entry.document.vector) {
                    (Some(scorer), ..) => scorer.score(&entry.analyzed).map(|score| 0.0 - score),
                    (None, Some((query, metric)), Some(vector)) => Some(distance::distance(*metric, query, vector)),
                    _ => None,
                };
                ready.extend(value.map(|value| (at, value)));
            }
            ready.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            let mut left = rows;
            ready.iter().for_each(|(at, _)| {
                left.remove(*at);
            });
            Ok(Ranked { place: None, left: Arc::new(left), found: ready.len(), ready: ready.into(), dry: true })
        })
        .await
}

/// The next `count` rows of all streams together; fewer only when all are dry.
///
/// # Errors
/// Of the segments.
pub async fn merge(
    run: &Run,
    streams: &mut [Ranked],
    count: usize,
    search: &mut SearchStats,
    stats: Option<&CorpusStats>,
) -> Result<Vec<(Hit, f32)>> {
    let mut out = Vec::new();
    while out.len() < count {
        let dry: Vec<&mut Ranked> = streams.iter_mut().filter(|stream| stream.needs_search()).collect();
        let searches = dry.iter().map(|stream| stream.search(run, stream.wanted(count), stats));
        let found = run.cpu.all(searches).await?;
        for (stream, (found, cost)) in dry.into_iter().zip(found) {
            stream.take(stream.wanted(count), found);
            search.lists_probed += cost.lists_probed;
            search.rows_scanned += cost.rows_scanned;
            search.rows_coded += cost.rows_coded;
            search.rows_reranked += cost.rows_reranked;
        }
        // Until a stream runs out of rows whose next one could be the next of all.
        while out.len() < count {
            let heads = streams.iter_mut().filter(|stream| !stream.ready.is_empty());
            let next = heads.min_by(|a, b| a.ready[0].1.total_cmp(&b.ready[0].1));
            let Some(next) = next else { return Ok(out) };
            if let Some((at, value)) = next.ready.pop_front() {
                out.push((next.hit(at), value));
            }
            if next.needs_search() {
                break;
            }
        }
    }
    Ok(out)
}
