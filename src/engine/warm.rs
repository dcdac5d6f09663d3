//! Bringing a namespace or an index into the cache.

use std::collections::HashSet;
use std::sync::Arc;

use super::stats::Kind;
use super::view::Schema;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::Result;
use crate::ipc::message::NamespaceView;
use crate::segment::WARM_RANKS;

/// Share of the cache that one call may fill, in percent: what others use must not all go.
const FILL_PERCENT: u64 = 75;

/// What is at hand after a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Objects of which parts are at hand.
    pub objects: u64,
    /// Bytes of them, heads included, whether they had to be read or not.
    pub bytes: u64,
}

impl Engine {
    /// Opens all segments of a view and reads as much of them into the cache as fits, what queries need most first.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn warm(&self, view: NamespaceView, provider: &mut dyn Provider) -> Result<Warmed> {
        let start = self.env.clock.monotonic();
        let result = self.run_warm(view, provider).await;
        self.counters.count(Kind::Warm, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_warm(&self, view: NamespaceView, provider: &mut dyn Provider) -> Result<Warmed> {
        let schema = Schema::new(&view.schema)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(view, &schema, provider, &reads).await?;
        let mut objects: HashSet<String> = HashSet::new();
        let mut warmed = Warmed::default();
        for live in &view.segments {
            objects.insert(live.segment.info().index_key());
            warmed.bytes += live.segment.info().tail_bytes;
        }
        // Heads are outside the block cache.
        let mut filled = 0;
        for rank in 0..WARM_RANKS {
            for live in &view.segments {
                for part in live.segment.warm_parts(rank) {
                    let room = self.cache.capacity(part.uses_disk()) / 100 * FILL_PERCENT;
                    if part.is_empty() || filled + part.len() > room {
                        continue;
                    }
                    live.segment.warm(&part, &reads).await?;
                    filled += part.len();
                    objects.insert(part.key().to_string());
                }
            }
        }
        warmed.objects = objects.len() as u64;
        warmed.bytes += filled;
        Ok(warmed)
    }
}
