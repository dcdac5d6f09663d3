//! Every live key of a view: what VACUUM and verification compare with the heap.

use std::sync::Arc;

use super::arms::{Run, Spec};
use super::results::{Wanted, documents};
use super::segments::Opener;
use super::stats::Kind;
use super::view::{LiveSegment, Schema};
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{KeyInfo, KeysRequest, NamespaceView, SegmentView};
use crate::segment::{KeyRecord, Segment};
use crate::segment_info::SegmentInfo;

/// Rows of one read: bounds what checksums hold in memory, and is large enough that a read costs nothing.
const CHUNK_ROWS: usize = 1_024;

impl Engine {
    /// All live keys of the view, each once, in no order.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn keys(&self, request: KeysRequest, provider: &mut dyn Provider) -> Result<Vec<KeyInfo>> {
        let start = self.env.clock.monotonic();
        let result = self.run_keys(request, provider).await;
        self.counters.count(Kind::Keys, self.micros_since(start), result.is_ok());
        result
    }

    /// Reads a segment's objects from storage, past every cache, and checks every byte of them.
    ///
    /// # Errors
    /// `Corrupt`, naming object and offset, or the store's.
    pub async fn check_segment(&self, stored_schema: &str, info: &SegmentInfo) -> Result<()> {
        let start = self.env.clock.monotonic();
        let result = async {
            let schema = Schema::new(stored_schema)?.schema;
            let store = self.stores.get(&info.root).await?;
            let reads = Arc::new(ReadStats::default());
            let tail = Segment::read_tail(info, store.as_ref(), &reads).await?;
            let runtime = tokio::runtime::Handle::current();
            let (info, cache) = (info.clone(), self.cache.clone());
            let open = move |_: &_| Segment::open(&info, &schema, &tail, store, cache, &runtime);
            self.cpu().run(open).await?.check_objects(&reads).await
        };
        let result = result.await;
        self.counters.count(Kind::CheckSegment, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_keys(&self, request: KeysRequest, provider: &mut dyn Provider) -> Result<Vec<KeyInfo>> {
        if !request.checksums && request.namespace.buffered.is_empty() {
            return self.keys_of_segments(request.namespace, provider).await;
        }
        let schema = Schema::new(&request.namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let view = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, None));
        let run = Run { spec, view: view.clone(), cpu: self.cpu(), reads };
        let of_buffer = {
            let view = view.clone();
            run.cpu.run(move |_| {
                let crc = |document: &crate::document::Document| {
                    if request.checksums { crc32fast::hash(&document.encode()) } else { 0 }
                };
                Ok(view.buffered.iter().map(|entry| KeyInfo { id: entry.id, crc: crc(&entry.document) }).collect())
            })
        };
        let mut keys: Vec<KeyInfo> = of_buffer.await?;
        for live in &view.segments {
            let ordinals: Vec<u32> = match &live.alive {
                Some(alive) => alive.iter().collect(),
                None => (0..live.segment.rows()).collect(),
            };
            for chunk in ordinals.chunks(CHUNK_ROWS) {
                keys.extend(self.keys_of(&run, live, chunk, request.checksums).await?);
            }
        }
        Ok(keys)
    }

    /// What VACUUM asks for: from pinned keys, so that storage is asked only for what is not pinned (INV-6). What is dead is
    /// known without storage: delete vectors and tombstones come with the view.
    async fn keys_of_segments(&self, view: NamespaceView, provider: &mut dyn Provider) -> Result<Vec<KeyInfo>> {
        let schema = Schema::new(&view.schema)?;
        let reads = Arc::new(ReadStats::default());
        let (deleted, tombstones) = self.dead(&view, &schema, provider).await?;
        let mut keys = Vec::new();
        let cpu = self.cpu();
        for (SegmentView { info, .. }, deleted) in view.segments.iter().zip(deleted).filter(|(s, _)| s.info.rows > 0) {
            let records = match self.pinned(info).await {
                Some(records) => records,
                None => {
                    let fetched = self.fetch_keys(info, &schema, &reads).await;
                    let records = fetched.map_err(|error| not_pinned(error, &info.id))?;
                    self.pin(info, records.clone()).await;
                    records
                }
            };
            let tombstones = tombstones.clone();
            let alive = move |record: &KeyRecord| !deleted.contains(record.ordinal) && !tombstones.kill(record.id);
            let to_info = |record: KeyRecord| KeyInfo { id: record.id, crc: 0 };
            keys.extend(
                cpu.run(move |_| Ok(records.into_iter().filter(alive).map(to_info).collect::<Vec<_>>())).await?,
            );
        }
        Ok(keys)
    }

    async fn fetch_keys(&self, info: &SegmentInfo, schema: &Schema, reads: &Arc<ReadStats>) -> Result<Vec<KeyRecord>> {
        let cpu = self.cpu();
        let opener = Opener { stores: &self.stores, cache: &self.cache, cpu: &cpu, reads };
        let segment = self.segments.get(info, &schema.schema, schema.hash, &opener).await?;
        segment.key_records(reads).await
    }

    async fn keys_of(&self, run: &Run, live: &LiveSegment, ordinals: &[u32], checksums: bool) -> Result<Vec<KeyInfo>> {
        let ids = live.segment.identities(ordinals, &run.reads).await?;
        if !checksums {
            return Ok(ids.into_iter().map(|id| KeyInfo { id, crc: 0 }).collect());
        }
        let attributes = run.spec.schema.attributes.iter().map(|attribute| attribute.id).collect();
        let wanted = Wanted { vector: true, attributes };
        let documents = documents(run, &live.segment, ordinals.to_vec(), &wanted).await?;
        if documents.len() != ids.len() {
            return Err(Error::internal(format!("rows of segment {} were not read", live.segment.info().id)));
        }
        // Both by ascending ordinal.
        let info =
            |(id, document): (_, &crate::document::Document)| KeyInfo { id, crc: crc32fast::hash(&document.encode()) };
        run.cpu.run(move |_| Ok(ids.into_iter().zip(documents.values()).map(info).collect())).await
    }
}

/// An error of storage for a segment whose keys are not on the local disk.
fn not_pinned(error: Error, segment: &str) -> Error {
    let again = "Repeat the command when object storage answers again.";
    let hint = match (error.kind, error.hint) {
        (ErrorKind::Unavailable, Some(hint)) => Some(format!("{hint} {again}")),
        (ErrorKind::Unavailable, None) => Some(again.to_string()),
        (_, hint) => hint,
    };
    let what = "are not on the local disk and cannot be read from object storage";
    Error { message: format!("the keys of segment {segment} {what}: {}", error.message), hint, ..error }
}
