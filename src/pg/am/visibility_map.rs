//! PostgreSQL's visibility map of a table: which pages hold only row versions that everybody sees.
//!
//! What an index-only scan may conclude from it, a search may: a row whose index entry leads to such a page is visible, without a look at
//! the page (`IndexOnlyNext` says why a stale bit does no harm). An index-only scan keeps VACUUM from freeing the row meanwhile by a pin of
//! the index page; whoever asks here compares the tombstone log before and after.

use super::relation::Rel;
use crate::ids::Key;
use crate::pg::snapshot::is_serializable;
use pgrx::pg_sys;

/// The map of one table.
pub struct VisibilityMap {
    heap: Rel,
    blocks: u32,
    /// The page of the map that was asked last, pinned.
    buffer: pg_sys::Buffer,
}

impl Drop for VisibilityMap {
    fn drop(&mut self) {
        if self.buffer != pg_sys::InvalidBuffer as pg_sys::Buffer && !std::thread::panicking() {
            // SAFETY: pinned by `is_all_visible`, released once.
            unsafe { pg_sys::ReleaseBuffer(self.buffer) };
        }
    }
}

impl VisibilityMap {
    /// Of an open table; none where it does not tell all: other table access methods, SERIALIZABLE (which notes each row that was read),
    /// a standby, and `old_snapshot_threshold`, which takes away rows that a snapshot still needs.
    pub fn of(heap: Rel) -> Option<Self> {
        // SAFETY: an open relation.
        let routine = unsafe { (*heap.ptr()).rd_tableam };
        // SAFETY: no arguments.
        let is_heap = routine == unsafe { pg_sys::GetHeapamTableAmRoutine() };
        // SAFETY: no arguments.
        let may_ask = is_heap && !is_serializable() && !unsafe { pg_sys::RecoveryInProgress() };
        (may_ask && snapshots_last()).then(|| Self {
            heap,
            blocks: super::page::blocks(heap),
            buffer: pg_sys::InvalidBuffer as pg_sys::Buffer,
        })
    }

    /// Whether everybody sees what is in the page of this key.
    pub fn is_all_visible(&mut self, key: Key) -> bool {
        let block = super::key::block(key);
        if block >= self.blocks {
            return false;
        }
        // SAFETY: a block of an open table, and a buffer that is invalid or pinned by an earlier call.
        let bits = unsafe { pg_sys::visibilitymap_get_status(self.heap.ptr(), block, &raw mut self.buffer) };
        u32::from(bits) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0
    }
}

/// Whether nothing is taken away that a snapshot sees.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
fn snapshots_last() -> bool {
    // SAFETY: a plain global of this process; below 0 it is off.
    unsafe { pg_sys::old_snapshot_threshold < 0 }
}

/// Whether nothing is taken away that a snapshot sees.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
fn snapshots_last() -> bool {
    true
}
