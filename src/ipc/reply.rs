//! The complete answer to one request, as both ends see it: the server splits it into frames, the client joins them.

use super::activity::Activity;
use super::message::{
    CandidateRow, CompactState, CorpusStats, FlushResult, KeyInfo, KeyState, RequestStats, ResultRow, ScanRow,
    StoredObject,
};

/// What a request that succeeded gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done, nothing to say (`Ping`, `PutManifest`, `DeleteObjects`, `CheckStorage`, `CheckSegment`, `ScanClose`, `PutMark`,
    /// `AbortUploads`, `Claim`).
    Done,
    /// All rows of a query, fetch or page in their order, and what the request cost.
    Rows(Vec<ResultRow>, RequestStats),
    /// Result of a flush.
    Flushed(Box<FlushResult>),
    /// Figures of the engine, as a JSON object.
    Stats(String),
    /// Rows of a scan in its order.
    ScanRows {
        /// Number of the scan on this connection.
        scan: u64,
        /// The rows.
        rows: Vec<ScanRow>,
        /// Nothing is left; the scan is forgotten.
        exhausted: bool,
        /// Of the whole scan so far.
        stats: RequestStats,
    },
    /// Keys of live rows.
    Keys(Vec<KeyInfo>),
    /// Whether each text matches.
    Matches(Vec<bool>),
    /// Number of a scorer.
    ScorerOpened(u64),
    /// What BM25 counts.
    Corpus(CorpusStats),
    /// BM25 of each text.
    Scores(Vec<f32>),
    /// What a ranking is made of, and what the request cost.
    Candidates(Vec<CandidateRow>, RequestStats),
    /// The state of each document that was asked for.
    Checked(Vec<KeyState>),
    /// Counts and facets.
    Aggregated {
        /// Rows that match.
        count: u64,
        /// The facets, as a JSON object.
        facets: String,
        /// What it cost.
        stats: RequestStats,
    },
    /// How a text or a query is understood, as JSON.
    Analysis(String),
    /// What is in the cache now.
    Warmed {
        /// Objects of which parts are.
        objects: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Number of a compaction.
    CompactStarted(u64),
    /// The state of a compaction.
    Compacting(CompactState),
    /// A delete vector, encoded.
    Carried(Vec<u8>),
    /// A page of a listing.
    Objects(Vec<StoredObject>),
    /// Figures in Prometheus' text format.
    Metrics(String),
    /// What the engine is doing.
    Activity(Vec<Activity>),
}

impl Reply {
    /// What kind of reply this is, for messages about an unexpected one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rows(..) => "rows",
            Self::Flushed(_) => "flushed",
            Self::Stats(_) => "stats",
            Self::ScanRows { .. } => "rows of a scan",
            Self::Keys(_) => "keys",
            Self::Matches(_) => "matches",
            Self::ScorerOpened(_) => "a scorer",
            Self::Corpus(_) => "statistics",
            Self::Scores(_) => "scores",
            Self::Candidates(..) => "candidates",
            Self::Checked(_) => "states",
            Self::Aggregated { .. } => "counts",
            Self::Analysis(_) => "analysis",
            Self::Warmed { .. } => "what is warm",
            Self::CompactStarted(_) => "a compaction",
            Self::Compacting(_) => "the state of a compaction",
            Self::Carried(_) => "a delete vector",
            Self::Objects(_) => "objects",
            Self::Metrics(_) => "metrics",
            Self::Activity(_) => "activity",
        }
    }
}
