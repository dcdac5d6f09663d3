//! The block cache: memory, and optionally a local disk that survives a restart, over foyer.
//!
//! Blocks are pieces of immutable objects, so nothing is ever invalidated. The cache is an optimisation: no fault of its
//! directory is an error, it only costs requests.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
    HybridCacheProperties, Location, PsyncIoEngineConfig, RecoverMode, S3FifoConfig, StorageFilter,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::evictions::{Evictions, FromDisk, FromMemory};
use super::flight::{Claim, Flights};
use super::page_table::{Page, PageTable};
use super::stats::{CacheStats, add};
use crate::config::{EngineSettings, MIN_CACHE_DISK_BYTES};
use crate::error::{Error, ErrorKind, Result};

/// Largest block that is cached: larger values are not blocks, and a damaged length on disk must not allocate.
const MAX_BLOCK_BYTES: usize = 8 << 20;
/// What one block costs in memory besides its bytes: foyer's record and hash table slot, by its source about 128 bytes, and the block's own
/// record.
const BLOCK_OVERHEAD_BYTES: usize = 192;
/// Memory shards: enough that the threads of a large machine rarely meet on one lock.
const MEMORY_SHARDS: usize = 16;
/// Below this a shard would be smaller than the largest blocks, so there is only one.
const MIN_SHARD_BYTES: usize = 16 << 20;
/// The disk tier is this many files, each written and evicted as a whole: few enough for the descriptor limit.
const DISK_FILES: u64 = 256;
/// Smallest of those files.
const MIN_DISK_FILE_BYTES: u64 = 1 << 20;
/// Fetches from object storage under way at once, over all queries: as many as a query with two arms over eight segments has in one
/// wave; with the files of the disk tier below the usual limit of 1,024 descriptors.
pub const MAX_PARALLEL_FETCHES: usize = 512;
/// Directory of this layout below the cache path; a change of the key or value encoding changes it.
const LAYOUT: &str = "blocks-v1";
/// Name of the lock file in it.
const LOCK: &str = "lock";
/// How long to wait for an engine that is just ending to let go of the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// What the cache may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes of the memory tier.
    pub memory: u64,
    /// Bytes of the disk tier; 0 switches it off.
    pub disk: u64,
    /// Directory of the disk tier.
    pub path: PathBuf,
}

impl From<&EngineSettings> for CacheSettings {
    fn from(settings: &EngineSettings) -> Self {
        Self { memory: settings.cache_memory, disk: settings.cache_disk, path: settings.cache_path.clone() }
    }
}

/// Names one block: which object and which piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// From [`object_id`].
    pub object: u128,
    /// Number of the block in its object.
    pub block: u32,
}

/// The identity of an immutable object: FNV-1a with 128 bits (Fowler, Noll, Vo, RFC 9923) over root URL and key. Stable,
/// because it names blocks on disk.
pub fn object_id(root: &str, key: &str) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    // A byte that neither a root nor a key can hold keeps ("a", "b/c") and ("a/b", "c") apart.
    let bytes = root.bytes().chain([0]).chain(key.bytes());
    bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

impl Code for BlockKey {
    fn encode(&self, writer: &mut impl std::io::Write) -> foyer::Result<()> {
        self.object.encode(writer)?;
        self.block.encode(writer)
    }

    fn decode(reader: &mut impl std::io::Read) -> foyer::Result<Self> {
        Ok(Self { object: u128::decode(reader)?, block: u32::decode(reader)? })
    }

    fn estimated_size(&self) -> usize {
        size_of::<u128>() + size_of::<u32>()
    }
}

/// A cached block.
#[derive(Debug)]
struct Block(Arc<Page>);

impl Code for Block {
    fn encode(&self, writer: &mut impl std::io::Write) -> foyer::Result<()> {
        (self.0.bytes.len() as u64).encode(writer)?;
        writer.write_all(&self.0.bytes).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl std::io::Read) -> foyer::Result<Self> {
        let damaged = || foyer::Error::new(foyer::ErrorKind::OutOfRange, "cached block has an impossible length");
        let length = usize::try_from(u64::decode(reader)?).map_err(|_| damaged())?;
        if length > MAX_BLOCK_BYTES {
            return Err(damaged());
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).map_err(foyer::Error::io_error)?;
        Ok(Self(Arc::new(Page::new(Bytes::from(bytes), false))))
    }

    fn estimated_size(&self) -> usize {
        size_of::<u64>() + self.0.bytes.len()
    }
}

/// Where a block was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Memory,
    Disk,
}

#[derive(Debug, Default)]
struct Counters {
    hits_memory: AtomicU64,
    hits_disk: AtomicU64,
    misses: AtomicU64,
    disk_mismatches: AtomicU64,
    bytes_inserted: AtomicU64,
}

