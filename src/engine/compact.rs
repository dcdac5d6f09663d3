//! Compaction: some segments become one.
//!
//! Nothing here is in a hurry: inputs are read past the block cache, rows wait on the local disk, and everything that computes
//! does so on a thread of its own that gives way to queries ([`super::permits::CpuPool::run_in_background`]). What it makes nobody
//! refers to until the caller publishes it.

mod merge;
mod running;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Engine;
use super::flush::upload;
use super::permits::{Cancel, CpuPool};
use super::segments::Opener;
use super::stats::Kind;
use super::view::Schema;
use crate::cache::ReadStats;
use crate::compaction::is_small;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, Key};
use crate::ipc::message::{CarryRequest, CompactInput, CompactPhase, CompactRequest, CompactResult};
use crate::schema::AttributeId;
use crate::segment::{
    BATCH_ROWS, KeyRecord, MergeOptions, MergeStep, Place, RowRead, Segment, Spill, WrittenSegment, write_merged,
};
use crate::segment_info::DeleteVector;
use merge::{Input, Merged, merge};
use running::Progress;
pub use running::Running;

/// Share of the memory of a build for the vectors that lists are trained on: the divisor. The rest is for the new objects.
const TRAINING_SHARE: u64 = 4;
/// Bytes of vectors read at once.
const READ_BYTES: usize = 8 << 20;
/// Rows whose identities are read at once.
const CARRY_ROWS: usize = 64 << 10;
/// Directory below the cache path for rows on their way.
const DIRECTORY: &str = "compaction";

/// Lets one large and one small compaction run at a time: their memory is what one build may take, and an eighth.
#[derive(Debug)]
pub struct Lanes {
    large: Semaphore,
    small: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { large: Semaphore::new(1), small: Semaphore::new(1) }
    }
}

impl Lanes {
    async fn enter(&self, bytes: u64, build_memory: u64) -> Result<SemaphorePermit<'_>> {
        let lane = if is_small(bytes, build_memory) { &self.small } else { &self.large };
        lane.acquire().await.map_err(|_| Error::new(ErrorKind::Cancelled, "the engine is stopping"))
    }
}

/// An input, open, with what is read of it.
struct Source {
    segment: Arc<Segment>,
    /// What stays of it, by ascending ordinal.
    rows: Vec<(u32, EntryId)>,
}

impl Engine {
    /// Starts a compaction, which goes on by itself until [`Running`] is dropped.
    pub fn start_compaction(engine: &Arc<Self>, request: CompactRequest) -> Running {
        let progress = Arc::new(Progress::default());
        let task = {
            let (engine, progress) = (engine.clone(), progress.clone());
            tokio::spawn(async move { engine.compact_noting(request, &progress).await })
        };
        Running::new(task, progress)
    }

    /// Merges segments into one and uploads it: per key the entry with the highest order stays (INV-3), dead ones only as long as
    /// they are needed. Publishing is the caller's: until then the new objects are orphans, whatever happens.
    ///
    /// # Errors
    /// Of the inputs and the stores; `Exhausted` without room on the local disk.
    pub async fn compact(self: &Arc<Self>, request: CompactRequest) -> Result<CompactResult> {
        self.compact_noting(request, &Arc::new(Progress::default())).await
    }

