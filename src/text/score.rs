//! BM25 of buffered documents, with the numbers tantivy gives the same documents in a segment.
//!
//! The weights are [`super::bm25`]'s, and segments rescore their best rows with them in the same order, so scores agree to the
//! bit.

use super::analyzer::Analyzers;
use super::bm25::TermWeight;
use super::query::ParsedTextQuery;
use super::stats::CorpusStats;
use crate::document::{Document, Value};
use crate::schema::AttributeId;
use std::collections::HashMap;
use tantivy::fieldnorm::FieldNormReader;

/// The terms of one buffered document.
#[derive(Debug, Clone, Default)]
pub struct AnalyzedDocument {
    /// By attribute id, only attributes the document has.
    fields: Vec<AnalyzedField>,
}

#[derive(Debug, Clone)]
struct AnalyzedField {
    attribute: AttributeId,
    /// Tokens, counted with repetitions.
    tokens: u32,
    /// `tokens` quantised.
    norm: u8,
    /// Terms, sorted, and how often each occurs.
    terms: Box<[(Box<str>, u32)]>,
}

impl AnalyzedDocument {
    /// Analyses the full-text attributes of a document.
    pub fn new(analyzers: &mut Analyzers, document: &Document) -> Self {
        let mut fields = Vec::new();
        for (attribute, value) in &document.attributes {
            let (Value::String(text), Some(analyzer)) = (value, analyzers.get_mut(*attribute)) else { continue };
            let mut counts: HashMap<String, u32> = HashMap::new();
            let mut tokens = 0;
            analyzer.for_each(text, |term| {
                tokens += 1;
                match counts.get_mut(term) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(term.to_string(), 1);
                    }
                }
            });
            let mut terms: Box<[(Box<str>, u32)]> =
                counts.into_iter().map(|(term, count)| (term.into_boxed_str(), count)).collect();
            terms.sort_unstable();
            let norm = FieldNormReader::fieldnorm_to_id(tokens);
            fields.push(AnalyzedField { attribute: *attribute, tokens, norm, terms });
        }
        Self { fields }
    }

    fn field(&self, attribute: AttributeId) -> Option<&AnalyzedField> {
        self.fields.binary_search_by_key(&attribute, |field| field.attribute).ok().map(|i| &self.fields[i])
    }

    /// Counts this document: one more document, its tokens, its terms. `stats` belongs to `query`.
    pub fn add_to_stats(&self, query: &ParsedTextQuery, stats: &mut CorpusStats) {
        stats.docs += 1;
        for (wanted, counts) in query.fields.iter().zip(&mut stats.fields) {
            let Some(field) = self.field(wanted.attribute) else { continue };
            counts.tokens += u64::from(field.tokens);
            for (term, doc_freq) in wanted.terms.iter().zip(&mut counts.doc_freqs) {
                *doc_freq += u64::from(field.frequency(&term.text) > 0);
            }
        }
    }

    /// About how much memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let terms: usize = self
            .fields
            .iter()
            .flat_map(|field| field.terms.iter())
            .map(|(term, _)| size_of::<(Box<str>, u32)>() + term.len().next_multiple_of(16))
            .sum();
        size_of::<Self>() + self.fields.capacity() * size_of::<AnalyzedField>() + terms
    }
}

impl AnalyzedField {
    fn frequency(&self, term: &str) -> u32 {
        self.terms.binary_search_by(|(known, _)| known.as_ref().cmp(term)).map_or(0, |i| self.terms[i].1)
    }
}

/// BM25 weights of one query, ready to score any number of documents.
pub struct BufferScorer<'a> {
    query: &'a ParsedTextQuery,
    /// In the order of the query's fields and terms.
    weights: Vec<Vec<TermWeight>>,
}

impl<'a> BufferScorer<'a> {
    /// Prepares the weights; `stats` are those of the whole corpus.
    pub fn new(query: &'a ParsedTextQuery, stats: &CorpusStats) -> Self {
        Self { query, weights: term_weights(query, stats) }
    }

    /// The score, or None if the document holds none of the terms.
    pub fn score(&self, document: &AnalyzedDocument) -> Option<f32> {
        let mut score = 0.0;
        let mut matched = false;
        for (wanted, weights) in self.query.fields.iter().zip(&self.weights) {
            let Some(field) = document.field(wanted.attribute) else { continue };
            for (term, weight) in wanted.terms.iter().zip(weights) {
                let frequency = field.frequency(&term.text);
                if frequency > 0 {
                    matched = true;
                    score += weight.score(field.norm, frequency);
                }
            }
        }
        matched.then_some(score)
    }
}

/// The BM25 weight of every term of the query, boosted.
pub(super) fn term_weights(query: &ParsedTextQuery, stats: &CorpusStats) -> Vec<Vec<TermWeight>> {
    let field = |(wanted, counts): (&super::query::QueryField, &super::stats::FieldStats)| {
        // A text may be scored by the statistics of an empty index.
        let norms = wanted.parameters.norms(counts.tokens as f32 / stats.docs.max(1) as f32);
        let term = |(term, doc_freq): (&super::query::QueryTerm, &u64)| {
            TermWeight::new(*doc_freq, stats.docs, wanted.parameters.k1, term.boost, norms.clone())
        };
        wanted.terms.iter().zip(&counts.doc_freqs).map(term).collect()
    };
    query.fields.iter().zip(&stats.fields).map(field).collect()
}

#[cfg(test)]
mod tests;
