//! The pruned part of a search: what tantivy's block-max WAND is told, and what is kept of what it finds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use tantivy::Searcher;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, EnableScoring, Occur, Query, TermQuery, Weight,
};
use tantivy::schema::{Field, IndexRecordOption, Term};

/// Statistics of the whole corpus, as tantivy asks for them.
pub(super) struct SearchStatistics {
    docs: u64,
    tokens: HashMap<Field, u64>,
    doc_freqs: HashMap<Term, u64>,
}

impl SearchStatistics {
    pub fn new(docs: u64) -> Self {
        Self { docs, tokens: HashMap::new(), doc_freqs: HashMap::new() }
    }

    pub fn add_field(&mut self, field: Field, tokens: u64) {
        self.tokens.insert(field, tokens);
    }

    pub fn add_term(&mut self, term: Term, doc_freq: u64) {
        // Tantivy asserts df <= N.
        self.doc_freqs.insert(term, doc_freq.min(self.docs));
    }
}

impl Bm25StatisticsProvider for SearchStatistics {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        Ok(self.tokens.get(&field).copied().unwrap_or(0))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.docs)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        Ok(self.doc_freqs.get(term).copied().unwrap_or(0))
    }
}

/// The OR of boosted terms, in the form that tantivy prunes. A single term is not boosted: only bare term weights prune
/// alone, and a positive factor changes no order.
pub(super) fn pruning_weight(
    searcher: &Searcher,
    statistics: &SearchStatistics,
    clauses: &[(Term, f32)],
) -> tantivy::Result<Box<dyn Weight>> {
    let scoring = EnableScoring::enabled_from_statistics_provider(statistics, searcher);
    let query = |term: &Term| TermQuery::new(term.clone(), IndexRecordOption::WithFreqs);
    if let [(term, _)] = clauses {
        return query(term).weight(scoring);
    }
    let boosted = |(term, boost): &(Term, f32)| -> (Occur, Box<dyn Query>) {
        (Occur::Should, Box::new(BoostQuery::new(Box::new(query(term)), *boost)))
    };
    BooleanQuery::new(clauses.iter().map(boosted).collect()).weight(scoring)
}

#[derive(PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Keeps every row whose exact score may be among the best `k`, and tells how low a score can be skipped.
///
/// Rows come in ascending order with approximate scores. Two causes of error are bounded:
/// * the order of additions: a sum of n positive terms is off by at most n rounding steps (none for one term or two);
/// * block maxima: tantivy stores for each block the row that is best with the segment's own average length. With another
///   average, the score of the truly best row is at most `skew` times that row's score, `skew` being the ratio of the averages
///   (1 + c·x lies between 1 + x and c·(1 + x)).
pub(super) struct TopRows {
    k: usize,
    /// Rows equal to the last of the best that are kept besides, at most.
    ties: usize,
    /// How many there are.
    tied: usize,
    /// Relative error of a score.
    slack: f32,
    /// At least 1: how much a block maximum may be too low.
    skew: f32,
    best: BinaryHeap<Reverse<Score>>,
    kept: Vec<(u32, f32)>,
    /// Length of `kept` at which rows that fell out are dropped.
    prune_at: usize,
}

/// Rows kept before the first look for ones that have fallen out.
const FIRST_PRUNE_ROWS: usize = 1024;

impl TopRows {
    pub fn new(k: usize, ties: usize, clauses: &[(Term, f32)], skew: f32) -> Self {
        let slack = match clauses {
            [(_, boost)] if *boost == 1.0 => 0.0,
            [_, _] => 0.0,
            _ => (4.0 * clauses.len() as f32 * f32::EPSILON).min(1.0),
        };
        // Room for the rounding of the averages and their ratio.
        let skew = if skew == 1.0 { 1.0 } else { skew * (1.0 + 16.0 * f32::EPSILON) };
        let prune_at = k.saturating_mul(2).max(FIRST_PRUNE_ROWS);
        Self { k, ties, tied: 0, slack, skew, best: BinaryHeap::new(), kept: Vec::new(), prune_at }
    }

    /// Rows with an approximate score below this are not among the best.
    fn floor(&self) -> f32 {
        match self.best.peek() {
            Some(Reverse(Score(worst))) if self.best.len() == self.k => worst * (1.0 - self.slack),
            _ => f32::MIN,
        }
    }

    /// Whether a row equal to the last of the best is kept.
    fn keeps_ties(&self) -> bool {
        self.tied < self.ties
    }

    /// Block maxima up to this cannot hide a row among the best, or an equal one that is kept.
    pub fn threshold(&self) -> f32 {
        let floor = self.floor();
        let threshold = if floor > 0.0 { floor / self.skew } else { floor };
        if self.best.len() == self.k && self.keeps_ties() { threshold.next_down() } else { threshold }
    }

    pub fn push(&mut self, ordinal: u32, score: f32) {
        if self.best.len() == self.k {
            let floor = self.floor();
            // Without slack, an equal score loses where no more of them are kept: its ordinal is higher.
            if score < floor || (self.slack == 0.0 && score <= floor && !self.keeps_ties()) {
                return;
            }
        }
        self.kept.push((ordinal, score));
        self.best.push(Reverse(Score(score)));
        if self.best.len() > self.k
            && let Some(Reverse(Score(fallen))) = self.best.pop()
        {
            // Nothing that equals a higher floor has been left out, and all of it was among the best until now.
            let is_tied = self.best.peek().is_some_and(|Reverse(Score(worst))| *worst == fallen);
            self.tied = if is_tied { self.tied + 1 } else { 0 };
        }
        if self.kept.len() >= self.prune_at {
            let floor = self.floor();
            self.kept.retain(|(_, score)| *score >= floor);
            self.prune_at = self.prune_at.max(self.kept.len().saturating_mul(2));
        }
    }

    /// The kept rows, ascending.
    pub fn into_ordinals(mut self) -> Vec<u32> {
        let floor = self.floor();
        self.kept.retain(|(_, score)| *score >= floor);
        self.kept.into_iter().map(|(ordinal, _)| ordinal).collect()
    }
}
