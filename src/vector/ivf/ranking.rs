//! The order in which a query visits the lists.

use super::head::Head;
use super::query::PreparedQuery;
use crate::vector::Metric;
use crate::vector::rabitq::Block;
use crate::vector::simd::{BLOCK, BlockEstimates, ListTerms, kernels};

/// Up to this many lists all are ranked by their 8-bit centroids; above, one-bit codes choose which are.
const RANKED_DIRECTLY: usize = 128;
/// Lists ranked by their 8-bit centroids per list wanted: 98.5 % or more of the wanted ones are among them (measured).
const RANKED_PER_WANTED: usize = 4;

/// Lists by ascending distance to the query, found as far as they are asked for.
#[derive(Debug)]
pub(super) struct Ranking {
    /// Lists in final order.
    ready: Vec<u32>,
    /// The others with estimated scores, in no order.
    pending: Vec<(f32, u32)>,
}

impl Ranking {
    /// Prepares the order for a search that expects to visit `wanted` lists.
    pub(super) fn new(head: &Head, query: &PreparedQuery, wanted: usize) -> Self {
        let mut ranking = Self { ready: Vec::new(), pending: Vec::with_capacity(head.lists()) };
        if head.lists() <= RANKED_DIRECTLY {
            ranking.pending.extend((0..head.lists() as u32).map(|list| (0.0, list)));
            ranking.advance(head, query, head.lists());
            return ranking;
        }
        let kernels = kernels();
        let terms = ListTerms {
            step: query.codes.step,
            bias: query.codes.bias,
            add: 0.0,
            multiply_add: if head.metric() == Metric::Dot { 0.0 } else { 1.0 },
            error: 0.0,
            error_floor: 0.0,
        };
        let mut sums = [0; BLOCK];
        let mut estimates = BlockEstimates::new();
        for (i, block) in head.centroid_blocks().enumerate() {
            let block = Block::read(block, head.padded()).expect("invariant: decode checked the section's length");
            (kernels.fast_scan)(block.codes, &query.codes.table, &mut sums);
            (kernels.estimate)(&sums, &block.factors(), &terms, f32::INFINITY, &mut estimates);
            let lists = i * BLOCK..head.lists().min((i + 1) * BLOCK);
            ranking.pending.extend(estimates.estimate.iter().zip(lists).map(|(score, list)| (*score, list as u32)));
        }
        ranking.advance(head, query, wanted.saturating_mul(RANKED_PER_WANTED));
        ranking
    }

    /// The list at a place in the order; `None` past the last.
    pub(super) fn get(&mut self, head: &Head, query: &PreparedQuery, place: usize) -> Option<u32> {
        while place >= self.ready.len() && !self.pending.is_empty() {
            let more = self.ready.len().max(RANKED_DIRECTLY);
            self.advance(head, query, more);
        }
        self.ready.get(place).copied()
    }

    /// Moves the `count` most promising lists over, in order.
    fn advance(&mut self, head: &Head, query: &PreparedQuery, count: usize) {
        let by_score = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if count < self.pending.len() {
            self.pending.select_nth_unstable_by(count, by_score);
        }
        let count = count.min(self.pending.len());
        let mut chosen: Vec<(f32, u32)> =
            self.pending.drain(..count).map(|(_, list)| (score(head, query, list), list)).collect();
        chosen.sort_unstable_by(by_score);
        self.ready.extend(chosen.into_iter().map(|(_, list)| list));
    }
}

/// The squared distance of query and centroid less the query's squared norm, or their negative inner product.
fn score(head: &Head, query: &PreparedQuery, list: u32) -> f32 {
    let centroid = head.centroid(list as usize);
    let product = f64::from(centroid.middle) * query.sum
        + f64::from(centroid.step) * f64::from(query.codes.code_product(centroid.elements));
    match head.metric() {
        Metric::Cosine | Metric::L2 => (f64::from(centroid.norm) - 2.0 * product) as f32,
        Metric::Dot => -product as f32,
    }
}

/// What the estimates of all rows of one list have in common, for one query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// Added to every estimate.
    pub(super) add: f32,
    /// Factor of the rows' additive terms.
    pub(super) multiply_add: f32,
    /// Length of the query's part that estimates err about.
    pub(super) reach: f32,
}

/// Computes [`Probe`]s, relative to the first list asked for: estimates are differences from there, so that a query far
/// from all rows loses no precision.
#[derive(Debug, Default)]
pub(super) struct Probes {
    base: Option<f64>,
    centroid: Vec<f32>,
}

impl Probes {
    /// What estimates are differences from; none before the first list.
    pub(super) fn base(&self) -> Option<f64> {
        self.base
    }

    pub(super) fn probe(&mut self, head: &Head, query: &PreparedQuery, list: u32) -> Probe {
        let kernels = kernels();
        head.centroid(list as usize).values(&mut self.centroid);
        match head.metric() {
            Metric::Cosine | Metric::L2 => {
                let distance = (kernels.l2_squared)(&query.rotated, &self.centroid);
                let base = *self.base.get_or_insert(distance);
                Probe { add: (distance - base) as f32, multiply_add: 1.0, reach: distance.sqrt() as f32 }
            }
            Metric::Dot => {
                let (product, norm) = (kernels.dot_and_norm)(&query.rotated, &self.centroid);
                let base = *self.base.get_or_insert(product);
                // Without a direction of its own a centroid explains no part of the query.
                let share = if norm > f64::from(f32::MIN_POSITIVE) { product / norm } else { 0.0 };
                let reach = (query.norm - share * product).max(0.0).sqrt();
                Probe { add: (base - product) as f32, multiply_add: share as f32, reach: reach as f32 }
            }
        }
    }
}
