//! From the reader's view (segments, visible buffered entries) to what is alive in it: INV-3 is applied here and nowhere
//! else.
//!
//! Per key the highest [`EntryOrder`](crate::ids::EntryOrder) wins. Among visible buffered entries only the highest of a key
//! counts. If some segment knows the key (alive, dead or deleted) at the same or a higher order, the buffered entry is
//! ignored; otherwise it hides the key's rows in every segment. Between segments the delete vectors decide: a flush writes
//! them for all it supersedes. In an index, entries that a tombstone kills are no part of this: they are dead.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::buffer::BufferedDocument;
use super::segments::Opener;
use super::tombstones::Tombstones;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, Result};
use crate::ids::{EntryId, Key, Op};
use crate::ipc::message::{BufferedEntry, NamespaceView, Provided, SegmentView};
use crate::schema::NamespaceSchema;
use crate::segment::Segment;
use crate::segment_info::DeleteVector;

/// A schema with the hash of its stored form.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Decoded.
    pub schema: Arc<NamespaceSchema>,
    /// Names it in caches.
    pub hash: u64,
}

impl Schema {
    /// Decodes the stored form.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn new(stored: &str) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        stored.hash(&mut hasher);
        Ok(Self { schema: Arc::new(NamespaceSchema::from_stored(stored)?), hash: hasher.finish() })
    }
}

/// One segment and what is dead in it.
#[derive(Debug)]
pub struct LiveSegment {
    /// The segment.
    pub segment: Arc<Segment>,
    /// Its delete vector.
    pub deleted: Arc<RoaringBitmap>,
    /// Rows that buffered entries hide or tombstones kill; may overlap `deleted`.
    pub hidden: RoaringBitmap,
    /// Rows that are neither; None: all rows are alive.
    pub alive: Option<Arc<RoaringBitmap>>,
}

/// What is alive in a view.
#[derive(Debug)]
pub struct LiveView {
    /// Segments in the order of the view.
    pub segments: Vec<LiveSegment>,
    /// Live buffered upserts by ascending key.
    pub buffered: Vec<Arc<BufferedDocument>>,
    /// Live buffered deletes by ascending key.
    pub deletes: Vec<EntryId>,
    /// Buffered entries that lost against another one or a segment, or that a tombstone kills.
    pub superseded: usize,
}

impl LiveView {
    fn memory_bytes(&self) -> usize {
        let bitmap = |b: &RoaringBitmap| b.serialized_size();
        let segments: usize = self
            .segments
            .iter()
            .map(|s| bitmap(&s.hidden) + bitmap(&s.deleted) + s.alive.as_ref().map_or(0, |alive| bitmap(alive)))
            .sum();
        let documents: usize = self.buffered.iter().map(|d| d.memory_bytes()).sum();
        size_of::<Self>() + segments + documents + self.deletes.len() * size_of::<EntryId>()
    }
}

/// A resolved view with what it was resolved from, to tell equal views from equal hashes.
#[derive(Debug, Clone)]
pub struct Remembered {
    view: Arc<NamespaceView>,
    live: Arc<LiveView>,
}

impl Engine {
    /// Resolves a view; the same view again costs one comparison. Asks the provider at most once.
    ///
    /// # Errors
    /// Of segments and their store, of the provider; `Internal` if the provider leaves something out.
    pub(super) async fn resolve(
        &self,
        view: NamespaceView,
        schema: &Schema,
        provider: &mut dyn Provider,
        reads: &Arc<ReadStats>,
    ) -> Result<Arc<LiveView>> {
        let mut hasher = DefaultHasher::new();
        view.id.hash(&mut hasher);
        schema.hash.hash(&mut hasher);
        view.segments.iter().for_each(|s| (&s.info.id, s.delete_version).hash(&mut hasher));
        view.buffered.iter().for_each(|b| (b.id, b.op).hash(&mut hasher));
        view.tombstones.hash(&mut hasher);
        let name = hasher.finish();
        if let Some(known) = self.views.get(&name)
            && *known.view == view
        {
            return Ok(known.live);
        }
        let live = Arc::new(self.resolve_anew(&view, schema, provider, reads).await?);
        let bytes = live.memory_bytes() + view.buffered.len() * size_of::<BufferedEntry>();
        self.views.insert(name, Remembered { view: Arc::new(view), live: live.clone() }, bytes);
        Ok(live)
    }

