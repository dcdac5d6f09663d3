//! From the reader's view (segments, visible buffered entries) to what is alive in it: INV-3 is applied here and nowhere
//! else.
//!
//! Per key the highest [`EntryOrder`](crate::ids::EntryOrder) wins. Among visible buffered upserts and deletes only the highest
//! of a key counts. If some segment knows the key (alive, dead or deleted) at the same or a higher order, the buffered entry is
//! ignored; otherwise it hides the key's rows in every segment. Between segments the delete vectors decide: a flush writes
//! them for all it supersedes. Patches above what wins change it ([`super::patched`]). In an index, entries that a tombstone kills are no part of this: they are dead.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::buffer::BufferedDocument;
use super::patched::{self, Base, Parts, Pending};
use super::segments::Opener;
use super::tombstones::Tombstones;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::Patch;
use crate::error::{Error, Result};
use crate::ids::{EntryId, Key, NamespaceId, Op};
use crate::ipc::message::{BufferedEntry, NamespaceView, Provided, ProvidedEntry, SegmentView};
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
    /// Live buffered upserts, and what patches have made of documents, by ascending key.
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

/// Views of one namespace that are remembered. Those of statements that run at the same time differ by what they see; what a
/// namespace looked like before is not asked for again, and would keep replaced segments open.
const VIEWS_PER_NAMESPACE: u64 = 16;

/// Names the place of a view: of two in one place the later is remembered.
pub(super) type ViewPlace = (NamespaceId, u64);

/// A resolved view with what it was resolved from, to tell equal views from others in the same place.
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
        schema.hash.hash(&mut hasher);
        view.segments.iter().for_each(|s| (&s.info.id, s.delete_version).hash(&mut hasher));
        view.buffered.iter().for_each(|b| (b.id, b.op).hash(&mut hasher));
        view.tombstones.hash(&mut hasher);
        let place = (view.id, hasher.finish() % VIEWS_PER_NAMESPACE);
        if let Some(known) = self.views.get(&place)
            && *known.view == view
        {
            return Ok(known.live);
        }
        let live = Arc::new(self.resolve_anew(&view, schema, provider, reads).await?);
        let bytes = live.memory_bytes() + view.buffered.len() * size_of::<BufferedEntry>();
        self.views.insert(place, Remembered { view: Arc::new(view), live: live.clone() }, bytes);
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
        let Chosen { mut live, mut hidden, mut pending } = choose(&view.buffered, &segments, reads).await?;
        // A tombstone that kills the winner of a key kills all that the winner hides, so it can be applied afterwards.
        if let Some(tombstones) = self.known_tombstones(view) {
            live.retain(|entry| !tombstones.kill(entry.id));
        }
        let mut made: Vec<Option<Arc<BufferedDocument>>> =
            pending.iter().map(|key| self.patched.get(&key.name(view.id, schema.hash))).collect();
        let wanted = Payloads::new(&live, &pending, &made);
        let Obtained { documents, patches, deleted, tombstones } = self.obtain(view, schema, &wanted, provider).await?;
        // A dead row is no base: the patches change nothing.
        let is_there = |key: &Pending| match key.base {
            Base::Buffered(id) => !tombstones.kill(id),
            Base::Row { place, ordinal, .. } => !deleted[place].contains(ordinal),
        };
        let mut kept = pending.iter().map(is_there).collect::<Vec<_>>().into_iter();
        made.retain(|_| kept.next().unwrap_or(false));
        pending.retain(is_there);
        let upserts: HashMap<EntryId, Arc<BufferedDocument>> =
            documents.into_iter().map(|document| (document.id, document)).collect();
        let parts = Parts { namespace: view.id, schema, segments: &segments, reads, upserts: &upserts, patches };
        let unmade = pending.iter().zip(&made).filter(|(_, made)| made.is_none()).map(|(key, _)| key.clone()).collect();
        let made = made.into_iter().flatten().chain(self.patch(unmade, parts).await?);
        let bases: HashSet<EntryId> = pending.iter().map(Pending::base_id).collect();
        let whole = upserts.into_values().filter(|document| !bases.contains(&document.id));
        let mut buffered: Vec<Arc<BufferedDocument>> = made.chain(whole).collect();
        buffered.sort_unstable_by_key(|document| document.id.key);
        live.retain(|entry| !tombstones.kill(entry.id));
        buffered.retain(|entry| !tombstones.kill(entry.id));
        let killed = segments.iter().map(|segment| self.killed(view, &tombstones, segment, reads));
        for (killed, hidden) in try_join_all(killed).await?.into_iter().zip(&mut hidden) {
            *hidden |= killed.as_ref();
        }
        let applied: usize = pending.iter().map(|key| key.patches.len()).sum();
        let superseded = view.buffered.len() - live.len() - applied;
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
        let obtained = self.obtain(view, schema, &Payloads::default(), provider).await?;
        Ok((obtained.deleted, obtained.tombstones))
    }

    /// The payloads wanted, delete vectors of all segments and tombstones, from the caches or else from the provider,
    /// which is asked once for all of it.
    async fn obtain(
        &self,
        view: &NamespaceView,
        schema: &Schema,
        Payloads { upserts, patches }: &Payloads,
        provider: &mut dyn Provider,
    ) -> Result<Obtained> {
        let mut known_tombstones = self.known_tombstones(view);
        let mut documents: Vec<Option<Arc<BufferedDocument>>> =
            upserts.iter().map(|id| self.buffer.get(view.id, schema.hash, *id)).collect();
        let version = |s: &SegmentView| (s.info.id.clone(), s.delete_version);
        let mut deleted: Vec<Option<Arc<RoaringBitmap>>> = view
            .segments
            .iter()
            .map(|s| if s.delete_version == 0 { Some(Arc::default()) } else { self.delete_vectors.get(&version(s)) })
            .collect();
        let mut missing: Vec<EntryId> =
            upserts.iter().zip(&documents).filter(|(_, document)| document.is_none()).map(|(id, _)| *id).collect();
        missing.extend(patches);
        let mut decoded_patches = HashMap::new();
        let missing_vectors: Vec<String> =
            view.segments.iter().zip(&deleted).filter(|(_, d)| d.is_none()).map(|(s, _)| s.info.id.clone()).collect();
        if !missing.is_empty() || !missing_vectors.is_empty() || known_tombstones.is_none() {
            let provided = provider.need(missing, missing_vectors, known_tombstones.is_none()).await?;
            let Provided { entries, delete_vectors: vectors, tombstones } = provided;
            if known_tombstones.is_none() {
                known_tombstones = Some(self.learn_tombstones(view, tombstones)?);
            }
            let is_patch: HashSet<&EntryId> = patches.iter().collect();
            let (of_patches, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| is_patch.contains(&e.id));
            for ProvidedEntry { id, payload } in of_patches {
                decoded_patches.insert(id, patched::decode(schema, id, &payload)?);
            }
            let decoded = self.buffer.decode(&self.cpu(), view.id, &schema.schema, schema.hash, entries).await?;
            let mut by_id: HashMap<EntryId, Arc<BufferedDocument>> =
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
            patches: decoded_patches,
            deleted: deleted.collect::<Result<_>>()?,
            tombstones: known_tombstones.unwrap_or_default(),
        })
    }
}

