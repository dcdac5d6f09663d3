//! Stores by root URL: every segment records the root it was written to, so several may be open at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{ObjectStore, StoreMetrics, StoreSnapshot, open, probe};
use crate::config::{StorageConfig, StorageUrl};
use crate::env::Env;
use crate::error::Result;

/// Puts another store around each one that is opened, outside of what counts requests.
pub type Decorate = Box<dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync>;

/// Opens each root once, hands out the same store afterwards, and keeps one set of counters for each root.
pub struct StoreRegistry {
    env: Env,
    decorate: Option<Decorate>,
    state: Mutex<State>,
}

impl std::fmt::Debug for StoreRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreRegistry").field("env", &self.env).field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    config: StorageConfig,
    stores: HashMap<String, Opened>,
    /// Outlives a reload, so that counters do not jump back.
    metrics: HashMap<String, Arc<StoreMetrics>>,
}

#[derive(Debug)]
struct Opened {
    store: Arc<dyn ObjectStore>,
    checked: bool,
}

impl StoreRegistry {
    /// An empty registry; nothing is opened yet.
    pub fn new(config: StorageConfig, env: Env) -> Self {
        let state = Mutex::new(State { config, stores: HashMap::new(), metrics: HashMap::new() });
        Self { env, decorate: None, state }
    }

    /// As [`Self::new`], with a decorator: for tests that count requests or make them slow or fail.
    pub fn decorated(config: StorageConfig, env: Env, decorate: Decorate) -> Self {
        Self { decorate: Some(decorate), ..Self::new(config, env) }
    }

    /// The store of `url`, opened on first use and not probed: for reading.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn get(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        let root = StorageUrl::parse(url)?.to_string();
        let mut state = self.state.lock().await;
        if let Some(opened) = state.stores.get(&root) {
            return Ok(opened.store.clone());
        }
        let metrics = state.metrics.entry(root.clone()).or_default().clone();
        let mut store = open(&state.config, &root, &self.env, metrics).await?;
        if let Some(decorate) = &self.decorate {
            store = decorate(store);
        }
        state.stores.insert(root, Opened { store: store.clone(), checked: false });
        Ok(store)
    }

    /// As [`Self::get`], and probed once (see [`super::open_checked`]): for writing.
    ///
    /// # Errors
    /// As [`super::open_checked`].
    pub async fn get_checked(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        let store = self.get(url).await?;
        if self.state.lock().await.stores.get(store.root()).is_some_and(|opened| opened.checked) {
            return Ok(store);
        }
        // Without the lock: a store that hangs must not stop the others. Probing twice does no harm.
        probe(store.as_ref(), &self.env).await?;
        if let Some(opened) = self.state.lock().await.stores.get_mut(store.root())
            && Arc::ptr_eq(&opened.store, &store)
        {
            opened.checked = true;
        }
        Ok(store)
    }

    /// Takes over new settings. Stores are opened anew on next use (credentials are then read again);
    /// whoever holds an old one keeps it.
    pub async fn reconfigure(&self, config: StorageConfig) {
        let mut state = self.state.lock().await;
        state.config = config;
        state.stores.clear();
    }

    /// Counters of every root opened so far, sorted by root.
    pub async fn snapshot(&self) -> Vec<StoreSnapshot> {
        let state = self.state.lock().await;
        let mut all: Vec<_> = state.metrics.iter().map(|(root, metrics)| metrics.snapshot(root)).collect();
        all.sort_by(|a, b| a.root.cmp(&b.root));
        all
    }
}
