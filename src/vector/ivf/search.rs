//! Searching: a state machine without I/O ([`Searcher`]) and its asynchronous driver ([`search`]).

use std::ops::{Deref, Range};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::cut::{Bounds, Cut};
use super::head::Head;
use super::plan::{DIRECT_RESULTS, DIRECT_ROWS, EXACT_PORTION_BYTES, EXACT_ROWS, Policy, WAVE_BYTES, code_all_rows};
use super::query::{PreparedQuery, scale};
use super::ranking::{Probe, Probes, Ranking};
use super::scan::{Candidate, Scan, keep_best, keep_promising};
use super::source::VectorSource;
use crate::error::{Error, ErrorKind, Result};
use crate::vector::Metric;
use crate::vector::distance::Target;
use crate::vector::rabitq::{read_row, row_len};
use crate::vector::validate;

#[cfg(test)]
mod tests;

/// What to search for besides the query vector.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Results wanted.
    pub k: usize,
    /// How hard to try: 1.0 is the default policy; probes, patience and rerank depth grow in proportion. Infinity is
    /// exact: every allowed row is compared by its exact vector.
    pub effort: f32,
    /// Ordinals that may be returned; `None` = all. Fold deletions in.
    pub allowed: Option<&'a RoaringBitmap>,
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Lists visited (an exact search visits none: it reads no codes).
    pub lists_probed: usize,
    /// Rows whose one-bit code was compared and that the filter allows.
    pub rows_scanned: usize,
    /// Rows whose 8-bit code was compared.
    pub rows_coded: usize,
    /// Rows compared by their exact vector.
    pub rows_reranked: usize,
}

/// What a [`Searcher`] needs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// Answer with [`Reply::Bytes`] from the postings section.
    Postings(Vec<Range<u64>>),
    /// Answer with [`Reply::Bytes`] from the row-code section.
    RowCodes(Vec<Range<u64>>),
    /// Answer with [`Reply::Vectors`]: the exact vectors of these ordinals.
    Vectors(Vec<u32>),
    /// Finished: call [`Searcher::finish`].
    Done,
}

/// The answer to a [`Need`].
#[derive(Debug, Clone)]
pub enum Reply {
    /// One `Bytes` per range.
    Bytes(Vec<Bytes>),
    /// `ordinals.len() * dim` values, row-major.
    Vectors(Vec<f32>),
}

/// What the answer to the current need is for.
#[derive(Debug)]
enum Stage {
    /// Postings of these lists, in the order of ranges (place in the wave's order of visits for each).
    Scan {
        wave: Vec<u32>,
        places: Vec<usize>,
    },
    /// 8-bit codes of these candidates, ascending by ordinal, and the runs of consecutive ordinals among them.
    Code {
        candidates: Vec<Candidate>,
        runs: Vec<Range<u32>>,
    },
    /// Exact vectors of the needed ordinals; afterwards those of what is left.
    Rerank {
        left: std::vec::IntoIter<u32>,
    },
    Done,
}

/// One search as a state machine without I/O, so that a caller can do the reads its own way and run [`Searcher::new`]
/// and [`Searcher::supply`], where the CPU time goes, on a CPU pool. `H` is `&Head` or `Arc<Head>`, `A` is
/// `&RoaringBitmap` or `Arc<RoaringBitmap>`.
#[derive(Debug)]
pub struct Searcher<H, A> {
    head: H,
    allowed: Option<A>,
    query: Vec<f32>,
    k: usize,
    /// Results beyond `k` as far as the last, at most.
    ties: usize,
    policy: Policy,
    prepared: PreparedQuery,
    ranking: Option<Ranking>,
    /// Next place in the ranking.
    place: usize,
    probes: Probes,
    /// Probes by the slot that candidates name.
    slots: Vec<Probe>,
    scan: Scan,
    /// Candidates whose exact vectors are needed next, right after the first stage.
    promising: Vec<Candidate>,
    stage: Stage,
    need: Need,
    stats: SearchStats,
    results: Vec<(u32, f32)>,
}

