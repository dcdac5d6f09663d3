//! Searching: a state machine without I/O ([`Searcher`]) and its asynchronous driver ([`search`]).

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::head::Head;
use super::source::VectorSource;
use crate::error::{Error, Result};

/// What to search for besides the query vector.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Results wanted.
    pub k: usize,
    /// How hard to try: 1.0 is the default policy; probes, patience and rerank depth grow in proportion. Infinity is
    /// exact: every allowed row is compared by its exact vector.
    pub effort: f32,
    /// Ordinals that may be returned; `None` = all. Fold deletions in.
    pub allowed: Option<&'a RoaringBitmap>,
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Lists visited.
    pub lists_probed: usize,
    /// Rows whose one-bit code was compared and that the filter allows.
    pub rows_scanned: usize,
    /// Rows whose 8-bit code was compared.
    pub rows_coded: usize,
    /// Rows compared by their exact vector.
    pub rows_reranked: usize,
}

/// What a [`Searcher`] needs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// Answer with [`Reply::Bytes`] from the postings section.
    Postings(Vec<Range<u64>>),
    /// Answer with [`Reply::Bytes`] from the row-code section.
    RowCodes(Vec<Range<u64>>),
    /// Answer with [`Reply::Vectors`]: the exact vectors of these ordinals.
    Vectors(Vec<u32>),
    /// Finished: call [`Searcher::finish`].
    Done,
}

/// The answer to a [`Need`].
#[derive(Debug, Clone)]
pub enum Reply {
    /// One `Bytes` per range.
    Bytes(Vec<Bytes>),
    /// `ordinals.len() * dim` values, row-major.
    Vectors(Vec<f32>),
}

/// One search as a state machine without I/O, so that a caller can do the reads its own way and run
/// [`Searcher::supply`], where the CPU time goes, on a CPU pool. `H` is `&Head` or `Arc<Head>`, `A` is `&RoaringBitmap`
/// or `Arc<RoaringBitmap>`.
pub struct Searcher<H, A> {
    marker: PhantomData<(H, A)>,
}

impl<H: Deref<Target = Head>, A: Deref<Target = RoaringBitmap>> Searcher<H, A> {
    /// Prepares a search. Errors: as [`crate::vector::validate`] for the query; `OutOfRange` for an effort that is not
    /// positive.
    pub fn new(head: H, query: &[f32], k: usize, effort: f32, allowed: Option<A>) -> Result<Self> {
        let _ = (head, query, k, effort, allowed);
        Err(Error::internal("the vector search is not built yet"))
    }

    /// What is needed next; cheap, and the same until [`Searcher::supply`].
    #[must_use]
    pub fn need(&self) -> &Need {
        &Need::Done
    }

    /// Takes the answer to [`Searcher::need`] and computes up to the next need. Error: `Corrupt` for a wrong number or
    /// length of byte ranges, `Internal` for a wrong number of values.
    pub fn supply(&mut self, reply: Reply) -> Result<()> {
        let _ = reply;
        Ok(())
    }

    /// The results: (ordinal, exact distance as the SQL operator returns it), sorted by distance, then ordinal.
    #[must_use]
    pub fn finish(self) -> (Vec<(u32, f32)>, SearchStats) {
        (Vec::new(), SearchStats::default())
    }
}

/// Searches one segment: exactly `min(k, allowed rows)` results of (ordinal, exact distance as the SQL operator returns
/// it), sorted by distance, then ordinal (INV-7), and what it cost.
///
/// Errors: `TypeMismatch` or `Invalid` for the query, `OutOfRange` for an effort that is not positive, `Corrupt` for
/// bytes of the wrong length, and whatever `source` fails with.
pub async fn search(
    head: &Head,
    source: &dyn VectorSource,
    query: &[f32],
    params: &SearchParams<'_>,
) -> Result<(Vec<(u32, f32)>, SearchStats)> {
    let mut searcher = Searcher::new(head, query, params.k, params.effort, params.allowed)?;
    loop {
        let reply = match searcher.need() {
            Need::Postings(ranges) => Reply::Bytes(source.postings(ranges).await?),
            Need::RowCodes(ranges) => Reply::Bytes(source.row_codes(ranges).await?),
            Need::Vectors(ordinals) => Reply::Vectors(source.vectors(ordinals).await?),
            Need::Done => return Ok(searcher.finish()),
        };
        searcher.supply(reply)?;
    }
}
