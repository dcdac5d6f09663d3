//! Where the pages of one object are in memory: a look-up that shares no lock with other objects, of which a warm query makes hundreds.
//!
//! The table owns no page. What the block cache lets go is gone from here as soon as nobody reads it any more.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use bytes::Bytes;

/// A page is asked of the block cache itself once in so many times: it keeps what it sees being asked for.
const TOLD: u8 = 8;
/// Pages that share a lock: a megabyte of the object, so that readers rarely meet, and a lock costs nothing beside its pages.
const PAGES_PER_LOCK: usize = 64;

/// A block of an object as the cache holds it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Bytes,
    /// Whether its bytes were verified since they entered this process.
    pub(super) verified: AtomicBool,
    /// How often it was found here; wraps.
    found: AtomicU8,
}

impl Page {
    pub(super) fn new(bytes: Bytes, verified: bool) -> Self {
        Self { bytes, verified: AtomicBool::new(verified), found: AtomicU8::new(0) }
    }
}

/// The pages of one object.
#[derive(Debug)]
pub(super) struct PageTable(Box<[RwLock<Pages>]>);

type Pages = Box<[Weak<Page>]>;

impl PageTable {
    /// Bytes of one page's place in the table.
    pub(super) const BYTES_PER_PAGE: usize = size_of::<Weak<Page>>();

    /// Of so many pages, of which none is known.
    pub(super) fn new(pages: usize) -> Self {
        let locked = |count: usize| RwLock::new((0..count).map(|_| Weak::new()).collect());
        let starts = (0..pages).step_by(PAGES_PER_LOCK);
        Self(starts.map(|start| locked(PAGES_PER_LOCK.min(pages - start))).collect())
    }

    /// The page, which is verified, if it is known to be in memory; and whether the block cache is to be asked for it all the same.
    pub(super) fn get(&self, page: u32) -> Option<(Arc<Page>, bool)> {
        let pages = self.0.get(page as usize / PAGES_PER_LOCK)?.read().unwrap_or_else(PoisonError::into_inner);
        let found = pages.get(page as usize % PAGES_PER_LOCK)?.upgrade()?;
        drop(pages);
        let tell = found.found.fetch_add(1, Ordering::Relaxed).is_multiple_of(TOLD);
        Some((found, tell))
    }

    /// Notes where a verified page is.
    pub(super) fn put(&self, page: u32, bytes: &Arc<Page>) {
        let Some(pages) = self.0.get(page as usize / PAGES_PER_LOCK) else { return };
        let mut pages = pages.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = pages.get_mut(page as usize % PAGES_PER_LOCK) {
            *place = Arc::downgrade(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
