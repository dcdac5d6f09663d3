//! Messages about text: queries, analysis, and what BM25 counts.

use super::NamespaceView;
use crate::error::{Error, Result};
use crate::schema::{AttributeId, FullTextOptions};
use serde::{Deserialize, Serialize};

/// A question about analysis, which needs no rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TextAnalysis {
    /// The tokens of a text: an array of `[position, token, start, end]`, places counted in characters.
    Tokens {
        /// How it is analysed.
        options: FullTextOptions,
        /// The text.
        text: String,
    },
    /// How a query was read and what it means: an object.
    Query {
        /// Stored form of the schema.
        schema: String,
        /// The query; weights do not count.
        query: TextQuery,
    },
    /// Fragments of a text with tags around what a query finds in it: an array of strings.
    Highlight {
        /// Stored form of the schema.
        schema: String,
        /// The query.
        query: TextQuery,
        /// The attribute that the text is of.
        attribute: AttributeId,
        /// The text.
        text: String,
        /// Put before what was found.
        start_tag: String,
        /// Put behind it.
        end_tag: String,
        /// Most fragments; 0: the whole text as one.
        max_fragments: u32,
        /// About how many characters a fragment has.
        fragment_size: u32,
    },
}

/// How the parts of a text query without a sign are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Operator {
    /// At least one must match.
    #[default]
    Or,
    /// All must match.
    And,
}

impl Operator {
    /// `And` if all parts must match.
    pub fn of_all(all: bool) -> Self {
        if all { Self::And } else { Self::Or }
    }

    /// The operator of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Or, Self::And].into_iter().find(|operator| operator.name() == name)
    }

    /// `or`, `and`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
        }
    }
}

/// A text query over one or several full-text attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextQuery {
    /// In the language of docs/query-language.md. It may name the attributes if there are several.
    pub query: String,
    /// Attributes and their weights, at least one; scores add up.
    pub fields: Vec<(AttributeId, f32)>,
    /// Joins parts without a sign.
    pub operator: Operator,
}

impl TextQuery {
    /// A query of one attribute as the operators `@@@` and `<@>` mean it.
    pub fn of_attribute(attribute: AttributeId, query: String) -> Self {
        Self { query, fields: vec![(attribute, 1.0)], operator: Operator::Or }
    }
}

/// Asks what BM25 counts in a view for one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorpusRequest {
    /// What is counted.
    pub namespace: NamespaceView,
    /// The query.
    pub text: TextQuery,
}

/// What BM25 counts for the terms of one query. Dead rows of segments count too (as in tantivy): they go away with compaction.
///
/// Aligned with the analysed query it was made for: the same fields in the same order, the same terms in the same order. A
/// query is analysed to the same by all parts of a corpus that have the same options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CorpusStats {
    /// N: documents, with or without the fields. The average field length is the field's tokens divided by this.
    pub docs: u64,
    /// One for each field of the query.
    pub fields: Vec<FieldStats>,
}

/// Counts of one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FieldStats {
    /// Tokens of the field in all documents.
    pub tokens: u64,
    /// For each term of the query in this field: documents that hold it.
    pub doc_freqs: Vec<u64>,
}

impl CorpusStats {
    /// Adds the counts of another part of the corpus.
    ///
    /// # Errors
    /// `Internal` if `other` was made for another query.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |mine, theirs| mine.saturating_add(theirs))
    }

    /// Raises each count to that of `other`, which counts the same corpus at another moment or part of it.
    ///
    /// # Errors
    /// `Internal` if `other` was made for another query.
    pub fn raise_to(&mut self, other: &Self) -> Result<()> {
        self.combine(other, u64::max)
    }

    fn combine(&mut self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Result<()> {
        let terms = |stats: &Self| stats.fields.iter().map(|field| field.doc_freqs.len()).collect::<Vec<_>>();
        if terms(self) != terms(other) {
            return Err(Error::internal("full-text statistics of two different queries"));
        }
        self.docs = both(self.docs, other.docs);
        for (mine, theirs) in self.fields.iter_mut().zip(&other.fields) {
            mine.tokens = both(mine.tokens, theirs.tokens);
            for (mine, theirs) in mine.doc_freqs.iter_mut().zip(&theirs.doc_freqs) {
                *mine = both(*mine, *theirs);
            }
        }
        Ok(())
    }
}
