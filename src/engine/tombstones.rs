//! Tombstones of an index: what VACUUM said is dead, until a flush folds it into delete vectors.
//!
//! A tombstone (key, seq) kills every entry of the key up to that seq, in the buffer and in segments, and no later one: heap
//! tids are used again.

use std::sync::Arc;

use super::Engine;
use crate::cache::ReadStats;
use crate::error::{Error, Result};
use crate::ids::{EntryId, Key, NamespaceId};
use crate::ipc::message::{NamespaceView, Tombstone, TombstonesVersion};
use crate::segment::Segment;
use roaring::RoaringBitmap;

/// Names one state of one index's log.
pub type Name = (NamespaceId, TombstonesVersion);

/// The tombstones of one state of the log.
#[derive(Debug, Default)]
pub struct Tombstones(
    /// The highest of each key, by ascending key.
    Vec<Tombstone>,
);

impl Tombstones {
    /// In any order, any number of each key.
    pub fn new(mut all: Vec<Tombstone>) -> Self {
        // Highest first within a key: the first of each key stays.
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(b.seq.cmp(&a.seq)));
        all.dedup_by_key(|tombstone| tombstone.key);
        Self(all)
    }

    /// Whether the entry is dead.
    pub fn kill(&self, id: EntryId) -> bool {
        let at = self.0.binary_search_by_key(&id.key, |tombstone| tombstone.key);
        at.is_ok_and(|at| id.order.seq <= self.0[at].seq)
    }

    /// About how much memory they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.0.as_slice())
    }

    /// Rows of a segment that they kill.
    async fn rows_of(&self, segment: &Segment, reads: &Arc<ReadStats>) -> Result<RoaringBitmap> {
        let info = segment.info();
        let first = self.0.partition_point(|tombstone| tombstone.key < info.min_key);
        let end = self.0.partition_point(|tombstone| tombstone.key <= info.max_key);
        let here: Vec<&Tombstone> = self.0[first..end].iter().filter(|t| t.seq >= info.min_seq).collect();
        let keys: Vec<Key> = here.iter().map(|tombstone| tombstone.key).collect();
        let hits = segment.lookup(&keys, reads).await?;
        let dead = here.iter().zip(hits).filter_map(|(tombstone, hit)| {
            let hit = hit.filter(|hit| hit.order.seq <= tombstone.seq)?;
            hit.ordinal
        });
        Ok(dead.collect())
    }
}

impl Engine {
    /// The tombstones of the view, if they are known here; those of a view without any are.
    pub(super) fn known_tombstones(&self, view: &NamespaceView) -> Option<Arc<Tombstones>> {
        match view.tombstones {
            None => Some(Arc::default()),
            Some(version) => self.tombstones.get(&(view.id, version)),
        }
    }

    /// Remembers the tombstones of the view.
    ///
    /// # Errors
    /// `Internal` if their number is not that of the version.
    pub(super) fn learn_tombstones(&self, view: &NamespaceView, all: Vec<Tombstone>) -> Result<Arc<Tombstones>> {
        let expected = view.tombstones.map_or(0, |version| version.count);
        if all.len() as u64 != expected {
            return Err(Error::internal(format!("{} tombstones were provided instead of {expected}", all.len())));
        }
        let tombstones = Arc::new(Tombstones::new(all));
        if let Some(version) = view.tombstones {
            self.tombstones.insert((view.id, version), tombstones.clone(), tombstones.memory_bytes());
        }
        Ok(tombstones)
    }

    /// Rows of a segment of the view that its tombstones kill.
    ///
    /// # Errors
    /// Of the segment.
    pub(super) async fn killed(
        &self,
        view: &NamespaceView,
        tombstones: &Tombstones,
        segment: &Segment,
        reads: &Arc<ReadStats>,
    ) -> Result<Arc<RoaringBitmap>> {
        let Some(version) = view.tombstones else { return Ok(Arc::default()) };
        let name = (segment.info().id.clone(), (view.id, version));
        if let Some(known) = self.killed.get(&name) {
            return Ok(known);
        }
        let rows = Arc::new(tombstones.rows_of(segment, reads).await?);
        self.killed.insert(name, rows.clone(), size_of::<RoaringBitmap>() + rows.serialized_size());
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
