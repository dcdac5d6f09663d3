//! The text arm of one segment and of the write buffer: BM25 and attribute filters, on top of tantivy.
//!
//! * [`builder`] turns the documents of a segment (in ordinal order) into the files of one tantivy segment and a hotcache.
//! * [`segment`] opens them again over ranged reads and answers searches and filters.
//! * [`query_language`] is what all text queries are written in: a segment evaluates them on postings, a document filter on
//!   analysed texts; [`highlight`] shows what they found.
//! * [`query`], [`stats`] and [`score`] are shared with the write buffer, so that a document scores the same wherever it is.
//!
//! Everything here is synchronous and CPU-bound, and starts no thread: callers run it on their CPU pool.

pub mod analyzer;
mod bm25;
pub mod builder;
pub mod directory;
mod document_filter;
mod filter;
pub mod highlight;
pub mod hotcache;
pub mod query;
pub mod query_language;
pub mod schema;
pub mod score;
pub mod segment;
mod sparse;
mod spilling;
pub mod stats;
mod stop_words;
mod terms;
mod tokenizers;
mod top;

pub use analyzer::{AnalyzedToken, Analyzer, Analyzers, analyze};
pub use bm25::Bm25Parameters;
pub use builder::{TextBuilder, TextBundle};
pub use directory::{PlannedRead, RangeRead};
pub use document_filter::DocumentFilter;
pub use highlight::{Fragment, HighlightOptions, highlight};
pub use query::{ParsedTextQuery, QueryField, QueryShape, QueryTerm, searched_fields};
pub use query_language::{AnalyzedQuery, Operator, SearchField, parse_query, search_fields};
pub use score::{AnalyzedDocument, BufferScorer};
pub use segment::TextSegment;
pub use spilling::{SpilledText, SpillingTextBuilder};
pub use stats::CorpusStats;
