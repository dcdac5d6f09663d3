//! The first stage: one-bit codes of a list against the query.

use std::collections::BinaryHeap;
use std::ops::Range;

use roaring::RoaringBitmap;

use super::ranking::Probe;
use crate::vector::rabitq::{Block, QueryCodes, block_len};
use crate::vector::simd::{BLOCK, BlockEstimates, ListTerms, kernels};

#[cfg(test)]
mod tests;

/// Candidates kept while scanning: past twice this many (or four times k), those that the bound has since excluded
/// are dropped.
const CANDIDATES: usize = 16_384;

/// A row that may be among the nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Estimated distance, comparable within one search.
    pub(super) estimate: f32,
    /// Lower bound of the distance.
    pub(super) lower: f32,
    pub(super) ordinal: u32,
    /// Which of the search's probes the row belongs to.
    pub(super) slot: u32,
}

impl Candidate {
    /// A candidate; an estimate that is no number could be anything, so it may be the nearest.
    pub(super) fn new(estimate: f32, lower: f32, ordinal: u32, slot: u32) -> Self {
        if estimate.is_nan() || lower.is_nan() {
            return Self::unknown(ordinal, slot);
        }
        Self { estimate, lower, ordinal, slot }
    }

    /// A row about which nothing is known yet.
    pub(super) fn unknown(ordinal: u32, slot: u32) -> Self {
        Self { estimate: f32::INFINITY, lower: f32::NEG_INFINITY, ordinal, slot }
    }

    /// Upper bound of the distance.
    fn upper(&self) -> f32 {
        if self.lower == f32::NEG_INFINITY { f32::INFINITY } else { self.estimate + (self.estimate - self.lower) }
    }
}

/// The k smallest of the values seen.
#[derive(Debug)]
struct Smallest {
    k: usize,
    heap: BinaryHeap<Ordered>,
}

/// An f32 that is a number, ordered.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Smallest {
    fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// The k-th smallest value; infinite while there are fewer.
    fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(largest) if self.heap.len() == self.k => largest.0,
            _ => f32::INFINITY,
        }
    }

    /// Takes a value; whether it is among the k smallest.
    fn push(&mut self, value: f32) -> bool {
        if self.heap.len() < self.k {
            self.heap.push(Ordered(value));
            return true;
        }
        match self.heap.peek_mut() {
            Some(mut largest) if value < largest.0 => {
                *largest = Ordered(value);
                true
            }
            _ => false,
        }
    }
}

/// Keeps the candidates whose lower bound is not above the k-th smallest upper bound: the nearest k are among them, as
/// far as the bounds hold. Of more than `most` (at least k) the best estimates stay.
pub(super) fn keep_promising(candidates: &mut Vec<Candidate>, k: usize, most: usize) {
    let mut uppers = Smallest::new(k);
    for candidate in candidates.iter() {
        uppers.push(candidate.upper());
    }
    let threshold = uppers.threshold();
    candidates.retain(|candidate| candidate.lower <= threshold);
    keep_best(candidates, most.max(k));
}

/// Of more than `most` the best estimates stay.
pub(super) fn keep_best(candidates: &mut Vec<Candidate>, most: usize) {
    if candidates.len() > most {
        candidates
            .select_nth_unstable_by(most, |a, b| a.estimate.total_cmp(&b.estimate).then(a.ordinal.cmp(&b.ordinal)));
        candidates.truncate(most);
    }
}

/// The state of the first stage over all lists of a search.
#[derive(Debug)]
pub(super) struct Scan {
    k: usize,
    /// Upper bounds: no row whose lower bound is above their threshold can be among the nearest k.
    uppers: Smallest,
    /// Estimates: whether a list brought anything new.
    nearest: Smallest,
    /// Consecutive lists that brought nothing into `nearest`.
    idle: usize,
    candidates: Vec<Candidate>,
    masks: Vec<u32>,
}

impl Scan {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            uppers: Smallest::new(k),
            nearest: Smallest::new(k),
            idle: 0,
            candidates: Vec::new(),
            masks: Vec::new(),
        }
    }

    /// Lists in a row, up to now, that improved nothing.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// Scans the list with ordinals `rows` whose postings are `bytes`; the number of allowed rows in it, or `None` if
    /// the bytes are not the whole blocks that so many rows have.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn list(
        &mut self,
        query: &QueryCodes,
        probe: &Probe,
        sigmas: f32,
        rows: Range<u32>,
        allowed: Option<&RoaringBitmap>,
        bytes: &[u8],
        slot: u32,
    ) -> Option<usize> {
        let padded = query.plane.len();
        let blocks = (rows.len()).div_ceil(BLOCK);
        if bytes.len() != blocks * block_len(padded) {
            return None;
        }
        fill_masks(&mut self.masks, &rows, allowed);
        let terms = ListTerms {
            step: query.step,
            bias: query.bias,
            add: probe.add,
            multiply_add: probe.multiply_add,
            error: query.block_error(sigmas, probe.reach),
            error_floor: query.table_error,
        };
        let kernels = kernels();
        let mut sums = [0; BLOCK];
        let mut estimates = BlockEstimates::new();
        let (mut scanned, mut improved) = (0, false);
        for (i, bytes) in bytes.chunks_exact(block_len(padded)).enumerate() {
            let mask = self.masks[i];
            if mask == 0 {
                continue;
            }
            scanned += mask.count_ones() as usize;
            let block = Block::read(bytes, padded)?;
            (kernels.fast_scan)(block.codes, &query.table, &mut sums);
            let threshold = self.uppers.threshold();
            let promising = (kernels.estimate)(&sums, &block.factors(), &terms, threshold, &mut estimates);
            let mut left = promising & mask;
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                left &= left - 1;
                let ordinal = rows.start + (i * BLOCK + lane) as u32;
                let candidate = Candidate::new(estimates.estimate[lane], estimates.lower[lane], ordinal, slot);
                self.uppers.push(candidate.upper());
                improved |= self.nearest.push(candidate.estimate);
                self.candidates.push(candidate);
            }
        }
        self.idle = if improved { 0 } else { self.idle + 1 };
        let most = CANDIDATES.max(4 * self.k);
        if self.candidates.len() > 2 * most {
            self.shrink(most);
        }
        Some(scanned)
    }

    fn shrink(&mut self, most: usize) {
        let threshold = self.uppers.threshold();
        self.candidates.retain(|candidate| candidate.lower <= threshold);
        keep_best(&mut self.candidates, most);
    }

    /// The rows that may be among the nearest k, at most `most` (but k).
    pub(super) fn finish(&mut self, most: usize) -> Vec<Candidate> {
        self.shrink(most.max(self.k));
        std::mem::take(&mut self.candidates)
    }
}

/// The mask of allowed rows of every block of a list.
fn fill_masks(masks: &mut Vec<u32>, rows: &Range<u32>, allowed: Option<&RoaringBitmap>) {
    masks.clear();
    let blocks = rows.len().div_ceil(BLOCK);
    let Some(allowed) = allowed else {
        masks.resize(blocks, u32::MAX);
        let rest = rows.len() % BLOCK;
        if let (Some(last), 1..) = (masks.last_mut(), rest) {
            *last = (1 << rest) - 1;
        }
        return;
    };
    masks.resize(blocks, 0);
    for ordinal in allowed.range(rows.clone()) {
        let place = (ordinal - rows.start) as usize;
        masks[place / BLOCK] |= 1 << (place % BLOCK);
    }
}
