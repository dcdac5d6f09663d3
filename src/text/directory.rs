//! A read-only tantivy directory over the bundle of a segment.

use crate::error::Result;
use std::fmt::Debug;
use std::ops::Range;

/// Reads ranges of one file of the bundle; the bytes are already verified (INV-8). Called on CPU threads, may block.
///
/// The text arm collects the ranges of an operation and reads each once, merged where they are close; see
/// [`super::TextSegment::plan_postings`] for how to have them fetched in parallel beforehand.
pub trait RangeRead: Send + Sync + Debug {
    /// Exactly the bytes of that range (never empty, always inside the file).
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;
}

/// A file in memory.
impl RangeRead for Vec<u8> {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self[range.start as usize..range.end as usize].to_vec())
    }
}

/// A range that an operation is going to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRead {
    /// Place of the file in the list given to [`super::TextSegment::open`].
    pub file: usize,
    /// Bytes of that file.
    pub range: Range<u64>,
}
