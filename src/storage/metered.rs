//! A decorator that counts requests, bytes, errors, retries and latencies of a store.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ObjectMeta, ObjectStore, Operation, PutOutcome};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};

/// Upper bounds of the latency histogram in milliseconds; one more bucket counts what is slower. From a local disk's
/// page cache to an operation that was retried until its deadline.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

const BUCKETS: usize = LATENCY_BOUNDS_MS.len() + 1;

tokio::task_local! {
    /// The operation that the running task measures, for what happens below the decorator.
    static MEASURED: Operation;
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    latency_us: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
}

/// The counters of one root URL; shared by the stores that are open on it.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    operations: [Counters; Operation::ALL.len()],
    retries: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
}

/// [`StoreMetrics`] of one kind of operation at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationSnapshot {
    /// `put`, `put_if_absent`, `get`, `get_range`, `head`, `list` or `delete`.
    pub operation: String,
    /// Operations started and finished, failed ones included; retries and pages do not count again.
    pub requests: u64,
    /// Operations that failed; a missing object is an answer, not a failure.
    pub errors: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Payload bytes: sent by puts, received by gets.
    pub bytes: u64,
    /// Sum of the latencies in microseconds.
    pub latency_us: u64,
    /// Operations by latency, not cumulative: one for each of [`LATENCY_BOUNDS_MS`] and one for the slower ones.
    pub histogram: Vec<u64>,
}

/// [`StoreMetrics`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSnapshot {
    /// Root URL.
    pub root: String,
    /// Attempts beyond the first, over all operations.
    pub retries: u64,
    /// Ranged reads that were slow and sent a second time.
    #[serde(default)]
    pub hedges: u64,
    /// Those of them whose second request answered first.
    #[serde(default)]
    pub hedges_won: u64,
    /// One for each kind of operation.
    pub operations: Vec<OperationSnapshot>,
}

impl StoreSnapshot {
    /// The counters of one kind of operation.
    pub fn operation(&self, operation: Operation) -> Option<&OperationSnapshot> {
        self.operations.iter().find(|o| o.operation == operation.name())
    }

    /// Operations of every kind.
    pub fn total_requests(&self) -> u64 {
        self.operations.iter().map(|o| o.requests).sum()
    }
}

impl StoreMetrics {
    /// The counters now, labelled with the root URL.
    pub fn snapshot(&self, root: &str) -> StoreSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let operations = Operation::ALL
            .iter()
            .zip(&self.operations)
            .map(|(operation, c)| OperationSnapshot {
                operation: operation.name().to_owned(),
                requests: load(&c.requests),
                errors: load(&c.errors),
                retries: load(&c.retries),
                bytes: load(&c.bytes),
                latency_us: load(&c.latency_us),
                histogram: c.histogram.iter().map(load).collect(),
            })
            .collect();
        StoreSnapshot {
            root: root.to_owned(),
            retries: load(&self.retries),
            hedges: load(&self.hedges),
            hedges_won: load(&self.hedges_won),
            operations,
        }
    }

    /// Counts one attempt beyond the first; also for the operation that the task measures.
    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        // An error: nobody measures, as in a test.
        if let Ok(operation) = MEASURED.try_with(|operation| *operation) {
            self.operations[operation as usize].retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a ranged read that is sent a second time.
    pub(super) fn count_hedge(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a second request that answered first.
    pub(super) fn count_hedge_won(&self) {
        self.hedges_won.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, operation: Operation, took: Duration, bytes: u64, error: Option<&Error>) {
        let counters = &self.operations[operation as usize];
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&counters.requests, 1);
        add(&counters.bytes, bytes);
        if error.is_some_and(|e| e.kind != ErrorKind::NotFound) {
            add(&counters.errors, 1);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&counters.latency_us, micros);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| micros <= bound * 1_000).unwrap_or(BUCKETS - 1);
        add(&counters.histogram[bucket], 1);
    }
}

/// Counts what passes through to the inner store; changes nothing.
#[derive(Debug)]
pub struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    metrics: Arc<StoreMetrics>,
    env: Env,
}

impl MeteredStore {
    /// Counts the operations of `inner` into `metrics`.
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: Arc<StoreMetrics>, env: Env) -> Self {
        Self { inner, metrics, env }
    }

    /// The counters now.
    pub fn snapshot(&self) -> StoreSnapshot {
        self.metrics.snapshot(self.inner.root())
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<T> {
        let start = self.env.clock.monotonic();
        let result = MEASURED.scope(operation, request).await;
        let took = self.env.clock.monotonic().saturating_sub(start);
        let bytes = result.as_ref().map_or(0, |value| bytes(value) as u64);
        self.metrics.count(operation, took, bytes, result.as_ref().err());
        result
    }
}

#[async_trait]
impl ObjectStore for MeteredStore {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let sent = bytes.len();
        self.measure(Operation::Put, self.inner.put(key, bytes), |()| sent).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let sent = bytes.len();
        self.measure(Operation::PutIfAbsent, self.inner.put_if_absent(key, bytes), |_| sent).await
    }

    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome> {
        let request = self.inner.put_file_if_absent(key, file, len);
        self.measure(Operation::PutIfAbsent, request, |_| len as usize).await
    }

    async fn abort_uploads(&self, prefix: &str, before: SystemTime) -> Result<usize> {
        self.measure(Operation::List, self.inner.abort_uploads(prefix, before), |_| 0).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.measure(Operation::Get, self.inner.get(key), Bytes::len).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.measure(Operation::GetRange, self.inner.get_range(key, range), Bytes::len).await
    }

    async fn head(&self, key: &str) -> Result<u64> {
        self.measure(Operation::Head, self.inner.head(key), |_| 0).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        self.measure(Operation::List, self.inner.list(prefix, start_after), |_| 0).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        self.measure(Operation::List, self.inner.list_page(prefix, start_after, limit), |_| 0).await
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        self.measure(Operation::Delete, self.inner.delete(keys), |()| 0).await
    }
}