    /// As [`Self::resolve`] without remembering: for views cut down to some keys.
    pub(super) async fn resolve_anew(
        &self,
        view: &NamespaceView,
        schema: &Schema,
        provider: &mut dyn Provider,
        reads: &Arc<ReadStats>,
    ) -> Result<LiveView> {
        let segments = self.open_all(&view.segments, schema, reads).await?;
        let winners = highest_of_each_key(&view.buffered);
        let (mut live, mut hidden) = beat_segments(&winners, &segments, reads).await?;
        // A tombstone that kills the winner of a key kills all that the winner hides, so it can be applied afterwards.
        if let Some(tombstones) = self.known_tombstones(view) {
            live.retain(|entry| !tombstones.kill(entry.id));
        }
        let Obtained { documents: mut buffered, deleted, tombstones } =
            self.obtain(view, schema, &live, provider).await?;
        live.retain(|entry| !tombstones.kill(entry.id));
        buffered.retain(|entry| !tombstones.kill(entry.id));
        let killed = segments.iter().map(|segment| self.killed(view, &tombstones, segment, reads));
        for (killed, hidden) in try_join_all(killed).await?.into_iter().zip(&mut hidden) {
            *hidden |= killed.as_ref();
        }
        let superseded = view.buffered.len() - live.len();
        let deletes = live.iter().filter(|entry| entry.op == Op::Delete).map(|entry| entry.id).collect();
        let segments = segments.into_iter().zip(hidden).zip(deleted).map(|((segment, hidden), deleted)| {
            let alive = if hidden.is_empty() && deleted.is_empty() {
                None
            } else {
                let mut alive = RoaringBitmap::new();
                alive.insert_range(0..segment.rows());
                alive -= &hidden;
                alive -= deleted.as_ref();
                Some(Arc::new(alive))
            };
            LiveSegment { segment, deleted, hidden, alive }
        });
        Ok(LiveView { segments: segments.collect(), buffered, deletes, superseded })
    }

    async fn open_all(
        &self,
        segments: &[SegmentView],
        schema: &Schema,
        reads: &Arc<ReadStats>,
    ) -> Result<Vec<Arc<Segment>>> {
        let cpu = self.cpu();
        let opener = Opener { stores: &self.stores, cache: &self.cache, cpu: &cpu, reads };
        let open = segments.iter().map(|s| self.segments.get(&s.info, &schema.schema, schema.hash, &opener));
        try_join_all(open).await
    }

    /// Delete vectors by segment, and tombstones. Reads no segment.
    pub(super) async fn dead(
        &self,
        view: &NamespaceView,
        schema: &Schema,
        provider: &mut dyn Provider,
    ) -> Result<(Vec<Arc<RoaringBitmap>>, Arc<Tombstones>)> {
        let obtained = self.obtain(view, schema, &[], provider).await?;
        Ok((obtained.deleted, obtained.tombstones))
    }

