//! Scores of buffered documents, with the numbers that the same documents get in a segment.
//!
//! The weights are [`super::bm25`]'s, and segments rescore their best rows with them in the same order, so scores agree to the
//! bit.

use super::analyzer::Analyzers;
use super::bm25::{TermWeight, idf};
use super::query::{ParsedTextQuery, QueryField, QueryShape, QueryTerm};
use super::query_language::{Part, QueryPart, TermPositions};
use super::stats::{CorpusStats, FieldStats};
use crate::document::{Document, Value};
use crate::schema::AttributeId;
use std::collections::HashMap;
use std::sync::Arc;
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
    /// Terms, sorted, and where the positions of each end.
    terms: Box<[(Box<str>, u32)]>,
    /// Of all terms, one after the other.
    positions: Box<[u32]>,
}

impl AnalyzedDocument {
    /// Analyses the full-text attributes of a document.
    pub fn new(analyzers: &mut Analyzers, document: &Document) -> Self {
        let mut fields = Vec::new();
        for (attribute, value) in &document.attributes {
            let (Value::String(text), Some(analyzer)) = (value, analyzers.get_mut(*attribute)) else { continue };
            let mut found: HashMap<String, Vec<u32>> = HashMap::new();
            let mut tokens = 0;
            analyzer.for_each_positioned(text, |position, term| {
                tokens += 1;
                match found.get_mut(term) {
                    Some(positions) => positions.push(position),
                    None => drop(found.insert(term.to_string(), vec![position])),
                }
            });
            let mut found: Vec<(String, Vec<u32>)> = found.into_iter().collect();
            found.sort_unstable();
            let mut terms = Vec::with_capacity(found.len());
            let mut positions = Vec::with_capacity(tokens as usize);
            for (term, of_term) in found {
                positions.extend(of_term);
                terms.push((term.into_boxed_str(), u32::try_from(positions.len()).unwrap_or(u32::MAX)));
            }
            let norm = FieldNormReader::fieldnorm_to_id(tokens);
            let (terms, positions) = (terms.into_boxed_slice(), positions.into_boxed_slice());
            fields.push(AnalyzedField { attribute: *attribute, tokens, norm, terms, positions });
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
                *doc_freq += u64::from(field.positions(&term.text).is_some());
            }
        }
    }

    /// About how much memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let terms = |field: &AnalyzedField| -> usize {
            field.terms.iter().map(|(term, _)| size_of::<(Box<str>, u32)>() + term.len().next_multiple_of(16)).sum()
        };
        let fields = self.fields.iter().map(|field| terms(field) + size_of_val(&*field.positions));
        size_of::<Self>() + self.fields.capacity() * size_of::<AnalyzedField>() + fields.sum::<usize>()
    }
}

impl TermPositions for AnalyzedField {
    fn positions(&self, term: &str) -> Option<&[u32]> {
        let place = self.terms.binary_search_by(|(known, _)| known.as_ref().cmp(term)).ok()?;
        let start = place.checked_sub(1).map_or(0, |before| self.terms[before].1);
        self.positions.get(start as usize..self.terms[place].1 as usize)
    }

    fn any_term(&self, holds: &mut dyn FnMut(&str) -> bool) -> bool {
        self.terms.iter().any(|(term, _)| holds(term))
    }

    fn any_with_prefix(&self, prefix: &str) -> bool {
        let first = self.terms.partition_point(|(term, _)| term.as_ref() < prefix);
        self.terms.get(first).is_some_and(|(term, _)| term.starts_with(prefix))
    }
}

/// The weights of one query, ready to score any number of documents.
pub struct BufferScorer<'a> {
    query: &'a ParsedTextQuery,
    weights: Weights<'a>,
}

/// What the parts of a query score.
pub(super) enum Weights<'a> {
    /// Of each term, in the order of the query's fields and terms.
    Words(Vec<Vec<TermWeight>>),
    /// Of a tree.
    Parts(ScoredPart<'a>),
}

