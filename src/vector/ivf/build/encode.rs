//! Encoding the rows of every list, list after list, into whatever takes the codes: they need not fit into memory.

use super::{BuiltIndex, Lists, Prepared};
use crate::error::Result;
use crate::vector::parallel;
use crate::vector::rabitq::{BlockWriter, eight_bit, one_bit, row_len, write_row};
use crate::vector::simd::kernels;

/// Most rows of one list that are gathered at once.
const GATHERED_ROWS: usize = 4 << 10;
/// Lists encoded between two writes, for each thread: enough that threads seldom wait for each other.
const LISTS_PER_THREAD: usize = 16;

/// Takes the codes of a segment while they are made, each section from its start to its end.
pub trait CodeSink {
    /// Appends one-bit codes.
    ///
    /// # Errors
    /// Its own.
    fn postings(&mut self, bytes: &[u8]) -> Result<()>;

    /// Appends 8-bit codes.
    ///
    /// # Errors
    /// Its own.
    fn row_codes(&mut self, bytes: &[u8]) -> Result<()>;
}

impl CodeSink for BuiltIndex {
    fn postings(&mut self, bytes: &[u8]) -> Result<()> {
        self.postings.extend_from_slice(bytes);
        Ok(())
    }

    fn row_codes(&mut self, bytes: &[u8]) -> Result<()> {
        self.row_codes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Encodes all lists; returns the spread of each.
pub(super) fn encode_all(prepared: &Prepared<'_>, lists: &Lists, sink: &mut dyn CodeSink) -> Result<Vec<f32>> {
    let mut spreads = Vec::with_capacity(lists.members.len());
    while spreads.len() < lists.members.len() {
        let left = &lists.members[spreads.len()..];
        // A long one, of rows that are all alike perhaps, is not collected.
        let short = left.iter().take_while(|members| members.len() <= GATHERED_ROWS).count();
        if short == 0 {
            parallel::pace();
            spreads.push(encode(prepared, lists, spreads.len(), sink)?);
            continue;
        }
        let first = spreads.len();
        let encoded = parallel::map(prepared.threads, short.min(prepared.threads * LISTS_PER_THREAD), |i| {
            let mut codes = BuiltIndex::default();
            encode(prepared, lists, first + i, &mut codes).map(|spread| (spread, codes))
        });
        for list in encoded {
            let (spread, codes) = list?;
            sink.postings(&codes.postings)?;
            sink.row_codes(&codes.row_codes)?;
            spreads.push(spread);
        }
    }
    Ok(spreads)
}

/// Encodes one list; returns its spread.
fn encode(prepared: &Prepared<'_>, lists: &Lists, list: usize, sink: &mut dyn CodeSink) -> Result<f32> {
    let (metric, padded) = (prepared.metric, prepared.rotation.padded());
    let centroid = &lists.centroids[list * padded..(list + 1) * padded];
    let rows = &lists.members[list];
    let mut writer = BlockWriter::new(padded);
    let (mut blocks, mut row_codes) = (Vec::new(), Vec::new());
    let mut residual = vec![0.0; padded];
    let mut code = Vec::with_capacity(padded);
    let mut spread = 0.0;
    for rows in rows.chunks(GATHERED_ROWS.min(prepared.rows_at_once)) {
        let values = prepared.gather(rows.iter().map(|row| *row as usize))?;
        row_codes.reserve(rows.len() * row_len(padded));
        for row in values.chunks_exact(padded) {
            for ((out, value), centre) in residual.iter_mut().zip(row).zip(centroid) {
                *out = value - centre;
            }
            spread += (kernels().dot)(&residual, &residual);
            let factors = one_bit(metric, &residual, centroid, &mut code);
            writer.push(&code, &factors, &mut blocks);
            let factors = eight_bit(metric, &residual, centroid, &mut code);
            write_row(&code, &factors, &mut row_codes);
        }
        sink.postings(&blocks)?;
        sink.row_codes(&row_codes)?;
        blocks.clear();
        row_codes.clear();
    }
    writer.finish(&mut blocks);
    sink.postings(&blocks)?;
    Ok((spread / rows.len() as f64) as f32)
}
