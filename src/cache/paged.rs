//! Verified random reads of one immutable object, page by page through the block cache (INV-8).
//!
//! A page is used or cached only after its CRC32 was compared with the one its writer recorded. A mismatch is read once
//! more straight from the store, then it is an error that names object and offset.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::block::{BlockCache, BlockKey, Tier, object_id, run_fetch};
use super::flight::{Claim, Flight, Wait};
use super::page_table::PageTable;
use super::stats::{ReadStats, add};
use crate::error::{Error, Result};
use crate::storage::ObjectStore;

/// Bytes of one page, the unit of checksums and of caching: one vector or a few postings, and four disk sectors of 4 KiB.
/// Part of the segment format.
pub const PAGE_BYTES: usize = 16 << 10;
/// Two missing pages with at most this many bytes between them are always fetched as one range.
pub const MERGE_GAP: u64 = 16 << 10;
/// As long as one read would be more than [`READ_REQUESTS`] requests, gaps of up to this many bytes are fetched too, the smallest
/// first: a request to S3 costs about the time of transferring that much, and money.
pub const MERGE_GAP_MAX: u64 = 64 << 10;
/// Requests that one read may be before it prefers more bytes to more requests: a query has a few such reads under way at a time.
const READ_REQUESTS: u64 = 32;
/// Requests of all objects together that are read at the same time; none has fewer than [`MIN_READ_REQUESTS`].
const WAVE_REQUESTS: u64 = 128;
/// See [`WAVE_REQUESTS`].
const MIN_READ_REQUESTS: u64 = 4;
/// The widest gap grows with the number of objects that are read at the same time, up to this many times.
const MAX_GAP_FACTOR: u64 = 4;
/// Longest merged range: longer ones arrive sooner as parallel requests.
const MAX_FETCH_BYTES: u64 = 4 << 20;

/// The CRC32 of each page of an object, for its writer to record. The last page may be shorter.
pub fn page_crcs(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(PAGE_BYTES).map(crc32fast::hash).collect()
}

/// One immutable object, readable at random.
#[derive(Debug, Clone)]
pub struct PagedObject {
    source: Arc<Source>,
    cache: Arc<BlockCache>,
    stats: Option<Arc<ReadStats>>,
}

/// What an object is, shared by all its readers and fetches.
#[derive(Debug)]
struct Source {
    store: Arc<dyn ObjectStore>,
    key: String,
    length: u64,
    crcs: Arc<[u32]>,
    object: u128,
    in_memory: PageTable,
}

