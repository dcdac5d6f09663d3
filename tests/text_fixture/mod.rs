//! Opens bundles over readers that count what is read.
#![allow(dead_code)]

use elacsym::document::Document;
use elacsym::error::Result;
use elacsym::ipc::message::{Operator, TextQuery};
use elacsym::schema::NamespaceSchema;
use elacsym::text::{
    AnalyzedDocument, Analyzers, BufferScorer, CorpusStats, ParsedTextQuery, RangeRead, TextBundle, TextSegment,
    builder,
};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts reads and bytes of all files of a bundle.
#[derive(Debug, Default)]
pub struct Counts {
    pub reads: AtomicUsize,
    pub bytes: AtomicUsize,
}

impl Counts {
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct CountingFile {
    bytes: Vec<u8>,
    counts: Arc<Counts>,
}

impl RangeRead for CountingFile {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        self.counts.bytes.fetch_add((range.end - range.start) as usize, Ordering::SeqCst);
        Ok(self.bytes[range.start as usize..range.end as usize].to_vec())
    }
}

pub fn open(schema: &NamespaceSchema, bundle: &TextBundle) -> (TextSegment, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let file = |(name, bytes): &(String, Vec<u8>)| {
        let file = CountingFile { bytes: bytes.clone(), counts: counts.clone() };
        (name.clone(), bytes.len() as u64, Arc::new(file) as Arc<dyn RangeRead>)
    };
    let files = bundle.files.iter().map(file).collect();
    (TextSegment::open(schema, "test.idx", files, &bundle.hotcache).unwrap(), counts)
}

pub fn segment(schema: &NamespaceSchema, documents: &[Document]) -> TextSegment {
    open(schema, &builder::build(schema, documents).unwrap()).0
}

pub fn parse(schema: &NamespaceSchema, query: &str, fields: &[(&str, f32)]) -> ParsedTextQuery {
    let fields = fields.iter().map(|(name, weight)| (schema.require(name).unwrap().id, *weight)).collect();
    ParsedTextQuery::parse(schema, &TextQuery { query: query.to_string(), fields, operator: Operator::Or }).unwrap()
}

/// A corpus cut into segments and a buffer; documents keep their place in the whole as their number.
pub struct Spread {
    pub segments: Vec<(usize, TextSegment)>,
    pub buffer: Vec<(usize, AnalyzedDocument)>,
}

impl Spread {
    /// `cuts` are the lengths of the segments; the rest is buffered.
    pub fn new(schema: &NamespaceSchema, documents: &[Document], cuts: &[usize]) -> Self {
        let mut segments = Vec::new();
        let mut start = 0;
        for len in cuts {
            segments.push((start, segment(schema, &documents[start..start + len])));
            start += len;
        }
        let mut analyzers = Analyzers::new(schema);
        let buffer = documents.iter().enumerate().skip(start);
        let buffer = buffer.map(|(i, document)| (i, AnalyzedDocument::new(&mut analyzers, document))).collect();
        Self { segments, buffer }
    }

    pub fn stats(&self, query: &ParsedTextQuery) -> CorpusStats {
        let mut stats = CorpusStats::new(query);
        for (_, segment) in &self.segments {
            stats.add(&segment.stats(query).unwrap()).unwrap();
        }
        for (_, document) in &self.buffer {
            document.add_to_stats(query, &mut stats);
        }
        stats
    }

    /// The best `k` of the whole, best first.
    pub fn search(&self, query: &ParsedTextQuery, k: usize) -> Vec<(usize, f32)> {
        let stats = self.stats(query);
        let mut rows = Vec::new();
        for (start, segment) in &self.segments {
            let found = segment.search(query, &stats, k, None).unwrap();
            rows.extend(found.into_iter().map(|(ordinal, score)| (start + ordinal as usize, score)));
        }
        let scorer = BufferScorer::new(query, &stats);
        rows.extend(self.buffer.iter().filter_map(|(i, document)| Some((*i, scorer.score(document)?))));
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        rows.truncate(k);
        rows
    }
}