    async fn compact_noting(&self, request: CompactRequest, progress: &Arc<Progress>) -> Result<CompactResult> {
        let start = self.env.clock.monotonic();
        let result = self.run_compaction(request, progress).await;
        self.counters.count(Kind::Compact, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_compaction(&self, request: CompactRequest, progress: &Arc<Progress>) -> Result<CompactResult> {
        let settings = self.settings();
        let input_bytes: u64 = request.inputs.iter().map(|input| input.info.bytes()).sum();
        let _turn = self.compactions.enter(input_bytes, settings.build_memory).await?;
        let start = self.env.clock.monotonic();
        progress.enter(CompactPhase::Keys);
        // Before the work: a store that cannot be written should cost nothing.
        let store = self.stores.get_checked(&request.root).await?;
        let schema = Schema::new(&request.schema)?;
        let reads = Arc::new(ReadStats::default());
        let (sources, tombstones) = self.choose_rows(&request.inputs, &schema, &reads).await?;
        let input_rows: u64 = request.inputs.iter().map(|input| input.info.rows).sum();
        let rows: u64 = sources.iter().map(|source| source.rows.len() as u64).sum();
        let mut stats = json!({
            "compacted": request.inputs.iter().map(|input| input.info.id.clone()).collect::<Vec<_>>(),
            "input_rows": input_rows,
            "rows": rows,
            "tombstones": tombstones.len(),
        });
        if rows == 0 && tombstones.is_empty() {
            return Ok(CompactResult { segment: None, stats: stats.to_string() });
        }
        progress.expect_rows(rows);
        progress.enter(CompactPhase::Rows);
        let directory = settings.cache_path.as_os_str().is_empty();
        let directory = (!directory).then(|| settings.cache_path.join(DIRECTORY));
        let spill = self.spill(&sources, &schema, directory, progress, &reads).await?;
        drop(sources);
        let read = self.micros_since(start);
        let id = self.env.ids.ulid().to_string();
        let place = Place { path: format!("{}/{id}", request.path), root: request.root, id };
        let written = self.write(spill, tombstones, &schema, place, settings.build_memory, progress).await?;
        let built = self.micros_since(start);
        progress.enter(CompactPhase::Uploading);
        upload(store.as_ref(), &written).await?;
        let info = written.info.clone();
        if request.pin_keys {
            self.pin(&info, written.key_records()).await;
        }
        drop(written);
        // So that the first query after it is published does not wait for that.
        let cpu = self.cpu();
        let opener = Opener { stores: &self.stores, cache: &self.cache, cpu: &cpu, reads: &reads };
        self.segments.get(&info, &schema.schema, schema.hash, &opener).await?;
        if let Some(map) = stats.as_object_mut() {
            let read_bytes = reads.snapshot().bytes;
            map.insert("vectors".to_string(), info.vectors.into());
            map.insert("bytes".to_string(), info.bytes().into());
            map.insert("read_bytes".to_string(), read_bytes.into());
            map.insert("read_micros".to_string(), read.into());
            map.insert("build_micros".to_string(), (built - read).into());
            map.insert("upload_micros".to_string(), (self.micros_since(start) - built).into());
        }
        Ok(CompactResult { segment: Some(info), stats: stats.to_string() })
    }

    /// Opens the inputs and decides what stays of them: rows, and records of deletes.
    async fn choose_rows(
        &self,
        inputs: &[CompactInput],
        schema: &Schema,
        reads: &Arc<ReadStats>,
    ) -> Result<(Vec<Source>, Vec<EntryId>)> {
        let (mut segments, mut to_merge) = (Vec::new(), Vec::new());
        for input in inputs {
            // Not among the open segments: it is not needed as it is, and would push out others.
            let segment = self.open_to_read(input, schema, reads).await?;
            let records: Vec<KeyRecord> = segment.all_records(reads).await?;
            let deleted: RoaringBitmap = DeleteVector::decode(&input.delete_vector, &input.info.id)?.0;
            to_merge.push(Input { records, deleted, forget: input.forget });
            segments.push(segment);
        }
        let Merged { rows, tombstones } = self.cpu().run_in_background(move |_| Ok(merge(&to_merge))).await?;
        let sources = segments.into_iter().zip(rows).map(|(segment, rows)| Source { segment, rows }).collect();
        Ok((sources, tombstones))
    }

    async fn open_to_read(
        &self,
        input: &CompactInput,
        schema: &Schema,
        reads: &Arc<ReadStats>,
    ) -> Result<Arc<Segment>> {
        let store = self.stores.get(&input.info.root).await?;
        let tail = Segment::read_tail(&input.info, store.as_ref(), reads).await?;
        let runtime = tokio::runtime::Handle::current();
        let (info, schema, cache) = (input.info.clone(), schema.schema.clone(), self.cache.clone());
        let open = move |_: &_| Segment::open(&info, &schema, &tail, store, cache, &runtime);
        Ok(Arc::new(self.cpu().run_in_background(open).await?))
    }

    /// Reads the rows that stay, all of their values that the schema knows, onto the local disk.
    async fn spill(
        &self,
        sources: &[Source],
        schema: &Schema,
        directory: Option<PathBuf>,
        progress: &Arc<Progress>,
        reads: &Arc<ReadStats>,
    ) -> Result<Spill> {
        let cpu = self.cpu();
        let dim = schema.schema.vector.map_or(0, |vector| vector.dim);
        let columns: Vec<AttributeId> = schema.schema.attributes.iter().map(|attribute| attribute.id).collect();
        let mut spill = cpu.run_in_background(move |_| Spill::new(directory.as_deref(), dim)).await?;
        let rows_at_once = (READ_BYTES / (dim.max(1) * size_of::<f32>())).clamp(1, BATCH_ROWS);
        for source in sources {
            for rows in source.rows.chunks(rows_at_once) {
                let (vectors, attributes) = tokio::try_join!(
                    read_vectors(&source.segment, rows, reads),
                    read_attributes(&cpu, &source.segment, rows, &columns, reads)
                )?;
                let (rows, with_vector) = (rows.to_vec(), source.segment.info().vectors);
                let count = rows.len();
                let add = move |cancel: &Cancel| {
                    cancel.check()?;
                    let mut spill = spill;
                    let mut attributes = attributes;
                    let mut vectors = vectors.chunks_exact(dim.max(1));
                    for (ordinal, id) in rows {
                        let mut document = attributes.remove(&ordinal).unwrap_or_default();
                        if u64::from(ordinal) < with_vector {
                            document.vector = vectors.next().map(<[f32]>::to_vec);
                        }
                        spill.add(id, document)?;
                    }
                    Ok(spill)
                };
                spill = cpu.run_in_background(add).await?;
                progress.add(count);
            }
        }
        Ok(spill)
    }

    async fn write(
        &self,
        spill: Spill,
        tombstones: Vec<EntryId>,
        schema: &Schema,
        place: Place,
        build_memory: u64,
        progress: &Arc<Progress>,
    ) -> Result<WrittenSegment> {
        let training_bytes = usize::try_from(build_memory / TRAINING_SHARE).unwrap_or(usize::MAX);
        // One thread: the others are for queries.
        let options = MergeOptions { threads: 1, training_bytes };
        let (schema, progress) = (schema.schema.clone(), progress.clone());
        let work = move |cancel: &Cancel| {
            let asked = cancel.clone();
            let rows = spill.finish(Arc::new(move || asked.check()))?;
            let on = |step| match step {
                MergeStep::Vectors => progress.enter(CompactPhase::Vectors),
                MergeStep::Rows => progress.enter(CompactPhase::Writing),
                MergeStep::Wrote(rows) => progress.add(rows),
            };
            write_merged(&schema, &rows, tombstones, &options, place, &on)
        };
        self.cpu().run_in_background(work).await
    }

    /// Which rows of a compaction's segment are dead because rows of its inputs have died since: a delete vector, encoded.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn carry(&self, request: CarryRequest) -> Result<Vec<u8>> {
        let start = self.env.clock.monotonic();
        let result = self.run_carry(request).await;
        self.counters.count(Kind::Carry, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_carry(&self, request: CarryRequest) -> Result<Vec<u8>> {
        let schema = Schema::new(&request.schema)?;
        let reads = Arc::new(ReadStats::default());
        let cpu = self.cpu();
        let opener = Opener { stores: &self.stores, cache: &self.cache, cpu: &cpu, reads: &reads };
        let output = self.segments.get(&request.output, &schema.schema, schema.hash, &opener).await?;
        let mut dead = RoaringBitmap::new();
        for (info, died) in &request.died {
            let died: Vec<u32> = DeleteVector::decode(died, &info.id)?.0.iter().collect();
            let input = self.segments.get(info, &schema.schema, schema.hash, &opener).await?;
            for ordinals in died.chunks(CARRY_ROWS) {
                let ids = input.identities(ordinals, &reads).await?;
                let keys: Vec<Key> = ids.iter().map(|id| id.key).collect();
                for (id, hit) in ids.iter().zip(output.lookup(&keys, &reads).await?) {
                    // Another order is another entry, which won: it did not die.
                    dead.extend(hit.filter(|hit| hit.order == id.order).and_then(|hit| hit.ordinal));
                }
            }
        }
        Ok(DeleteVector(dead).encode())
    }
}

async fn read_vectors(segment: &Segment, rows: &[(u32, EntryId)], reads: &Arc<ReadStats>) -> Result<Vec<f32>> {
    let vectors = segment.info().vectors;
    let with_vector: Vec<u32> =
        rows.iter().map(|(ordinal, _)| *ordinal).filter(|ordinal| u64::from(*ordinal) < vectors).collect();
    segment.vectors_uncached(&with_vector, reads).await
}

/// The attributes `columns`, those that the segment has.
async fn read_attributes(
    cpu: &Arc<CpuPool>,
    segment: &Arc<Segment>,
    rows: &[(u32, EntryId)],
    columns: &[AttributeId],
    reads: &Arc<ReadStats>,
) -> Result<BTreeMap<u32, Document>> {
    let ordinals: Vec<u32> = rows.iter().map(|(ordinal, _)| *ordinal).collect();
    let mut read = RowRead::new(segment, &ordinals, columns)?;
    while !read.need().is_empty() {
        let bytes = segment.read_rows_uncached(read.need(), reads).await?;
        let supply = move |_: &Cancel| {
            read.supply(bytes)?;
            Ok(read)
        };
        read = cpu.run_in_background(supply).await?;
    }
    read.finish()
}
