//! Documents by ascending key, a page at a time: no page depends on what was read before it, so reading can be resumed after any
//! key and at any time.

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::arms::{Hit, Run, Spec};
use super::results::Wanted;
use super::stats::Kind;
use super::view::Schema;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{PageRequest, RequestStats, ResultRow};
use crate::limits::MAX_PAGE_ROWS;
use crate::segment::Segment;

/// Most blocks of a key index that are read at once: 4 MiB.
const MAX_BLOCKS: usize = 256;

impl Engine {
    /// The first matching documents above a key, by ascending key. What is read grows with the page and with the number of
    /// segments, and where few documents match, with how many are passed over.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn page(
        &self,
        request: PageRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let start = self.env.clock.monotonic();
        let result = self.run_page(request, provider).await;
        let micros = self.micros_since(start);
        self.counters.count(Kind::Page, micros, result.is_ok());
        result.map(|(rows, stats)| (rows, RequestStats { engine_micros: micros, ..stats }))
    }

    async fn run_page(
        &self,
        request: PageRequest,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<ResultRow>, RequestStats)> {
        let limit = request.rows as usize;
        if limit > MAX_PAGE_ROWS {
            return Err(Error::new(ErrorKind::OutOfRange, format!("{limit} rows are more than {MAX_PAGE_ROWS}")));
        }
        let first = match request.after {
            None => Some(Key::MIN),
            Some(key) => key.checked_add(1),
        };
        let Some(first) = first.filter(|_| limit > 0) else { return Ok(Default::default()) };
        let schema = Schema::new(&request.namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, request.filter));
        let run = Run { spec, view: view.clone(), cpu: self.cpu(), reads: reads.clone() };
        let allowed = run.allowed().await?;
        let of_segments = view
            .segments
            .iter()
            .zip(&allowed)
            .map(|(live, allowed)| first_keys(&live.segment, allowed.as_deref(), first, limit, &reads));
        let of_segments = try_join_all(of_segments).await?;
        let mut found: Vec<(Key, Hit)> = Vec::new();
        for (place, keys) in of_segments.into_iter().enumerate() {
            found.extend(keys.into_iter().map(|(key, ordinal)| (key, Hit::Row(place, ordinal))));
        }
        let buffered = run.allowed_buffered().await?;
        let start = view.buffered.partition_point(|document| document.id.key < first);
        let of_buffer = (start..view.buffered.len()).filter(|place| buffered.contains(*place as u32)).take(limit);
        found.extend(of_buffer.map(|place| (view.buffered[place].id.key, Hit::Buffered(place))));
        // A key is alive in one place only.
        found.sort_unstable_by_key(|(key, _)| *key);
        found.truncate(limit);
        let wanted = Wanted { vector: request.include_vector, attributes: request.include_attributes };
        let found = found.into_iter().map(|(key, hit)| (hit, ResultRow { key, ..ResultRow::default() })).collect();
        let rows = self.values(&run, found, &wanted).await?;
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

/// The first `limit` allowed rows of a segment from a key on, by ascending key.
async fn first_keys(
    segment: &Arc<Segment>,
    allowed: Option<&RoaringBitmap>,
    first: Key,
    limit: usize,
    reads: &Arc<ReadStats>,
) -> Result<Vec<(Key, u32)>> {
    let rows = u64::from(segment.rows());
    let count = allowed.map_or(rows, RoaringBitmap::len);
    if count == 0 || segment.info().max_key < first {
        return Ok(Vec::new());
    }
    let mut blocks = segment.key_blocks_from(first);
    // About how many blocks must be read for a page, if what is allowed is spread evenly.
    let expected = (limit as u64 * rows).div_ceil(count * segment.records_per_block()).min(blocks.len() as u64);
    let mut found = Vec::new();
    if let Some(allowed) = allowed.filter(|allowed| allowed.len() < expected) {
        let ordinals: Vec<u32> = allowed.iter().collect();
        let ids = segment.identities(&ordinals, reads).await?;
        found.extend(ids.iter().map(|id| id.key).zip(ordinals).filter(|(key, _)| *key >= first));
        found.sort_unstable();
        found.truncate(limit);
        return Ok(found);
    }
    // One more: the first block is rarely read from its start.
    let mut step = usize::try_from(expected + 1).unwrap_or(MAX_BLOCKS).clamp(1, MAX_BLOCKS);
    while !blocks.is_empty() && found.len() < limit {
        let end = blocks.end.min(blocks.start + step);
        let records = segment.key_records_of(blocks.start..end, reads).await?;
        let fits = records.iter().filter(|r| r.id.key >= first && allowed.is_none_or(|a| a.contains(r.ordinal)));
        found.extend(fits.map(|record| (record.id.key, record.ordinal)));
        blocks.start = end;
        step = (step * 2).min(MAX_BLOCKS);
    }
    found.truncate(limit);
    Ok(found)
}
