//! A bounded heap of the best candidates.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::ids::Key;

/// A candidate with its score (larger is better).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<T> {
    /// Larger is better; never NaN.
    pub score: f32,
    /// Breaks ties, ascending.
    pub key: Key,
    /// Whatever the caller needs to find the row again.
    pub item: T,
}

impl<T> Scored<T> {
    /// The order of results: best first.
    pub fn rank_order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.key.cmp(&other.key))
    }
}

/// Heap entry: the worst candidate is the greatest, so that it is on top.
#[derive(Debug)]
struct Worst<T>(Scored<T>);

impl<T> PartialEq for Worst<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Worst<T> {}

impl<T> PartialOrd for Worst<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Worst<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.rank_order(&other.0)
    }
}

/// Keeps the best `k` of any number of candidates in O(k) memory.
#[derive(Debug)]
pub struct TopK<T> {
    k: usize,
    heap: BinaryHeap<Worst<T>>,
}

impl<T> TopK<T> {
    /// An empty selection of at most `k`.
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Offers one candidate.
    pub fn push(&mut self, candidate: Scored<T>) {
        if self.k == 0 {
            return;
        }
        if self.heap.len() < self.k {
            self.heap.push(Worst(candidate));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate.rank_order(&worst.0) == Ordering::Less
        {
            *worst = Worst(candidate);
        }
    }

    /// Offers many.
    pub fn extend(&mut self, candidates: impl IntoIterator<Item = Scored<T>>) {
        for candidate in candidates {
            self.push(candidate);
        }
    }

    /// The score a candidate must reach to matter; None while there is room.
    pub fn threshold(&self) -> Option<f32> {
        if self.heap.len() < self.k { None } else { self.heap.peek().map(|worst| worst.0.score) }
    }

    /// The selection, best first.
    pub fn into_sorted(self) -> Vec<Scored<T>> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}

#[cfg(test)]
mod tests;
