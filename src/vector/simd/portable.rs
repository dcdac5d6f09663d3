//! The kernels in plain Rust: the reference for the others, and what runs where there is nothing better.

use super::{
    BLOCK, BlockEstimates, BlockFactors, Kernels, LANES, ListTerms, NIBBLE_DIMS, TILE_COLUMNS, TILE_ROWS, sum_lanes,
};

pub(super) static KERNELS: Kernels =
    Kernels { name: "portable", dot, l2_squared, dot_and_norm, tile, fast_scan, estimate, code_dot };

/// Bytes of one group of a FastScan block or table.
const GROUP_BYTES: usize = 1 << NIBBLE_DIMS;

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "invariant: equal dimensions");
    let mut lanes = [0.0f64; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    sum_lanes(&lanes)
}

pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "invariant: equal dimensions");
    let mut lanes = [0.0f64; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            let difference = f64::from(*a) - f64::from(*b);
            *lane += difference * difference;
        }
    }
    sum_lanes(&lanes)
}

pub(super) fn dot_and_norm(a: &[f32], b: &[f32]) -> (f64, f64) {
    (dot(a, b), dot(b, b))
}

pub(super) fn tile(a: &[f32], depth: usize, panel: &[f32], out: &mut [f32; TILE_ROWS * TILE_COLUMNS]) {
    let a = &a[..TILE_ROWS * depth];
    let panel = &panel[..TILE_COLUMNS * depth];
    *out = [0.0; TILE_ROWS * TILE_COLUMNS];
    for (step, column) in panel.chunks_exact(TILE_COLUMNS).enumerate() {
        for (row, out) in out.chunks_exact_mut(TILE_COLUMNS).enumerate() {
            let x = a[row * depth + step];
            for (sum, y) in out.iter_mut().zip(column) {
                *sum += x * *y;
            }
        }
    }
}

pub(super) fn fast_scan(codes: &[u8], table: &[u8], sums: &mut [u32; BLOCK]) {
    assert_eq!(codes.len(), table.len(), "invariant: one table row per group");
    *sums = [0; BLOCK];
    let (low, high) = sums.split_at_mut(BLOCK / 2);
    for (codes, table) in codes.chunks_exact(GROUP_BYTES).zip(table.chunks_exact(GROUP_BYTES)) {
        for ((code, low), high) in codes.iter().zip(low.iter_mut()).zip(high.iter_mut()) {
            *low += u32::from(table[usize::from(code & 15)]);
            *high += u32::from(table[usize::from(code >> 4)]);
        }
    }
}

pub(super) fn estimate(
    sums: &[u32; BLOCK],
    factors: &BlockFactors<'_>,
    terms: &ListTerms,
    threshold: f32,
    out: &mut BlockEstimates,
) -> u32 {
    let mut mask = 0;
    for (i, sum) in sums.iter().enumerate() {
        let product = terms.step * (*sum as f32) + terms.bias;
        let estimate = (terms.multiply_add * factors.add[i] + terms.add) + factors.rescale[i] * product;
        let half = factors.rescale[i].abs() * (f32::from(factors.error[i]) * terms.error + terms.error_floor);
        let lower = estimate - half;
        out.estimate[i] = estimate;
        out.lower[i] = lower;
        let above = lower > threshold;
        mask |= u32::from(!above) << i;
    }
    mask
}

pub(super) fn code_dot(code: &[u8], query: &[i16]) -> i64 {
    assert_eq!(code.len(), query.len(), "invariant: equal dimensions");
    // 2^15 * 2^7 * 256 terms = 2^30: an i32 holds the sum of one chunk.
    code.chunks(256)
        .zip(query.chunks(256))
        .map(|(code, query)| {
            let sum: i32 = code.iter().zip(query).map(|(c, q)| i32::from(c.cast_signed()) * i32::from(*q)).sum();
            i64::from(sum)
        })
        .sum()
}
