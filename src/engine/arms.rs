//! One arm over the parts of a view: every segment, and the buffered entries.

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::permits::CpuPool;
use super::view::{LiveSegment, LiveView};
use crate::cache::ReadStats;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::limits::MAX_TIED_ROWS;
use crate::rank::{Scored, TopK};
use crate::schema::{AttributeId, NamespaceSchema};
use crate::segment::{Segment, SegmentSource, prefetch_attributes};
use crate::text::{BufferScorer, CorpusStats, DocumentFilter, ParsedTextQuery};
use crate::vector::{self, Cut, Head, Metric, Need, Reply, SearchStats, Searcher, VectorSource};

/// Buffered entries between two looks at the cancellation flag: about a millisecond of exact distances.
pub const CHUNK: usize = 512;
/// Values of the best rows of a segment are read together with their keys if there are up to so many times as many of them as stay:
/// those that equal the last.
const MORE_THAN_STAY: usize = 2;

/// What a query wants, checked.
#[derive(Debug)]
pub struct Spec {
    /// The namespace's schema.
    pub schema: Arc<NamespaceSchema>,
    /// Query vector and metric.
    pub vector: Option<(Vec<f32>, Metric)>,
    /// Analysed text query; may hold no terms.
    pub text: Option<ParsedTextQuery>,
    /// What the view is part of, for the text query; None: it is all.
    pub corpus: Option<CorpusStats>,
    /// Filter.
    pub filter: Option<Filter>,
    /// How hard the vector index tries.
    pub effort: f32,
    /// Attributes that are read of the best rows of each segment; none that only results have, if most of those are no results.
    pub prefetch: Vec<AttributeId>,
}

impl Spec {
    /// Of no order: only which rows, with the filter.
    pub fn of_rows(schema: &Arc<NamespaceSchema>, filter: Option<Filter>) -> Self {
        Self {
            schema: schema.clone(),
            vector: None,
            text: None,
            corpus: None,
            filter,
            effort: 1.0,
            prefetch: Vec::new(),
        }
    }
}

/// Where a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hit {
    /// Place of the segment in the view, and row.
    Row(usize, u32),
    /// Place in the view's buffered documents.
    Buffered(usize),
}

/// Candidates of one arm, best first.
pub type Candidates = Vec<Scored<Hit>>;

/// What running arms needs.
#[derive(Debug, Clone)]
pub struct Run {
    /// The query.
    pub spec: Arc<Spec>,
    /// What is alive.
    pub view: Arc<LiveView>,
    /// Where it computes.
    pub cpu: Arc<CpuPool>,
    /// Counts its reads.
    pub reads: Arc<ReadStats>,
}

/// Rows of each segment that may be returned: alive and matching the filter; None: all.
pub type Allowed = Vec<Option<Arc<RoaringBitmap>>>;

/// The rows an arm chooses from.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Of each segment.
    pub segments: Allowed,
    /// Places of buffered documents; None: all.
    pub buffered: Option<Arc<RoaringBitmap>>,
}

