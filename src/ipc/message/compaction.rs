//! Messages about compaction.

use crate::segment_info::SegmentInfo;
use serde::{Deserialize, Serialize};

/// Merge some segments into one, upload it. Answered with the number of the compaction on this connection, which ends with the
/// connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactRequest {
    /// Stored form of the schema that the new segment is written under.
    pub schema: String,
    /// What is merged; at least one.
    pub inputs: Vec<CompactInput>,
    /// Storage root to write to.
    pub root: String,
    /// Directory of the namespace below the root.
    pub path: String,
    /// As [`super::FlushRequest::pin_keys`].
    pub pin_keys: bool,
}

/// One segment to merge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactInput {
    /// The catalog's description.
    pub info: SegmentInfo,
    /// Its delete vector, encoded; empty if it has none.
    pub delete_vector: Vec<u8>,
    /// No entry that is older than one of this segment can turn up any more, so its dead ones need not win against any.
    pub forget: bool,
}

/// What a compaction made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactResult {
    /// The new segment; None if nothing was left.
    pub segment: Option<SegmentInfo>,
    /// Statistics for the view, as a JSON object.
    pub stats: String,
}

/// What a compaction is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[repr(u32)]
pub enum CompactPhase {
    /// Others are before it.
    #[default]
    Waiting = 0,
    /// Reading the keys of the inputs.
    Keys = 1,
    /// Reading rows.
    Rows = 2,
    /// Making the vector index.
    Vectors = 3,
    /// Writing rows and the text index.
    Writing = 4,
    /// Sending the objects to storage.
    Uploading = 5,
}

impl CompactPhase {
    /// All, in their order.
    pub const ALL: [Self; 6] = [Self::Waiting, Self::Keys, Self::Rows, Self::Vectors, Self::Writing, Self::Uploading];

    /// As shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Keys => "reading keys",
            Self::Rows => "reading rows",
            Self::Vectors => "clustering vectors",
            Self::Writing => "writing rows",
            Self::Uploading => "uploading",
        }
    }
}

/// How far a compaction is. The work is counted in rows: each is read, and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompactProgress {
    /// What it is doing.
    pub phase: CompactPhase,
    /// Rows read plus rows written.
    pub rows_done: u64,
    /// Of so many; 0: not known yet.
    pub rows_total: u64,
}

/// The state of a compaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CompactState {
    /// It runs.
    Running(CompactProgress),
    /// It has ended; the engine has forgotten it.
    Done(Box<CompactResult>),
}

/// Asks which rows of a segment that a compaction made are dead because rows of its inputs died meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarryRequest {
    /// Stored form of the schema that the segment was written under.
    pub schema: String,
    /// The segment.
    pub output: SegmentInfo,
    /// Inputs, each with the rows that died since the compaction read its delete vector (encoded as one).
    pub died: Vec<(SegmentInfo, Vec<u8>)>,
}
