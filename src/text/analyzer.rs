//! How text becomes terms: the same analyser for segments, the write buffer and queries.
//!
//! | step | says |
//! |---|---|
//! | tokenizer | where tokens begin and end, and their positions ([`super::tokenizers`] for those tantivy does not have) |
//! | maximum length | longer tokens are dropped; their position stays empty |
//! | lower case | unless case-sensitive |
//! | stop words | of the language; only for tokenizers that make words |
//! | ASCII folding | `é` is `e`, `ß` is `ss`, with the stop words once more after it |
//! | stemmer | Snowball; only for tokenizers that make words |
//!
//! Folding comes before the stemmer, so that a word typed without accents has the same stem as the word with them. Stop words
//! and stemmers know lower-case words only: a case-sensitive analyser leaves "The" alone.

use super::stop_words;
use super::tokenizers::{Identifiers, PositionedNgrams, SpanTokenizer};
use crate::limits::MAX_TOKEN_LENGTH;
use crate::schema::{AttributeId, FullTextOptions, Language, NamespaceSchema, Tokenizer};
use std::collections::BTreeMap;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as TantivyLanguage, LowerCaser, RawTokenizer, RemoveLongFilter, Stemmer, TextAnalyzer,
    TextAnalyzerBuilder, Tokenizer as TantivyTokenizer,
};

/// Turns texts into terms.
#[derive(Clone)]
pub struct Analyzer {
    inner: TextAnalyzer,
}

/// One token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalyzedToken {
    /// What is indexed.
    pub term: String,
    /// Counted in tokens; dropped ones leave gaps, and several may share one.
    pub position: u32,
    /// First byte in the text.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl Analyzer {
    /// The analyser of texts with these options.
    pub fn new(options: &FullTextOptions) -> Self {
        Self::build(options, Identifiers::WholeAndParts, options.tokenizer.makes_words())
    }

    /// What the words and phrases of queries go through: the terms at consecutive positions that a text must have. Only
    /// identifiers differ: a text has them whole as well.
    pub fn for_phrases(options: &FullTextOptions) -> Self {
        Self::build(options, Identifiers::Parts, options.tokenizer.makes_words())
    }

    /// The same without stop words and stemmer, identifiers whole: what prefixes and fuzzy words go through.
    pub fn unstemmed(options: &FullTextOptions) -> Self {
        Self::build(options, Identifiers::Whole, false)
    }

    fn build(options: &FullTextOptions, identifiers: Identifiers, words: bool) -> Self {
        let language = tantivy_language(options.language);
        let longest = options.max_token_length.min(MAX_TOKEN_LENGTH) as usize;
        let mut builder = match options.tokenizer {
            Tokenizer::Default => split(SpanTokenizer::words(), longest),
            Tokenizer::Whitespace => split(SpanTokenizer::whitespace(), longest),
            Tokenizer::Raw => split(RawTokenizer::default(), longest),
            Tokenizer::Ngram(lengths) => split(PositionedNgrams::new(lengths), longest),
            Tokenizer::SourceCode => split(SpanTokenizer::source_code(identifiers), longest),
            Tokenizer::Cjk => split(SpanTokenizer::cjk(), longest),
        };
        if !options.case_sensitive {
            builder = builder.filter_dynamic(LowerCaser);
        }
        let stop_words =
            (words && options.remove_stopwords).then(|| stop_words::filter(options.language, language)).flatten();
        if let Some(filter) = &stop_words {
            builder = builder.filter_dynamic(filter.clone());
        }
        if options.ascii_folding {
            builder = builder.filter_dynamic(AsciiFoldingFilter);
            if let Some(filter) = stop_words {
                builder = builder.filter_dynamic(filter);
            }
        }
        if words && options.stemming {
            builder = builder.filter_dynamic(Stemmer::new(language));
        }
        Self { inner: builder.build() }
    }

    /// Calls `each` with every term of the text, in order.
    pub fn for_each(&mut self, text: &str, mut each: impl FnMut(&str)) {
        self.inner.token_stream(text).process(&mut |token| each(&token.text));
    }

    /// Calls `each` with the position and the text of every term, in order. Dropped tokens leave gaps.
    pub fn for_each_positioned(&mut self, text: &str, mut each: impl FnMut(u32, &str)) {
        self.inner.token_stream(text).process(&mut |token| each(narrow(token.position), &token.text));
    }

    /// The terms of the text, in order.
    pub fn terms(&mut self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        self.for_each(text, |term| terms.push(term.to_string()));
        terms
    }

    /// The tokens of the text with positions and places, in order.
    pub fn tokens(&mut self, text: &str) -> Vec<AnalyzedToken> {
        let mut tokens = Vec::new();
        self.inner.token_stream(text).process(&mut |token| {
            tokens.push(AnalyzedToken {
                term: token.text.clone(),
                position: narrow(token.position),
                start: token.offset_from,
                end: token.offset_to,
            });
        });
        tokens
    }

    /// The same analyser as tantivy registers it.
    pub(crate) fn into_tantivy(self) -> TextAnalyzer {
        self.inner
    }
}

/// The tokens of a text, as an attribute with these options would index them.
pub fn analyze(options: &FullTextOptions, text: &str) -> Vec<AnalyzedToken> {
    Analyzer::new(options).tokens(text)
}

fn split(tokenizer: impl TantivyTokenizer, longest: usize) -> TextAnalyzerBuilder {
    TextAnalyzer::builder(tokenizer).filter(RemoveLongFilter::limit(longest + 1)).dynamic()
}

/// A position takes at least one byte of text, and texts are shorter than 4 GiB.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// The analysers of all full-text attributes of a namespace.
#[derive(Clone, Default)]
pub struct Analyzers(BTreeMap<AttributeId, Analyzer>);

impl Analyzers {
    /// One analyser for each full-text attribute.
    pub fn new(schema: &NamespaceSchema) -> Self {
        Self(schema.full_text_attributes().map(|(a, options)| (a.id, Analyzer::new(options))).collect())
    }

    /// The analyser of that attribute, if it has full text.
    pub fn get_mut(&mut self, attribute: AttributeId) -> Option<&mut Analyzer> {
        self.0.get_mut(&attribute)
    }
}

fn tantivy_language(language: Language) -> TantivyLanguage {
    match language {
        Language::Arabic => TantivyLanguage::Arabic,
        Language::Danish => TantivyLanguage::Danish,
        Language::Dutch => TantivyLanguage::Dutch,
        Language::English => TantivyLanguage::English,
        Language::Finnish => TantivyLanguage::Finnish,
        Language::French => TantivyLanguage::French,
        Language::German => TantivyLanguage::German,
        Language::Greek => TantivyLanguage::Greek,
        Language::Hungarian => TantivyLanguage::Hungarian,
        Language::Italian => TantivyLanguage::Italian,
        Language::Norwegian => TantivyLanguage::Norwegian,
        Language::Portuguese => TantivyLanguage::Portuguese,
        Language::Romanian => TantivyLanguage::Romanian,
        Language::Russian => TantivyLanguage::Russian,
        Language::Spanish => TantivyLanguage::Spanish,
        Language::Swedish => TantivyLanguage::Swedish,
        Language::Tamil => TantivyLanguage::Tamil,
        Language::Turkish => TantivyLanguage::Turkish,
    }
}

#[cfg(test)]
mod tests;
