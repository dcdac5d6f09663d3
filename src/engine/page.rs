//! Documents by ascending id, a page at a time: no page depends on what was read before it, so reading can be resumed after any
//! key and at any time.

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::arms::{Hit, Run, Spec};
use super::results::{Wanted, attributes, values};
use super::stats::Kind;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IdType, Key, text_key};
use crate::ipc::message::{PageRequest, RequestStats, ResultRow};
use crate::limits::MAX_PAGE_ROWS;
use crate::schema::TEXT_ID;
use crate::segment::Segment;

/// Most blocks of a key index that are read at once: 4 MiB.
const MAX_BLOCKS: usize = 256;

impl Engine {
    /// The first matching documents above an id, by ascending id. What is read grows with the page and with the number of
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
        let schema = self.schema(&request.namespace.schema)?;
        let by_text = schema.schema.id == IdType::Text;
        if (by_text && request.after.is_some()) || (!by_text && request.after_text.is_some()) {
            return Err(Error::internal("a page begins after an id of another type"));
        }
        if limit == 0 || request.after == Some(Key::MAX) {
            return Ok(Default::default());
        }
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, request.filter));
        let run = Run { spec, view: view.clone(), cpu: self.cpu(), reads: reads.clone() };
        let found = if by_text {
            first_by_text(&run, request.after_text, limit).await?
        } else {
            first_by_key(&run, request.after.map_or(Key::MIN, |key| key + 1), limit).await?
        };
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

/// The first `limit` matching documents of a view from a key on, by ascending key.
async fn first_by_key(run: &Run, first: Key, limit: usize) -> Result<Vec<(Hit, ResultRow)>> {
    let (view, reads) = (&run.view, &run.reads);
    let allowed = run.allowed().await?;
    let of_segments = view
        .segments
        .iter()
        .zip(&allowed)
        .map(|(live, allowed)| first_keys(&live.segment, allowed.as_deref(), first, limit, reads));
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
    Ok(found.into_iter().map(|(key, hit)| (hit, ResultRow { key, ..ResultRow::default() })).collect())
}

/// The first `limit` matching documents of a view whose text id is above `after`, by ascending id.
async fn first_by_text(run: &Run, after: Option<String>, limit: usize) -> Result<Vec<(Hit, ResultRow)>> {
    let view = &run.view;
    let allowed = run.allowed().await?;
    let of_segments = view.segments.iter().zip(&allowed).map(|(live, allowed)| {
        let (allowed, after) = (allowed.clone(), after.clone());
        first_texts(run, &live.segment, allowed, after, limit)
    });
    let of_segments = try_join_all(of_segments).await?;
    let mut found: Vec<(String, Hit)> = Vec::new();
    for (place, texts) in of_segments.into_iter().enumerate() {
        found.extend(texts.into_iter().map(|(text, ordinal)| (text, Hit::Row(place, ordinal))));
    }
    let matching = run.allowed_buffered().await?;
    let mut of_buffer: Vec<(&str, usize)> = Vec::new();
    for (place, entry) in view.buffered.iter().enumerate().filter(|(place, _)| matching.contains(*place as u32)) {
        let Some(Value::String(text)) = entry.document.get(TEXT_ID) else {
            return Err(Error::internal(format!(
                "buffered document {} has no id",
                run.spec.schema.id.describe(entry.id.key)
            )));
        };
        if after.as_ref().is_none_or(|after| text > after) {
            of_buffer.push((text.as_str(), place));
        }
    }
    of_buffer.sort_unstable();
    found.extend(of_buffer.into_iter().take(limit).map(|(text, place)| (text.to_string(), Hit::Buffered(place))));
    // A document is alive in one place only.
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found.truncate(limit);
    let row = |text: String| ResultRow { key: text_key(&text), id: Some(text), ..ResultRow::default() };
    Ok(found.into_iter().map(|(text, hit)| (hit, row(text))).collect())
}

/// The first `limit` allowed rows of a segment whose text id is above `after`, by ascending id.
async fn first_texts(
    run: &Run,
    segment: &Arc<Segment>,
    allowed: Option<Arc<RoaringBitmap>>,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<(String, u32)>> {
    let Some(text) = segment.text().cloned() else { return Ok(Vec::new()) };
    let few = allowed.as_ref().filter(|allowed| allowed.len() <= MAX_PAGE_ROWS as u64);
    if let Some(allowed) = few {
        // Their ids are read at once; the dictionary would be walked for long to come by so few.
        let ordinals: Vec<u32> = allowed.iter().collect();
        let mut found = Vec::with_capacity(ordinals.len());
        for (ordinal, document) in attributes(&run.cpu, &run.reads, segment, &ordinals, &[TEXT_ID]).await? {
            let Some(Value::String(text)) = document.get(TEXT_ID) else {
                return Err(Error::internal(format!("row {ordinal} of segment {} has no id", segment.info().id)));
            };
            if after.as_ref().is_none_or(|after| text > after) {
                found.push((text.clone(), ordinal));
            }
        }
        found.sort_unstable();
        found.truncate(limit);
        return Ok(found);
    }
    run.cpu.run(move |_| text.rows_by_term(TEXT_ID, after.as_deref(), limit, allowed.as_deref())).await
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
