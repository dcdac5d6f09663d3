//! The complete answer to one request, as both ends see it: the server splits it into frames, the client joins them.

use super::message::{FlushResult, RequestStats, ResultRow};

/// What a request that succeeded gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done, nothing to say (`Ping`, `PutManifest`, `DeleteObjects`, `CheckStorage`).
    Done,
    /// All rows of a query or fetch in rank order, and what the request cost.
    Rows(Vec<ResultRow>, RequestStats),
    /// Result of a flush.
    Flushed(Box<FlushResult>),
    /// Figures of the engine, as a JSON object.
    Stats(String),
}

impl Reply {
    /// What kind of reply this is, for messages about an unexpected one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rows(..) => "rows",
            Self::Flushed(_) => "flushed",
            Self::Stats(_) => "stats",
        }
    }
}