/// A cache of blocks of immutable objects. One for the whole engine; share it in an [`Arc`].
#[derive(Debug)]
pub struct BlockCache {
    tiers: HybridCache<BlockKey, Block>,
    flights: Flights,
    fetches: Semaphore,
    counters: Counters,
    evictions: Arc<Evictions>,
    memory_capacity: AtomicU64,
    disk_capacity: u64,
    /// Held while the disk tier is in use: two engines on one directory would overwrite each other's blocks.
    _lock: Option<File>,
}

impl BlockCache {
    /// Opens the cache. A disk tier that is corrupt, full, in use or otherwise unusable is left out with a warning.
    ///
    /// # Errors
    /// `Internal` when not even a memory cache can be made.
    pub async fn open(settings: &CacheSettings) -> Result<Self> {
        if settings.disk >= MIN_CACHE_DISK_BYTES {
            let evictions = Arc::new(Evictions::default());
            match open_disk(settings, evictions.clone()).await {
                Ok((tiers, lock)) => {
                    return Ok(Self::assemble(tiers, evictions, settings.memory, settings.disk, Some(lock)));
                }
                Err(reason) => tracing::warn!(
                    path = %settings.path.display(), %reason,
                    "the disk cache is not usable, continuing with the memory cache alone"
                ),
            }
        }
        Self::memory_only(settings.memory).await
    }

    /// A cache without a disk tier. `bytes` is its capacity.
    ///
    /// # Errors
    /// `Internal` when foyer refuses.
    pub async fn memory_only(bytes: u64) -> Result<Self> {
        let evictions = Arc::new(Evictions::default());
        let built = memory(bytes, &evictions).storage().build().await;
        let tiers = built.map_err(|e| Error::internal(format!("memory cache: {e}")))?;
        Ok(Self::assemble(tiers, evictions, bytes, 0, None))
    }

    fn assemble(
        tiers: HybridCache<BlockKey, Block>,
        evictions: Arc<Evictions>,
        memory: u64,
        disk: u64,
        lock: Option<File>,
    ) -> Self {
        Self {
            evictions,
            tiers,
            flights: Flights::default(),
            fetches: Semaphore::new(MAX_PARALLEL_FETCHES),
            counters: Counters::default(),
            memory_capacity: AtomicU64::new(memory),
            disk_capacity: disk,
            _lock: lock,
        }
    }

