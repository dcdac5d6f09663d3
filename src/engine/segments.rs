//! Open segments, shared by all queries. A segment that is in use stays open; heads are part of it and so are pinned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::bounded::Bounded;
use super::permits::CpuPool;
use crate::cache::{BlockCache, ReadStats};
use crate::error::Result;
use crate::schema::NamespaceSchema;
use crate::segment::Segment;
use crate::segment_info::SegmentInfo;
use crate::storage::StoreRegistry;

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
    pub cpu: &'a CpuPool,
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
        if let Some(segment) = self.open.get(&name) {
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
    let tail = Segment::read_tail(info, store.as_ref(), with.reads).await?;
    let (info, schema, cache) = (info.clone(), schema.clone(), with.cache.clone());
    let runtime = tokio::runtime::Handle::current();
    with.cpu.run(move |_| Ok(Arc::new(Segment::open(&info, &schema, &tail, store, cache, &runtime)?))).await
}
