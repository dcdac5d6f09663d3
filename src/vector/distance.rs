//! Exact distances between float32 vectors, as pgvector's operators return them.

use super::Metric;
use super::simd::kernels;

/// The distance of two vectors of equal length as the SQL operator of `metric` returns it: `<=>` (NaN if either vector
/// is all zeros), `<->` or `<#>`. Smaller is nearer.
///
/// Sums are kept in f64, so nothing overflows on the way, the result is within one unit in the last place of the true
/// distance (cosine: of `1 - cos`, with an absolute error below 1e-15), and it is the same on every CPU. A distance
/// beyond the range of f32 is infinite.
///
/// # Panics
/// If the lengths differ (callers validate dimensions).
#[must_use]
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    Target::new(metric, a).distance(b)
}

/// Distances of `query` to every row of `rows` (`n * query.len()` values, row-major), in row order.
///
/// # Panics
/// If the query is empty or the length of `rows` is no multiple of the query's.
#[must_use]
pub fn distances(metric: Metric, query: &[f32], rows: &[f32]) -> Vec<f32> {
    assert_eq!(rows.len() % query.len(), 0, "rows of another dimension than the query's");
    let target = Target::new(metric, query);
    rows.chunks_exact(query.len()).map(|row| target.distance(row)).collect()
}

/// A query vector prepared for many distances.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    metric: Metric,
    query: &'a [f32],
    /// Squared norm; used by cosine only.
    norm: f64,
}

impl<'a> Target<'a> {
    /// Prepares `query`.
    #[must_use]
    pub fn new(metric: Metric, query: &'a [f32]) -> Self {
        let norm = if metric == Metric::Cosine { (kernels().dot)(query, query) } else { 0.0 };
        Self { metric, query, norm }
    }

    /// The distance of one row; see [`distance`].
    ///
    /// # Panics
    /// If the row's length is not the query's.
    #[must_use]
    pub fn distance(&self, row: &[f32]) -> f32 {
        let value = match self.metric {
            Metric::Cosine => {
                let (dot, norm) = (kernels().dot_and_norm)(self.query, row);
                // Two square roots: the product of two squared norms can leave the range of f64.
                let cosine = dot / (self.norm.sqrt() * norm.sqrt());
                1.0 - cosine.clamp(-1.0, 1.0)
            }
            Metric::L2 => (kernels().l2_squared)(self.query, row).sqrt(),
            // `0.0 -` and not a sign change: no negative zero.
            Metric::Dot => 0.0 - (kernels().dot)(self.query, row),
        };
        value as f32
    }
}
