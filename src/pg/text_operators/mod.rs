//! The operators `@@@` (does the text match a query) and `<@>` (negated BM25), which work on any text and agree with the
//! index (pitfalls 1.16): the executor evaluates them on heap rows that a bitmap, an update or the plan did not check, and
//! as output columns.
//!
//! What a query means depends on an index: its analysis, and for scores its statistics. People write `body @@@ 'words'`; when
//! the statement is planned, [`support`] finds the index of `body` ([`resolve`]) and puts an `elacsym.bm25query` that names
//! it in place of the text. Only that form belongs to the operator family, so an index scan never sees any other, and
//! [`evaluate`] computes the same from the text alone.

pub mod bm25query;
mod evaluate;
pub mod resolve;
mod scorer;
mod support;

pub use support::index_named_by;
