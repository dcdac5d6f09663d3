//! What the engine is doing at the moment, as it tells it.

use crate::ids::NamespaceId;
use serde::{Deserialize, Serialize};

/// A request that is being answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Process that asked.
    pub pid: Option<i32>,
    /// What it is about.
    pub namespace: Option<NamespaceId>,
    /// What is done: `query`, `fetch`, `page`, `count`, `scan`, `keys`, `check` or `flush`.
    pub kind: String,
    /// How far it is, where it has parts.
    pub phase: Option<String>,
    /// Rows that are done.
    pub rows_done: Option<u64>,
    /// Rows that there are to do.
    pub rows_total: Option<u64>,
    /// Microseconds since it began.
    pub elapsed_micros: u64,
}
