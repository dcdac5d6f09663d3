//! BM25 of one term or phrase, as tantivy and Lucene compute it, with k1 and b of the schema.
//!
//! idf = ln(1 + (N - df + 0.5) / (df + 0.5)); score = idf · (1 + k1) · tf / (tf + k1 · (1 - b + b · length / average length)),
//! lengths through tantivy's one-byte quantisation. With the default parameters the numbers are tantivy's to the bit, whose
//! own `Bm25Weight` has them fixed.

use std::sync::Arc;

use crate::limits::{DEFAULT_BM25_B, DEFAULT_BM25_K1};
use crate::schema::FullTextOptions;
use tantivy::fieldnorm::FieldNormReader;

/// k1 and b.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25Parameters {
    /// How soon a repeated term stops counting.
    pub k1: f32,
    /// How much long texts are held back.
    pub b: f32,
}

impl Bm25Parameters {
    /// Those of an attribute.
    pub fn of(options: &FullTextOptions) -> Self {
        Self { k1: options.k1.0, b: options.b.0 }
    }

    /// Whether they are what tantivy has fixed, and so what it made its block maxima with.
    pub fn are_default(&self) -> bool {
        *self == Self { k1: DEFAULT_BM25_K1, b: DEFAULT_BM25_B }
    }

    /// The part of the score that depends on the length of a text, by its quantised length.
    pub(super) fn norms(&self, average: f32) -> Arc<[f32; 256]> {
        let mut norms = [0.0; 256];
        for (id, norm) in (0..=u8::MAX).zip(&mut norms) {
            let length = FieldNormReader::id_to_fieldnorm(id) as f32;
            *norm = self.k1 * (1.0 - self.b + self.b * length / average);
        }
        Arc::new(norms)
    }
}

/// How rare a term is that `doc_freq` of `docs` documents hold.
pub(super) fn idf(doc_freq: u64, docs: u64) -> f32 {
    let doc_freq = doc_freq.min(docs);
    let odds = ((docs - doc_freq) as f32 + 0.5) / (doc_freq as f32 + 0.5);
    (1.0 + odds).ln()
}

/// The weight of one term or phrase, ready to score any number of texts.
#[derive(Debug, Clone)]
pub(super) struct TermWeight {
    weight: f32,
    norms: Arc<[f32; 256]>,
}

impl TermWeight {
    /// Of a term with that [`idf`]; that of a phrase is the sum over its terms.
    pub fn new(idf: f32, k1: f32, boost: f32, norms: Arc<[f32; 256]>) -> Self {
        Self { weight: idf * (1.0 + k1) * boost, norms }
    }

    /// The score of a text with that quantised length that holds it so often.
    pub fn score(&self, norm: u8, frequency: u32) -> f32 {
        let frequency = frequency as f32;
        self.weight * (frequency / (frequency + self.norms[usize::from(norm)]))
    }
}

#[cfg(test)]
mod tests;
