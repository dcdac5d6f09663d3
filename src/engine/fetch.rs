//! Documents by key.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::try_join_all;

use super::arms::{Hit, Run, Spec};
use super::results::{Wanted, values};
use super::stats::Kind;
use super::view::LiveView;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::Result;
use crate::ids::{EntryOrder, Key};
use crate::ipc::message::{FetchRequest, NamespaceView, RequestStats, ResultRow};

impl Engine {
    /// The documents of these keys in the order of the request, each key once; missing ones are left out.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn fetch(
        &self,
        request: FetchRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let start = self.env.clock.monotonic();
        let result = self.run_fetch(request, provider).await;
        let micros = self.micros_since(start);
        self.counters.count(Kind::Fetch, micros, result.is_ok());
        result.map(|(rows, stats)| (rows, RequestStats { engine_micros: micros, ..stats }))
    }

    async fn run_fetch(
        &self,
        request: FetchRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let schema = self.schema(&request.namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let mut seen = HashSet::with_capacity(request.keys.len());
        let keys: Vec<Key> = request.keys.into_iter().filter(|key| seen.insert(*key)).collect();
        let mut namespace = request.namespace;
        cut_down(&mut namespace, &keys);
        let view = Arc::new(self.resolve_anew(&namespace, &schema, provider, &reads).await?);
        let hits = locate(&view, &keys, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, None));
        let run = Run { spec, view: view.clone(), cpu: self.cpu(), reads: reads.clone() };
        let row = |key: Key| ResultRow { key, ..ResultRow::default() };
        let found = keys.iter().zip(hits).filter_map(|(key, hit)| hit.map(|(_, hit)| (hit, row(*key)))).collect();
        let wanted = Wanted { vector: request.include_vector, attributes: request.include_attributes };
        let rows = values(&run, found, &wanted).await?;
        let read = reads.snapshot();
        let stats = RequestStats {
            segments: view.segments.len() as u64,
            buffered: view.buffered.len() as u64,
            object_requests: read.requests,
            object_bytes: read.bytes,
            cache_hits: read.hits_memory + read.hits_disk,
            cache_misses: read.misses,
            ..RequestStats::default()
        };
        Ok((rows, stats))
    }
}

/// Leaves of a view what can say something of these keys: nothing else is opened and asked for.
pub(super) fn cut_down(view: &mut NamespaceView, keys: &[Key]) {
    let wanted: HashSet<Key> = keys.iter().copied().collect();
    view.buffered.retain(|entry| wanted.contains(&entry.id.key));
    view.segments.retain(|s| keys.iter().any(|key| (s.info.min_key..=s.info.max_key).contains(key)));
}

/// Which version of each key is alive, and where.
pub(super) async fn locate(
    view: &LiveView,
    keys: &[Key],
    reads: &Arc<ReadStats>,
) -> Result<Vec<Option<(EntryOrder, Hit)>>> {
    let lookups = try_join_all(view.segments.iter().map(|live| live.segment.lookup(keys, reads))).await?;
    let hits = keys.iter().enumerate().map(|(at, key)| {
        if let Ok(place) = view.buffered.binary_search_by_key(key, |entry| entry.id.key) {
            return Some((view.buffered[place].id.order, Hit::Buffered(place)));
        }
        // A live buffered delete has hidden the key's rows already.
        let mut best: Option<(EntryOrder, Hit)> = None;
        for (place, (live, hits)) in view.segments.iter().zip(&lookups).enumerate() {
            let Some(hit) = hits[at] else { continue };
            let Some(ordinal) = hit.ordinal else { continue };
            let alive = live.alive.as_ref().is_none_or(|alive| alive.contains(ordinal));
            if alive && best.is_none_or(|(order, _)| order < hit.order) {
                best = Some((hit.order, Hit::Row(place, ordinal)));
            }
        }
        best
    });
    Ok(hits.collect())
}
