//! Building the index of one segment.

use crate::error::{Error, Result};
use crate::vector::Metric;

/// What [`build`] needs to know besides the vectors.
#[derive(Debug, Clone)]
pub struct BuildParams {
    /// How vectors are compared.
    pub metric: Metric,
    /// Dimensions of every vector, `1..=MAX_DIMENSIONS`.
    pub dim: usize,
    /// Seed of the rotation and of the training; the same input and seed give the same bytes.
    pub seed: u64,
    /// Threads to use (0 counts as 1); the bytes do not depend on it.
    pub threads: usize,
    /// Number of lists; `None` chooses by the number of rows.
    pub lists: Option<usize>,
}

/// The index of one segment, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIndex {
    /// `order[ordinal]` = input row: the order in which the segment must store its rows. Within a list, input order.
    pub order: Vec<u32>,
    /// Everything needed before postings are read: rotation, mean, centroids, directory. Decoded by `Head::decode`.
    pub head: Vec<u8>,
    /// One-bit codes, list after list, in blocks of 32 rows.
    pub postings: Vec<u8>,
    /// 8-bit codes, one fixed-size record per ordinal.
    pub row_codes: Vec<u8>,
}

/// Builds the index of `vectors` (`n * dim` original values, row-major; `n` may be 0).
///
/// Errors: `OutOfRange` for the dimension or more than `u32::MAX` rows, `Invalid` if the length is no multiple of `dim`,
/// a value is not finite, or (cosine) a row is all zeros.
pub fn build(params: &BuildParams, vectors: &[f32]) -> Result<BuiltIndex> {
    let _ = (params, vectors);
    Err(Error::internal("the vector index is not built yet"))
}
