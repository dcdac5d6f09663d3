//! How `elacsym.cache_memory` is shared: it is all that the engine keeps, decoded or as blocks.
//!
//! What is kept decoded has a limit for each kind. The block cache has what they leave, and gives way once a second
//! ([`Engine::share_memory`]): most engines hold few deletes and a small write buffer, and then nearly all of it are blocks.

use super::Engine;

/// Sixty-fourths of `cache_memory` that open segments may take. About 1 KiB of head for 1000 vectors.
const OPEN_SEGMENTS: u64 = 16;
/// Of decoded write-buffer entries. Resolved views, which share their documents with it, have the same limit.
const BUFFER: u64 = 24;
/// Of what patches have made of documents.
const PATCHED: u64 = 4;
/// Of delete vectors; of tombstones; of the rows that they kill.
const DELETES: u64 = 2;
/// Of the blocks at least: heads and codes that every search reads.
const BLOCKS: u64 = 8;
/// Least limit of decoded write-buffer entries, in bytes, whatever the share: a buffer that does not fit is decoded anew by every
/// query, and 4 MiB of payload take some 16 MiB decoded and analysed.
const LEAST_BUFFER: u64 = 32 << 20;
/// Least limit of the others, in bytes: below it every request would open everything anew.
const LEAST: u64 = 8 << 20;
/// The block cache is resized by this part of `cache_memory` or not at all: each time its shards are locked in turn.
const STEP: u64 = 32;

/// Limits of what is kept decoded, in bytes.
pub(super) struct Budgets {
    pub segments: usize,
    pub buffer: usize,
    pub patched: usize,
    /// Each of delete vectors, tombstones and the rows that they kill.
    pub delete_vectors: usize,
    pub views: usize,
}

impl Budgets {
    /// Of a `cache_memory` of so many bytes.
    pub fn of(total: u64) -> Self {
        let share = |share: u64, least: u64| {
            let bytes = (total / 64).saturating_mul(share);
            usize::try_from(bytes.max(least)).unwrap_or(usize::MAX)
        };
        let buffer = share(BUFFER, LEAST_BUFFER);
        Self {
            segments: share(OPEN_SEGMENTS, LEAST),
            buffer,
            patched: share(PATCHED, LEAST),
            delete_vectors: share(DELETES, LEAST),
            views: buffer,
        }
    }
}

impl Engine {
    /// Gives the block cache what is not kept decoded; the process calls it every second.
    pub async fn share_memory(&self) {
        let (total, kept) = (self.settings().cache_memory, self.kept_bytes());
        let blocks = blocks_of(total, kept);
        if blocks.abs_diff(self.cache.stats().memory_capacity) < (total / STEP).max(1) {
            return;
        }
        let cache = self.cache.clone();
        let resized = tokio::task::spawn_blocking(move || cache.resize_memory(blocks)).await;
        match resized {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the block cache kept its size"),
            Err(error) => tracing::warn!(%error, "the block cache kept its size"),
        }
    }

    /// Bytes that are kept decoded. Views hold the documents of the buffer, so of both only the larger counts.
    fn kept_bytes(&self) -> u64 {
        let buffered = self.buffer.usage().1.max(self.views.usage().1);
        let others = [
            self.segments.usage(),
            self.patched.usage(),
            self.delete_vectors.usage(),
            self.tombstones.usage(),
            self.killed.usage(),
            self.schemas.usage(),
        ];
        others.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>() + buffered as u64
    }
}

/// Bytes for blocks where so many are kept decoded.
fn blocks_of(total: u64, kept: u64) -> u64 {
    total.saturating_sub(kept).max(total / 64 * BLOCKS).max(1)
}

#[cfg(test)]
mod tests;