    /// Payloads of the live upserts, delete vectors of all segments and tombstones, from the caches or else from the provider,
    /// which is asked once for all of it.
    async fn obtain(
        &self,
        view: &NamespaceView,
        schema: &Schema,
        live: &[BufferedEntry],
        provider: &mut dyn Provider,
    ) -> Result<Obtained> {
        let mut known_tombstones = self.known_tombstones(view);
        let upserts: Vec<EntryId> = live.iter().filter(|e| e.op == Op::Upsert).map(|e| e.id).collect();
        let mut documents: Vec<Option<Arc<BufferedDocument>>> =
            upserts.iter().map(|id| self.buffer.get(view.id, schema.hash, *id)).collect();
        let version = |s: &SegmentView| (s.info.id.clone(), s.delete_version);
        let mut deleted: Vec<Option<Arc<RoaringBitmap>>> = view
            .segments
            .iter()
            .map(|s| if s.delete_version == 0 { Some(Arc::default()) } else { self.delete_vectors.get(&version(s)) })
            .collect();
        let missing: Vec<EntryId> =
            upserts.iter().zip(&documents).filter(|(_, document)| document.is_none()).map(|(id, _)| *id).collect();
        let missing_vectors: Vec<String> =
            view.segments.iter().zip(&deleted).filter(|(_, d)| d.is_none()).map(|(s, _)| s.info.id.clone()).collect();
        if !missing.is_empty() || !missing_vectors.is_empty() || known_tombstones.is_none() {
            let provided = provider.need(missing, missing_vectors, known_tombstones.is_none()).await?;
            let Provided { entries, delete_vectors: vectors, tombstones } = provided;
            if known_tombstones.is_none() {
                known_tombstones = Some(self.learn_tombstones(view, tombstones)?);
            }
            let decoded = self.buffer.decode(&self.cpu(), view.id, &schema.schema, schema.hash, entries).await?;
            let mut by_id: std::collections::HashMap<EntryId, Arc<BufferedDocument>> =
                decoded.into_iter().map(|document| (document.id, document)).collect();
            for (id, document) in upserts.iter().zip(&mut documents) {
                if document.is_none() {
                    *document = by_id.remove(id);
                }
            }
            for (id, bytes) in vectors {
                let vector = Arc::new(DeleteVector::decode(&bytes, &id)?.0);
                if let Some(at) = view.segments.iter().position(|s| s.info.id == id) {
                    self.delete_vectors.insert(version(&view.segments[at]), vector.clone(), 64 + bytes.len() * 2);
                    deleted[at] = Some(vector);
                }
            }
        }
        let documents = upserts.iter().zip(documents).map(|(id, document)| {
            document.ok_or_else(|| {
                Error::internal(format!(
                    "the payload of buffered entry {} at {} was not provided",
                    id.key, id.order.seq
                ))
            })
        });
        let deleted = view.segments.iter().zip(deleted).map(|(s, deleted)| {
            deleted
                .ok_or_else(|| Error::internal(format!("the delete vector of segment {} was not provided", s.info.id)))
        });
        Ok(Obtained {
            documents: documents.collect::<Result<_>>()?,
            deleted: deleted.collect::<Result<_>>()?,
            tombstones: known_tombstones.unwrap_or_default(),
        })
    }
}

/// What resolving takes besides the view.
struct Obtained {
    /// Of the upserts, in their order.
    documents: Vec<Arc<BufferedDocument>>,
    /// By segment.
    deleted: Vec<Arc<RoaringBitmap>>,
    tombstones: Arc<Tombstones>,
}

/// The highest entry of each key, by ascending key.
fn highest_of_each_key(buffered: &[BufferedEntry]) -> Vec<BufferedEntry> {
    let mut entries = buffered.to_vec();
    // Highest first within a key: the first of each key stays.
    entries.sort_unstable_by(|a, b| a.id.key.cmp(&b.id.key).then(b.id.order.cmp(&a.id.order)));
    entries.dedup_by_key(|entry| entry.id.key);
    entries
}

/// The entries that no segment supersedes, and for each segment the rows they hide.
async fn beat_segments(
    winners: &[BufferedEntry],
    segments: &[Arc<Segment>],
    reads: &Arc<ReadStats>,
) -> Result<(Vec<BufferedEntry>, Vec<RoaringBitmap>)> {
    let keys: Vec<Key> = winners.iter().map(|entry| entry.id.key).collect();
    let hits = try_join_all(segments.iter().map(|segment| segment.lookup(&keys, reads))).await?;
    let mut hidden = vec![RoaringBitmap::new(); segments.len()];
    let mut live = Vec::with_capacity(winners.len());
    for (at, entry) in winners.iter().enumerate() {
        // An equal order is the same entry, already flushed.
        if hits.iter().any(|hits| hits[at].is_some_and(|hit| hit.order >= entry.id.order)) {
            continue;
        }
        live.push(*entry);
        for (hits, hidden) in hits.iter().zip(&mut hidden) {
            if let Some(ordinal) = hits[at].and_then(|hit| hit.ordinal) {
                hidden.insert(ordinal);
            }
        }
    }
    Ok((live, hidden))
}

#[cfg(test)]
mod tests;