/// A part of a query with what it scores.
pub(super) enum ScoredPart<'a> {
    /// As [`super::query_language::BooleanPart`].
    Group { required: Vec<Self>, any: Vec<Self>, excluded: Vec<Self>, fields: &'a [AttributeId] },
    /// A part of one field.
    Leaf { attribute: AttributeId, part: &'a Part, score: LeafScore },
}

/// What a leaf scores where it is found.
pub(super) enum LeafScore {
    /// The same everywhere.
    Constant(f32),
    /// By its frequency.
    Bm25(TermWeight),
}

impl<'a> BufferScorer<'a> {
    /// Prepares the weights; `stats` are those of the whole corpus.
    pub fn new(query: &'a ParsedTextQuery, stats: &CorpusStats) -> Self {
        Self { query, weights: Weights::new(query, stats) }
    }

    /// The score, or None if the document does not match.
    pub fn score(&self, document: &AnalyzedDocument) -> Option<f32> {
        let weights = match &self.weights {
            Weights::Words(weights) => weights,
            Weights::Parts(root) => return root.score(document),
        };
        let mut score = 0.0;
        let mut matched = false;
        for (wanted, weights) in self.query.fields.iter().zip(weights) {
            let Some(field) = document.field(wanted.attribute) else { continue };
            for (term, weight) in wanted.terms.iter().zip(weights) {
                if let Some(positions) = field.positions(&term.text) {
                    matched = true;
                    score += weight.score(field.norm, u32::try_from(positions.len()).unwrap_or(u32::MAX));
                }
            }
        }
        matched.then_some(score)
    }
}

impl ScoredPart<'_> {
    /// The score of a document, added up in the order that segments add in; None if it does not match.
    fn score(&self, document: &AnalyzedDocument) -> Option<f32> {
        match self {
            Self::Leaf { attribute, part, score } => {
                let field = document.field(*attribute)?;
                match score {
                    LeafScore::Constant(score) => field.holds(part).then_some(*score),
                    LeafScore::Bm25(weight) => {
                        let frequency = field.frequency(part);
                        (frequency > 0).then(|| weight.score(field.norm, frequency))
                    }
                }
            }
            Self::Group { required, any, excluded, fields } => {
                if excluded.iter().any(|part| part.score(document).is_some()) {
                    return None;
                }
                let mut score = 0.0;
                for part in required {
                    score += part.score(document)?;
                }
                let mut matched = !required.is_empty();
                for part_score in any.iter().filter_map(|part| part.score(document)) {
                    matched = true;
                    score += part_score;
                }
                if required.is_empty() && any.is_empty() {
                    matched = fields.iter().any(|field| document.field(*field).is_some());
                }
                matched.then_some(score)
            }
        }
    }
}

impl<'a> Weights<'a> {
    /// The weights of a query by the statistics of the whole corpus.
    pub fn new(query: &'a ParsedTextQuery, stats: &CorpusStats) -> Self {
        let fields = query.fields.iter().zip(&stats.fields);
        // A text may be scored by the statistics of an empty index.
        let norms = |(wanted, counts): (&QueryField, &FieldStats)| {
            wanted.parameters.norms(counts.tokens as f32 / stats.docs.max(1) as f32)
        };
        let doc_freqs = stats.doc_freqs(query);
        let idfs = doc_freqs.into_iter().map(|(term, doc_freq)| (term, idf(doc_freq, stats.docs))).collect();
        let mut rarity = Rarity { idfs, fields: HashMap::new() };
        match &query.shape {
            QueryShape::Words => {
                let weights = |(wanted, counts): (&QueryField, &FieldStats)| {
                    let norms = norms((wanted, counts));
                    let weight = |term: &QueryTerm| {
                        TermWeight::new(rarity.of(&term.text), wanted.parameters.k1, term.boost, norms.clone())
                    };
                    wanted.terms.iter().map(weight).collect()
                };
                Self::Words(fields.map(weights).collect())
            }
            QueryShape::Parts(root) => {
                let field = |(wanted, counts): (&QueryField, &FieldStats)| {
                    (wanted.attribute, (wanted.parameters.k1, norms((wanted, counts))))
                };
                rarity.fields = fields.map(field).collect();
                Self::Parts(ScoredPart::new(root, Some(&rarity)))
            }
        }
    }
}

/// What the scores of terms need.
struct Rarity<'a> {
    idfs: HashMap<&'a str, f32>,
    /// k1 and what lengths mean, of fields with scored terms.
    fields: HashMap<AttributeId, (f32, Arc<[f32; 256]>)>,
}

impl Rarity<'_> {
    fn of(&self, term: &str) -> f32 {
        self.idfs.get(term).copied().unwrap_or(0.0)
    }
}

impl<'a> ScoredPart<'a> {
    /// Excluded parts have no score, and so no rarity.
    fn new(part: &'a QueryPart, rarity: Option<&Rarity<'_>>) -> Self {
        match part {
            QueryPart::Boolean(group) => {
                let list = |parts: &'a [QueryPart]| parts.iter().map(|part| Self::new(part, rarity)).collect();
                let excluded = group.excluded.iter().map(|part| Self::new(part, None)).collect();
                Self::Group { required: list(&group.required), any: list(&group.any), excluded, fields: &group.fields }
            }
            QueryPart::Leaf { attribute, boost, part } => {
                let weight = rarity.and_then(|rarity| {
                    let (k1, norms) = rarity.fields.get(attribute)?;
                    let idf = match part {
                        Part::Term(term) => rarity.of(term),
                        Part::Phrase { terms, .. } => terms.iter().map(|term| rarity.of(&term.text)).sum(),
                        Part::Prefix { .. } | Part::Fuzzy { .. } => return None,
                    };
                    Some(TermWeight::new(idf, *k1, *boost, norms.clone()))
                });
                let score = weight.map_or(LeafScore::Constant(*boost), LeafScore::Bm25);
                Self::Leaf { attribute: *attribute, part, score }
            }
        }
    }
}

#[cfg(test)]
mod tests;
