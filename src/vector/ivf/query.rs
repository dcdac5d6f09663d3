//! From vectors as given to vectors as indexed: normalised (cosine), centred, scaled, padded, rotated.

use super::head::Head;
use crate::vector::Metric;
use crate::vector::rabitq::QueryCodes;
use crate::vector::rotate::Rotation;
use crate::vector::simd::kernels;

/// Largest magnitude of the scale exponent: f32 has exponents from -149 to 127.
pub(super) const MAX_EXPONENT: u32 = 160;

/// Where a prepared l2 query may lie at most from the mean, when all rows are within `sqrt(D)` of it. A query further
/// away is moved closer along its direction: from there every order of the rows that f32 can tell apart is the same.
const FAR: f64 = 1e9;

/// `2^exponent` for exponents up to [`MAX_EXPONENT`], made from bits: exact, without a library that may round.
pub(super) fn scale(exponent: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52)
}

/// `row` less the mean, times the scale, padded and rotated, in `out` (of padded length).
pub(super) fn prepare_row(
    metric: Metric,
    rotation: &Rotation,
    mean: &[f32],
    exponent: i32,
    row: &[f32],
    out: &mut [f32],
) {
    let (norm, scale) = (divisor(metric, row), scale(exponent));
    for ((out, value), mean) in out.iter_mut().zip(row).zip(mean) {
        *out = ((f64::from(*value) / norm - f64::from(*mean)) * scale) as f32;
    }
    out[row.len()..].fill(0.0);
    rotation.rotate(out);
}

/// What a row is divided by before anything else: its norm for cosine.
pub(super) fn divisor(metric: Metric, row: &[f32]) -> f64 {
    if metric == Metric::Cosine { (kernels().dot)(row, row).sqrt() } else { 1.0 }
}

/// A query in the space of the index.
#[derive(Debug)]
pub(super) struct PreparedQuery {
    /// l2 and cosine: like a row. Dot: of unit length, neither centred nor scaled; the order of the rows is the same.
    pub(super) rotated: Vec<f32>,
    /// Squared norm of `rotated`.
    pub(super) norm: f64,
    /// Sum of `rotated`.
    pub(super) sum: f64,
    /// Dot: product of the query, of unit length, with the mean.
    pub(super) mean_product: f64,
    /// l2 and cosine: the query was moved closer, so distances are those of another one.
    pub(super) moved: bool,
    pub(super) codes: QueryCodes,
}

impl PreparedQuery {
    pub(super) fn new(head: &Head, query: &[f32]) -> Self {
        let mut wide: Vec<f64> = query.iter().map(|value| f64::from(*value)).collect();
        let (mut mean_product, mut moved) = (0.0, false);
        if head.metric() == Metric::Dot {
            let norm = (kernels().dot)(query, query).sqrt();
            if norm > 0.0 {
                wide.iter_mut().for_each(|value| *value /= norm);
            }
            mean_product = wide.iter().zip(head.mean()).map(|(value, mean)| value * f64::from(*mean)).sum();
        } else {
            let (norm, scale) = (divisor(head.metric(), query), scale(head.exponent()));
            for (value, mean) in wide.iter_mut().zip(head.mean()) {
                *value = (*value / norm - f64::from(*mean)) * scale;
            }
            let length = wide.iter().map(|value| value * value).sum::<f64>().sqrt();
            if length > FAR {
                moved = true;
                wide.iter_mut().for_each(|value| *value *= FAR / length);
            }
        }
        let mut rotated = vec![0.0; head.padded()];
        for (out, value) in rotated.iter_mut().zip(wide) {
            *out = value as f32;
        }
        head.rotation().rotate(&mut rotated);
        let norm = (kernels().dot)(&rotated, &rotated);
        let sum = rotated.iter().map(|value| f64::from(*value)).sum();
        let codes = QueryCodes::new(&rotated);
        Self { rotated, norm, sum, mean_product, moved, codes }
    }
}
