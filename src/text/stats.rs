//! The statistics BM25 needs, for one query, added up over all segments and the write buffer.

use super::query::ParsedTextQuery;

/// Counts for the terms of one query. Dead rows of segments count too (as in tantivy): they go away with compaction.
///
/// Aligned with the query it was made for: the same fields in the same order, the same terms in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorpusStats {
    /// N: documents, with or without the fields. The average field length is the field's tokens divided by this.
    pub docs: u64,
    /// One for each field of the query.
    pub fields: Vec<FieldStats>,
}

/// Counts of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldStats {
    /// Tokens of the field in all documents.
    pub tokens: u64,
    /// For each term of the query in this field: documents that hold it.
    pub doc_freqs: Vec<u64>,
}

impl CorpusStats {
    /// All zero, for that query.
    pub fn new(query: &ParsedTextQuery) -> Self {
        let fields =
            query.fields.iter().map(|field| FieldStats { tokens: 0, doc_freqs: vec![0; field.terms.len()] }).collect();
        Self { docs: 0, fields }
    }

    /// Adds the counts of another part of the corpus, made for the same query.
    ///
    /// # Panics
    /// If `other` was made for another query.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.fields.len(), other.fields.len(), "invariant: statistics of one query");
        self.docs += other.docs;
        for (mine, theirs) in self.fields.iter_mut().zip(&other.fields) {
            assert_eq!(mine.doc_freqs.len(), theirs.doc_freqs.len(), "invariant: statistics of one query");
            mine.tokens += theirs.tokens;
            for (mine, theirs) in mine.doc_freqs.iter_mut().zip(&theirs.doc_freqs) {
                *mine += theirs;
            }
        }
    }
}