impl<H: Deref<Target = Head>, A: Deref<Target = RoaringBitmap>> Searcher<H, A> {
    /// Prepares a search for `k` results; see [`SearchParams`] for `effort` and `allowed`.
    ///
    /// Errors: as [`validate`] for the query; `OutOfRange` for an effort that is not positive.
    pub fn new(head: H, query: &[f32], k: usize, effort: f32, allowed: Option<A>) -> Result<Self> {
        validate(query, head.dim(), head.metric())?;
        if effort.is_nan() || effort <= 0.0 {
            return Err(Error::new(ErrorKind::OutOfRange, format!("the search effort must be positive, not {effort}")));
        }
        let rows = head.rows();
        let allowed_rows = match &allowed {
            Some(allowed) => allowed.range_cardinality(..rows as u32) as usize,
            None => rows,
        };
        let k = k.min(allowed_rows);
        let policy_effort = if effort.is_finite() { effort } else { 1.0 };
        let policy = Policy::new(head.metric(), (rows, head.dim()), head.lists(), allowed_rows, k, policy_effort);
        let prepared = PreparedQuery::new(&head, query);
        let mut searcher = Self {
            query: query.to_vec(),
            k,
            ties: 0,
            scan: Scan::new(k),
            policy,
            prepared,
            ranking: None,
            place: 0,
            probes: Probes::default(),
            slots: Vec::new(),
            promising: Vec::new(),
            stage: Stage::Done,
            need: Need::Done,
            stats: SearchStats::default(),
            results: Vec::new(),
            allowed,
            head,
        };
        let filtered = allowed_rows < rows;
        if k == 0 {
            searcher.done();
        } else if effort.is_infinite() || allowed_rows <= EXACT_ROWS.max(k) {
            let all = searcher.all_allowed();
            searcher.rerank(all.into_iter());
        } else if filtered && allowed_rows <= code_all_rows(rows) {
            let candidates = searcher.allowed_candidates();
            searcher.code(candidates);
        } else {
            searcher.ranking = Some(Ranking::new(&searcher.head, &searcher.prepared, searcher.policy.first_wave));
            searcher.next_wave();
        }
        Ok(searcher)
    }

    /// Besides `k` results, up to `ties` more of those compared that are exactly as far as the last: it is not for their ordinals to
    /// say which of them belong to the nearest of several segments. For a searcher that was not supplied with exact vectors yet.
    #[must_use]
    pub fn with_ties(self, ties: usize) -> Self {
        Self { ties, ..self }
    }

    /// What is needed next; cheap, and the same until [`Searcher::supply`].
    #[must_use]
    pub fn need(&self) -> &Need {
        &self.need
    }

