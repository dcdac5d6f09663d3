//! The vector index of one segment: inverted lists of RaBitQ codes.
//!
//! [`build`] turns `n` vectors into four byte strings. `head` (rotation, mean, centroids, list directory) is read once
//! and kept; `postings` holds per list blocks of 32 one-bit codes (first stage), `row_codes` one 8-bit code per row
//! (second stage). The exact vectors stay with the rows of the segment, which must be stored in [`BuiltIndex::order`]:
//! rows are sorted by list, so a list is a contiguous range of ordinals and stores none.
//!
//! A search ([`search`], [`Searcher`]) ranks the lists, scans the one-bit codes of the nearest, keeps every row whose
//! lower bound is below the k-th smallest upper bound (repeats that on the 8-bit codes, of many results), and computes the
//! distances of the few rows left from the exact vectors: two dependent reads unless a filter makes it probe on. Between the
//! two, searches of several segments can be told what the others have found ([`Cut`]).

mod build;
mod cut;
mod head;
mod layout;
mod pieces;
mod plan;
mod query;
mod ranking;
mod scan;
mod search;
mod source;
mod stream;

pub use build::{BuildParams, BuiltIndex, CodeSink, VectorInput, build, build_from, build_into};
pub use cut::{Bounds, Cut};
pub use head::Head;
pub use pieces::Pieces;
pub use search::{Need, Reply, SearchParams, SearchStats, Searcher, search};
pub use source::VectorSource;
pub use stream::SearchStream;