    /// The block, from memory, disk (if `use_disk`) or `fetch`, whose result is cached. Of concurrent callers for one
    /// block one fetches and the others wait; if it fails, one of the others takes over with its own `fetch`.
    ///
    /// `verify` is asked about bytes from disk, which count as missing if it says no. What `fetch` returns must be
    /// verified already; it runs as a task of its own, so it finishes even if the caller goes away. Pass
    /// `use_disk = false` for stores that are local ([`crate::storage::ObjectStore::is_local`]).
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn get_or_fetch<F: Future<Output = Result<Bytes>> + Send + 'static>(
        self: &Arc<Self>,
        key: BlockKey,
        use_disk: bool,
        verify: impl Fn(&Bytes) -> bool,
        fetch: impl FnOnce() -> F,
    ) -> Result<Bytes> {
        loop {
            if let Some((bytes, _)) = self.lookup(key, use_disk, &verify).await {
                return Ok(bytes);
            }
            match self.flights.claim(key) {
                Claim::Mine(flight) => {
                    // Between the lookup and the claim another flight may have landed.
                    if let Some(bytes) = self.peek_memory(key, &verify) {
                        flight.land(bytes.clone());
                        return Ok(bytes);
                    }
                    let (cache, fetch) = (self.clone(), fetch());
                    return run_fetch(async move {
                        let _permit = cache.fetch_permit().await;
                        let bytes = fetch.await?;
                        cache.insert(key, &bytes, use_disk);
                        flight.land(bytes.clone());
                        Ok(bytes)
                    })
                    .await;
                }
                Claim::Other(wait) => {
                    if let Some(bytes) = wait.landed().await {
                        return Ok(bytes);
                    }
                }
            }
        }
    }

    /// A place among the fetches under way; none only if the cache is being torn down.
    pub(super) async fn fetch_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.fetches.acquire().await.ok()
    }

    /// The block and where it was, or none. Counts a hit or a miss.
    pub(super) async fn lookup(
        &self,
        key: BlockKey,
        use_disk: bool,
        verify: impl Fn(&Bytes) -> bool,
    ) -> Option<(Bytes, Tier)> {
        if let Some(bytes) = self.hit_memory(key, &verify) {
            return Some((bytes, Tier::Memory));
        }
        if use_disk && self.disk_capacity > 0 {
            // An error of the disk tier is a miss: the object store has the bytes.
            match self.tiers.get(&key).await {
                Ok(Some(entry)) => {
                    let page = &entry.value().0;
                    if self.check(page, &verify) {
                        add(&self.counters.hits_disk, 1);
                        return Some((page.bytes.clone(), Tier::Disk));
                    }
                    drop(entry);
                    self.tiers.remove(&key);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the disk cache could not be read"),
            }
        }
        add(&self.counters.misses, 1);
        None
    }

    /// The block if it is in memory; then it counts a hit.
    pub(super) fn hit_memory(&self, key: BlockKey, verify: impl Fn(&Bytes) -> bool) -> Option<Bytes> {
        let bytes = self.peek_memory(key, verify)?;
        add(&self.counters.hits_memory, 1);
        Some(bytes)
    }

    /// As [`Self::hit_memory`], for a page of an object whose pages in memory `known` tells.
    pub(super) fn hit_page(&self, key: BlockKey, known: &PageTable, verify: impl Fn(&Bytes) -> bool) -> Option<Bytes> {
        let page = match known.get(key.block) {
            Some((page, tell)) => {
                if tell {
                    drop(self.tiers.memory().get(&key));
                }
                page
            }
            None => {
                let page = self.peek_page(key, verify)?;
                known.put(key.block, &page);
                page
            }
        };
        add(&self.counters.hits_memory, 1);
        Some(page.bytes.clone())
    }

    /// The block if it is in memory. Counts nothing.
    pub(super) fn peek_memory(&self, key: BlockKey, verify: impl Fn(&Bytes) -> bool) -> Option<Bytes> {
        self.peek_page(key, verify).map(|page| page.bytes.clone())
    }

    fn peek_page(&self, key: BlockKey, verify: impl Fn(&Bytes) -> bool) -> Option<Arc<Page>> {
        let entry = self.tiers.memory().get(&key)?;
        if self.check(&entry.value().0, &verify) {
            return Some(entry.value().0.clone());
        }
        drop(entry);
        self.tiers.remove(&key);
        None
    }

    /// True if the block was verified before or is now (INV-8: also for a block that came from disk into memory through
    /// another reader that has not looked at it yet).
    fn check(&self, block: &Page, verify: impl Fn(&Bytes) -> bool) -> bool {
        if block.verified.load(Ordering::Acquire) {
            return true;
        }
        let right = verify(&block.bytes);
        if right {
            block.verified.store(true, Ordering::Release);
        } else {
            add(&self.counters.disk_mismatches, 1);
        }
        right
    }

    /// Caches verified bytes.
    pub(super) fn insert(&self, key: BlockKey, bytes: &Bytes, use_disk: bool) {
        if bytes.len() > MAX_BLOCK_BYTES {
            return;
        }
        add(&self.counters.bytes_inserted, bytes.len() as u64);
        let location = if use_disk { Location::Default } else { Location::InMem };
        let block = Block(Arc::new(Page::new(bytes.clone(), true)));
        self.tiers.insert_with_properties(key, block, HybridCacheProperties::default().with_location(location));
    }

    /// Who fetches a block that is nowhere.
    pub(super) fn claim(&self, key: BlockKey) -> Claim {
        self.flights.claim(key)
    }

    /// Bytes that the tiers can hold, the disk's only if `use_disk`.
    pub fn capacity(&self, use_disk: bool) -> u64 {
        let memory = self.memory_capacity.load(Ordering::Relaxed);
        if use_disk { memory.max(self.disk_capacity) } else { memory }
    }

    /// Changes the capacity of the memory tier, and drops what is too much by then. It blocks while the shards are locked, one after
    /// the other.
    ///
    /// # Errors
    /// `Internal` when foyer refuses.
    pub fn resize_memory(&self, bytes: u64) -> Result<()> {
        let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.tiers.memory().resize(capacity).map_err(|e| Error::internal(format!("memory cache: {e}")))?;
        self.memory_capacity.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// True when there is a disk tier in use.
    pub fn has_disk(&self) -> bool {
        self.disk_capacity > 0
    }

    /// The counters now.
    pub fn stats(&self) -> CacheStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits_memory: load(&self.counters.hits_memory),
            hits_disk: load(&self.counters.hits_disk),
            misses: load(&self.counters.misses),
            disk_mismatches: load(&self.counters.disk_mismatches),
            evictions_memory: load(&self.evictions.memory),
            evictions_disk: load(&self.evictions.disk),
            bytes_inserted: load(&self.counters.bytes_inserted),
            memory_bytes: self.tiers.memory().usage() as u64,
            memory_capacity: load(&self.memory_capacity),
            disk_capacity: self.disk_capacity,
        }
    }

    /// Finishes the writes of the disk tier. Call before the engine ends; without it the last writes may be lost, which
    /// only costs requests.
    pub async fn close(&self) {
        if let Err(error) = self.tiers.close().await {
            tracing::warn!(%error, "the disk cache did not close cleanly");
        }
    }
}

