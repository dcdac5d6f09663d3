//! Open segments, shared by all queries. A segment that is in use stays open; heads are part of it and so are pinned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::bounded::Bounded;
use super::permits::CpuPool;
use super::results::attributes;
use crate::cache::{BlockCache, ReadStats};
use crate::error::Result;
use crate::schema::{AttributeId, NamespaceSchema};
use crate::segment::Segment;
use crate::segment_info::SegmentInfo;
use crate::storage::StoreRegistry;
use crate::text::{RangeRead, TextBuilder, TextSegment};

/// Rows that are read at once when a text index is made anew: bounds what is held beside the index itself.
const REBUILD_ROWS: u32 = 16 << 10;

/// Id, and hash of the namespace's schema: a segment opened under an older schema does not know newer attributes.
type Name = (String, u64);

/// Segments already open, within a budget of bytes.
#[derive(Debug)]
pub struct OpenSegments {
    open: Bounded<Name, Arc<Segment>>,
    /// Being opened now: of concurrent callers one reads.
    opening: Mutex<HashMap<Name, Arc<OnceCell<Arc<Segment>>>>>,
}

/// What opening needs.
pub struct Opener<'a> {
    /// Stores by root.
    pub stores: &'a StoreRegistry,
    /// The block cache.
    pub cache: &'a Arc<BlockCache>,
    /// Decoding a tail computes.
    pub cpu: &'a Arc<CpuPool>,
    /// Counts the read.
    pub reads: &'a Arc<ReadStats>,
}

impl OpenSegments {
    /// None open.
    pub fn new(budget: usize) -> Self {
        Self { open: Bounded::new(budget), opening: Mutex::default() }
    }

    /// Segments and bytes held now.
    pub fn usage(&self) -> (usize, usize) {
        self.open.usage()
    }

    /// Changes the budget.
    pub fn resize(&self, budget: usize) {
        self.open.resize(budget);
    }

    /// Forgets all; those in use stay open for their users.
    pub fn clear(&self) {
        self.open.clear();
    }

    /// The segment, opened with one read if it is not.
    ///
    /// # Errors
    /// As [`Segment::read_tail`] and [`Segment::open`].
    pub async fn get(
        &self,
        info: &SegmentInfo,
        schema: &Arc<NamespaceSchema>,
        schema_hash: u64,
        with: &Opener<'_>,
    ) -> Result<Arc<Segment>> {
        let name = (info.id.clone(), schema_hash);
        // What it remembers of keys and dictionaries has been read since it was opened.
        if let Some(segment) = self.open.get_weighed(&name, |segment| segment.memory_bytes()) {
            return Ok(segment);
        }
        let cell = self.opening().entry(name.clone()).or_default().clone();
        let opened = cell.get_or_try_init(|| open(info, schema, with)).await.cloned();
        if let Ok(segment) = &opened {
            self.open.insert(name.clone(), segment.clone(), segment.memory_bytes());
        }
        self.opening().remove(&name);
        opened
    }

    fn opening(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Arc<OnceCell<Arc<Segment>>>>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(info: &SegmentInfo, schema: &Arc<NamespaceSchema>, with: &Opener<'_>) -> Result<Arc<Segment>> {
    let store = with.stores.get(&info.root).await?;
    let tail = Segment::cached_tail(info, &store, with.cache, with.reads).await?;
    let runtime = tokio::runtime::Handle::current();
    let decode = || {
        let (info, schema, tail) = (info.clone(), schema.clone(), tail.clone());
        let (store, cache, runtime) = (store.clone(), with.cache.clone(), runtime.clone());
        with.cpu.run(move |_| Segment::open(&info, &schema, &tail, store, cache, &runtime))
    };
    let segment = decode().await?;
    if !segment.lacks_index(schema) {
        return Ok(Arc::new(segment));
    }
    // The schema has changed since the segment was written. Until it is rewritten, whoever opens it makes the index.
    let (text, bytes) = text_anew(&Arc::new(segment), schema, with).await?;
    Ok(Arc::new(decode().await?.with_text(text, bytes)?))
}

/// The text index of a segment's rows under another schema than they were written with, and its size in bytes.
async fn text_anew(
    segment: &Arc<Segment>,
    schema: &Arc<NamespaceSchema>,
    with: &Opener<'_>,
) -> Result<(TextSegment, usize)> {
    let searched = schema.attributes.iter().filter(|a| a.indexed || a.full_text.is_some());
    let wanted: Vec<AttributeId> = searched.map(|attribute| attribute.id).collect();
    let mut builder = TextBuilder::new(schema)?;
    let mut start = 0;
    while start < segment.rows() {
        let end = segment.rows().min(start + REBUILD_ROWS);
        let ordinals: Vec<u32> = (start..end).collect();
        let documents = attributes(with.cpu, with.reads, segment, &ordinals, &wanted).await?;
        builder = with
            .cpu
            .run(move |cancel| {
                for document in documents.values() {
                    cancel.check()?;
                    builder.add(document)?;
                }
                Ok(builder)
            })
            .await?;
        start = end;
    }
    let schema = schema.clone();
    let object = format!("{}/{}", segment.info().root, segment.info().index_key());
    with.cpu
        .run(move |_| {
            let bundle = builder.finish()?;
            let bytes = bundle.files.iter().map(|(_, bytes)| bytes.len()).sum();
            let files = bundle.files.into_iter().map(|(name, bytes)| {
                let len = bytes.len() as u64;
                (name, len, Arc::new(bytes) as Arc<dyn RangeRead>)
            });
            let text = TextSegment::open(&schema, &object, files.collect(), &bundle.hotcache)?;
            Ok((text, bytes))
        })
        .await
}
