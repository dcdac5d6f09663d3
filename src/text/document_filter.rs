//! Filters on single documents, with the analysers that text queries need.

use super::analyzer::Analyzer;
use super::query_language::{AnalyzedQuery, Operator, PositionedDocument, PositionedText, SearchField, search_fields};
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
    /// The node of the filter that it answers.
    node: &'a Filter,
    query: AnalyzedQuery,
    /// Of the attributes that the query looks into.
    analyzers: Vec<(AttributeId, Analyzer)>,
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
        let mut match_text = |node: &Filter| {
            queries.iter_mut().find(|part| std::ptr::eq(part.node, node)).is_some_and(|part| part.matches(document))
        };
        self.filter.as_ref().is_none_or(|filter| filter.matches(document, &mut match_text))
    }
}

impl<'a> TextPart<'a> {
    fn new(node: &'a Filter, query: AnalyzedQuery, fields: &[SearchField<'_>]) -> Self {
        let analyzers = fields.iter().map(|field| (field.attribute, Analyzer::new(field.options))).collect();
        Self { node, query, analyzers }
    }

    fn matches(&mut self, document: &Document) -> bool {
        let mut texts = PositionedDocument::new();
        for (attribute, analyzer) in &mut self.analyzers {
            if let Some(Value::String(text)) = document.get(*attribute) {
                texts.insert(*attribute, PositionedText::new(analyzer, text));
            }
        }
        self.query.matches(&texts)
    }
}

fn collect<'a>(schema: &NamespaceSchema, filter: &'a Filter, queries: &mut Vec<TextPart<'a>>) -> Result<()> {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            filters.iter().try_for_each(|filter| collect(schema, filter, queries))
        }
        Filter::Not(filter) => collect(schema, filter, queries),
        Filter::Match { attribute, query } => {
            let options = schema.require_full_text(*attribute)?;
            let field = SearchField { attribute: *attribute, name: None, options };
            let analyzed = AnalyzedQuery::of_field(*attribute, options, query)?;
            queries.push(TextPart::new(filter, analyzed, &[field]));
            Ok(())
        }
        Filter::Search { attributes, query, all } => {
            let fields = search_fields(schema, attributes)?;
            let (_, analyzed) = AnalyzedQuery::parse(query, Operator::of_all(*all), &fields)?;
            queries.push(TextPart::new(filter, analyzed, &fields));
            Ok(())
        }
        _ => Ok(()),
    }
}