impl PagedObject {
    /// An object of `length` bytes under `key`, whose pages have the checksums `crcs` (see [`page_crcs`]).
    ///
    /// # Errors
    /// `Corrupt` when there is not one checksum for each page.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        key: impl Into<String>,
        length: u64,
        crcs: Arc<[u32]>,
        cache: Arc<BlockCache>,
    ) -> Result<Self> {
        let key = key.into();
        let pages = length.div_ceil(PAGE_BYTES as u64);
        if pages != crcs.len() as u64 || pages > u64::from(u32::MAX) {
            let what = format_args!("it has {pages} pages and {} page checksums", crcs.len());
            return Err(Error::corrupt(&format!("{}/{key}", store.root()), length, what));
        }
        let object = object_id(store.root(), &key);
        let in_memory = PageTable::new(crcs.len());
        Ok(Self { source: Arc::new(Source { store, key, length, crcs, object, in_memory }), cache, stats: None })
    }

    /// The same object, counting its reads into `stats` as well.
    #[must_use]
    pub fn with_stats(&self, stats: Arc<ReadStats>) -> Self {
        Self { stats: Some(stats), ..self.clone() }
    }

    /// Key relative to its store.
    pub fn key(&self) -> &str {
        &self.source.key
    }

    /// Whether the disk tier of the cache may hold its pages.
    pub fn uses_disk(&self) -> bool {
        self.source.use_disk()
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.source.length
    }

    /// Bytes of memory that it takes as long as it is open.
    pub fn memory_bytes(&self) -> usize {
        self.source.crcs.len() * (size_of::<u32>() + PageTable::BYTES_PER_PAGE)
    }

    /// True for an object without bytes.
    pub fn is_empty(&self) -> bool {
        self.source.length == 0
    }

    /// The bytes of one range. Without a copy when it lies in one page.
    ///
    /// # Errors
    /// `Corrupt`, naming object and offset, when stored bytes are wrong or the range ends beyond the object; else those
    /// of the store.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.source.check(&range)?;
        if let Some(bytes) = self.read_in_memory(&range) {
            return Ok(bytes);
        }
        let pages = self.resolve(pages_of(&range).collect()).await?;
        Ok(pages.assemble(&range))
    }

    /// The bytes of each range, in their order; ranges may overlap. What is missing in the cache is fetched in parallel,
    /// near neighbours in one request: one round trip whatever the number of ranges.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let pages = self.resolve_ranges(ranges).await?;
        Ok(ranges.iter().map(|range| pages.assemble(range)).collect())
    }

    /// As [`Self::read_many`], each range in the pieces that pages hold of it: without a copy.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_pieces(&self, ranges: &[Range<u64>]) -> Result<Vec<Vec<Bytes>>> {
        let pages = self.resolve_ranges(ranges).await?;
        Ok(ranges.iter().map(|range| pages.pieces(range).collect()).collect())
    }

    /// The bytes of all ranges, one after the other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_joined(&self, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        Ok(self.resolve_ranges(ranges).await?.joined(ranges))
    }

    /// As [`Self::read_joined`] if all of it is in memory.
    ///
    /// # Errors
    /// `Corrupt` when a range ends beyond the object.
    pub fn joined_in_memory(&self, ranges: &[Range<u64>]) -> Result<Option<Vec<u8>>> {
        let (pages, missing) = self.look_up_in_memory(self.pages_of_all(ranges)?);
        Ok(missing.is_empty().then(|| pages.joined(ranges)))
    }

    async fn resolve_ranges(&self, ranges: &[Range<u64>]) -> Result<Pages> {
        self.resolve(self.pages_of_all(ranges)?).await
    }

    /// The pages that hold any of the ranges, ascending.
    fn pages_of_all(&self, ranges: &[Range<u64>]) -> Result<Vec<u32>> {
        let mut wanted = Vec::with_capacity(ranges.len());
        for range in ranges {
            self.source.check(range)?;
            wanted.extend(pages_of(range));
        }
        if !wanted.is_sorted() {
            wanted.sort_unstable();
        }
        wanted.dedup();
        Ok(wanted)
    }

    /// The bytes of one range, verified, straight from the store: for reads of whole objects (compaction, verification)
    /// that must not push what queries need out of the cache. The range is one request of up to its length plus two pages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_uncached(&self, range: Range<u64>) -> Result<Bytes> {
        self.source.check(&range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let pages = pages_of(&range);
        let (start, end) = (self.source.page_range(pages.start).start, self.source.page_range(pages.end - 1).end);
        let mut bytes = self.source.fetch(start..end, self.stats.as_deref()).await?;
        if let Err(error) = self.source.verify_all(pages.clone(), start, &bytes) {
            tracing::warn!(%error, "reading it once more");
            bytes = self.source.fetch(start..end, self.stats.as_deref()).await?;
            self.source.verify_all(pages, start, &bytes)?;
        }
        Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    /// As [`Self::read`], for code that cannot be async. Blocks the calling thread.
    ///
    /// # Errors
    /// As [`Self::read`].
    ///
    /// # Panics
    /// When called on a thread that drives async tasks; call it inside `spawn_blocking` or on a thread of the CPU pool.
    pub fn read_blocking(&self, handle: &tokio::runtime::Handle, range: Range<u64>) -> Result<Bytes> {
        self.source.check(&range)?;
        match self.read_in_memory(&range) {
            Some(bytes) => Ok(bytes),
            None => handle.block_on(self.read(range)),
        }
    }

    /// The range if it lies in one page that is in memory: no task, no lock beyond the cache shard's.
    fn read_in_memory(&self, range: &Range<u64>) -> Option<Bytes> {
        let pages = pages_of(range);
        if pages.len() != 1 {
            return None;
        }
        let page = pages.start;
        let bytes = self.in_memory(page)?;
        self.count(|stats| &stats.hits_memory, 1);
        let start = self.source.page_range(page).start;
        Some(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
    }

    /// The page if it is in memory; then it counts a hit of the cache.
    fn in_memory(&self, page: u32) -> Option<Bytes> {
        let source = &self.source;
        self.cache.hit_page(source.block(page), &source.in_memory, |bytes| source.is_right(page, bytes))
    }

    fn count(&self, counter: impl Fn(&ReadStats) -> &std::sync::atomic::AtomicU64, by: u64) {
        if let Some(stats) = &self.stats {
            add(counter(stats), by);
        }
    }

    /// The bytes of every wanted page (sorted, no duplicates).
    async fn resolve(&self, wanted: Vec<u32>) -> Result<Pages> {
        let (mut pages, missing) = self.look_up_in_memory(wanted);
        if missing.is_empty() {
            return Ok(pages);
        }
        let mut missing = self.look_up(missing, &mut pages).await;
        self.count(|stats| &stats.misses, missing.len() as u64);
        while !missing.is_empty() {
            let (mine, others) = self.claim(missing, &mut pages);
            let readers = self.stats.as_ref().map_or(1, |stats| stats.readers());
            let runs = runs(&self.source, mine, readers);
            let mut fetches: FuturesUnordered<_> = runs.into_iter().map(|run| run_fetch(self.fetch_run(run))).collect();
            while let Some(fetched) = fetches.next().await {
                fetched?.into_iter().for_each(|(page, bytes)| pages.insert(page, bytes));
            }
            missing = Vec::new();
            for (page, wait) in others {
                match wait.landed().await {
                    Some(bytes) => pages.insert(page, bytes),
                    // The other reader failed: its error may not be ours, so try for ourselves.
                    None => missing.push(page),
                }
            }
        }
        Ok(pages)
    }

    /// The pages that are in memory, and the numbers of the others: without a future for each, of which a warm search would make
    /// hundreds.
    fn look_up_in_memory(&self, wanted: Vec<u32>) -> (Pages, Vec<u32>) {
        let (mut bytes, mut missing) = (Vec::with_capacity(wanted.len()), Vec::new());
        for page in &wanted {
            let found = self.in_memory(*page);
            if found.is_none() {
                missing.push(*page);
            }
            bytes.push(found.unwrap_or_default());
        }
        self.count(|stats| &stats.hits_memory, (wanted.len() - missing.len()) as u64);
        (Pages { numbers: wanted, bytes }, missing)
    }

    /// Puts the pages that a tier of the cache has into `pages` and returns the rest.
    async fn look_up(&self, wanted: Vec<u32>, pages: &mut Pages) -> Vec<u32> {
        let use_disk = self.source.use_disk();
        // All at once: reads of the disk tier overlap.
        let lookups = wanted.into_iter().map(|page| async move {
            let verify = |bytes: &Bytes| self.source.is_right(page, bytes);
            (page, self.cache.lookup(self.source.block(page), use_disk, verify).await)
        });
        let mut missing = Vec::new();
        for (page, found) in futures::future::join_all(lookups).await {
            match found {
                Some((bytes, tier)) => {
                    match tier {
                        Tier::Memory => self.count(|stats| &stats.hits_memory, 1),
                        Tier::Disk => self.count(|stats| &stats.hits_disk, 1),
                    }
                    pages.insert(page, bytes);
                }
                None => missing.push(page),
            }
        }
        missing
    }

    /// Splits missing pages into those that this reader fetches and those that others are fetching already.
    fn claim(&self, missing: Vec<u32>, pages: &mut Pages) -> (Mine, Others) {
        let (mut mine, mut others) = (Mine::new(), Others::new());
        for page in missing {
            let key = self.source.block(page);
            match self.cache.claim(key) {
                Claim::Other(wait) => others.push((page, wait)),
                // Between the lookup and the claim another flight may have landed.
                Claim::Mine(flight) => match self.cache.peek_memory(key, |bytes| self.source.is_right(page, bytes)) {
                    Some(bytes) => {
                        flight.land(bytes.clone());
                        pages.insert(page, bytes);
                    }
                    None => mine.push((page, flight)),
                },
            }
        }
        (mine, others)
    }

    /// Fetches, verifies and caches the pages of one run, as a future that owns all it needs.
    fn fetch_run(&self, run: Run) -> impl Future<Output = Result<Vec<(u32, Bytes)>>> + Send + 'static {
        let (source, cache, stats) = (self.source.clone(), self.cache.clone(), self.stats.clone());
        async move {
            let bytes = {
                let _permit = cache.fetch_permit().await;
                source.fetch(run.range.clone(), stats.as_deref()).await?
            };
            let mut pages = Vec::with_capacity(run.pages.len());
            for (page, flight) in run.pages {
                let at = source.page_range(page);
                let slice = &bytes[(at.start - run.range.start) as usize..(at.end - run.range.start) as usize];
                let verified = if source.is_right(page, slice) {
                    // A copy: a slice would keep the whole run in memory for as long as one page of it is cached.
                    Bytes::copy_from_slice(slice)
                } else {
                    source.read_again(page, stats.as_deref()).await?
                };
                cache.insert(source.block(page), &verified, source.use_disk());
                flight.land(verified.clone());
                pages.push((page, verified));
            }
            Ok(pages)
        }
    }
}

