//! How texts and queries are understood, for people who want to see it. Needs no rows.

use serde_json::{Value as Json, json};

use super::Engine;
use super::stats::Kind;
use super::view::Schema;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{TextAnalysis, TextQuery};
use crate::limits::{MAX_ANALYSIS_BYTES, MAX_ANALYZED_TEXT_BYTES};
use crate::schema::{AttributeId, NamespaceSchema};
use crate::text::{
    AnalyzedQuery, Analyzer, HighlightOptions, SearchField, analyze, highlight, parse_query, searched_fields,
};

impl Engine {
    /// Answers a question about analysis: JSON as [`TextAnalysis`] says.
    ///
    /// # Errors
    /// `OutOfRange` for a text or a query that is too long; as the query language has them.
    pub async fn text_analysis(&self, question: TextAnalysis) -> Result<String> {
        let start = self.env.clock.monotonic();
        let cpu = self.cpu();
        let result = cpu.run(move |_| answer(question)).await;
        self.counters.count(Kind::TextAnalysis, self.micros_since(start), result.is_ok());
        result
    }
}

fn answer(question: TextAnalysis) -> Result<String> {
    let json = match question {
        TextAnalysis::Tokens { options, text } => {
            check_length(&text)?;
            let mut characters = Characters::new(&text);
            let token = |token: crate::text::AnalyzedToken| {
                let (start, end) = (characters.before(token.start), characters.before(token.end));
                json!([token.position, token.term, start, end])
            };
            Json::Array(analyze(&options, &text).into_iter().map(token).collect())
        }
        TextAnalysis::Query { schema, query } => {
            let schema = Schema::new(&schema)?;
            parse_query(&query.query, query.operator, &fields(&schema.schema, &query)?)?
        }
        TextAnalysis::Highlight {
            schema,
            query,
            attribute,
            text,
            start_tag,
            end_tag,
            max_fragments,
            fragment_size,
        } => {
            check_length(&text)?;
            let schema = Schema::new(&schema)?;
            let mut analyzer = Analyzer::new(schema.schema.require_full_text(attribute)?);
            let (_, query) = AnalyzedQuery::parse(&query.query, query.operator, &fields(&schema.schema, &query)?)?;
            let max_fragments = max_fragments as usize;
            let options = HighlightOptions { start_tag, end_tag, max_fragments, fragment_size: fragment_size as usize };
            let fragments = highlight(&query, attribute, &mut analyzer, &text, &options);
            Json::Array(fragments.into_iter().map(|fragment| Json::String(fragment.text)).collect())
        }
    };
    let json = json.to_string();
    if json.len() > MAX_ANALYSIS_BYTES {
        let message = format!("the answer of {} bytes is longer than {MAX_ANALYSIS_BYTES}", json.len());
        return Err(Error::new(ErrorKind::OutOfRange, message).with_hint("Ask about a shorter text."));
    }
    Ok(json)
}

fn fields<'s>(schema: &'s NamespaceSchema, query: &TextQuery) -> Result<Vec<SearchField<'s>>> {
    let attributes: Vec<AttributeId> = query.fields.iter().map(|(attribute, _)| *attribute).collect();
    searched_fields(schema, attributes)
}

fn check_length(text: &str) -> Result<()> {
    if text.len() <= MAX_ANALYZED_TEXT_BYTES {
        return Ok(());
    }
    let message = format!("text of {} bytes is longer than {MAX_ANALYZED_TEXT_BYTES}", text.len());
    Err(Error::new(ErrorKind::OutOfRange, message))
}

/// Counts characters where tokens count bytes.
struct Characters<'a> {
    text: &'a str,
    /// A place that has been counted: bytes and characters before it. Tokens are near each other.
    known: (usize, usize),
}

impl<'a> Characters<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, known: (0, 0) }
    }

    /// Characters before a byte.
    fn before(&mut self, byte: usize) -> usize {
        let (bytes, characters) = self.known;
        let counted = if byte >= bytes {
            characters + self.text[bytes..byte].chars().count()
        } else {
            characters - self.text[byte..bytes].chars().count()
        };
        self.known = (byte, counted);
        counted
    }
}