impl Run {
    /// Everything alive that matches the filter.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn choice(&self) -> Result<Choice> {
        let segments = self.allowed().await?;
        let buffered = match &self.spec.filter {
            Some(_) => Some(Arc::new(self.allowed_buffered().await?)),
            None => None,
        };
        Ok(Choice { segments, buffered })
    }

    /// The best `depth` rows of the arm that the run has, best first. Scores are negated distances, or BM25 by `stats`, which
    /// a text arm with terms has.
    ///
    /// # Errors
    /// Of the segments; the first one ends all.
    pub async fn best_of_all(
        &self,
        depth: usize,
        choice: &Choice,
        stats: Option<&CorpusStats>,
    ) -> Result<(Candidates, SearchStats)> {
        let mut search = SearchStats::default();
        let mut top = TopK::new(depth);
        if self.spec.vector.is_some() {
            for (candidates, stats) in self.vector_rows(&choice.segments, depth).await? {
                search.lists_probed += stats.lists_probed;
                search.rows_scanned += stats.rows_scanned;
                search.rows_coded += stats.rows_coded;
                search.rows_reranked += stats.rows_reranked;
                top.extend(candidates);
            }
        } else if let Some(stats) = stats {
            self.text_rows(&choice.segments, depth, stats).await?.into_iter().for_each(|part| top.extend(part));
        }
        top.extend(self.buffered(depth, choice.buffered.clone(), stats.cloned()).await?);
        Ok((top.into_sorted(), search))
    }

    /// Rows that are alive and match the filter.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn allowed(&self) -> Result<Allowed> {
        if self.spec.filter.is_none() {
            return Ok(self.view.segments.iter().map(|s| s.alive.clone()).collect());
        }
        self.each_segment(|run, place| async move { run.filtered(&run.view.segments[place]).await }).await
    }

    /// Asks each segment of the view.
    async fn each_segment<T, F>(&self, ask: impl Fn(Self, usize) -> F) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.cpu.all((0..self.view.segments.len()).map(|place| ask(self.clone(), place))).await
    }

    /// Places of the buffered documents that match the filter.
    ///
    /// # Errors
    /// `Cancelled`.
    pub async fn allowed_buffered(&self) -> Result<RoaringBitmap> {
        if self.view.buffered.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let (spec, view) = (self.spec.clone(), self.view.clone());
        self.cpu
            .run(move |cancel| {
                let mut filter = DocumentFilter::new(&spec.schema, spec.filter.as_ref())?;
                let mut places = RoaringBitmap::new();
                for (place, entry) in (0_u32..).zip(&view.buffered) {
                    if (place as usize).is_multiple_of(CHUNK) {
                        cancel.check()?;
                    }
                    if filter.matches(&entry.document) {
                        places.insert(place);
                    }
                }
                Ok(places)
            })
            .await
    }

    /// The rows of one segment that are alive and match the filter.
    async fn filtered(&self, live: &LiveSegment) -> Result<Option<Arc<RoaringBitmap>>> {
        let Some(text) = live.segment.text().cloned() else { return Ok(None) };
        self.prefetch(&live.segment).await?;
        let (spec, alive) = (self.spec.clone(), live.alive.clone());
        self.cpu
            .run(move |_| {
                let Some(filter) = &spec.filter else { return Ok(alive) };
                let mut rows = text.filter(filter)?;
                if let Some(alive) = alive {
                    rows &= alive.as_ref();
                }
                Ok(Some(Arc::new(rows)))
            })
            .await
    }

    /// Brings into the cache what filter and text search of one segment are going to read: two round trips at most, none if
    /// the dictionaries are hot and the postings cached.
    async fn prefetch(&self, segment: &Arc<Segment>) -> Result<()> {
        let Some(text) = segment.text() else { return Ok(()) };
        let (spec, planner) = (self.spec.clone(), text.clone());
        let dictionaries =
            self.cpu.run(move |_| planner.plan_dictionaries(spec.text.as_ref(), spec.filter.as_ref())).await?;
        segment.prefetch_text(&dictionaries, &self.reads).await?;
        let (spec, planner) = (self.spec.clone(), text.clone());
        let postings = self.cpu.run(move |_| planner.plan_postings(spec.text.as_ref(), spec.filter.as_ref())).await?;
        segment.prefetch_text(&postings, &self.reads).await
    }

    /// The vector arm of each segment. All of them look at their one-bit codes first; then only what may be among the nearest of all is
    /// read.
    async fn vector_rows(&self, allowed: &Allowed, depth: usize) -> Result<Vec<(Candidates, SearchStats)>> {
        let begin = |run: Self, place: usize| {
            let allowed = allowed.get(place).cloned().flatten();
            async move { run.begun(place, depth, allowed).await }
        };
        let mut begun = self.each_segment(begin).await?;
        if begun.len() > 1 {
            begun = self.cpu.run(move |_| Ok(cut(begun, depth))).await?;
        }
        let parts = begun.into_iter().enumerate().map(|(place, search)| {
            let run = self.clone();
            async move {
                let Some(search) = search else { return Ok(Default::default()) };
                let (hits, stats) = run.advanced(place, search.with_ties(MAX_TIED_ROWS), false).await?.finish();
                // Nearer is better.
                let scored = hits.into_iter().map(|(ordinal, distance)| (ordinal, -distance)).collect();
                Ok((run.identified(place, depth, scored).await?, stats))
            }
        });
        self.cpu.all(parts).await
    }

    /// (ordinal, distance) of the nearest `count` allowed rows of one segment, nearest first, and up to `ties` more that were
    /// found to be as far as the last.
    ///
    /// # Errors
    /// Of the segment.
    pub async fn nearest(
        &self,
        place: usize,
        count: usize,
        ties: usize,
        allowed: Option<Arc<RoaringBitmap>>,
    ) -> Result<(Vec<(u32, f32)>, SearchStats)> {
        match self.begun(place, count, allowed).await? {
            Some(search) => Ok(self.advanced(place, search.with_ties(ties), false).await?.finish()),
            None => Ok(Default::default()),
        }
    }

    /// A search of one segment whose first stage is over; None without vectors.
    async fn begun(
        &self,
        place: usize,
        count: usize,
        allowed: Option<Arc<RoaringBitmap>>,
    ) -> Result<Option<SegmentSearch>> {
        let Some(head) = self.view.segments[place].segment.head().cloned() else { return Ok(None) };
        let spec = self.spec.clone();
        let search = self
            .cpu
            .run(move |_| {
                let (query, _) = spec.vector.as_ref().ok_or_else(|| Error::internal("vector arm without a vector"))?;
                let allowed = allowed.map(|rows| only_vectors(rows, head.rows()));
                Searcher::new(head, query, count, spec.effort, allowed)
            })
            .await?;
        self.advanced(place, search, true).await.map(Some)
    }

    /// Reads for a search until it is finished, or only until its first stage is over.
    async fn advanced(&self, place: usize, mut search: SegmentSearch, first_stage: bool) -> Result<SegmentSearch> {
        let segment = self.view.segments[place].segment.clone();
        let source = SegmentSource::new(segment, self.reads.clone(), self.spec.prefetch.clone());
        while !first_stage || matches!(search.need(), Need::Postings(_)) {
            let reply = match search.need() {
                Need::Postings(ranges) => Reply::Pieces(source.posting_pieces(ranges).await?),
                Need::RowCodes(ranges) => Reply::Bytes(source.row_codes(ranges).await?),
                Need::Vectors(ordinals) => Reply::Vectors(source.vectors(ordinals).await?),
                Need::Done => break,
            };
            search = self
                .cpu
                .run(move |_| {
                    search.supply(reply)?;
                    Ok(search)
                })
                .await?;
        }
        Ok(search)
    }

    /// The text arm of each segment; keys are read only of rows that are among the best of all.
    async fn text_rows(&self, allowed: &Allowed, depth: usize, stats: &CorpusStats) -> Result<Vec<Candidates>> {
        let search = |run: Self, place: usize| {
            let (allowed, stats) = (allowed.get(place).cloned().flatten(), stats.clone());
            async move { run.best(place, depth, MAX_TIED_ROWS, allowed, &stats).await }
        };
        let mut best = self.each_segment(search).await?;
        if best.len() > 1 {
            let mut scores: Vec<f32> = best.iter().flatten().map(|(_, score)| *score).collect();
            if let Some(last) = depth.checked_sub(1).filter(|last| *last < scores.len()) {
                let worst = *scores.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1;
                best.iter_mut().for_each(|hits| hits.retain(|(_, score)| score.total_cmp(&worst).is_ge()));
            }
        }
        let parts = best.into_iter().enumerate().map(|(place, hits)| {
            let run = self.clone();
            async move { run.identified(place, depth, hits).await }
        });
        self.cpu.all(parts).await
    }

    /// Statistics of the whole corpus for the text query.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn corpus(&self) -> Result<CorpusStats> {
        if self.spec.filter.is_none() {
            // With a filter this was done for both.
            try_join_all(self.view.segments.iter().map(|live| self.prefetch(&live.segment))).await?;
        }
        let mut stats = self.counts().await?;
        if let Some(corpus) = &self.spec.corpus {
            // This part may have grown since the whole was counted; no term may be in more documents than there are.
            stats.raise_to(corpus)?;
        }
        Ok(stats)
    }

    /// Statistics of this view alone.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn counts(&self) -> Result<CorpusStats> {
        let of_segments = try_join_all(self.view.segments.iter().map(|live| self.text_stats(&live.segment)));
        let (of_segments, of_buffer) = tokio::try_join!(of_segments, self.buffered_stats())?;
        let mut stats = of_buffer;
        of_segments.iter().flatten().try_for_each(|part| stats.add(part))?;
        Ok(stats)
    }

    async fn text_stats(&self, segment: &Arc<Segment>) -> Result<Option<CorpusStats>> {
        let Some(text) = segment.text().cloned() else { return Ok(None) };
        let (spec, planner) = (self.spec.clone(), text.clone());
        let dictionaries = self.cpu.run(move |_| planner.plan_dictionaries(spec.text.as_ref(), None)).await?;
        segment.prefetch_text(&dictionaries, &self.reads).await?;
        let spec = self.spec.clone();
        self.cpu.run(move |_| spec.text.as_ref().map(|query| text.stats(query)).transpose()).await
    }

    /// (ordinal, BM25) of the best `count` allowed rows of one segment that hold a term of the query, best first, and up to `ties`
    /// more that equal the last.
    ///
    /// # Errors
    /// Of the segment.
    pub async fn best(
        &self,
        place: usize,
        count: usize,
        ties: usize,
        allowed: Option<Arc<RoaringBitmap>>,
        stats: &CorpusStats,
    ) -> Result<Vec<(u32, f32)>> {
        let Some(text) = self.view.segments[place].segment.text().cloned() else { return Ok(Vec::new()) };
        let (spec, stats) = (self.spec.clone(), stats.clone());
        self.cpu
            .run(move |_| match &spec.text {
                Some(query) => text.search_with_ties(query, &stats, count, ties, allowed.as_deref()),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// The best `depth` of (ordinal, score) of one segment, which are best first, with their keys. Of equal ones at the end those
    /// with the least keys stay.
    async fn identified(&self, place: usize, depth: usize, hits: Vec<(u32, f32)>) -> Result<Candidates> {
        let ordinals: Vec<u32> = hits.iter().map(|(ordinal, _)| *ordinal).collect();
        let segment = &self.view.segments[place].segment;
        let candidate = |((ordinal, score), id): ((u32, f32), crate::ids::EntryId)| Scored {
            score,
            key: id.key,
            item: Hit::Row(place, ordinal),
        };
        // A few too many cost less than another round trip.
        if hits.len() <= depth.saturating_mul(MORE_THAN_STAY) {
            let (ids, attributes) = tokio::join!(
                segment.identities(&ordinals, &self.reads),
                prefetch_attributes(segment, &ordinals, &self.spec.prefetch, &self.reads)
            );
            attributes?;
            let found = hits.iter().copied().zip(ids?).map(candidate);
            if hits.len() <= depth {
                return Ok(found.collect());
            }
            let mut top = TopK::new(depth);
            top.extend(found);
            return Ok(top.into_sorted());
        }
        let ids = segment.identities(&ordinals, &self.reads).await?;
        let mut top = TopK::new(depth);
        top.extend(hits.into_iter().zip(ids).map(candidate));
        let best = top.into_sorted();
        // Attributes only of those that stay.
        let ordinals: Vec<u32> = best
            .iter()
            .filter_map(|candidate| match candidate.item {
                Hit::Row(_, ordinal) => Some(ordinal),
                Hit::Buffered(_) => None,
            })
            .collect();
        prefetch_attributes(segment, &ordinals, &self.spec.prefetch, &self.reads).await?;
        Ok(best)
    }

    async fn buffered_stats(&self) -> Result<CorpusStats> {
        if self.view.buffered.is_empty() {
            return Ok(self.spec.text.as_ref().map(CorpusStats::new).unwrap_or_default());
        }
        let (spec, view) = (self.spec.clone(), self.view.clone());
        self.cpu
            .run(move |cancel| {
                let Some(query) = &spec.text else { return Ok(CorpusStats::default()) };
                let mut stats = CorpusStats::new(query);
                for chunk in view.buffered.chunks(CHUNK) {
                    cancel.check()?;
                    chunk.iter().for_each(|entry| entry.analyzed.add_to_stats(query, &mut stats));
                }
                Ok(stats)
            })
            .await
    }

    /// The arm over the buffered entries among `places`, exact. `stats`: of a text arm.
    async fn buffered(
        &self,
        depth: usize,
        places: Option<Arc<RoaringBitmap>>,
        stats: Option<CorpusStats>,
    ) -> Result<Candidates> {
        if self.view.buffered.is_empty() || places.as_ref().is_some_and(|places| places.is_empty()) {
            return Ok(Candidates::new());
        }
        let (spec, view) = (self.spec.clone(), self.view.clone());
        self.cpu
            .run(move |cancel| {
                let scorer = match (&spec.text, &stats) {
                    (Some(query), Some(stats)) => Some(BufferScorer::new(query, stats)),
                    _ => None,
                };
                let mut top = TopK::new(depth);
                for (place, entry) in view.buffered.iter().enumerate() {
                    if place % CHUNK == 0 {
                        cancel.check()?;
                    }
                    if places.as_ref().is_some_and(|places| !places.contains(place as u32)) {
                        continue;
                    }
                    let score = match (&spec.vector, &entry.document.vector) {
                        (Some((query, metric)), Some(vector)) => {
                            Some(-vector::distance::distance(*metric, query, vector))
                        }
                        (Some(_), None) => None,
                        (None, _) => scorer.as_ref().and_then(|scorer| scorer.score(&entry.analyzed)),
                    };
                    if let Some(score) = score {
                        top.push(Scored { score, key: entry.id.key, item: Hit::Buffered(place) });
                    }
                }
                Ok(top.into_sorted())
            })
            .await
    }
}

/// A search of one segment.
type SegmentSearch = Searcher<Arc<Head>, Arc<RoaringBitmap>>;

/// Leaves out the candidates that are not among the `count` nearest of all segments, as far as their codes say.
fn cut(mut searches: Vec<Option<SegmentSearch>>, count: usize) -> Vec<Option<SegmentSearch>> {
    let known = searches.iter().flatten().flat_map(Searcher::bounds).collect();
    let most = searches.iter().flatten().map(Searcher::most_promising).max().unwrap_or_default();
    let cut = Cut::of(known, count, most);
    searches.iter_mut().flatten().for_each(|search| search.keep(&cut));
    searches
}

/// Drops rows without a vector: they come after the first `vectors` rows.
fn only_vectors(rows: Arc<RoaringBitmap>, vectors: usize) -> Arc<RoaringBitmap> {
    let vectors = u32::try_from(vectors).unwrap_or(u32::MAX);
    if rows.max().is_none_or(|last| last < vectors) {
        return rows;
    }
    let mut rows = rows.as_ref().clone();
    rows.remove_range(vectors..);
    Arc::new(rows)
}
