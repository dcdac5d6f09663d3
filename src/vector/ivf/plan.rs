//! How much a search looks at: every number that trades work for recall, with the measurement behind it
//! (`docs/decisions/0001-own-rabitq-kernels.md`).

use crate::vector::Metric;

/// Segments up to this many rows are scanned whole: their one-bit codes take about 0.1 ms at 384 dimensions, and recall is
/// then that of the bounds alone.
pub(super) const SMALL_ROWS: usize = 16_384;
/// Up to this many allowed rows the exact vectors of all of them are read: one round trip, exact.
pub(super) const EXACT_ROWS: usize = 300;
/// Exact vectors are read in portions of about this many bytes: bounds a search's memory.
pub(super) const EXACT_PORTION_BYTES: usize = 16 << 20;
/// One wave of probes reads at most about this many bytes of postings.
pub(super) const WAVE_BYTES: u64 = 32 << 20;

/// Up to this many results the exact vectors follow the one-bit codes at once: reading the 8-bit codes between them would save
/// bytes, but costs a round trip, and a query that finds nothing cached has three. Candidates of a hybrid search are 100.
pub(super) const DIRECT_RESULTS: usize = 128;
/// Whatever the number of results, so many candidates are compared exactly at once.
pub(super) const DIRECT_ROWS: usize = 512;

/// Lists of the first wave per unit of patience, for ten results. Without a filter it is the only one: a second one would cost a
/// round trip for its last point of recall.
const WAVE_PER_PATIENCE: f32 = 2.0;
/// Rows of the first wave at least, where lists are short: about 1 MB of one-bit codes at 384 dimensions.
const WAVE_ROWS: f32 = 16_384.0;
/// Lists without an improvement before a search stops: recall@10 0.978 on 52k real embeddings (16: 0.964, 32: 0.984).
const PATIENCE: f32 = 24.0;
/// The same when a filter is in force, counting only lists with allowed rows.
const PATIENCE_FILTERED: f32 = 32.0;
/// The same when a filter allows less than [`SELECTIVE`] of the rows.
const PATIENCE_SELECTIVE: f32 = 64.0;
/// See [`PATIENCE_SELECTIVE`].
const SELECTIVE: f64 = 0.02;
/// What allows at least this share of the rows is no filter: lists hold about what they would without it. Deletions are like that.
const NEARLY_ALL: f64 = 0.9;
/// Lists probed at least.
const LISTS_MIN: f32 = 8.0;
/// Lists probed at most, unless this is less than [`LISTS_MAX_PART`] of all.
const LISTS_MAX: f32 = 64.0;
/// See [`LISTS_MAX`].
const LISTS_MAX_PART: f32 = 0.25;
/// Allowed rows to be seen before a filtered search may stop.
const FILTERED_ROWS_MIN: f32 = 2_000.0;
/// Inner-product neighbours are spread over more lists: twice the probes for the recall of cosine.
const DOT_FACTOR: f32 = 2.0;
/// Standard errors of the first bound: between 1.425, which misses 0.14 points of recall, and 1.9, which misses none but lets
/// twice as many rows through (measured).
const SIGMAS: f32 = 1.6;
/// Standard errors of the second bound; it costs next to nothing.
const SIGMAS_CODED: f32 = 2.5;
/// Standard errors of the first bound in small segments, where quality goes first.
const SIGMAS_SMALL: f32 = 2.6;
/// Standard errors of the second bound in small segments.
const SIGMAS_CODED_SMALL: f32 = 3.5;
/// Rows that go on to the second stage at most: this many and [`CODED_PER_RESULT`] per result.
const CODED_ROWS: f32 = 400.0;
/// See [`CODED_ROWS`].
const CODED_PER_RESULT: f32 = 20.0;
/// Rows whose exact vector is read right after the one-bit codes at most: this many and [`DIRECT_PER_RESULT`] per result. Of ten
/// results 11 times as many have all but 0.2 points of the neighbours that the lists have, of 100 results 4 times as many all but 1 (on
/// a hard set); each is about one more request while nothing is cached.
const DIRECT: f32 = 80.0;
/// See [`DIRECT`].
const DIRECT_PER_RESULT: f32 = 3.0;
/// Codes of fewer dimensions than this tell less, and in the same measure more vectors are in the same bytes: of 100 results with 128
/// dimensions the above found 0.924.
const DIRECT_DIM: f32 = 384.0;
/// So many times as many rows at most.
const DIRECT_VAGUER: f32 = 8.0;
/// Rows whose exact vector is read at most: this many and [`RERANKED_PER_RESULT`] per result.
const RERANKED_ROWS: f32 = 64.0;
/// See [`RERANKED_ROWS`].
const RERANKED_PER_RESULT: f32 = 3.0;

