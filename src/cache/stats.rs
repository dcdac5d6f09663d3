//! Counters: of the cache as a whole, and of the reads of one query.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What one query (or any other piece of work) read. Shared by all its [`super::PagedObject`]s.
#[derive(Debug, Default)]
pub struct ReadStats {
    pub(super) requests: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) hits_memory: AtomicU64,
    pub(super) hits_disk: AtomicU64,
    pub(super) misses: AtomicU64,
    /// See [`ReadStats::share_among`].
    readers: AtomicU64,
}

/// [`ReadStats`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSnapshot {
    /// Requests to object storage.
    pub requests: u64,
    /// Bytes those requests returned, gaps between wanted pages included.
    pub bytes: u64,
    /// Pages found in memory.
    pub hits_memory: u64,
    /// Pages found on the local disk.
    pub hits_disk: u64,
    /// Pages that had to be fetched (or waited for while another read fetched them).
    pub misses: u64,
}

impl ReadStats {
    /// The counters now.
    pub fn snapshot(&self) -> ReadSnapshot {
        ReadSnapshot {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            hits_memory: self.hits_memory.load(Ordering::Relaxed),
            hits_disk: self.hits_disk.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// That many objects are read at the same time: each of their reads is to be fewer requests, and may fetch more bytes for it.
    pub fn share_among(&self, readers: usize) {
        self.readers.store(readers as u64, Ordering::Relaxed);
    }

    /// Objects that are read at the same time; at least 1.
    pub(super) fn readers(&self) -> u64 {
        self.readers.load(Ordering::Relaxed).max(1)
    }

    /// Counts one request to object storage that returned `bytes`; for reads that bypass [`super::PagedObject`].
    pub fn count_request(&self, bytes: u64) {
        add(&self.requests, 1);
        add(&self.bytes, bytes);
    }
}

/// The block cache at one moment, since the engine started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Blocks found in memory.
    pub hits_memory: u64,
    /// Blocks found on the local disk.
    pub hits_disk: u64,
    /// Blocks found nowhere.
    pub misses: u64,
    /// Blocks on the local disk whose checksum was wrong; they count as misses too.
    pub disk_mismatches: u64,
    /// Blocks that left memory to make room.
    #[serde(default)]
    pub evictions_memory: u64,
    /// Blocks that left the local disk to make room.
    #[serde(default)]
    pub evictions_disk: u64,
    /// Bytes inserted.
    pub bytes_inserted: u64,
    /// Bytes in the memory tier now.
    pub memory_bytes: u64,
    /// Capacity of the memory tier in bytes.
    pub memory_capacity: u64,
    /// Capacity of the disk tier in bytes; 0 when it is off or unusable.
    pub disk_capacity: u64,
}

/// Adds to a counter that orders nothing else.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