    /// Takes the answer to [`Searcher::need`] and computes up to the next need.
    ///
    /// Errors: `Corrupt` for byte ranges of another number or length than needed, `Internal` for a reply of another
    /// kind or a wrong number of values. After an error the search is over.
    pub fn supply(&mut self, reply: Reply) -> Result<()> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let need = std::mem::replace(&mut self.need, Need::Done);
        match (stage, need, reply) {
            (Stage::Scan { wave, places }, Need::Postings(ranges), Reply::Bytes(bytes)) => {
                self.check(&ranges, &bytes, "postings")?;
                self.scan_wave(&wave, &places, &bytes)
            }
            (Stage::Code { candidates, runs }, Need::RowCodes(ranges), Reply::Bytes(bytes)) => {
                self.check(&ranges, &bytes, "row codes")?;
                self.compare_codes(candidates, &runs, &bytes)
            }
            (Stage::Rerank { left }, Need::Vectors(ordinals), Reply::Vectors(vectors)) => {
                self.compare_vectors(left, &ordinals, &vectors)
            }
            _ => Err(Error::internal("a vector search was given what it did not ask for")),
        }
    }

    /// The results: (ordinal, exact distance as the SQL operator returns it), sorted by distance, then ordinal.
    #[must_use]
    pub fn finish(self) -> (Vec<(u32, f32)>, SearchStats) {
        (self.results, self.stats)
    }

    fn done(&mut self) {
        self.stage = Stage::Done;
        self.need = Need::Done;
    }

    fn check(&self, ranges: &[Range<u64>], bytes: &[Bytes], section: &str) -> Result<()> {
        if ranges.len() != bytes.len() {
            return Err(Error::internal(format!("{} ranges of {section} instead of {}", bytes.len(), ranges.len())));
        }
        for (range, bytes) in ranges.iter().zip(bytes) {
            if bytes.len() as u64 != range.end - range.start {
                let what = format!("{} bytes of {section} instead of {}", bytes.len(), range.end - range.start);
                return Err(Error::corrupt(self.head.object_name(), range.start, what));
            }
        }
        Ok(())
    }

    fn all_allowed(&self) -> Vec<u32> {
        let rows = self.head.rows() as u32;
        match &self.allowed {
            Some(allowed) => allowed.range(..rows).collect(),
            None => (0..rows).collect(),
        }
    }

    /// Every allowed row as a candidate of the second stage.
    fn allowed_candidates(&mut self) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut end = 0;
        for ordinal in self.all_allowed() {
            if ordinal >= end {
                let list = self.head.list_of(ordinal);
                end = self.head.list_rows(list).end;
                self.slots.push(self.probes.probe(&self.head, &self.prepared, list as u32));
                self.stats.lists_probed += 1;
            }
            candidates.push(Candidate::unknown(ordinal, self.slots.len() as u32 - 1));
        }
        candidates
    }

    /// Chooses the lists to read next, or goes on to the second stage if there is none.
    fn next_wave(&mut self) {
        let wanted = if self.place == 0 { self.policy.first_wave } else { self.stats.lists_probed.max(32) };
        let (mut wave, mut rows, mut bytes) = (Vec::new(), self.stats.rows_scanned, 0);
        if let Some(ranking) = &mut self.ranking {
            while (wave.len() < wanted || rows < self.policy.rows_min) && bytes < WAVE_BYTES {
                let Some(list) = ranking.get(&self.head, &self.prepared, self.place) else { break };
                self.place += 1;
                let range = self.head.list_rows(list as usize);
                let allowed = match &self.allowed {
                    Some(allowed) => allowed.range_cardinality(range) as usize,
                    None => range.len(),
                };
                if allowed > 0 {
                    let postings = self.head.list_bytes(list as usize);
                    bytes += postings.end - postings.start;
                    rows += allowed;
                    wave.push(list);
                }
            }
        }
        if wave.is_empty() {
            self.scanned();
            return;
        }
        let mut places: Vec<usize> = (0..wave.len()).collect();
        places.sort_unstable_by_key(|place| wave[*place]);
        self.need = Need::Postings(places.iter().map(|place| self.head.list_bytes(wave[*place] as usize)).collect());
        self.stage = Stage::Scan { wave, places };
    }

    /// Scans the lists of a wave, nearest first, until patience or the wave ends.
    fn scan_wave(&mut self, wave: &[u32], places: &[usize], bytes: &[Bytes]) -> Result<()> {
        let mut by_place: Vec<&Bytes> = Vec::new();
        by_place.resize(wave.len(), &bytes[0]);
        for (place, bytes) in places.iter().zip(bytes) {
            by_place[*place] = bytes;
        }
        for (list, bytes) in wave.iter().zip(by_place) {
            let probe = self.probes.probe(&self.head, &self.prepared, *list);
            let rows = self.head.list_rows(*list as usize);
            let slot = self.slots.len() as u32;
            self.slots.push(probe);
            let scanned = self.scan.list(
                &self.prepared.codes,
                &probe,
                self.policy.sigmas,
                rows,
                self.allowed.as_deref(),
                bytes,
                slot,
            );
            let Some(scanned) = scanned else {
                return Err(Error::internal("a list of postings is not made of whole blocks"));
            };
            self.stats.rows_scanned += scanned;
            self.stats.lists_probed += 1;
            if self.enough() {
                self.scanned();
                return Ok(());
            }
        }
        self.next_wave();
        Ok(())
    }

    fn enough(&self) -> bool {
        let (policy, stats) = (&self.policy, &self.stats);
        policy.patience != usize::MAX
            && stats.rows_scanned >= policy.rows_min
            && stats.lists_probed >= policy.lists_min
            && (self.scan.idle() >= policy.patience || stats.lists_probed >= policy.lists_max)
    }

    /// Ends the first stage: on to the exact vectors if few results are wanted or few candidates are left, else to 8-bit codes.
    fn scanned(&mut self) {
        let mut candidates = self.scan.finish(self.policy.coded_max);
        if self.k <= DIRECT_RESULTS || candidates.len() <= DIRECT_ROWS {
            keep_best(&mut candidates, self.policy.direct_max);
            self.promising = candidates;
            self.rerank_promising();
        } else {
            self.code(candidates);
        }
    }

    fn rerank_promising(&mut self) {
        let mut ordinals: Vec<u32> = self.promising.iter().map(|candidate| candidate.ordinal).collect();
        ordinals.sort_unstable();
        self.rerank(ordinals.into_iter());
    }

    /// What the first stage found, if exact vectors of that are needed next: in units that the searches of all segments for the
    /// same query share. Nothing at other times, and where there are no such units.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bounds> {
        let Some((factor, offset)) = self.unit() else { return Vec::new() };
        let shared = |value: f32| f64::from(value) * factor + offset;
        let bounds = |c: &Candidate| Bounds { estimate: shared(c.estimate), lower: shared(c.lower) };
        self.promising.iter().map(bounds).collect()
    }

    /// Most rows whose exact vectors this search would read after its first stage.
    #[must_use]
    pub fn most_promising(&self) -> usize {
        self.policy.direct_max
    }

    /// Leaves out the candidates that are not kept, of those that [`Self::bounds`] told. Then there may be fewer results than
    /// were wanted.
    pub fn keep(&mut self, cut: &Cut) {
        if let Some((factor, offset)) = self.unit() {
            let shared = |value: f32| f64::from(value) * factor + offset;
            self.promising.retain(|c| cut.keeps(&Bounds { estimate: shared(c.estimate), lower: shared(c.lower) }));
            self.rerank_promising();
        }
    }

    /// Factor and offset from estimates to the units of all segments.
    fn unit(&self) -> Option<(f64, f64)> {
        if self.promising.is_empty() || !matches!(self.need, Need::Vectors(_)) || self.prepared.moved {
            return None;
        }
        let base = self.probes.base()?;
        let unscale = 1.0 / scale(self.head.exponent());
        let (factor, offset) = match self.head.metric() {
            Metric::Cosine | Metric::L2 => (unscale * unscale, base * unscale * unscale),
            Metric::Dot => (unscale, -base * unscale - self.prepared.mean_product),
        };
        (factor.is_normal() && offset.is_finite()).then_some((factor, offset))
    }

    /// Asks for the 8-bit codes of `candidates`.
    fn code(&mut self, mut candidates: Vec<Candidate>) {
        candidates.sort_unstable_by_key(|candidate| candidate.ordinal);
        let mut runs: Vec<Range<u32>> = Vec::new();
        for candidate in &candidates {
            match runs.last_mut() {
                Some(run) if run.end == candidate.ordinal => run.end += 1,
                _ => runs.push(candidate.ordinal..candidate.ordinal + 1),
            }
        }
        self.need = Need::RowCodes(runs.iter().map(|run| self.head.row_code_bytes(run.clone())).collect());
        self.stage = Stage::Code { candidates, runs };
    }

    fn compare_codes(&mut self, mut candidates: Vec<Candidate>, runs: &[Range<u32>], bytes: &[Bytes]) -> Result<()> {
        let padded = self.head.padded();
        let rows = runs.iter().zip(bytes).flat_map(|(_, bytes)| bytes.chunks_exact(row_len(padded)));
        let sigmas = self.policy.sigmas_coded;
        let mut coded = 0;
        for (candidate, row) in candidates.iter_mut().zip(rows) {
            let (Some((code, factors)), Some(probe)) = (read_row(row, padded), self.slots.get(candidate.slot as usize))
            else {
                return Err(Error::internal("a row code does not have the length of its index"));
            };
            let product = self.prepared.codes.code_product(code);
            let estimate = (probe.multiply_add * factors.add + probe.add) + factors.rescale * product;
            let half = factors.rescale.abs() * factors.error * probe.reach * sigmas;
            *candidate = Candidate::new(estimate, estimate - half, candidate.ordinal, candidate.slot);
            coded += 1;
        }
        self.stats.rows_coded = coded;
        keep_promising(&mut candidates, self.k, self.policy.reranked_max);
        let mut ordinals: Vec<u32> = candidates.into_iter().map(|candidate| candidate.ordinal).collect();
        ordinals.sort_unstable();
        self.rerank(ordinals.into_iter());
        Ok(())
    }

    /// Asks for the exact vectors of the ordinals left (ascending), a portion at a time.
    fn rerank(&mut self, mut left: std::vec::IntoIter<u32>) {
        let portion = (EXACT_PORTION_BYTES / (4 * self.head.dim())).max(EXACT_ROWS);
        let ordinals: Vec<u32> = left.by_ref().take(portion).collect();
        if ordinals.is_empty() {
            self.done();
            return;
        }
        self.need = Need::Vectors(ordinals);
        self.stage = Stage::Rerank { left };
    }

    fn compare_vectors(&mut self, left: std::vec::IntoIter<u32>, ordinals: &[u32], vectors: &[f32]) -> Result<()> {
        self.promising.clear();
        let dim = self.head.dim();
        if vectors.len() != ordinals.len() * dim {
            let found = vectors.len();
            return Err(Error::internal(format!("{found} values for {} vectors of {dim} dimensions", ordinals.len())));
        }
        let target = Target::new(self.head.metric(), &self.query);
        let compared = ordinals.iter().zip(vectors.chunks_exact(dim));
        self.results.extend(compared.map(|(ordinal, row)| (*ordinal, target.distance(row))));
        self.stats.rows_reranked += ordinals.len();
        cut_off(&mut self.results, self.k, self.ties);
        self.rerank(left);
        if self.need == Need::Done {
            self.results.sort_unstable_by(nearest_first);
        }
        Ok(())
    }
}

