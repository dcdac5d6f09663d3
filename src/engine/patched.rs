//! Patches of a view: the document that a key's base and its patches make.
//!
//! The *base* of a key is its highest upsert or delete, in the buffer or in a segment. Patches of a higher order are applied
//! to it in their order; without a document as base they do nothing. What comes out is alive like a buffered upsert of the
//! last patch's order, and hides the base.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::try_join_all;

use super::Engine;
use super::buffer::BufferedDocument;
use super::results::{Wanted, documents_of};
use super::view::Schema;
use crate::cache::ReadStats;
use crate::document::{Document, Patch};
use crate::error::{Error, Result};
use crate::ids::{EntryId, EntryOrder, NamespaceId};
use crate::segment::Segment;
use crate::text::Analyzers;

/// What the patches of a key are applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// An upsert in the buffer.
    Buffered(EntryId),
    /// A row.
    Row {
        /// Place of the segment in the view.
        place: usize,
        /// The row.
        ordinal: u32,
        /// Its entry.
        id: EntryId,
    },
}

/// A key with patches that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What they change.
    pub base: Base,
    /// Ascending, at least one.
    pub patches: Vec<EntryId>,
}

/// Names what a base and patches make: identities of entries are never used twice. The schema's hash is part of the name,
/// because terms depend on the analysers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    namespace: NamespaceId,
    schema: u64,
    base: EntryId,
    patches: Vec<EntryOrder>,
}

impl Pending {
    /// The entry of the base.
    pub fn base_id(&self) -> EntryId {
        match self.base {
            Base::Buffered(id) | Base::Row { id, .. } => id,
        }
    }

    /// The version that comes out.
    pub fn id(&self) -> EntryId {
        self.patches.last().copied().unwrap_or_else(|| self.base_id())
    }

    /// Its name in the cache.
    pub fn name(&self, namespace: NamespaceId, schema: u64) -> Name {
        let patches = self.patches.iter().map(|patch| patch.order).collect();
        Name { namespace, schema, base: self.base_id(), patches }
    }
}

/// Decodes the payload of a patch.
///
/// # Errors
/// `Corrupt` if it cannot be read or does not fit the schema.
pub fn decode(schema: &Schema, id: EntryId, payload: &[u8]) -> Result<Patch> {
    let what = format!("write buffer entry {} at {}/{}", id.key, id.order.seq, id.order.xid);
    let patch = Patch::decode(payload, &what)?;
    if let Some(Some(vector)) = &patch.vector {
        Document::check_vector(&schema.schema, vector).map_err(|error| Error::corrupt(&what, 0, error))?;
    }
    Ok(patch)
}

/// What making documents needs.
pub struct Parts<'a> {
    /// The namespace.
    pub namespace: NamespaceId,
    /// Its schema.
    pub schema: &'a Schema,
    /// Of the view.
    pub segments: &'a [Arc<Segment>],
    /// Counts reads.
    pub reads: &'a Arc<ReadStats>,
    /// Buffered upserts by entry.
    pub upserts: &'a HashMap<EntryId, Arc<BufferedDocument>>,
    /// Patches by entry.
    pub patches: HashMap<EntryId, Patch>,
}

impl Engine {
    /// The documents of these keys, in their order: rows are read whole, those of a segment together. Remembers them.
    ///
    /// # Errors
    /// Of the segments; `Internal` if a part is missing.
    pub(super) async fn patch(
        &self,
        pending: Vec<Pending>,
        mut parts: Parts<'_>,
    ) -> Result<Vec<Arc<BufferedDocument>>> {
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = self.base_rows(&pending, &parts).await?;
        let mut work: Vec<(Name, EntryId, Document, Vec<Patch>)> = Vec::with_capacity(pending.len());
        for key in &pending {
            let missing = || Error::internal(format!("a part of patched document {} was not read", key.id().key));
            let document = match key.base {
                Base::Buffered(id) => parts.upserts.get(&id).ok_or_else(missing)?.document.clone(),
                Base::Row { place, ordinal, .. } => rows.remove(&(place, ordinal)).ok_or_else(missing)?,
            };
            let patches = key.patches.iter().map(|id| parts.patches.remove(id).ok_or_else(missing));
            let patches = patches.collect::<Result<Vec<_>>>()?;
            work.push((key.name(parts.namespace, parts.schema.hash), key.id(), document, patches));
        }
        let schema = parts.schema.schema.clone();
        let made = self
            .cpu()
            .run(move |cancel| {
                let mut analyzers = Analyzers::new(&schema);
                let mut made = Vec::with_capacity(work.len());
                for (name, id, mut document, patches) in work {
                    cancel.check()?;
                    patches.iter().for_each(|patch| patch.apply(&mut document));
                    let payload_bytes = document.encoded_len();
                    let document = BufferedDocument::new(&mut analyzers, id, document, payload_bytes);
                    made.push((name, Arc::new(document)));
                }
                Ok(made)
            })
            .await?;
        for (name, document) in &made {
            let bytes = document.memory_bytes() + name.patches.len() * size_of::<EntryOrder>();
            self.patched.insert(name.clone(), document.clone(), bytes);
        }
        Ok(made.into_iter().map(|(_, document)| document).collect())
    }

    /// Rows that are bases, whole, by segment and ordinal.
    async fn base_rows(&self, pending: &[Pending], parts: &Parts<'_>) -> Result<HashMap<(usize, u32), Document>> {
        let mut ordinals: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for key in pending {
            if let Base::Row { place, ordinal, .. } = key.base {
                ordinals.entry(place).or_default().push(ordinal);
            }
        }
        let attributes = parts.schema.schema.attributes.iter().map(|attribute| attribute.id).collect();
        let wanted = Wanted { vector: true, attributes };
        let cpu = self.cpu();
        let reads = ordinals.into_iter().map(|(place, ordinals)| {
            let (cpu, wanted) = (&cpu, &wanted);
            async move {
                let documents = documents_of(cpu, parts.reads, &parts.segments[place], ordinals, wanted).await?;
                Ok::<_, Error>(documents.into_iter().map(move |(ordinal, document)| ((place, ordinal), document)))
            }
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }
}
