//! A decorator that asks twice: when a ranged read takes longer than most have taken lately, the same read is sent once more, and
//! whichever answers first counts. Object stores answer a few requests in a hundred ten times later than the others, and a query waits
//! for the slowest of its reads.
//!
//! Extra requests are a bounded share of all: a store that is slow as a whole is not made slower.

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use super::{ObjectMeta, ObjectStore, PutOutcome, StoreMetrics};
use crate::env::Env;
use crate::error::Result;

/// Reads whose durations are remembered.
const REMEMBERED: usize = 256;
/// Reads before the first is asked twice: fewer say nothing of the slowest.
const MIN_SAMPLES: usize = 32;
/// Reads between two looks at the percentile.
const LOOK_EVERY: u64 = 16;
/// A read is asked twice when it takes longer than this share of the others, in percent.
const PERCENTILE: usize = 95;
/// A second request is never sent sooner: below this it would cost more than it saves.
const MIN_DELAY: Duration = Duration::from_millis(20);
/// Extra requests for each read, on average: 5 %, which is what the percentile makes of a store whose latencies are as they were.
const SHARE: f64 = 0.05;
/// Extra requests that may be saved up: those of one query whose reads are all slow.
const MAX_SAVED: f64 = 8.0;

/// Sends slow ranged reads a second time; passes everything else on.
#[derive(Debug)]
pub struct HedgedStore {
    inner: Arc<dyn ObjectStore>,
    metrics: Arc<StoreMetrics>,
    env: Env,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last durations, in a ring.
    durations: Vec<Duration>,
    /// Reads so far.
    reads: u64,
    /// When a read counts as slow; None: not known yet.
    delay: Option<Duration>,
    /// Extra requests that may be sent now.
    saved: f64,
}

impl HedgedStore {
    /// Counts second requests, and those that were faster, into `metrics`.
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: Arc<StoreMetrics>, env: Env) -> Self {
        let state = State { durations: Vec::with_capacity(REMEMBERED), reads: 0, delay: None, saved: 0.0 };
        Self { inner, metrics, env, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Durations stay meaningful whatever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read`, and once more if it is slow.
    async fn hedged<F: Future<Output = Result<Bytes>>>(&self, read: impl Fn() -> F) -> Result<Bytes> {
        let start = self.env.clock.monotonic();
        let delay = self.state().begin();
        let result = match delay {
            Some(delay) => self.race(delay, read).await,
            None => read().await,
        };
        if result.is_ok() {
            self.state().end(self.env.clock.monotonic().saturating_sub(start));
        }
        result
    }

    async fn race<F: Future<Output = Result<Bytes>>>(&self, delay: Duration, read: impl Fn() -> F) -> Result<Bytes> {
        let mut first = pin!(read());
        tokio::select! {
            biased;
            result = &mut first => return result,
            () = sleep(delay) => {}
        }
        if !self.state().spend() {
            return first.await;
        }
        self.metrics.count_hedge();
        let mut second = pin!(read());
        // What fails first says nothing of the other.
        tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(bytes) => Ok(bytes),
                Err(error) => second.await.map_err(|_| error),
            },
            result = &mut second => match result {
                Ok(bytes) => {
                    self.metrics.count_hedge_won();
                    Ok(bytes)
                }
                Err(_) => first.await,
            },
        }
    }
}

impl State {
    /// When the read that begins counts as slow.
    fn begin(&mut self) -> Option<Duration> {
        self.saved = (self.saved + SHARE).min(MAX_SAVED);
        self.delay
    }

    /// Whether an extra request may be sent; then it counts.
    fn spend(&mut self) -> bool {
        let may = self.saved >= 1.0;
        if may {
            self.saved -= 1.0;
        }
        may
    }

    fn end(&mut self, took: Duration) {
        let at = (self.reads % REMEMBERED as u64) as usize;
        match self.durations.get_mut(at) {
            Some(oldest) => *oldest = took,
            None => self.durations.push(took),
        }
        self.reads += 1;
        if self.durations.len() >= MIN_SAMPLES && self.reads.is_multiple_of(LOOK_EVERY) {
            let mut sorted = self.durations.clone();
            let (_, slow, _) = sorted.select_nth_unstable(self.durations.len() * PERCENTILE / 100);
            self.delay = Some((*slow).max(MIN_DELAY));
        }
    }
}

#[async_trait]
impl ObjectStore for HedgedStore {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.inner.put(key, bytes).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        self.inner.put_if_absent(key, bytes).await
    }

    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome> {
        self.inner.put_file_if_absent(key, file, len).await
    }

    async fn abort_uploads(&self, prefix: &str, before: SystemTime) -> Result<usize> {
        self.inner.abort_uploads(prefix, before).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.hedged(|| self.inner.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &str) -> Result<u64> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        self.inner.list(prefix, start_after).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        self.inner.list_page(prefix, start_after, limit).await
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        self.inner.delete(keys).await
    }
}

#[cfg(test)]
mod tests;
