//! RaBitQ (Gao and Long, SIGMOD 2024; multi-bit: Gao et al., SIGMOD 2025): codes of rotated residuals whose inner
//! product with any vector is estimated without bias and with a known error.
//!
//! A row `y` (rotated) of the list with centroid `c` has the residual `r = y - c` and the code `u` (signs, or integers in
//! -127..=127). With `s = |r|^2 / <r, u>`, `s * <u, v>` estimates `<r, v>` for every `v`; the error is that of a random
//! direction: standard deviation `|v| * s * |u| * sqrt(1 - cos^2(r, u)) / sqrt(D - 1)`. Applied to `v = q - c`:
//!
//! * l2, cosine: `|q - y|^2 = |q - c|^2 + (|r|^2 + 2 s <u, c>) - 2 s <u, q>`
//! * dot: `-<q, y> = -<q, c> + b (s <u, c> - <r, c>) - s <u, q>`, where `b` is free (the exact terms cancel for every
//!   `b`); the query picks `b = <q, c> / |c|^2`, which makes the error proportional to the part of `q` across `c`.
//!
//! So both are `add + b * factors.add + factors.rescale * <u, q>`, and one table of `q` serves all lists.

use super::Metric;
use super::simd::{BLOCK, BlockFactors, NIBBLE_DIMS, kernels};

#[cfg(test)]
mod tests;

/// Bytes of the factors behind the codes of one block: two f32 and one byte per vector.
const BLOCK_FACTORS_LEN: usize = BLOCK * (4 + 4 + 1);

/// Bytes of the factors behind one 8-bit row code: three f32.
const ROW_FACTORS_LEN: usize = 12;

/// Largest magnitude of an 8-bit code element.
const CODE_MAX: f32 = 127.0;

/// Largest magnitude of an element of a 16-bit query.
const PLANE_MAX: f32 = 32_767.0;

/// Standard deviations of rounding noise of the lookup table that a bound allows for.
const TABLE_NOISE: f32 = 3.0;

/// The nearest integer, ties to even, of a value up to 2^22: adding and taking away 1.5 * 2^23 needs no library call.
fn round(value: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (value + ROUND) - ROUND
}

/// Bytes of a block of 32 one-bit codes of `padded` dimensions, with factors.
#[must_use]
pub fn block_len(padded: usize) -> usize {
    padded * (BLOCK / 8) + BLOCK_FACTORS_LEN
}

/// Bytes of an 8-bit row code of `padded` dimensions, with factors.
#[must_use]
pub fn row_len(padded: usize) -> usize {
    padded + ROW_FACTORS_LEN
}

/// What an estimate needs besides the code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Additive term.
    pub add: f32,
    /// Factor of the inner product of code and query; never positive.
    pub rescale: f32,
    /// Standard error of `<u, v>` per unit of `|v|`.
    pub error: f32,
}

impl Factors {
    /// The factors of `residual` (`r`) with code `code` (`u`) in a list with `centroid` (`c`).
    fn new(metric: Metric, residual: &[f32], code: &[f32], centroid: &[f32]) -> Self {
        let dot = kernels().dot;
        let norm = dot(residual, residual);
        let product = dot(residual, code);
        if norm <= 0.0 || product <= 0.0 {
            // The row is its centroid: nothing to estimate, nothing to err about.
            return Self { add: 0.0, rescale: 0.0, error: 0.0 };
        }
        let scale = norm / product;
        let code_centroid = dot(code, centroid);
        let (add, rescale) = match metric {
            Metric::Cosine | Metric::L2 => (norm + 2.0 * scale * code_centroid, -2.0 * scale),
            Metric::Dot => (scale * code_centroid - dot(residual, centroid), -scale),
        };
        // |u|^2 (1 - cos^2) without dividing by |u|.
        let across = (dot(code, code) - product * product / norm).max(0.0);
        let error = (across / (residual.len() - 1) as f64).sqrt();
        Self { add: add as f32, rescale: rescale as f32, error: error as f32 }
    }
}

/// The largest [`Factors::error`] of a one-bit code of `padded` dimensions; blocks store errors as 255ths of it.
fn one_bit_error_unit(padded: usize) -> f32 {
    (padded as f32 / (padded - 1) as f32).sqrt()
}

