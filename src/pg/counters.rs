//! What the server counts in shared memory since its start: durations, and what each namespace costs.
//!
//! Whoever counts adds to atomics and takes no lock, except for the first look at a namespace. The counters are figures, not
//! truth: they are gone with the server, and nothing is decided by them.

use crate::ids::{NamespaceId, Op};
use crate::ipc::message::RequestStats;
use crate::metrics::{Histogram, HistogramSnapshot};
use crate::pg::shmem;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Namespaces that have counters, over all databases. Of more, those that are used have them: whoever comes takes the place of
/// the one that was used longest ago among [`WINDOW`].
const TRACKED: usize = 2_048;
/// Places where a namespace may be.
const WINDOW: usize = 16;

/// The counters of the server. All-zero bytes are their beginning.
#[repr(C)]
pub struct Counters {
    searches: Histogram,
    upserts: Histogram,
    flushes: Histogram,
    compactions: Histogram,
    /// Entries written, by operation ([`Op`] minus 1).
    entries: [AtomicU64; 3],
    entry_bytes: AtomicU64,
    slow_searches: AtomicU64,
    namespaces: [Place; TRACKED],
}

/// Where the counters of one namespace are.
#[repr(C)]
struct Place {
    /// 0: free, or being taken.
    database: AtomicU32,
    id: [AtomicU64; 2],
    /// PostgreSQL's clock, as all times here.
    since: AtomicI64,
    used: AtomicI64,
    searches: AtomicU64,
    search_micros: AtomicU64,
    object_requests: AtomicU64,
    object_bytes: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    flushes: AtomicU64,
    flush_micros: AtomicU64,
    flushed_entries: AtomicU64,
    last_flush: AtomicI64,
    compactions: AtomicU64,
    compaction_micros: AtomicU64,
    last_compaction: AtomicI64,
    /// Requests of flushes and compactions.
    maintenance_reads: AtomicU64,
    objects_written: AtomicU64,
}

/// The counters of one namespace at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceFigures {
    /// Whose.
    pub id: NamespaceId,
    /// Since when it is counted.
    pub since: i64,
    /// Searches, counts, pages and fetches.
    pub searches: u64,
    /// Time they took, in microseconds.
    pub search_micros: u64,
    /// Their requests to object storage.
    pub object_requests: u64,
    /// Bytes of the answers.
    pub object_bytes: u64,
    /// Pages that were found in the cache.
    pub cache_hits: u64,
    /// Pages that were not.
    pub cache_misses: u64,
    /// Flushes, bulk writes among them.
    pub flushes: u64,
    /// Time they took.
    pub flush_micros: u64,
    /// Entries they moved.
    pub flushed_entries: u64,
    /// When the last one ended; 0: none did.
    pub last_flush: i64,
    /// Compactions.
    pub compactions: u64,
    /// Time they took.
    pub compaction_micros: u64,
    /// When the last one ended; 0: none did.
    pub last_compaction: i64,
    /// Requests of flushes and compactions that read.
    pub maintenance_reads: u64,
    /// Objects that were written.
    pub objects_written: u64,
}

/// The counters of the whole server at one moment.
#[derive(Debug, Clone, Copy)]
pub struct ServerFigures {
    /// Durations of searches, as the sessions saw them.
    pub searches: HistogramSnapshot,
    /// Durations of calls of `upsert`.
    pub upserts: HistogramSnapshot,
    /// Durations of flushes.
    pub flushes: HistogramSnapshot,
    /// Durations of compactions.
    pub compactions: HistogramSnapshot,
    /// Entries written: upserts, deletes, patches.
    pub entries: [u64; 3],
    /// Bytes of their payloads.
    pub entry_bytes: u64,
    /// Searches that took `elacsym.log_min_duration` or more.
    pub slow_searches: u64,
}

