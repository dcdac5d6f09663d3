//! Everything that is neither a search nor a flush.

use bytes::Bytes;
use serde_json::json;

use super::Engine;
use super::flush::put_new;
use super::stats::Kind;
use crate::error::Result;

impl Engine {
    /// Writes the manifest of one generation: `<path>/manifest-<generation, 20 digits>.json`, never overwritten, so the
    /// newest is the last of a listing and a reader of an older one is not disturbed.
    ///
    /// # Errors
    /// `Fenced` if that generation exists with other content: another writer has published it. The store's.
    pub async fn put_manifest(&self, root: &str, path: &str, generation: u64, json: String) -> Result<()> {
        let start = self.env.clock.monotonic();
        let result = async {
            let store = self.stores.get_checked(root).await?;
            put_new(store.as_ref(), &manifest_key(path, generation), Bytes::from(json)).await
        };
        let result = result.await;
        self.counters.count(Kind::PutManifest, self.micros_since(start), result.is_ok());
        result
    }

    /// Deletes objects and what is pinned of their segments; missing ones are fine. That nothing refers to them any more is the caller's promise (INV-4, INV-9).
    ///
    /// # Errors
    /// The store's; some objects may be deleted then, repeating is safe.
    pub async fn delete_objects(&self, root: &str, keys: &[String]) -> Result<()> {
        let start = self.env.clock.monotonic();
        self.pins.remove(keys).await;
        let result = async { self.stores.get(root).await?.delete(keys).await }.await;
        self.counters.count(Kind::DeleteObjects, self.micros_since(start), result.is_ok());
        result
    }

    /// Proves that the configured storage can be written and honours create-if-absent.
    ///
    /// # Errors
    /// As [`crate::storage::open_checked`].
    pub async fn check_storage(&self) -> Result<()> {
        let start = self.env.clock.monotonic();
        let url = self.settings().storage.url;
        let result = self.stores.get_checked(&url).await.map(drop);
        self.counters.count(Kind::CheckStorage, self.micros_since(start), result.is_ok());
        result
    }

    /// Figures of the engine as a JSON object.
    pub async fn stats_json(&self) -> String {
        let usage = |(count, bytes): (usize, usize)| json!({"count": count, "bytes": bytes});
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_micros": self.micros_since(self.started),
            "cpu_threads": self.cpu().threads(),
            "cache": self.cache.stats(),
            "stores": self.stores.snapshot().await,
            "open_segments": usage(self.segments.usage()),
            "buffer": usage(self.buffer.usage()),
            "patched": usage(self.patched.usage()),
            "delete_vectors": usage(self.delete_vectors.usage()),
            "tombstones": usage(self.tombstones.usage()),
            "views": usage(self.views.usage()),
            "results": self.results.to_json(),
            "requests": self.counters.to_json(),
            "resident_bytes": super::metrics::resident_bytes(),
        })
        .to_string()
    }
}

/// Key of the manifest of one generation below the root.
fn manifest_key(path: &str, generation: u64) -> String {
    format!("{path}/manifest-{generation:020}.json")
}