/// One-bit code of `residual`: leaves the signs in `code` as -1.0 and 1.0 (zero counts as positive).
pub fn one_bit(metric: Metric, residual: &[f32], centroid: &[f32], code: &mut Vec<f32>) -> Factors {
    code.clear();
    code.extend(residual.iter().map(|r| if *r < 0.0 { -1.0 } else { 1.0 }));
    Factors::new(metric, residual, code, centroid)
}

/// 8-bit code of `residual`, scaled so that its largest element is ±127: leaves the integers in `code`.
pub fn eight_bit(metric: Metric, residual: &[f32], centroid: &[f32], code: &mut Vec<f32>) -> Factors {
    let largest = residual.iter().fold(0.0f32, |max, r| max.max(r.abs()));
    let scale = if largest > 0.0 { CODE_MAX / largest } else { 0.0 };
    // The reciprocal of a subnormal is infinite; such a residual is nothing.
    let scale = if scale.is_finite() { scale } else { 0.0 };
    code.clear();
    code.extend(residual.iter().map(|r| round(r * scale)));
    Factors::new(metric, residual, code, centroid)
}

/// Appends one row code to `out`: the elements of an [`eight_bit`] code as bytes, then the factors.
pub fn write_row(code: &[f32], factors: &Factors, out: &mut Vec<u8>) {
    out.extend(code.iter().map(|c| (*c as i8).cast_unsigned()));
    for value in [factors.add, factors.rescale, factors.error] {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Splits a row code ([`row_len`] bytes) into its elements and its factors; `None` for another length.
#[must_use]
pub fn read_row(row: &[u8], padded: usize) -> Option<(&[u8], Factors)> {
    let (code, factors) = row.split_at_checked(padded)?;
    let [add, rescale, error] = read_f32::<3>(factors)?;
    Some((code, Factors { add, rescale, error }))
}

/// Collects up to 32 one-bit codes into a block.
#[derive(Debug)]
pub struct BlockWriter {
    padded: usize,
    filled: usize,
    codes: Vec<u8>,
    add: [f32; BLOCK],
    rescale: [f32; BLOCK],
    error: [u8; BLOCK],
}

impl BlockWriter {
    /// An empty block for codes of `padded` dimensions.
    #[must_use]
    pub fn new(padded: usize) -> Self {
        Self {
            padded,
            filled: 0,
            codes: vec![0; padded * (BLOCK / 8)],
            add: [0.0; BLOCK],
            rescale: [0.0; BLOCK],
            error: [0; BLOCK],
        }
    }

    /// Adds a code as [`one_bit`] leaves it; writes the block to `out` when it is full.
    pub fn push(&mut self, code: &[f32], factors: &Factors, out: &mut Vec<u8>) {
        let shift = 4 * (self.filled / (BLOCK / 2));
        let lane = self.filled % (BLOCK / 2);
        for (group, signs) in code.as_chunks::<NIBBLE_DIMS>().0.iter().enumerate() {
            let mut nibble = 0;
            for (i, sign) in signs.iter().enumerate() {
                nibble |= u8::from(*sign > 0.0) << i;
            }
            self.codes[group * (BLOCK / 2) + lane] |= nibble << shift;
        }
        self.add[self.filled] = factors.add;
        self.rescale[self.filled] = factors.rescale;
        // Rounded up, so that the stored bound is never the tighter one.
        self.error[self.filled] = (factors.error / one_bit_error_unit(self.padded) * 255.0).ceil().min(255.0) as u8;
        self.filled += 1;
        if self.filled == BLOCK {
            self.finish(out);
        }
    }

    /// Writes what is left, padded with zeros, to `out`; nothing if the block is empty.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.filled == 0 {
            return;
        }
        out.extend_from_slice(&self.codes);
        for value in self.add.iter().chain(&self.rescale) {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.error);
        *self = Self::new(self.padded);
    }
}

/// A block as stored: [`block_len`] bytes.
#[derive(Debug)]
pub struct Block<'a> {
    /// FastScan codes.
    pub codes: &'a [u8],
    add: [f32; BLOCK],
    rescale: [f32; BLOCK],
    error: &'a [u8; BLOCK],
}

