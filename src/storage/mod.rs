//! Object storage: one trait over a local directory (`file://`) and S3 (`s3://`).
//!
//! Keys are relative to a store's root URL and cannot leave it (INV-9). Every store behaves the same under
//! `tests/storage_conformance.rs`. This module knows bytes and keys, nothing of segments or manifests.

mod fault;
mod hedged;
mod key;
mod local;
mod metered;
mod registry;
mod retry;
mod s3;

use std::fmt::Debug;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::config::{StorageConfig, StorageUrl};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};

pub use fault::{FaultStore, Operation};
pub use hedged::HedgedStore;
pub use key::{MAX_KEY_BYTES, validate_key};
pub use metered::{LATENCY_BOUNDS_MS, MeteredStore, OperationSnapshot, StoreMetrics, StoreSnapshot};
pub use registry::{Decorate, StoreRegistry};

/// What [`ObjectStore::put_if_absent`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object did not exist and now holds the given bytes.
    Created,
    /// The object existed and is untouched.
    Exists,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Key relative to the store's root.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written, by the store's clock.
    pub modified: SystemTime,
}

/// A flat, durable map from keys to bytes below one root URL.
///
/// A write that returned is durable and visible to every later read. Errors of every operation, besides those it names:
/// `Invalid` (the key), `Denied`, `Unavailable` (retries are exhausted), `NotFound` (the bucket), `Exhausted` (no space).
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// The root URL in canonical form; keys are relative to it.
    fn root(&self) -> &str;

    /// True when the bytes are on a local disk already, so that a disk cache would only copy them.
    fn is_local(&self) -> bool;

    /// Writes or overwrites an object, all or nothing. Large ones travel in parts.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Writes an object unless it exists. Of any number of concurrent callers exactly one gets
    /// [`PutOutcome::Created`]. One request, so at most 5 GiB; meant for manifests and fences.
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome>;

    /// As [`Self::put_if_absent`], of the first `len` bytes of a file that nobody changes meanwhile. Large ones travel in parts: it
    /// takes little memory, and any size that the store allows for an object.
    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome>;

    /// Ends the uploads in parts of objects whose key starts with `prefix` that began before `before` and were never completed: a
    /// crash leaves them, no listing shows them, and they are paid for. Returns how many. A store without such has none.
    async fn abort_uploads(&self, prefix: &str, before: SystemTime) -> Result<usize>;

    /// The whole object.
    ///
    /// # Errors
    /// `NotFound`, naming the key.
    async fn get(&self, key: &str) -> Result<Bytes>;

    /// Exactly the bytes `range` (start inclusive, end exclusive). An empty range is empty without a request.
    ///
    /// # Errors
    /// `NotFound`, naming the key; `Corrupt`, naming key and offset, when the object ends before the range does.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes>;

    /// The object's size in bytes.
    ///
    /// # Errors
    /// `NotFound`, naming the key.
    async fn head(&self, key: &str) -> Result<u64>;

    /// Every object whose key starts with `prefix` (a string prefix, not a directory; empty for all) and is greater than
    /// `start_after`, sorted by the bytes of the key. A missing root directory is empty.
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>>;

    /// The first `limit` objects of what [`Self::list`] gives: a page, in bounded memory. Fewer than `limit` are the last.
    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>>;

    /// Deletes objects; keys that do not exist are fine. On an error some may be deleted; repeating is safe.
    async fn delete(&self, keys: &[String]) -> Result<()>;
}

/// Opens a store without touching disk or network (a wrong credentials file is noticed here, though).
///
/// The store counts its requests into `metrics`. Most callers want a [`StoreRegistry`] instead.
///
/// # Errors
/// `Invalid` or `NotFound`, naming the setting.
pub async fn open(
    config: &StorageConfig,
    url: &str,
    env: &Env,
    metrics: Arc<StoreMetrics>,
) -> Result<Arc<dyn ObjectStore>> {
    let url = StorageUrl::parse(url)?;
    let root = url.to_string();
    let inner: Arc<dyn ObjectStore> = match url {
        StorageUrl::File(path) => Arc::new(local::LocalStore::new(path, root, env.clone())),
        // The engine's working directory is the data directory.
        StorageUrl::DataDirectory(path) => {
            Arc::new(local::LocalStore::new(Path::new(".").join(path), root, env.clone()))
        }
        StorageUrl::S3 { bucket, prefix } => {
            let store = s3::S3Store::open(config, bucket, prefix, env.clone(), metrics.clone()).await?;
            Arc::new(HedgedStore::new(Arc::new(store), metrics.clone(), env.clone()))
        }
    };
    Ok(Arc::new(MeteredStore::new(inner, metrics, env.clone())))
}

/// As [`open`], then proves with a probe object that the store can be written, read and deleted, and that it honours
/// create-if-absent (some S3-compatible stores accept the header and overwrite silently, which would break fencing).
///
/// # Errors
/// As [`open`], the store's own, or `Invalid`, naming a store that does not honour create-if-absent.
pub async fn open_checked(
    config: &StorageConfig,
    url: &str,
    env: &Env,
    metrics: Arc<StoreMetrics>,
) -> Result<Arc<dyn ObjectStore>> {
    let store = open(config, url, env, metrics).await?;
    probe(store.as_ref(), env).await?;
    Ok(store)
}

/// Writes, refuses to overwrite, reads and deletes one object of a fresh name.
pub(crate) async fn probe(store: &dyn ObjectStore, env: &Env) -> Result<()> {
    let key = format!("probe-{}", env.ids.ulid());
    let result = probe_key(store, &key).await;
    // Clean up whatever happened; the first error is the one worth reporting.
    let deleted = store.delete(std::slice::from_ref(&key)).await;
    result.and(deleted)
}

async fn probe_key(store: &dyn ObjectStore, key: &str) -> Result<()> {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let outcomes = (store.put_if_absent(key, first.clone()).await?, store.put_if_absent(key, second).await?);
    let read = store.get(key).await?;
    if outcomes == (PutOutcome::Created, PutOutcome::Exists) && read == first {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("object store \"{}\" does not honour create-if-absent (If-None-Match: *)", store.root()),
    )
    .with_hint("Use a store with conditional writes: AWS S3, MinIO, Ceph, R2, or a file:// directory."))
}

/// The one error for a missing object.
fn missing(root: &str, key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("object \"{key}\" does not exist in \"{root}\""))
}

/// The one error for an object that ends before a range does.
fn too_short(root: &str, key: &str, range: &Range<u64>, got: u64) -> Error {
    let offset = range.start.saturating_add(got);
    Error::corrupt(&format!("{root}/{key}"), offset, format_args!("it ends before byte {}", range.end))
}

/// Refuses a range that runs backwards; true when there is nothing to read.
fn is_empty_range(key: &str, range: &Range<u64>) -> Result<bool> {
    if range.start > range.end {
        return Err(Error::invalid(format!("range {}..{} of object \"{key}\" runs backwards", range.start, range.end)));
    }
    Ok(range.start == range.end)
}

#[cfg(test)]
mod tests;