/// Buffered entries whose payload is wanted.
#[derive(Default)]
struct Payloads {
    upserts: Vec<EntryId>,
    patches: Vec<EntryId>,
}

impl Payloads {
    /// `made`: what is known already of what patches make.
    fn new(live: &[BufferedEntry], pending: &[Pending], made: &[Option<Arc<BufferedDocument>>]) -> Self {
        let with = || pending.iter().zip(made);
        let known: HashSet<EntryId> =
            with().filter(|(_, made)| made.is_some()).map(|(pending, _)| pending.base_id()).collect();
        let upserts = live.iter().filter(|e| e.op == Op::Upsert && !known.contains(&e.id)).map(|e| e.id).collect();
        let patches = with().filter(|(_, made)| made.is_none()).flat_map(|(pending, _)| pending.patches.clone());
        Self { upserts, patches: patches.collect() }
    }
}

/// What resolving takes besides the view.
struct Obtained {
    /// Of the upserts, in their order.
    documents: Vec<Arc<BufferedDocument>>,
    /// By entry.
    patches: HashMap<EntryId, Patch>,
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

/// What counts of a view's buffer.
struct Chosen {
    /// The upserts and deletes that nothing supersedes, by ascending key.
    live: Vec<BufferedEntry>,
    /// For each segment the rows that they or patches hide.
    hidden: Vec<RoaringBitmap>,
    /// Keys with patches that count, ascending; whether the row of a base is alive is not known yet.
    pending: Vec<Pending>,
}

/// Which buffered entries count, and what they hide.
async fn choose(buffered: &[BufferedEntry], segments: &[Arc<Segment>], reads: &Arc<ReadStats>) -> Result<Chosen> {
    let (mut patches, whole): (Vec<_>, Vec<_>) = buffered.iter().copied().partition(|entry| entry.op == Op::Patch);
    patches.sort_unstable_by_key(|entry| entry.id);
    let mut patches = patches.chunk_by(|a, b| a.id.key == b.id.key).peekable();
    let mut winners = highest_of_each_key(&whole).into_iter().peekable();
    let mut keys: Vec<Key> = buffered.iter().map(|entry| entry.id.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let hits = try_join_all(segments.iter().map(|segment| segment.lookup(&keys, reads))).await?;
    let mut hidden = vec![RoaringBitmap::new(); segments.len()];
    let (mut live, mut pending) = (Vec::with_capacity(winners.len()), Vec::new());
    for (at, key) in keys.iter().enumerate() {
        let winner = winners.next_if(|entry| entry.id.key == *key);
        let patches = patches.next_if(|patches| patches[0].id.key == *key).unwrap_or_default();
        let highest = hits.iter().enumerate().filter_map(|(place, hits)| Some((place, hits[at]?)));
        let highest = highest.max_by_key(|(_, hit)| hit.order);
        // An equal order is the same entry, already flushed.
        let winner = winner.filter(|winner| highest.is_none_or(|(_, hit)| hit.order < winner.id.order));
        let (order, base) = match (winner, highest) {
            (Some(winner), _) => {
                live.push(winner);
                (Some(winner.id.order), (winner.op == Op::Upsert).then_some(Base::Buffered(winner.id)))
            }
            (None, Some((place, hit))) => {
                let id = EntryId { key: *key, order: hit.order };
                (Some(hit.order), hit.ordinal.map(|ordinal| Base::Row { place, ordinal, id }))
            }
            (None, None) => (None, None),
        };
        let patches: Vec<EntryId> = patches.iter().map(|patch| patch.id).filter(|id| Some(id.order) > order).collect();
        let changed = base.filter(|_| !patches.is_empty());
        if winner.is_some() || changed.is_some() {
            for (hits, hidden) in hits.iter().zip(&mut hidden) {
                if let Some(ordinal) = hits[at].and_then(|hit| hit.ordinal) {
                    hidden.insert(ordinal);
                }
            }
        }
        pending.extend(changed.map(|base| Pending { base, patches }));
    }
    Ok(Chosen { live, hidden, pending })
}

#[cfg(test)]
mod tests;
