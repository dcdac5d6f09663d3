//! Counts blocks that leave a tier of the cache to make room.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foyer::{Event, EventListener, Statistics, StorageFilterCondition, StorageFilterResult};

/// Evictions since the start.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    pub memory: AtomicU64,
    pub disk: AtomicU64,
}

/// Hears of blocks that leave memory.
pub(super) struct FromMemory<K, V>(Arc<Evictions>, PhantomData<fn(K, V)>);

impl<K, V> FromMemory<K, V> {
    pub fn new(evictions: Arc<Evictions>) -> Self {
        Self(evictions, PhantomData)
    }
}

impl<K: 'static, V: 'static> EventListener for FromMemory<K, V> {
    type Key = K;
    type Value = V;

    fn on_leave(&self, reason: Event, _: &K, _: &V) {
        if reason == Event::Evict {
            self.0.memory.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Is asked, when a file of the disk tier is emptied, which of its blocks to keep: none.
#[derive(Debug)]
pub(super) struct FromDisk(pub Arc<Evictions>);

impl StorageFilterCondition for FromDisk {
    fn filter(&self, _: &Arc<Statistics>, _: u64, _: usize) -> StorageFilterResult {
        self.0.disk.fetch_add(1, Ordering::Relaxed);
        StorageFilterResult::Reject
    }
}
