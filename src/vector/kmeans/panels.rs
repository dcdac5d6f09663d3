//! Centroids laid out for the tile kernel, and nearest-centroid search with it.

use crate::vector::simd::{TILE_COLUMNS, TILE_ROWS, kernels};

/// Centroids in panels of 16 columns: `panel[depth][16]`, the last one padded.
#[derive(Debug)]
pub(super) struct Panels {
    dim: usize,
    panels: Vec<f32>,
    /// Half of every centroid's squared norm; infinite for padding, which so is never the nearest.
    half_norms: Vec<f32>,
}

impl Panels {
    pub(super) fn new(centroids: &[f32], dim: usize) -> Self {
        let count = centroids.len() / dim;
        let padded = count.next_multiple_of(TILE_COLUMNS);
        let mut panels = vec![0.0; padded * dim];
        let mut half_norms = vec![f32::INFINITY; padded];
        for (i, centroid) in centroids.chunks_exact(dim).enumerate() {
            let panel = &mut panels[i / TILE_COLUMNS * TILE_COLUMNS * dim..];
            for (depth, value) in centroid.iter().enumerate() {
                panel[depth * TILE_COLUMNS + i % TILE_COLUMNS] = *value;
            }
            half_norms[i] = (0.5 * (kernels().dot)(centroid, centroid)) as f32;
        }
        Self { dim, panels, half_norms }
    }

    /// Calls `f(row, first column, scores)` for all rows and all panels, a row's panels in ascending order. A score is
    /// half the squared distance less half the row's squared norm.
    fn scores(&self, rows: &[f32], mut f: impl FnMut(usize, usize, &[f32; TILE_COLUMNS])) {
        let dim = self.dim;
        let tile = kernels().tile;
        let mut products = [0.0; TILE_ROWS * TILE_COLUMNS];
        let mut rest = Vec::new();
        for (panel, values) in self.panels.chunks_exact(TILE_COLUMNS * dim).enumerate() {
            let first = panel * TILE_COLUMNS;
            for (quad, rows) in rows.chunks(TILE_ROWS * dim).enumerate() {
                let count = rows.len() / dim;
                let rows = if count == TILE_ROWS {
                    rows
                } else {
                    rest.clear();
                    rest.extend_from_slice(rows);
                    rest.resize(TILE_ROWS * dim, 0.0);
                    &rest
                };
                tile(rows, dim, values, &mut products);
                for (i, products) in products.as_chunks_mut::<TILE_COLUMNS>().0.iter_mut().take(count).enumerate() {
                    for (product, half) in products.iter_mut().zip(&self.half_norms[first..]) {
                        *product = *half - *product;
                    }
                    f(quad * TILE_ROWS + i, first, products);
                }
            }
        }
    }

    /// Calls `f(row, score, column)` once per row with its nearest centroid, the first of equals.
    pub(super) fn nearest(&self, rows: &[f32], mut f: impl FnMut(usize, f32, u32)) {
        let mut best = vec![(f32::INFINITY, 0u32); rows.len() / self.dim];
        self.scores(rows, |row, first, scores| {
            let smallest = scores.iter().copied().fold(f32::INFINITY, f32::min);
            if smallest < best[row].0 {
                let column = scores.iter().position(|score| *score == smallest).unwrap_or(0);
                best[row] = (smallest, (first + column) as u32);
            }
        });
        for (row, (score, column)) in best.into_iter().enumerate() {
            f(row, score, column);
        }
    }

    /// The `count` nearest centroids of every row, nearest first.
    pub(super) fn nearest_few(&self, rows: &[f32], count: usize) -> Vec<Vec<u32>> {
        let mut best: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(count + 1); rows.len() / self.dim];
        self.scores(rows, |row, first, scores| {
            let best = &mut best[row];
            for (column, score) in scores.iter().enumerate() {
                let full = best.len() == count;
                if !score.is_finite() || (full && best.last().is_some_and(|worst| *score >= worst.0)) {
                    continue;
                }
                let at = best.partition_point(|kept| kept.0 <= *score);
                best.insert(at, (*score, (first + column) as u32));
                best.truncate(count);
            }
        });
        best.into_iter().map(|best| best.into_iter().map(|(_, column)| column).collect()).collect()
    }
}
