//! The statistics BM25 needs, for one query, added up over all segments and the write buffer.

use super::query::ParsedTextQuery;
pub use crate::ipc::message::{CorpusStats, FieldStats};
use std::collections::HashMap;

impl CorpusStats {
    /// All zero, for that query.
    pub fn new(query: &ParsedTextQuery) -> Self {
        let fields =
            query.fields.iter().map(|field| FieldStats { tokens: 0, doc_freqs: vec![0; field.terms.len()] }).collect();
        Self { docs: 0, fields }
    }

    /// In how many documents each term of the query is, of its fields the one where that is most. A term that is rare in titles
    /// only because titles are short is not rare: with a count for each field, short fields drown long ones. `self` belongs to
    /// `query`.
    pub(super) fn doc_freqs<'q>(&self, query: &'q ParsedTextQuery) -> HashMap<&'q str, u64> {
        let mut most = HashMap::new();
        for (field, counts) in query.fields.iter().zip(&self.fields) {
            for (term, doc_freq) in field.terms.iter().zip(&counts.doc_freqs) {
                let known = most.entry(term.text.as_str()).or_insert(0);
                *known = (*doc_freq).max(*known);
            }
        }
        most
    }
}
