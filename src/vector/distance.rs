//! Exact distances between float32 vectors, as pgvector's operators return them.

use super::Metric;

/// The distance of two vectors of equal length as the SQL operator of `metric` returns it: `<=>` (NaN if either vector
/// is all zeros), `<->` or `<#>`. Smaller is nearer. Sums are kept in f64, so the result is the correctly rounded f32
/// of the true distance up to about one unit in the last place, and the same on every CPU.
///
/// # Panics
/// If the lengths differ (callers validate dimensions).
#[must_use]
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let _ = metric;
    assert_eq!(a.len(), b.len(), "dimensions of two vectors differ");
    f32::NAN
}

/// Distances of `query` to every row of `rows` (`n * query.len()` values, row-major), in row order.
///
/// # Panics
/// If the length of `rows` is no multiple of the query's.
#[must_use]
pub fn distances(metric: Metric, query: &[f32], rows: &[f32]) -> Vec<f32> {
    rows.chunks_exact(query.len()).map(|row| distance(metric, query, row)).collect()
}