impl Source {
    /// The disk tier would only copy a local store.
    fn use_disk(&self) -> bool {
        !self.store.is_local()
    }

    fn name(&self) -> String {
        format!("{}/{}", self.store.root(), self.key)
    }

    fn block(&self, page: u32) -> BlockKey {
        BlockKey { object: self.object, block: page }
    }

    fn page_range(&self, page: u32) -> Range<u64> {
        let start = u64::from(page) * PAGE_BYTES as u64;
        start..(start + PAGE_BYTES as u64).min(self.length)
    }

    fn is_right(&self, page: u32, bytes: &[u8]) -> bool {
        let at = self.page_range(page);
        bytes.len() as u64 == at.end - at.start && self.crcs.get(page as usize) == Some(&crc32fast::hash(bytes))
    }

    fn check(&self, range: &Range<u64>) -> Result<()> {
        if range.start > range.end || range.end > self.length {
            let what = format_args!("range {}..{} is not inside its {} bytes", range.start, range.end, self.length);
            return Err(Error::corrupt(&self.name(), range.start, what));
        }
        Ok(())
    }

    async fn fetch(&self, range: Range<u64>, stats: Option<&ReadStats>) -> Result<Bytes> {
        let bytes = self.store.get_range(&self.key, range.clone()).await?;
        if let Some(stats) = stats {
            stats.count_request(bytes.len() as u64);
        }
        if bytes.len() as u64 != range.end - range.start {
            return Err(Error::corrupt(&self.name(), range.start, "the store returned another length than asked for"));
        }
        Ok(bytes)
    }

