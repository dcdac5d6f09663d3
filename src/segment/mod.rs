//! Segments: immutable objects holding entries of one namespace (format 1, byte tables in `docs/format.md`).
//!
//! A segment is a directory with `rows.parquet` (every value, standard Parquet, rows in ordinal order) and `search.idx`
//! (key index, row identities, vector codes, tantivy files, and a tail that opens the whole segment with one read).
//! [`write_segment`] makes both of rows in memory, [`write_merged`] of rows on disk; [`Segment`] reads them.
//!
//! Invariants: objects are never modified (INV-4, kept by the callers that put them); every byte is verified by a checksum
//! before use (INV-8): the tail by its own CRC, everything else page by page with the CRCs that the tail holds. Within a
//! segment a key occurs once. Rows with a vector come first, so a vector's index is its row's ordinal.
//!
//! This module knows nothing of manifests, delete vectors or the write buffer.

mod assemble;
mod columns;
mod format;
mod key_index;
mod merged;
mod merged_keys;
mod page_map;
mod page_store;
mod paged_writer;
pub mod pinned_keys;
mod reader;
mod rows;
mod source;
mod spill;
mod warm;
mod whole;
mod writer;

pub use columns::{BATCH_ROWS, ROW_GROUP_ROWS};
pub use format::{FORMAT_VERSION, INDEX_MAGIC, TRAILER_BYTES};
pub use key_index::{BLOCK_BYTES, KeyRecord, TOMBSTONE};
pub use merged::{MergeOptions, MergeStep, MergedSegment, write_merged};
pub use merged_keys::{MergedKeys, MergedKeysWriter};
pub use reader::{KeyHit, Segment};
pub use rows::RowRead;
pub use source::{SegmentSource, prefetch_attributes};
pub use spill::{Spill, SpilledRows};
pub use warm::{WARM_RANKS, WarmPart};
pub use writer::{Place, WriteOptions, WrittenSegment, write_segment};
