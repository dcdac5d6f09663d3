//! The random rotation that RaBitQ needs: it spreads every direction evenly over all dimensions, so that the error of a
//! code depends on nothing but chance.
//!
//! Four rounds of random signs, a Walsh-Hadamard transform, and (if the padded dimension is no power of two) one Kac
//! step that mixes the two halves: orthonormal, `O(D log D)`, `4 * D` bits of state.

use super::random::Random;

/// Rounds of signs and transforms; fewer leave structure of the input behind (RaBitQ's authors use four, too).
const ROUNDS: usize = 4;

/// Padded dimensions are a multiple of this: a whole number of register widths in every kernel.
pub const PAD: usize = 64;

/// The dimension after rotation: `dim` rounded up to a multiple of [`PAD`].
#[must_use]
pub fn padded(dim: usize) -> usize {
    dim.next_multiple_of(PAD)
}

/// A random rotation of `padded` dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    padded: usize,
    /// Signs of all rounds: bit `i` of round `r` is bit `i % 8` of byte `(r * padded + i) / 8`; set = negative.
    signs: Vec<u8>,
}

impl Rotation {
    /// Bytes of the signs of a rotation of `padded` dimensions.
    #[must_use]
    pub fn signs_len(padded: usize) -> usize {
        ROUNDS * padded / 8
    }

    /// The rotation that `seed` chooses.
    ///
    /// # Panics
    /// If `padded` is no positive multiple of [`PAD`].
    #[must_use]
    pub fn new(padded: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let signs = (0..Self::signs_len(padded) / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        Self::from_signs(padded, signs)
    }

    /// The rotation with stored signs.
    ///
    /// # Panics
    /// If `padded` is no positive multiple of [`PAD`] or `signs` has not [`Rotation::signs_len`] bytes.
    #[must_use]
    pub fn from_signs(padded: usize, signs: Vec<u8>) -> Self {
        assert!(padded > 0 && padded.is_multiple_of(PAD), "invariant: padded dimensions");
        assert_eq!(signs.len(), Self::signs_len(padded), "invariant: signs of every round");
        Self { padded, signs }
    }

    /// Dimensions of input and output.
    #[must_use]
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// The stored form.
    #[must_use]
    pub fn signs(&self) -> &[u8] {
        &self.signs
    }

    /// Rotates one vector of [`Rotation::padded`] values in place. The same bits on every CPU.
    ///
    /// # Panics
    /// If the vector has another length.
    pub fn rotate(&self, vector: &mut [f32]) {
        assert_eq!(vector.len(), self.padded, "invariant: padded vector");
        // The largest power of two that fits; its transform covers the start, then the end, alternately.
        let window = 1 << self.padded.ilog2();
        let scale = 1.0 / (window as f32).sqrt();
        for (round, signs) in self.signs.chunks_exact(self.padded / 8).enumerate() {
            flip(vector, signs);
            let start = if round % 2 == 0 { 0 } else { self.padded - window };
            let part = &mut vector[start..start + window];
            hadamard(part);
            part.iter_mut().for_each(|x| *x *= scale);
            if window != self.padded {
                let (left, right) = vector.split_at_mut(self.padded / 2);
                butterfly(left, right);
                vector.iter_mut().for_each(|x| *x *= std::f32::consts::FRAC_1_SQRT_2);
            }
        }
    }
}

/// Changes the signs of the elements whose bit is set.
fn flip(vector: &mut [f32], signs: &[u8]) {
    for (values, bits) in vector.as_chunks_mut::<8>().0.iter_mut().zip(signs) {
        for (i, value) in values.iter_mut().enumerate() {
            let sign = u32::from((bits >> i) & 1) << 31;
            *value = f32::from_bits(value.to_bits() ^ sign);
        }
    }
}

/// The unnormalised Walsh-Hadamard transform of a power of two of at least 64 values.
fn hadamard(values: &mut [f32]) {
    for values in values.as_chunks_mut::<8>().0 {
        hadamard8(values);
    }
    let mut half = 8;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            butterfly(left, right);
        }
        half *= 2;
    }
}

/// One step: sums to `x`, differences to `y`. Plain code that the compiler vectorises; a call through the kernel table for
/// every short pair was slower.
fn butterfly(x: &mut [f32], y: &mut [f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        let (sum, difference) = (*x + *y, *x - *y);
        *x = sum;
        *y = difference;
    }
}

/// The first three steps, within eight values.
fn hadamard8(x: &mut [f32; 8]) {
    let a = [x[0] + x[1], x[0] - x[1], x[2] + x[3], x[2] - x[3], x[4] + x[5], x[4] - x[5], x[6] + x[7], x[6] - x[7]];
    let b = [a[0] + a[2], a[1] + a[3], a[0] - a[2], a[1] - a[3], a[4] + a[6], a[5] + a[7], a[4] - a[6], a[5] - a[7]];
    *x = [b[0] + b[4], b[1] + b[5], b[2] + b[6], b[3] + b[7], b[0] - b[4], b[1] - b[5], b[2] - b[6], b[3] - b[7]];
}

#[cfg(test)]
mod tests;