    /// Reads a page whose checksum was wrong once more, straight from the store: the transfer may have been at fault.
    async fn read_again(&self, page: u32, stats: Option<&ReadStats>) -> Result<Bytes> {
        let at = self.page_range(page);
        tracing::warn!(object = %self.name(), offset = at.start, "a page has a wrong checksum, reading it once more");
        let bytes = self.fetch(at.clone(), stats).await?;
        self.verify_all(page..page + 1, at.start, &bytes)?;
        Ok(bytes)
    }

    /// `Corrupt` if one of the pages in `bytes`, which start at `start`, has a wrong checksum.
    fn verify_all(&self, pages: Range<u32>, start: u64, bytes: &[u8]) -> Result<()> {
        for page in pages {
            let at = self.page_range(page);
            if !self.is_right(page, &bytes[(at.start - start) as usize..(at.end - start) as usize]) {
                return Err(Error::corrupt(&self.name(), at.start, "the page does not match its checksum"));
            }
        }
        Ok(())
    }
}

/// Pages that a reader fetches itself, and pages that it waits for.
type Mine = Vec<(u32, Flight)>;
type Others = Vec<(u32, Wait)>;

/// Pages that one request fetches.
struct Run {
    range: Range<u64>,
    pages: Mine,
}

/// Groups pages (sorted) into ranges of up to [`MAX_FETCH_BYTES`] with the gaps that [`widest_gap`] allows.
fn runs(source: &Source, pages: Mine, readers: u64) -> Vec<Run> {
    let gap = widest_gap(pages.iter().map(|(page, _)| source.page_range(*page)), readers);
    let mut runs: Vec<Run> = Vec::new();
    for (page, flight) in pages {
        let at = source.page_range(page);
        match runs.last_mut() {
            Some(run) if at.start - run.range.end <= gap && at.end - run.range.start <= MAX_FETCH_BYTES => {
                run.range.end = at.end;
                run.pages.push((page, flight));
            }
            _ => runs.push(Run { range: at, pages: vec![(page, flight)] }),
        }
    }
    runs
}

