//! Single texts, as the SQL operators see them: whether one matches, and its score.

use std::sync::Arc;

use super::arms::{Run, Spec};
use super::stats::Kind;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::{Document, Value};
use crate::error::Result;
use crate::ipc::message::{CorpusRequest, CorpusStats, ScorerRequest, TextQuery};
use crate::schema::{AttributeId, FullTextOptions, NamespaceSchema};
use crate::text::{AnalyzedDocument, AnalyzedQuery, Analyzer, Analyzers, BufferScorer, ParsedTextQuery};

/// BM25 of single texts by the statistics of an index at one moment.
#[derive(Debug, Clone)]
pub struct Scorer(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    schema: Arc<NamespaceSchema>,
    attribute: AttributeId,
    query: ParsedTextQuery,
    stats: CorpusStats,
}

impl Engine {
    /// Whether each text matches a query of [`crate::text::query_language`].
    ///
    /// # Errors
    /// `OutOfRange` for a query that is too long.
    pub async fn text_match(&self, options: FullTextOptions, query: String, texts: Vec<String>) -> Result<Vec<bool>> {
        let start = self.env.clock.monotonic();
        let cpu = self.cpu();
        let result = cpu.run(move |cancel| {
            let query = AnalyzedQuery::of_field(0, &options, &query)?;
            let mut analyzer = Analyzer::new(&options);
            let matches = texts.iter().map(|text| {
                cancel.check()?;
                Ok(query.matches_text(&mut analyzer, text))
            });
            matches.collect()
        });
        let result = result.await;
        self.counters.count(Kind::TextMatch, self.micros_since(start), result.is_ok());
        result
    }

    /// Prepares scoring: reads the statistics of the view.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn scorer(&self, request: ScorerRequest, provider: &mut dyn Provider) -> Result<Scorer> {
        let start = self.env.clock.monotonic();
        let result = self.prepare(request, provider).await;
        self.counters.count(Kind::ScorerOpen, self.micros_since(start), result.is_ok());
        result
    }

    async fn prepare(&self, request: ScorerRequest, provider: &mut dyn Provider) -> Result<Scorer> {
        let schema = self.schema(&request.namespace.schema)?;
        let attribute = request.attribute;
        let query = TextQuery::of_attribute(attribute, request.query);
        let query = ParsedTextQuery::parse(&schema.schema, &query)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let corpus = request.corpus;
        let spec = Arc::new(Spec { text: Some(query.clone()), corpus, ..Spec::of_rows(&schema.schema, None) });
        let run = Run { spec, view, cpu: self.cpu(), reads };
        let stats = self.cpu().drive(async move { run.corpus().await }).await?;
        Ok(Scorer(Arc::new(Prepared { schema: schema.schema, attribute, query, stats })))
    }

    /// What BM25 counts in a view for a query.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn corpus(&self, request: CorpusRequest, provider: &mut dyn Provider) -> Result<CorpusStats> {
        let start = self.env.clock.monotonic();
        let result = self.count(request, provider).await;
        self.counters.count(Kind::Corpus, self.micros_since(start), result.is_ok());
        result
    }

    async fn count(&self, request: CorpusRequest, provider: &mut dyn Provider) -> Result<CorpusStats> {
        let schema = self.schema(&request.namespace.schema)?;
        let query = ParsedTextQuery::parse(&schema.schema, &request.text)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let spec = Arc::new(Spec { text: Some(query), ..Spec::of_rows(&schema.schema, None) });
        let run = Run { spec, view, cpu: self.cpu(), reads };
        self.cpu().drive(async move { run.counts().await }).await
    }

    /// The score of each text, 0 where no term matches: what a stored row with that text gets from the text arm.
    ///
    /// # Errors
    /// `Cancelled`.
    pub async fn score_texts(&self, scorer: &Scorer, texts: Vec<String>) -> Result<Vec<f32>> {
        let start = self.env.clock.monotonic();
        let prepared = scorer.0.clone();
        let cpu = self.cpu();
        let result = cpu.run(move |cancel| {
            let mut analyzers = Analyzers::new(&prepared.schema);
            let weights = BufferScorer::new(&prepared.query, &prepared.stats);
            let scores = texts.into_iter().map(|text| {
                cancel.check()?;
                let document = Document { vector: None, attributes: vec![(prepared.attribute, Value::String(text))] };
                Ok(weights.score(&AnalyzedDocument::new(&mut analyzers, &document)).unwrap_or(0.0))
            });
            scores.collect()
        });
        let result = result.await;
        self.counters.count(Kind::ScoreTexts, self.micros_since(start), result.is_ok());
        result
    }
}
