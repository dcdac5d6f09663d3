//! The engine: what the socket server calls for each request.
//!
//! [`Engine`] owns the stores, the block cache, the open segments, the decoded write buffer and the CPU pool, and answers
//! queries, fetches and flushes over the *view* that comes with each request (segments and buffered entries that the reader's
//! snapshot sees): it holds no state of any namespace that could be stale, so a restart loses nothing but caches.
//!
//! INV-3 is applied in [`view`]; INV-6 and INV-8: a failed or damaged read fails the request, nothing partial is returned;
//! INV-7 holds because each arm of each part returns its `k` best and parts are merged afterwards. Dropping a returned future
//! cancels its work.

mod activity;
mod admin;
mod aggregate;
mod arms;
mod bounded;
mod buffer;
mod candidates;
mod check;
mod claims;
mod compact;
mod fetch;
mod flush;
mod keys;
mod memory;
mod metrics;
mod metrics_listener;
mod ordered;
mod page;
mod patched;
mod permits;
mod pins;
mod query;
mod result_cache;
mod results;
mod scan;
mod segments;
mod session;
mod stats;
mod text_analysis;
mod texts;
mod tombstones;
mod view;
mod warm;

use std::sync::{Arc, PoisonError, RwLock};

use roaring::RoaringBitmap;

use crate::cache::{BlockCache, CacheSettings};
use crate::config::EngineSettings;
use crate::env::Env;
use crate::error::Result;
use crate::ipc::message::Request;
pub use crate::ipc::server::Provider;
use crate::storage::StoreRegistry;
use bounded::Bounded;
use buffer::BufferCache;
use claims::Claims;
use memory::Budgets;
use permits::CpuPool;
use pins::Pins;
use result_cache::ResultCache;
use segments::OpenSegments;
use stats::RequestCounters;

pub use activity::{Activities, Phase, Running};
pub use aggregate::Aggregated;
pub use compact::Running as RunningCompaction;
pub use metrics_listener::MetricsListener;
pub use scan::{Scan, ScanPart};
pub use session::Session;
pub use texts::Scorer;
pub use warm::Warmed;

/// Budget of decoded schemas, in bytes: thousands of them.
const SCHEMAS_BUDGET: usize = 8 << 20;

/// The engine. One for the process; share it in an `Arc`.
#[derive(Debug)]
pub struct Engine {
    env: Env,
    settings: RwLock<EngineSettings>,
    stores: StoreRegistry,
    cache: Arc<BlockCache>,
    cpu: RwLock<Arc<CpuPool>>,
    segments: OpenSegments,
    pins: Arc<Pins>,
    buffer: BufferCache,
    /// What patches have made.
    patched: Bounded<patched::Name, Arc<buffer::BufferedDocument>>,
    /// By segment id and version.
    delete_vectors: Bounded<(String, u64), Arc<RoaringBitmap>>,
    tombstones: Bounded<tombstones::Name, Arc<tombstones::Tombstones>>,
    /// By segment id: rows that tombstones kill.
    killed: Bounded<(String, tombstones::Name), Arc<RoaringBitmap>>,
    views: Bounded<view::ViewPlace, view::Remembered>,
    /// By the hash of the stored form.
    schemas: Bounded<u64, (Arc<str>, view::Schema)>,
    results: ResultCache,
    counters: RequestCounters,
    compactions: compact::Lanes,
    claims: Claims,
    activities: Activities,
    of_server: RwLock<Option<metrics::OfServer>>,
    started: std::time::Duration,
}

impl Engine {
    /// An engine with these settings. Opens the cache; stores are opened when they are first used.
    ///
    /// # Errors
    /// `Invalid` or `OutOfRange` for a setting, `Internal` if there is no memory cache.
    pub async fn new(settings: EngineSettings, env: Env) -> Result<Self> {
        let stores = StoreRegistry::new(settings.storage.clone(), env.clone());
        Self::with_stores(settings, env, stores).await
    }

    /// As [`Self::new`], over stores that are opened elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn with_stores(settings: EngineSettings, env: Env, stores: StoreRegistry) -> Result<Self> {
        settings.validate()?;
        let cache = Arc::new(BlockCache::open(&CacheSettings::from(&settings)).await?);
        let budgets = Budgets::of(settings.cache_memory);
        let pins = Arc::new(Pins::new(&settings.cache_path));
        pins.clone().start_sweep(env.clock.now());
        Ok(Self {
            stores,
            cache,
            cpu: RwLock::new(Arc::new(CpuPool::new(settings.engine_threads))),
            segments: OpenSegments::new(budgets.segments),
            pins,
            buffer: BufferCache::new(budgets.buffer),
            patched: Bounded::new(budgets.patched),
            delete_vectors: Bounded::new(budgets.delete_vectors),
            tombstones: Bounded::new(budgets.delete_vectors),
            killed: Bounded::new(budgets.delete_vectors),
            views: Bounded::new(budgets.views),
            schemas: Bounded::new(SCHEMAS_BUDGET),
            results: ResultCache::new(settings.result_cache),
            counters: RequestCounters::default(),
            compactions: compact::Lanes::default(),
            claims: Claims::new(&settings.socket_path, &env),
            activities: Activities::default(),
            of_server: RwLock::default(),
            started: env.clock.monotonic(),
            settings: RwLock::new(settings),
            env,
        })
    }

    /// Takes over new settings. Storage, threads and budgets change at once; the disk and place of the block cache stay
    /// what they were at the start. Requests under way go on with what they have.
    ///
    /// # Errors
    /// `Invalid` or `OutOfRange`; nothing has changed then.
    pub async fn reload(&self, settings: EngineSettings) -> Result<()> {
        settings.validate()?;
        let old = self.settings();
        if old.storage != settings.storage {
            self.stores.reconfigure(settings.storage.clone()).await;
            // Open segments hold the store they were opened with, and so its credentials.
            self.segments.clear();
            self.views.clear();
            self.results.clear();
        }
        if old.engine_threads != settings.engine_threads {
            let pool = Arc::new(CpuPool::new(settings.engine_threads));
            *self.cpu.write().unwrap_or_else(PoisonError::into_inner) = pool;
        }
        let budgets = Budgets::of(settings.cache_memory);
        self.segments.resize(budgets.segments);
        self.buffer.resize(budgets.buffer);
        self.patched.resize(budgets.patched);
        self.delete_vectors.resize(budgets.delete_vectors);
        self.tombstones.resize(budgets.delete_vectors);
        self.killed.resize(budgets.delete_vectors);
        self.views.resize(budgets.views);
        self.results.resize(settings.result_cache);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// Enters a request of the process `pid` in the list of what is under way; `None` for a short one.
    pub fn begin(&self, request: &Request, pid: Option<i32>) -> Option<Running<'_>> {
        self.activities.begin(request, pid, &self.env)
    }

    /// Writes out what the disk cache holds in memory. Call it once, at the end.
    pub async fn close(&self) {
        self.cache.close().await;
    }

    /// The settings now.
    pub fn settings(&self) -> EngineSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cpu(&self) -> Arc<CpuPool> {
        self.cpu.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Microseconds since `start`, a reading of the monotonic clock.
    fn micros_since(&self, start: std::time::Duration) -> u64 {
        let took = self.env.clock.monotonic().saturating_sub(start);
        u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
    }
}
