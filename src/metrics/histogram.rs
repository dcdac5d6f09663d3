//! Histograms of durations that any number of threads or processes record into.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets in microseconds; one more bucket counts what is slower. From a query that finds everything in
/// memory to a compaction of minutes, about three bounds for each power of ten.
pub const DURATION_BOUNDS_MICROS: [u64; 19] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

const BUCKETS: usize = DURATION_BOUNDS_MICROS.len() + 1;

/// Durations by size, and their sum. All-zero bytes are an empty one, so it may lie in shared memory.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistogramSnapshot {
    /// Durations by bucket, not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Sum of the durations.
    pub micros: u64,
}

impl Histogram {
    /// Adds one duration. Two relaxed additions: what is read meanwhile may have one of them only.
    pub fn record(&self, micros: u64) {
        let bucket = DURATION_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What is in it now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

impl HistogramSnapshot {
    /// Durations in all buckets.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}
