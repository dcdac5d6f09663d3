//! Compaction: some segments become one.
//!
//! Nothing here is in a hurry: inputs are read past the block cache, rows wait on the local disk, and everything that computes
//! does so on a thread of its own that gives way to queries ([`super::permits::CpuPool::run_in_background`]). What it makes nobody
//! refers to until the caller publishes it.

mod merge;
mod running;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roaring::RoaringBitmap;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Engine;
use super::permits::{Cancel, CpuPool};
use super::segments::Opener;
use super::stats::Kind;
use super::view::Schema;
use crate::cache::ReadStats;
use crate::compaction::is_small;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{CarryRequest, CompactInput, CompactPhase, CompactRequest, CompactResult};
use crate::schema::AttributeId;
use crate::scratch::{Scratch, ScratchFile};
use crate::segment::{
    BATCH_ROWS, BLOCK_BYTES, MergeOptions, MergeStep, MergedKeys, MergedKeysWriter, MergedSegment, Place, RowRead,
    Segment, Spill, write_merged,
};
use crate::segment_info::DeleteVector;
use crate::storage::{ObjectStore, PutOutcome};
use crate::vector::parallel;
use merge::{BadKeyIndex, Input, Merger};
use running::Progress;
pub use running::Running;

/// Share of the memory of a build for the vectors that lists are trained on: the divisor. Training copies a part of them.
const TRAINING_SHARE: u64 = 4;
/// Share of it for texts until they go to the disk, which takes memory too: the divisor.
const TEXT_SHARE: u64 = 4;
/// Most rows of which the keys are pinned, in the same memory: about twice 100 bytes of each are held for a moment.
const PINNED_ROW_BYTES: u64 = 256;
/// Share of it for rows that are read at once, as they are stored, and the most: the divisor, bytes.
const READ_SHARE: u64 = 32;
const MAX_READ_BYTES: u64 = 8 << 20;
/// Bytes of key indexes that are read before they are merged, of all inputs together, as a share of it: the divisor.
const KEYS_SHARE: u64 = 64;
/// Bytes of an object that are compared at once.
const COMPARED_BYTES: u64 = 8 << 20;
/// Reads and writes of temporary files after which queries go first: about a millisecond.
const PACED_USES: u64 = 256;
/// Rows whose identities are read at once.
const CARRY_ROWS: usize = 64 << 10;
/// Temporary files take so many times the bytes of the rows that stay, about: the rows as they were read, the new objects, and what
/// those are made of.
const ROOM: u64 = 3;
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
        let directory = settings.cache_path.as_os_str().is_empty();
        let directory = (!directory).then(|| settings.cache_path.join(DIRECTORY));
        let scratch = Scratch::new(directory);
        scratch.look_for_room(room(&request.inputs)?)?;
        // Before the work: a store that cannot be written should cost nothing.
        let store = self.stores.get_checked(&request.root).await?;
        let schema = Schema::new(&request.schema)?;
        let reads = Arc::new(ReadStats::default());
        let (sources, keys) =
            self.choose_rows(&request.inputs, &schema, &scratch, settings.build_memory, &reads).await?;
        let input_rows: u64 = request.inputs.iter().map(|input| input.info.rows).sum();
        let (rows, tombstones) = (keys.rows(), keys.tombstones());
        let mut stats = json!({
            "compacted": request.inputs.iter().map(|input| input.info.id.clone()).collect::<Vec<_>>(),
            "input_rows": input_rows,
            "rows": rows,
            "tombstones": tombstones,
        });
        if rows == 0 && tombstones == 0 {
            return Ok(CompactResult { segment: None, stats: stats.to_string() });
        }
        progress.expect_rows(rows);
        progress.enter(CompactPhase::Rows);
        let (spill, keys) =
            self.spill(sources, keys, &schema, (scratch.clone(), settings.build_memory), progress, &reads).await?;
        let read = self.micros_since(start);
        let id = self.env.ids.ulid().to_string();
        let place = Place { path: format!("{}/{id}", request.path), root: request.root, id };
        let written = self.write(spill, keys, &schema, place, settings.build_memory, progress).await?;
        let built = self.micros_since(start);
        progress.enter(CompactPhase::Uploading);
        let info = written.info.clone();
        // Rows first, so that an index that exists always has its rows.
        if let Some(parquet) = &written.parquet {
            put_new_file(store.as_ref(), &info.parquet_key(), parquet).await?;
        }
        put_new_file(store.as_ref(), &info.index_key(), &written.index).await?;
        // Of more, the first VACUUM reads them from storage.
        if request.pin_keys && info.rows.saturating_mul(PINNED_ROW_BYTES) <= settings.build_memory {
            let records = self.cpu().run_in_background(move |_| written.key_records()).await?;
            self.pin(&info, records).await;
        }
        // So that the first query after it is published does not wait for that.
        let cpu = self.cpu();
        let opener = Opener { stores: &self.stores, cache: &self.cache, cpu: &cpu, reads: &reads };
        self.segments.get(&info, &schema.schema, schema.hash, &opener).await?;
        if let Some(map) = stats.as_object_mut() {
            let read_bytes = reads.snapshot().bytes;
            map.insert("vectors".to_string(), info.vectors.into());
            map.insert("bytes".to_string(), info.bytes().into());
            map.insert("read_bytes".to_string(), read_bytes.into());
            map.insert("scratch_bytes".to_string(), scratch.written().into());
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
        scratch: &Arc<Scratch>,
        build_memory: u64,
        reads: &Arc<ReadStats>,
    ) -> Result<(Vec<Arc<Segment>>, MergedKeys)> {
        let (mut segments, mut to_merge) = (Vec::new(), Vec::new());
        for input in inputs {
            // Not among the open segments: it is not needed as it is, and would push out others.
            segments.push(self.open_to_read(input, schema, reads).await?);
            let deleted: RoaringBitmap = DeleteVector::decode(&input.delete_vector, &input.info.id)?.0;
            let entries = (input.info.rows, input.info.tombstones);
            to_merge.push(Input::new(deleted, input.forget, entries));
        }
        let cpu = self.cpu();
        let vectors: Vec<u64> = inputs.iter().map(|input| input.info.vectors).collect();
        let to = scratch.clone();
        let blocks = build_memory / KEYS_SHARE / BLOCK_BYTES / (segments.len() as u64).max(1);
        let begin = move |_: &_| Ok(Merger::new(to_merge, MergedKeysWriter::new(&to, vectors)?));
        let mut merger = cpu.run_in_background(begin).await?;
        let mut read = vec![0; segments.len()];
        loop {
            let wanted = merger.wanted();
            if wanted.is_empty() {
                break;
            }
            for input in wanted {
                let segment = &segments[input];
                let records;
                (records, read[input]) = segment.records_from(read[input], blocks, reads).await?;
                let is_last = read[input] == segment.key_index_len();
                merger.supply(input, records, is_last).map_err(|BadKeyIndex| segment.bad_key_index())?;
            }
            let advance = move |_: &_| {
                merger.advance()?;
                Ok(merger)
            };
            merger = cpu.run_in_background(advance).await?;
        }
        let keys = cpu.run_in_background(move |_| merger.finish()).await?;
        Ok((segments, keys))
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
        segments: Vec<Arc<Segment>>,
        keys: MergedKeys,
        schema: &Schema,
        to: (Arc<Scratch>, u64),
        progress: &Arc<Progress>,
        reads: &Arc<ReadStats>,
    ) -> Result<(Spill, MergedKeys)> {
        let (to, build_memory) = to;
        let cpu = self.cpu();
        let dim = schema.schema.vector.map_or(0, |vector| vector.dim);
        let columns: Vec<AttributeId> = schema.schema.attributes.iter().map(|attribute| attribute.id).collect();
        let mut spill = cpu.run_in_background(move |_| Spill::new(&to, dim)).await?;
        for (input, segment) in segments.into_iter().enumerate() {
            let info = segment.info();
            let row_bytes = (info.parquet_bytes / info.rows.max(1)).max(1);
            let read_bytes = (build_memory / READ_SHARE).min(MAX_READ_BYTES);
            let rows_at_once = (read_bytes / row_bytes).clamp(1, BATCH_ROWS as u64) as usize;
            let mut rows = keys.of_input(input).iter();
            loop {
                let batch: Vec<u32> = rows.by_ref().take(rows_at_once).collect();
                if batch.is_empty() {
                    break;
                }
                let (vectors, attributes) = tokio::try_join!(
                    read_vectors(&segment, &batch, reads),
                    read_attributes(&cpu, &segment, &batch, &columns, reads)
                )?;
                let (count, with_vector) = (batch.len(), segment.info().vectors);
                let add = move |cancel: &Cancel| {
                    cancel.check()?;
                    let mut spill = spill;
                    let mut attributes = attributes;
                    let mut vectors = vectors.chunks_exact(dim.max(1));
                    for ordinal in batch {
                        let mut document = attributes.remove(&ordinal).unwrap_or_default();
                        if u64::from(ordinal) < with_vector {
                            document.vector = vectors.next().map(<[f32]>::to_vec);
                        }
                        spill.add(document)?;
                    }
                    Ok(spill)
                };
                spill = cpu.run_in_background(add).await?;
                progress.add(count);
            }
        }
        Ok((spill, keys))
    }

    async fn write(
        &self,
        spill: Spill,
        keys: MergedKeys,
        schema: &Schema,
        place: Place,
        build_memory: u64,
        progress: &Arc<Progress>,
    ) -> Result<MergedSegment> {
        let share = |divisor| usize::try_from(build_memory / divisor).unwrap_or(usize::MAX);
        // One thread: the others are for queries.
        let options = MergeOptions { threads: 1, training_bytes: share(TRAINING_SHARE), text_bytes: share(TEXT_SHARE) };
        let (schema, progress) = (schema.schema.clone(), progress.clone());
        let work = move |cancel: &Cancel| {
            let asked = cancel.clone();
            let rows = spill.finish(keys)?;
            let uses = AtomicU64::new(0);
            rows.scratch().set_check(Some(Arc::new(move || {
                // Also where a library works for long.
                if uses.fetch_add(1, Ordering::Relaxed).is_multiple_of(PACED_USES) {
                    parallel::pace();
                }
                asked.check()
            })));
            let on = |step| match step {
                MergeStep::Vectors => progress.enter(CompactPhase::Vectors),
                MergeStep::Rows => progress.enter(CompactPhase::Writing),
                MergeStep::Wrote(rows) => progress.add(rows),
            };
            let written = write_merged(&schema, &rows, &options, place, &on)?;
            // Whoever reads the files from here on is not this work.
            rows.scratch().set_check(None);
            Ok(written)
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

async fn read_vectors(segment: &Segment, rows: &[u32], reads: &Arc<ReadStats>) -> Result<Vec<f32>> {
    let vectors = segment.info().vectors;
    let with_vector: Vec<u32> = rows.iter().copied().filter(|ordinal| u64::from(*ordinal) < vectors).collect();
    segment.vectors_uncached(&with_vector, reads).await
}

/// The attributes `columns`, those that the segment has.
async fn read_attributes(
    cpu: &Arc<CpuPool>,
    segment: &Arc<Segment>,
    rows: &[u32],
    columns: &[AttributeId],
    reads: &Arc<ReadStats>,
) -> Result<BTreeMap<u32, Document>> {
    let mut read = RowRead::new(segment, rows, columns)?;
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

/// About how many bytes of temporary files a merge needs.
fn room(inputs: &[CompactInput]) -> Result<u64> {
    let mut bytes = 0_u64;
    for CompactInput { info, delete_vector, .. } in inputs {
        let dead = DeleteVector::decode(delete_vector, &info.id)?.0.len();
        let live = u128::from(info.rows.saturating_sub(dead));
        let share = u128::from(info.bytes()) * live / u128::from(info.rows.max(1));
        bytes = bytes.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
    }
    Ok(bytes.saturating_mul(ROOM))
}

/// Puts an object that must not exist (INV-4), as [`super::flush::put_new`] does, from a file.
///
/// # Errors
/// `Fenced` if it exists with other bytes; the store's; those of the local disk.
async fn put_new_file(store: &dyn ObjectStore, key: &str, file: &ScratchFile) -> Result<()> {
    if store.put_file_if_absent(key, file.file(), file.len()).await? == PutOutcome::Created {
        return Ok(());
    }
    // Our own earlier attempt, whose answer was lost, has the same bytes.
    let mut same = store.head(key).await? == file.len();
    let mut at = 0;
    while same && at < file.len() {
        let range = at..file.len().min(at + COMPARED_BYTES);
        at = range.end;
        same = store.get_range(key, range.clone()).await? == file.read(range)?;
    }
    if same {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Fenced, format!("object \"{key}\" exists already with other bytes")))
}