/// Runs a fetch as a task of its own. A reader that is not polled (a stream that buffers reads, say) must not hold up the
/// others that wait for its flight.
pub(super) async fn run_fetch<T: Send + 'static>(fetch: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(fetch).await.map_err(|e| match e.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "a fetch was cancelled because the engine stops"),
        false => Error::internal(format!("a fetch did not finish: {e}")),
    })?
}

fn memory(
    bytes: u64,
    evictions: &Arc<Evictions>,
) -> foyer::HybridCacheBuilderPhaseMemory<BlockKey, Block, foyer::DefaultHasher> {
    let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
    HybridCacheBuilder::new()
        .with_name("elacsym")
        // Blocks reach the disk when they are fetched, not when memory evicts them: a killed engine restarts warm.
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_event_listener(Arc::new(FromMemory::new(evictions.clone())))
        .memory(capacity)
        // A scan passes through the small queue of S3-FIFO; what was asked for again while it was there stays.
        .with_eviction_config(S3FifoConfig::default())
        .with_shards((capacity / MIN_SHARD_BYTES).clamp(1, MEMORY_SHARDS))
        .with_weighter(|_: &BlockKey, block: &Block| block.0.bytes.len() + BLOCK_OVERHEAD_BYTES)
}

/// Opens both tiers, or says why not. Panics of the library are caught: a task of their own carries them.
async fn open_disk(
    settings: &CacheSettings,
    evictions: Arc<Evictions>,
) -> std::result::Result<(HybridCache<BlockKey, Block>, File), String> {
    let settings = settings.clone();
    let task = tokio::spawn(async move {
        let directory = settings.path.join(LAYOUT);
        let lock = lock(&directory).await.map_err(|e| e.to_string())?;
        let capacity = usize::try_from(settings.disk).map_err(|e| e.to_string())?;
        // Whole pages of 4 KiB, which is what foyer aligns to.
        let file_bytes = ((settings.disk / DISK_FILES).max(MIN_DISK_FILE_BYTES) / 4_096 * 4_096) as usize;
        let device = FsDeviceBuilder::new(&directory).with_capacity(capacity).build().map_err(|e| e.to_string())?;
        let kept = StorageFilter::new().with_condition(FromDisk(evictions.clone()));
        let engine = BlockEngineConfig::new(device).with_block_size(file_bytes).with_reinsertion_filter(kept);
        let tiers = memory(settings.memory, &evictions)
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await
            .map_err(|e| e.to_string())?;
        let reserved = tokio::task::spawn_blocking(move || reserve(&directory)).await.map_err(|e| e.to_string())?;
        if let Err(error) = reserved {
            // The files are sparse or half reserved: on a full disk they must not keep what is left.
            let _ = tiers.close().await;
            drop(tiers);
            remove_files(&settings.path.join(LAYOUT));
            return Err(format!("there is no room for it: {error}"));
        }
        Ok((tiers, lock))
    });
    task.await.map_err(|e| e.to_string())?
}

/// Gives the files of the disk tier all their blocks now. foyer makes them sparse, and its writer panics when the file
/// system is full later.
fn reserve(directory: &Path) -> std::io::Result<()> {
    for file in files(directory)? {
        let file = OpenOptions::new().write(true).open(file)?;
        let length = file.metadata()?.len();
        if length == 0 {
            continue;
        }
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length) {
            // A file system that cannot promise space (ZFS, NFS) is used without the promise.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The files in the directory of the disk tier, without the lock.
fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.iter().map(|entry| entry.path()).filter(|path| path.is_file() && !path.ends_with(LOCK)).collect())
}

/// Best effort.
fn remove_files(directory: &Path) {
    for file in files(directory).unwrap_or_default() {
        // foyer's tasks may hold it open a moment longer, so its space is not freed by its removal alone.
        let _ = OpenOptions::new().write(true).truncate(true).open(&file);
        let _ = std::fs::remove_file(file);
    }
}

/// Creates the directory for our eyes only and locks it.
async fn lock(directory: &Path) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join(LOCK))?;
    let step = LOCK_PATIENCE / 30;
    for _ in 0..30 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(step).await,
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Err(std::io::Error::other("another engine uses this directory"))
}

#[cfg(test)]
mod tests;
