//! The stored form of a head (version 1): little-endian, a header of 256 bytes, then sections aligned to 64 bytes.
//!
//! | offset | header field |
//! |---|---|
//! | 0 | magic `EVX1` |
//! | 4 | u32 version |
//! | 8 | u8 metric ([`crate::vector::Metric::code`]), 7 bytes 0 |
//! | 16 | u32 dimensions, u32 padded dimensions |
//! | 24 | u64 rows |
//! | 32 | u32 lists, i32 scale exponent (rows are multiplied by 2^exponent after the mean is taken away) |
//! | 40 | u64 seed |
//! | 48 | 5 sections: u64 offset, u64 length, u32 CRC-32, u32 0 |
//! | 168 | 0 up to 252 |
//! | 252 | u32 CRC-32 of bytes 0..252 |
//!
//! Sections, in this order: signs of the rotation; mean (f32 per dimension, original space); one-bit blocks of the
//! centroids; centroid rows (see [`CentroidRow`]); directory (u32 rows per list). Postings are blocks of
//! [`crate::vector::rabitq::block_len`] bytes, each list starting a new block; row codes are records of
//! [`crate::vector::rabitq::row_len`] bytes, one per ordinal. Offsets into both follow from the directory.

use crate::vector::rabitq::block_len;
use crate::vector::rotate::Rotation;
use crate::vector::simd::BLOCK;

/// First bytes of a head.
pub(super) const MAGIC: [u8; 4] = *b"EVX1";
/// The version written, and the only one read so far.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 256;
/// Sections start at multiples of this: a cache line, and wider than any register.
pub(super) const ALIGN: usize = 64;
/// Offset of the section table.
pub(super) const SECTIONS_AT: usize = 48;
/// Bytes of an entry of the section table.
pub(super) const SECTION_ENTRY_LEN: usize = 24;
/// Number of sections.
pub(super) const SECTIONS: usize = 5;
/// Offset of the header's checksum.
pub(super) const HEADER_CRC_AT: usize = HEADER_LEN - 4;
/// Bytes of a centroid row behind its elements.
const CENTROID_FACTORS_LEN: usize = 16;

/// Bytes of a centroid row.
pub(super) fn centroid_row_len(padded: usize) -> usize {
    padded + CENTROID_FACTORS_LEN
}

/// The lengths that the sections must have.
pub(super) fn section_lengths(dim: usize, padded: usize, lists: usize) -> [u64; SECTIONS] {
    let (dim, lists_wide) = (dim as u64, lists as u64);
    [
        Rotation::signs_len(padded) as u64,
        dim * 4,
        (lists.div_ceil(BLOCK) as u64) * (block_len(padded) as u64),
        lists_wide * (centroid_row_len(padded) as u64),
        lists_wide * 4,
    ]
}

/// A centroid as stored: `centroid[i] = middle + step * elements[i]`. That value *is* the centroid, for the residuals
/// of its rows too, so the rounding to 8 bits costs no accuracy.
#[derive(Debug, Clone, Copy)]
pub(super) struct CentroidRow<'a> {
    /// Two's complement elements.
    pub(super) elements: &'a [u8],
    /// See the type.
    pub(super) middle: f32,
    /// See the type.
    pub(super) step: f32,
    /// Squared norm.
    pub(super) norm: f32,
    /// Mean squared length of the residuals of the list's rows.
    pub(super) spread: f32,
}

impl<'a> CentroidRow<'a> {
    /// Rounds `centroid` to its stored form; appends the elements to `elements` and returns (middle, step).
    pub(super) fn quantise(centroid: &[f32], elements: &mut Vec<u8>) -> (f32, f32) {
        let (low, high) = centroid
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
        let (middle, step) = (0.5 * low + 0.5 * high, (high - low) / 254.0);
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        elements.extend(
            centroid
                .iter()
                .map(|value| (((value - middle) * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned()),
        );
        (middle, step)
    }

    /// Splits a centroid row; `None` for another length than [`centroid_row_len`].
    pub(super) fn read(row: &'a [u8], padded: usize) -> Option<Self> {
        let (elements, factors) = row.split_at_checked(padded)?;
        let (values, rest) = factors.as_chunks::<4>();
        let [middle, step, norm, spread] = values else { return None };
        rest.is_empty().then_some(Self {
            elements,
            middle: f32::from_le_bytes(*middle),
            step: f32::from_le_bytes(*step),
            norm: f32::from_le_bytes(*norm),
            spread: f32::from_le_bytes(*spread),
        })
    }

    /// Whether every number is finite and none negative that must not be.
    pub(super) fn is_sound(&self) -> bool {
        [self.middle, self.step, self.norm, self.spread].iter().all(|x| x.is_finite())
            && self.step >= 0.0
            && self.norm >= 0.0
            && self.spread >= 0.0
    }

    /// Writes the centroid's values to `out`.
    pub(super) fn values(&self, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.elements.iter().map(|e| self.middle + self.step * f32::from(e.cast_signed())));
    }
}

/// Reads a little-endian u32 at `at`; `None` past the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Reads a little-endian u64 at `at`; `None` past the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