/// The limits of one search.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Policy {
    /// Consecutive lists without an improvement that end the scan; `usize::MAX` = all lists are scanned.
    pub(super) patience: usize,
    /// Lists of the first wave.
    pub(super) first_wave: usize,
    /// Lists scanned at least.
    pub(super) lists_min: usize,
    /// Lists scanned at most, once `rows_min` rows have been seen.
    pub(super) lists_max: usize,
    /// Allowed rows seen at least.
    pub(super) rows_min: usize,
    /// Standard errors of the bound on one-bit codes.
    pub(super) sigmas: f32,
    /// Standard errors of the bound on 8-bit codes.
    pub(super) sigmas_coded: f32,
    /// Rows of the second stage at most (never below k).
    pub(super) coded_max: usize,
    /// Rows compared exactly at most (never below k), if there is no second stage.
    pub(super) direct_max: usize,
    /// Rows compared exactly at most (never below k).
    pub(super) reranked_max: usize,
}

impl Policy {
    /// The limits for `k` results of `allowed` of `rows` rows of `dim` dimensions in `lists` lists, at a finite, positive `effort`.
    pub(super) fn new(
        metric: Metric,
        (rows, dim): (usize, usize),
        lists: usize,
        allowed: usize,
        k: usize,
        effort: f32,
    ) -> Self {
        let times = |value: f32| (value * effort).min(1e9) as usize;
        let small = rows <= SMALL_ROWS;
        // Errors add up with the square of effort's cost: a bound twice as wide lets many more rows through.
        let widen = effort.sqrt().clamp(0.7, 2.0);
        let (sigmas, sigmas_coded) = if small { (SIGMAS_SMALL, SIGMAS_CODED_SMALL) } else { (SIGMAS, SIGMAS_CODED) };
        let filtered = (allowed as f64) < NEARLY_ALL * rows as f64;
        let probes = if metric == Metric::Dot { DOT_FACTOR } else { 1.0 };
        let patience = if !filtered {
            PATIENCE
        } else if (allowed as f64) < SELECTIVE * rows as f64 {
            PATIENCE_SELECTIVE
        } else {
            PATIENCE_FILTERED
        };
        let k_wide = k as f32;
        let rows_min = if filtered { times(FILTERED_ROWS_MIN).max(times(4.0 * k_wide)) } else { times(4.0 * k_wide) };
        let lists_max = times(LISTS_MAX.max(LISTS_MAX_PART * lists as f32) * probes).max(1);
        // More results go on improving for longer.
        let wider = probes * (k_wide / 10.0).max(1.0).powf(0.25);
        let shortest = WAVE_ROWS * lists as f32 / rows.max(1) as f32;
        let first_wave = times((WAVE_PER_PATIENCE * patience).max(shortest) * wider).max(1);
        let (first_wave, lists_max) =
            if filtered { (first_wave.min(lists_max), lists_max) } else { (first_wave, first_wave) };
        let coded_max = times(CODED_ROWS + CODED_PER_RESULT * k_wide).max(k);
        // A small segment has few rows to choose from, and quality goes first.
        let vaguer = (DIRECT_DIM / dim.max(1) as f32).clamp(1.0, DIRECT_VAGUER);
        let direct_max = if small { coded_max } else { times((DIRECT + DIRECT_PER_RESULT * k_wide) * vaguer).max(k) };
        Self {
            patience: if small { usize::MAX } else { times(patience * probes).max(1) },
            first_wave: if small { usize::MAX } else { first_wave },
            lists_min: times(LISTS_MIN * probes).max(1),
            lists_max,
            rows_min: rows_min.max(k).min(allowed),
            sigmas: sigmas * widen,
            sigmas_coded: sigmas_coded * widen,
            coded_max,
            direct_max,
            reranked_max: times(RERANKED_ROWS + RERANKED_PER_RESULT * k_wide).max(k),
        }
    }
}

/// Up to how many allowed rows the second stage starts at once, on the 8-bit codes of all of them, instead of probing
/// lists until enough allowed rows have been seen. Measured warm the two cost the same at `sqrt(80 n)` rows; the rows are
/// scattered, so that against object storage it is less.
pub(super) fn code_all_rows(rows: usize) -> usize {
    (8 * rows).isqrt()
}