/// What a flush or a compaction did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Time it took, in microseconds.
    pub micros: u64,
    /// Entries it moved.
    pub entries: u64,
    /// Requests that read.
    pub reads: u64,
    /// Objects it wrote.
    pub objects_written: u64,
}

/// Microseconds since then.
pub fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// \[backend\] A search, or several of one statement, of one namespace.
pub fn charge(id: NamespaceId, searches: u64, micros: u64, cost: &RequestStats) {
    let Some(place) = find(id) else { return };
    for (counter, by) in [
        (&place.searches, searches),
        (&place.search_micros, micros),
        (&place.object_requests, cost.object_requests),
        (&place.object_bytes, cost.object_bytes),
        (&place.cache_hits, cost.cache_hits),
        (&place.cache_misses, cost.cache_misses),
    ] {
        add(counter, by);
    }
}

/// \[backend\] A search has ended, whatever it searched; `slow`: it was logged.
pub fn searched(micros: u64, slow: bool) {
    let Some(counters) = shmem::counters() else { return };
    counters.searches.record(micros);
    add(&counters.slow_searches, u64::from(slow));
}

/// \[backend\] A call of `upsert` has ended.
pub fn upserted(start: Instant) {
    if let Some(counters) = shmem::counters() {
        counters.upserts.record(micros_since(start));
    }
}

/// \[backend\] Entries are written; whether they are committed is not known.
pub fn written(op: Op, entries: u64, bytes: u64) {
    let Some(counters) = shmem::counters() else { return };
    if let Some(counter) = counters.entries.get(usize::from(op as u8).wrapping_sub(1)) {
        add(counter, entries);
    }
    add(&counters.entry_bytes, bytes);
}

/// \[backend, worker\] A flush or bulk write has ended well.
pub fn flushed(id: NamespaceId, work: Work) {
    if let Some(counters) = shmem::counters() {
        counters.flushes.record(work.micros);
    }
    let Some(place) = find(id) else { return };
    add(&place.flushes, 1);
    add(&place.flush_micros, work.micros);
    add(&place.flushed_entries, work.entries);
    place.last_flush.store(now(), Ordering::Relaxed);
    place.maintained(work);
}

/// \[worker\] A manifest was written.
pub fn manifest_written(id: NamespaceId) {
    if let Some(place) = find(id) {
        add(&place.objects_written, 1);
    }
}

/// \[backend, worker\] A compaction has ended well.
pub fn compacted(id: NamespaceId, work: Work) {
    if let Some(counters) = shmem::counters() {
        counters.compactions.record(work.micros);
    }
    let Some(place) = find(id) else { return };
    add(&place.compactions, 1);
    add(&place.compaction_micros, work.micros);
    place.last_compaction.store(now(), Ordering::Relaxed);
    place.maintained(work);
}

/// The counters of the server.
pub fn server() -> Option<ServerFigures> {
    shmem::counters().map(|counters| ServerFigures {
        searches: counters.searches.snapshot(),
        upserts: counters.upserts.snapshot(),
        flushes: counters.flushes.snapshot(),
        compactions: counters.compactions.snapshot(),
        entries: std::array::from_fn(|at| load(&counters.entries[at])),
        entry_bytes: load(&counters.entry_bytes),
        slow_searches: load(&counters.slow_searches),
    })
}

/// \[backend\] The counters of the namespaces of this database that have some.
pub fn namespaces() -> Vec<NamespaceFigures> {
    let Some(counters) = shmem::counters() else { return Vec::new() };
    let database = own_database();
    let own = |place: &&Place| place.database.load(Ordering::Acquire) == database;
    counters.namespaces.iter().filter(own).map(Place::figures).collect()
}

/// \[backend\] The namespaces of this database are counted anew.
pub fn reset_namespaces() {
    let Some(counters) = shmem::counters() else { return };
    let (database, time) = (own_database(), now());
    let own = |place: &&Place| place.database.load(Ordering::Acquire) == database;
    shmem::with_lock(|| {
        for place in counters.namespaces.iter().filter(own) {
            place.take(database, [load(&place.id[0]), load(&place.id[1])], time);
        }
    });
}

