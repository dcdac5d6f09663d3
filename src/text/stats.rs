//! The statistics BM25 needs, for one query, added up over all segments and the write buffer.

use super::query::ParsedTextQuery;
pub use crate::ipc::message::{CorpusStats, FieldStats};

impl CorpusStats {
    /// All zero, for that query.
    pub fn new(query: &ParsedTextQuery) -> Self {
        let fields =
            query.fields.iter().map(|field| FieldStats { tokens: 0, doc_freqs: vec![0; field.terms.len()] }).collect();
        Self { docs: 0, fields }
    }
}
