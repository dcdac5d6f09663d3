//! Bringing a segment into the cache before anybody asks for it.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;

use super::format::Span;
use super::reader::{Segment, missing_is_corrupt};
use crate::cache::{PagedObject, ReadStats};
use crate::error::Result;

/// Bytes of one read: a few requests' worth, so that little is in memory besides the cache.
const WARM_BYTES: u64 = 4 << 20;
/// Such reads at once: fills a fast network and leaves most of the fetches that may be under way to queries.
const WARM_READS: usize = 4;

/// Ranks of [`Segment::warm_parts`].
pub const WARM_RANKS: usize = 3;

/// One part of a segment.
#[derive(Debug, Clone)]
pub struct WarmPart {
    object: PagedObject,
    range: Range<u64>,
}

impl WarmPart {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// True for a part without bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Key of the object it is part of.
    pub fn key(&self) -> &str {
        self.object.key()
    }

    /// Whether the disk tier of the cache may hold it.
    pub fn uses_disk(&self) -> bool {
        self.object.uses_disk()
    }
}

impl Segment {
    /// What queries read of it, by how often they do. Of rank 0: what finds candidates (text, one-bit codes); 1: what says which
    /// documents they are; 2: exact vectors and everything else.
    pub fn warm_parts(&self, rank: usize) -> Vec<WarmPart> {
        let of_index = |span: &Span| WarmPart {
            object: self.index.clone(),
            range: span.offset..span.end().unwrap_or(span.offset),
        };
        match rank {
            0 => self.text_files.iter().chain([&self.postings]).map(of_index).collect(),
            1 => [self.identities, self.key_index].iter().map(of_index).collect(),
            _ => {
                let rows = self.parquet.iter().map(|rows| WarmPart { object: rows.clone(), range: 0..rows.len() });
                rows.chain([of_index(&self.row_codes)]).collect()
            }
        }
    }

    /// Reads a part through the cache.
    ///
    /// # Errors
    /// `Corrupt`, or the store's.
    pub async fn warm(&self, part: &WarmPart, stats: &Arc<ReadStats>) -> Result<()> {
        let object = &part.object.with_stats(stats.clone());
        let starts = (part.range.start..part.range.end).step_by(WARM_BYTES as usize);
        let mut reads = futures::stream::iter(starts)
            .map(|start| async move {
                let range = start..part.range.end.min(start + WARM_BYTES);
                object.read(range.clone()).await?;
                // The cache keeps what is asked for again and takes the rest for a scan.
                object.read(range).await
            })
            .buffer_unordered(WARM_READS);
        while let Some(read) = reads.next().await {
            read.map_err(|e| missing_is_corrupt(e, &self.info().root, object.key()))?;
        }
        Ok(())
    }
}
