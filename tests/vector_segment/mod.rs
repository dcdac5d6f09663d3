//! A segment in memory for the vector tests and benches, and the data sets they use.
#![allow(dead_code, clippy::unwrap_used)]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use elacsym::error::Result;
use elacsym::vector::distance::distances;
use elacsym::vector::{BuildParams, Head, Metric, SearchParams, SearchStats, VectorSource, build, search};
use roaring::RoaringBitmap;

/// A built index with its rows, in memory.
pub struct Segment {
    pub head: Head,
    pub metric: Metric,
    pub dim: usize,
    /// `order[ordinal]` = input row.
    pub order: Vec<u32>,
    /// Exact vectors by ordinal.
    pub rows: Vec<f32>,
    postings: Bytes,
    row_codes: Bytes,
    pub round_trips: AtomicUsize,
}

impl Segment {
    pub fn build(metric: Metric, dim: usize, vectors: &[f32]) -> Self {
        Self::build_with(&BuildParams { metric, dim, seed: 42, threads: 2, lists: None }, vectors)
    }

    pub fn build_with(params: &BuildParams, vectors: &[f32]) -> Self {
        let built = build(params, vectors).unwrap();
        let head = Head::decode(&built.head, "test.idx").unwrap();
        assert_eq!(head.postings_len(), built.postings.len() as u64);
        assert_eq!(head.row_codes_len(), built.row_codes.len() as u64);
        let dim = params.dim;
        let mut rows = Vec::with_capacity(vectors.len());
        for row in &built.order {
            rows.extend_from_slice(&vectors[*row as usize * dim..(*row as usize + 1) * dim]);
        }
        Self {
            head,
            metric: params.metric,
            dim,
            order: built.order,
            rows,
            postings: built.postings.into(),
            row_codes: built.row_codes.into(),
            round_trips: AtomicUsize::new(0),
        }
    }

    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        effort: f32,
        allowed: Option<&RoaringBitmap>,
    ) -> (Vec<(u32, f32)>, SearchStats) {
        let params = SearchParams { k, effort, allowed };
        futures::executor::block_on(search(&self.head, self, query, &params)).unwrap()
    }

    /// Brute force over the allowed rows: (ordinal, distance), nearest first.
    pub fn exact(&self, query: &[f32], k: usize, allowed: Option<&RoaringBitmap>) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = distances(self.metric, query, &self.rows)
            .into_iter()
            .enumerate()
            .map(|(ordinal, distance)| (ordinal as u32, distance))
            .filter(|(ordinal, _)| allowed.is_none_or(|allowed| allowed.contains(*ordinal)))
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }
}

#[async_trait::async_trait]
impl VectorSource for Segment {
    async fn postings(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "ranges ascend");
        Ok(ranges.iter().map(|range| self.postings.slice(range.start as usize..range.end as usize)).collect())
    }

    async fn row_codes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "ranges ascend");
        Ok(ranges.iter().map(|range| self.row_codes.slice(range.start as usize..range.end as usize)).collect())
    }

    async fn vectors(&self, ordinals: &[u32]) -> Result<Vec<f32>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        assert!(ordinals.is_sorted_by(|a, b| a < b), "ordinals ascend");
        let rows = ordinals.iter().map(|ordinal| *ordinal as usize);
        Ok(rows.flat_map(|row| self.rows[row * self.dim..(row + 1) * self.dim].iter().copied()).collect())
    }
}

/// The share of the true neighbours that were found; a row as near as the last true one counts as one (ties).
pub fn recall(found: &[(u32, f32)], truth: &[(u32, f32)]) -> f64 {
    let Some(last) = truth.last() else { return 1.0 };
    found.iter().filter(|(_, distance)| *distance <= last.1).count() as f64 / truth.len() as f64
}

/// A pseudo-random sequence for tests.
pub struct Sequence(pub u64);

impl Sequence {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Roughly standard normal: a sum of twelve uniforms.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// `n + queries` unit vectors around topics in a 48-dimensional latent space, mapped by a random matrix and bent, with
/// noise; queries carry more of it. Returns (rows, queries).
pub fn synthetic(n: usize, queries: usize, dim: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    const LATENT: usize = 48;
    let mut random = Sequence(seed);
    let topics: Vec<f32> = (0..1000 * LATENT).map(|_| random.normal()).collect();
    let map: Vec<f32> = (0..LATENT * dim).map(|_| random.normal() / (LATENT as f32).sqrt()).collect();
    let mut make = |noise: f32| {
        // Topics of unequal size: the square of a uniform prefers the first.
        let u = random.uniform();
        let topic = ((u * u * 1000.0) as usize).min(999);
        let latent: Vec<f32> =
            topics[topic * LATENT..(topic + 1) * LATENT].iter().map(|t| t + 0.7 * random.normal()).collect();
        let mut row = vec![0.0f32; dim];
        for (l, weights) in latent.iter().zip(map.chunks_exact(dim)) {
            for (x, w) in row.iter_mut().zip(weights) {
                *x += l * w;
            }
        }
        for x in &mut row {
            *x = x.tanh() + noise * random.normal();
        }
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
        row
    };
    let rows = (0..n).flat_map(|_| make(0.25)).collect();
    let queries = (0..queries).flat_map(|_| make(0.45)).collect();
    (rows, queries)
}

/// The directory with the shared data sets, or `None` with a printed line that says what is skipped.
pub fn data(file: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("ELACSYM_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = directory.join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {file} absent (looked in {})", directory.display());
    None
}

/// Reads `.fvecs`: (dimension, values).
pub fn fvecs(path: &std::path::Path) -> (usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let dim = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let values = bytes
        .chunks_exact(4 + 4 * dim)
        .flat_map(|row| row[4..].chunks_exact(4))
        .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
        .collect();
    (dim, values)
}

/// Reads `.ivecs` as rows of numbers.
pub fn ivecs(path: &std::path::Path) -> Vec<Vec<u32>> {
    let bytes = std::fs::read(path).unwrap();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes
        .chunks_exact(4 + 4 * length)
        .map(|row| row[4..].chunks_exact(4).map(|value| u32::from_le_bytes(value.try_into().unwrap())).collect())
        .collect()
}
