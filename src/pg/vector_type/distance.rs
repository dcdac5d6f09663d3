//! Distances over two slices of equal length, accumulated in `f32` as pgvector accumulates them.
//!
//! Each sum runs in [`LANES`] independent partial sums, which the compiler keeps in vector registers. The order of
//! additions, and so the last bits of a result, is unspecified, as it is in pgvector.

/// Partial sums: four SSE registers, two AVX ones.
const LANES: usize = 16;

/// Sum of `term` over the pairs.
#[inline]
fn sum(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (left_blocks, left_rest) = left.as_chunks::<LANES>();
    let (right_blocks, right_rest) = right.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for (a, b) in left_blocks.iter().zip(right_blocks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*x, *y);
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(x, y)| term(*x, *y)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Sum of squared differences.
pub fn l2_squared(left: &[f32], right: &[f32]) -> f32 {
    sum(left, right, |x, y| (x - y) * (x - y))
}

/// Sum of products.
pub fn inner_product(left: &[f32], right: &[f32]) -> f32 {
    sum(left, right, |x, y| x * y)
}

/// Sum of absolute differences.
pub fn l1(left: &[f32], right: &[f32]) -> f32 {
    sum(left, right, |x, y| (x - y).abs())
}

/// One minus the cosine of the angle, 0 to 2; NaN when either vector is zero.
pub fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let product = f64::from(inner_product(left, right));
    let squares = f64::from(inner_product(left, left)) * f64::from(inner_product(right, right));
    // Rounding may carry the quotient out of the range of a cosine; clamp leaves NaN alone.
    1.0 - (product / squares.sqrt()).clamp(-1.0, 1.0)
}

/// Angle between two vectors of length 1, as a fraction of a half turn.
pub fn spherical(left: &[f32], right: &[f32]) -> f64 {
    f64::from(inner_product(left, right)).clamp(-1.0, 1.0).acos() / std::f64::consts::PI
}

/// Euclidean length, accumulated in `f64`.
pub fn norm(elements: &[f32]) -> f64 {
    elements.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}
