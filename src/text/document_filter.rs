//! Filters on single documents, with the analysers that `Filter::Match` needs.

use super::analyzer::Analyzer;
use super::query_language::AnalyzedQuery;
use crate::document::{Document, Value};
use crate::error::Result;
use crate::filter::{Filter, Prepared};
use crate::schema::{AttributeId, NamespaceSchema};

/// A filter ready to be asked of any number of documents: the same rows as a segment's [`super::TextSegment::filter`].
pub struct DocumentFilter<'a> {
    filter: Option<Prepared<'a>>,
    /// The text queries in it.
    queries: Vec<TextPart<'a>>,
}

struct TextPart<'a> {
    attribute: AttributeId,
    text: &'a str,
    query: AnalyzedQuery,
    analyzer: Analyzer,
}

impl<'a> DocumentFilter<'a> {
    /// Prepares a filter; None matches everything.
    ///
    /// # Errors
    /// `OutOfRange` for a text query that is too long or has too many costly parts; `NotFound` or `Invalid` for an attribute
    /// without full text.
    pub fn new(schema: &NamespaceSchema, filter: Option<&'a Filter>) -> Result<Self> {
        let mut queries = Vec::new();
        if let Some(filter) = filter {
            collect(schema, filter, &mut queries)?;
        }
        Ok(Self { filter: filter.map(Prepared::new), queries })
    }

    /// Whether the document matches.
    pub fn matches(&mut self, document: &Document) -> bool {
        let queries = &mut self.queries;
        let mut match_text = |attribute: AttributeId, text: &str| {
            let Some(Value::String(held)) = document.get(attribute) else { return false };
            let part = queries.iter_mut().find(|part| part.attribute == attribute && part.text == text);
            part.is_some_and(|part| part.query.matches_text(&mut part.analyzer, held))
        };
        self.filter.as_ref().is_none_or(|filter| filter.matches(document, &mut match_text))
    }
}

fn collect<'a>(schema: &NamespaceSchema, filter: &'a Filter, queries: &mut Vec<TextPart<'a>>) -> Result<()> {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            filters.iter().try_for_each(|filter| collect(schema, filter, queries))
        }
        Filter::Not(filter) => collect(schema, filter, queries),
        Filter::Match { attribute, query: text } => {
            let options = schema.require_full_text(*attribute)?;
            let query = AnalyzedQuery::of_field(*attribute, options, text)?;
            queries.push(TextPart { attribute: *attribute, text, query, analyzer: Analyzer::new(options) });
            Ok(())
        }
        _ => Ok(()),
    }
}