/// The widest gap between two of these pages (sorted) that is worth fetching while `readers` objects are read.
fn widest_gap(mut pages: impl Iterator<Item = Range<u64>>, readers: u64) -> u64 {
    let Some(first) = pages.next() else { return MERGE_GAP };
    let mut end = first.end;
    let mut gaps: Vec<u64> = pages.map(|page| page.start - std::mem::replace(&mut end, page.end)).collect();
    let requests = (WAVE_REQUESTS / readers).clamp(MIN_READ_REQUESTS, READ_REQUESTS);
    // More gaps stay open than this: the widest of the others decides.
    let Some(closed) = gaps.len().checked_sub(requests as usize) else { return MERGE_GAP };
    gaps.sort_unstable();
    gaps[closed].clamp(MERGE_GAP, MERGE_GAP_MAX * readers.min(MAX_GAP_FACTOR))
}

/// The pages that hold a range of an object of at most `u32::MAX` pages.
fn pages_of(range: &Range<u64>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    let page = PAGE_BYTES as u64;
    (range.start / page) as u32..range.end.div_ceil(page) as u32
}

/// Pages of one read.
struct Pages {
    /// Ascending.
    numbers: Vec<u32>,
    /// Of each; empty as long as it is missing.
    bytes: Vec<Bytes>,
}

impl Pages {
    fn place(&self, page: u32) -> usize {
        self.numbers.binary_search(&page).expect("invariant: every page of a checked range was wanted")
    }

    fn insert(&mut self, page: u32, bytes: Bytes) {
        let place = self.place(page);
        self.bytes[place] = bytes;
    }

    /// What each page has of a range, all of whose pages are there.
    fn pieces(&self, range: &Range<u64>) -> impl Iterator<Item = Bytes> {
        self.parts(range).map(|(bytes, part)| bytes.slice(part))
    }

    /// The pages of a range, all of which are there, and which part of each is in it.
    fn parts(&self, range: &Range<u64>) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let numbers = pages_of(range);
        let first = if numbers.is_empty() { 0 } else { self.place(numbers.start) };
        let (from, to) = (range.start, range.end);
        // Wanted pages that follow each other lie so.
        numbers.zip(&self.bytes[first..]).map(move |(page, bytes)| {
            let start = u64::from(page) * PAGE_BYTES as u64;
            let end = (to - start).min(bytes.len() as u64);
            (bytes, from.saturating_sub(start) as usize..end as usize)
        })
    }

    /// The bytes of ranges, all of whose pages are there, one after the other.
    fn joined(&self, ranges: &[Range<u64>]) -> Vec<u8> {
        let mut joined = Vec::with_capacity(ranges.iter().map(|range| (range.end - range.start) as usize).sum());
        for range in ranges {
            self.parts(range).for_each(|(bytes, part)| joined.extend_from_slice(&bytes[part]));
        }
        joined
    }

    /// The bytes of a range, all of whose pages are there.
    fn assemble(&self, range: &Range<u64>) -> Bytes {
        let mut pieces = self.pieces(range);
        match pages_of(range).len() {
            0 | 1 => pieces.next().unwrap_or_default(),
            _ => {
                let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
                pieces.for_each(|piece| whole.extend_from_slice(&piece));
                whole.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests;
