//! Every live key of a view: what VACUUM and verification compare with the heap.

use std::sync::Arc;

use super::arms::{Run, Spec};
use super::results::Wanted;
use super::stats::Kind;
use super::view::{LiveSegment, Schema};
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, Result};
use crate::ipc::message::{KeyInfo, KeysRequest};
use crate::segment::Segment;
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

    async fn keys_of(&self, run: &Run, live: &LiveSegment, ordinals: &[u32], checksums: bool) -> Result<Vec<KeyInfo>> {
        let ids = live.segment.identities(ordinals, &run.reads).await?;
        if !checksums {
            return Ok(ids.into_iter().map(|id| KeyInfo { id, crc: 0 }).collect());
        }
        let attributes = run.spec.schema.attributes.iter().map(|attribute| attribute.id).collect();
        let wanted = Wanted { vector: true, attributes };
        let documents = self.documents(run, &live.segment, ordinals.to_vec(), &wanted).await?;
        if documents.len() != ids.len() {
            return Err(Error::internal(format!("rows of segment {} were not read", live.segment.info().id)));
        }
        // Both by ascending ordinal.
        let info =
            |(id, document): (_, &crate::document::Document)| KeyInfo { id, crc: crc32fast::hash(&document.encode()) };
        run.cpu.run(move |_| Ok(ids.into_iter().zip(documents.values()).map(info).collect())).await
    }
}