fn nearest_first(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))
}

/// Keeps the nearest `count` (above 0), in no order, and up to `ties` more that are as far as the last of them.
fn cut_off(results: &mut Vec<(u32, f32)>, count: usize, ties: usize) {
    if results.len() <= count {
        return;
    }
    let (_, (_, farthest), others) = results.select_nth_unstable_by(count - 1, nearest_first);
    let mut tied = 0;
    for place in 0..others.len() {
        if others[place].1.total_cmp(farthest).is_eq() {
            others.swap(tied, place);
            tied += 1;
        }
    }
    if tied > ties {
        others[..tied].sort_unstable_by(nearest_first);
    }
    results.truncate(count + tied.min(ties));
}

/// Searches one segment: exactly `min(k, allowed rows)` results of (ordinal, exact distance as the SQL operator returns
/// it), sorted by distance, then ordinal (INV-7), and what it cost.
///
/// Errors: `TypeMismatch` or `Invalid` for the query, `OutOfRange` for an effort that is not positive, `Corrupt` for
/// bytes of the wrong length, and whatever `source` fails with.
pub async fn search(
    head: &Head,
    source: &dyn VectorSource,
    query: &[f32],
    params: &SearchParams<'_>,
) -> Result<(Vec<(u32, f32)>, SearchStats)> {
    let mut searcher = Searcher::new(head, query, params.k, params.effort, params.allowed)?;
    loop {
        let reply = match searcher.need() {
            Need::Postings(ranges) => Reply::Bytes(source.postings(ranges).await?),
            Need::RowCodes(ranges) => Reply::Bytes(source.row_codes(ranges).await?),
            Need::Vectors(ordinals) => Reply::Vectors(source.vectors(ordinals).await?),
            Need::Done => return Ok(searcher.finish()),
        };
        searcher.supply(reply)?;
    }
}
