//! How text becomes terms: the same analyser for segments, the write buffer and queries.

use crate::schema::{AttributeId, FullTextOptions, Language, NamespaceSchema};
use std::collections::BTreeMap;
use tantivy::tokenizer::{
    Language as TantivyLanguage, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

/// Longest token in bytes: longer ones are no words (base64, hashes run together) and only bloat the dictionary.
/// Tamil letters take 3 bytes each and its words are long, so tantivy's usual 40 bytes would cut real words.
pub const MAX_TOKEN_BYTES: usize = 128;

/// Splits on everything that is not alphanumeric, drops tokens longer than [`MAX_TOKEN_BYTES`], lower-cases (unless
/// case-sensitive), drops stop words (languages without a list: none), stems (Snowball).
///
/// Stop words and stemmers know lower-case words only: a case-sensitive analyser leaves "The" alone.
#[derive(Clone)]
pub struct Analyzer {
    inner: TextAnalyzer,
}

impl Analyzer {
    /// The analyser for these options.
    pub fn new(options: &FullTextOptions) -> Self {
        let language = tantivy_language(options.language);
        Self::with_filters(options, options.remove_stopwords.then_some(language), options.stemming.then_some(language))
    }

    /// The same without stop words and stemmer: what prefixes go through.
    pub fn unstemmed(options: &FullTextOptions) -> Self {
        Self::with_filters(options, None, None)
    }

    fn with_filters(
        options: &FullTextOptions,
        stopwords: Option<TantivyLanguage>,
        stemmer: Option<TantivyLanguage>,
    ) -> Self {
        let mut builder = TextAnalyzer::builder(SimpleTokenizer::default())
            .filter(RemoveLongFilter::limit(MAX_TOKEN_BYTES + 1))
            .dynamic();
        if !options.case_sensitive {
            builder = builder.filter_dynamic(LowerCaser);
        }
        if let Some(filter) = stopwords.and_then(StopWordFilter::new) {
            builder = builder.filter_dynamic(filter);
        }
        if let Some(language) = stemmer {
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
        // A position takes at least one byte of text, and texts are shorter than 4 GiB.
        let position = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        self.inner.token_stream(text).process(&mut |token| each(position(token.position), &token.text));
    }

    /// The terms of the text, in order.
    pub fn tokens(&mut self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        self.for_each(text, |token| tokens.push(token.to_string()));
        tokens
    }

    /// The same analyser as tantivy registers it.
    pub(crate) fn into_tantivy(self) -> TextAnalyzer {
        self.inner
    }
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