fn add(counter: &AtomicU64, by: u64) {
    if by > 0 {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// PostgreSQL's clock in microseconds.
fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

fn own_database() -> u32 {
    // SAFETY: a plain global, set once when the process connects to its database.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

fn halves(id: NamespaceId) -> [u64; 2] {
    let bits = u128::from_be_bytes(id.0);
    [(bits >> 64) as u64, bits as u64]
}

/// The place of a namespace of this database, which is taken if it has none.
fn find(id: NamespaceId) -> Option<&'static Place> {
    let counters = shmem::counters()?;
    let (database, halves) = (own_database(), halves(id));
    // A UUID is random in its lower half.
    let first = (halves[1] % TRACKED as u64) as usize;
    let window = || (0..WINDOW).map(move |step| &counters.namespaces[(first + step) % TRACKED]);
    let is = |place: &&Place| place.is(database, halves);
    let time = now();
    let place = match window().find(is) {
        Some(place) => place,
        // Free ones were never used.
        None => shmem::with_lock(|| {
            let place =
                window().find(is).or_else(|| window().min_by_key(|place| place.used.load(Ordering::Relaxed)))?;
            if !place.is(database, halves) {
                place.take(database, halves, time);
            }
            Some(place)
        })??,
    };
    place.used.store(time, Ordering::Relaxed);
    Some(place)
}

impl Place {
    fn is(&self, database: u32, halves: [u64; 2]) -> bool {
        self.database.load(Ordering::Acquire) == database
            && self.id.iter().zip(halves).all(|(own, other)| own.load(Ordering::Relaxed) == other)
    }

    /// Under the lock. Whoever counts for the one that was here before loses that.
    fn take(&self, database: u32, halves: [u64; 2], time: i64) {
        self.database.store(0, Ordering::Release);
        for counter in [
            &self.searches,
            &self.search_micros,
            &self.object_requests,
            &self.object_bytes,
            &self.cache_hits,
            &self.cache_misses,
            &self.flushes,
            &self.flush_micros,
            &self.flushed_entries,
            &self.compactions,
            &self.compaction_micros,
            &self.maintenance_reads,
            &self.objects_written,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.last_flush.store(0, Ordering::Relaxed);
        self.last_compaction.store(0, Ordering::Relaxed);
        self.since.store(time, Ordering::Relaxed);
        for (own, new) in self.id.iter().zip(halves) {
            own.store(new, Ordering::Relaxed);
        }
        self.database.store(database, Ordering::Release);
    }

    fn maintained(&self, work: Work) {
        add(&self.maintenance_reads, work.reads);
        add(&self.objects_written, work.objects_written);
    }

    fn figures(&self) -> NamespaceFigures {
        let bits = u128::from(load(&self.id[0])) << 64 | u128::from(load(&self.id[1]));
        NamespaceFigures {
            id: NamespaceId(bits.to_be_bytes()),
            since: self.since.load(Ordering::Relaxed),
            searches: load(&self.searches),
            search_micros: load(&self.search_micros),
            object_requests: load(&self.object_requests),
            object_bytes: load(&self.object_bytes),
            cache_hits: load(&self.cache_hits),
            cache_misses: load(&self.cache_misses),
            flushes: load(&self.flushes),
            flush_micros: load(&self.flush_micros),
            flushed_entries: load(&self.flushed_entries),
            last_flush: self.last_flush.load(Ordering::Relaxed),
            compactions: load(&self.compactions),
            compaction_micros: load(&self.compaction_micros),
            last_compaction: self.last_compaction.load(Ordering::Relaxed),
            maintenance_reads: load(&self.maintenance_reads),
            objects_written: load(&self.objects_written),
        }
    }
}