impl<'a> Block<'a> {
    /// Splits the bytes of a block; `None` for another length.
    #[must_use]
    pub fn read(block: &'a [u8], padded: usize) -> Option<Self> {
        let (codes, factors) = block.split_at_checked(padded * (BLOCK / 8))?;
        let (add, factors) = factors.split_at_checked(4 * BLOCK)?;
        let (rescale, error) = factors.split_at_checked(4 * BLOCK)?;
        Some(Self { codes, add: read_f32(add)?, rescale: read_f32(rescale)?, error: error.try_into().ok()? })
    }

    /// The factors, as the estimate kernel takes them.
    #[must_use]
    pub fn factors(&self) -> BlockFactors<'_> {
        BlockFactors { add: &self.add, rescale: &self.rescale, error: self.error }
    }
}

/// Exactly `N` little-endian f32.
fn read_f32<const N: usize>(bytes: &[u8]) -> Option<[f32; N]> {
    let (values, rest) = bytes.as_chunks::<4>();
    if values.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0.0; N];
    for (out, value) in out.iter_mut().zip(values) {
        *out = f32::from_le_bytes(*value);
    }
    Some(out)
}

/// A rotated query in the forms that the two stages multiply codes with.
#[derive(Debug, Clone)]
pub struct QueryCodes {
    /// FastScan lookup table: 16 entries per 4 dimensions.
    pub table: Vec<u8>,
    /// `<u, q> = step * sum + bias` for a sum of table entries.
    pub step: f32,
    /// See `step`.
    pub bias: f32,
    /// What the rounding of the table can add to or take from `<u, q>`, for all practical purposes.
    pub table_error: f32,
    /// The query as 16-bit integers.
    pub plane: Vec<i16>,
    /// `<u, q> = plane_step * <u, plane>` for 8-bit codes.
    pub plane_step: f32,
    padded: usize,
}

impl QueryCodes {
    /// Prepares a rotated query (a multiple of 64 finite values).
    #[must_use]
    pub fn new(query: &[f32]) -> Self {
        let (groups, _) = query.as_chunks::<NIBBLE_DIMS>();
        let magnitude = |group: &[f32; NIBBLE_DIMS]| group.iter().map(|q| q.abs()).sum::<f32>();
        // A table entry less the smallest of its group lies between 0 and twice the group's magnitude.
        let step = groups.iter().map(|group| 2.0 * magnitude(group)).fold(0.0f32, f32::max) / 255.0;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut table = Vec::with_capacity(16 * groups.len());
        for group in groups {
            // Set bit: +q, clear bit: -q, less the group's smallest entry: 2 |q| where bit and sign agree, else 0.
            let mut entries = [0.0f32; 1 << NIBBLE_DIMS];
            entries[0] = group.iter().map(|q| 2.0 * (-q).max(0.0)).sum();
            for value in 1..entries.len() {
                let bit = value.trailing_zeros() as usize;
                entries[value] = entries[value & (value - 1)] + 2.0 * group[bit];
            }
            // A sum of rounded terms may leave the range by a rounding error; the cast saturates.
            table.extend(entries.iter().map(|entry| (entry * inverse + 0.5) as u8));
        }
        let bias = -groups.iter().map(|group| f64::from(magnitude(group))).sum::<f64>();
        let table_error = TABLE_NOISE * step * (groups.len() as f32 / 12.0).sqrt();
        let largest = query.iter().fold(0.0f32, |max, q| max.max(q.abs()));
        let plane_step = largest / PLANE_MAX;
        let inverse = if plane_step > 0.0 { 1.0 / plane_step } else { 0.0 };
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let plane = query.iter().map(|q| round(q * inverse).clamp(-PLANE_MAX, PLANE_MAX) as i16).collect();
        Self { table, step, bias: bias as f32, table_error, plane, plane_step, padded: query.len() }
    }

    /// Half width of a bound of `sigmas` standard errors per unit of a stored one-bit error, for a query at distance
    /// `reach` (`|q - b c|`) from the centroid.
    #[must_use]
    pub fn block_error(&self, sigmas: f32, reach: f32) -> f32 {
        sigmas * reach * one_bit_error_unit(self.padded) / 255.0
    }

    /// `<u, q>` of an 8-bit code.
    #[must_use]
    pub fn code_product(&self, code: &[u8]) -> f32 {
        self.plane_step * (kernels().code_dot)(code, &self.plane) as f32
    }
}
