//! A decorator for tests (here and in other modules' tests): injects latency, errors and wrong bytes, and counts
//! requests and sequential rounds. It is compiled into the library so that integration tests reach it; nothing in the
//! engine constructs it.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{ObjectMeta, ObjectStore, PutOutcome};
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;

/// The kinds of operation of an [`ObjectStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`ObjectStore::put`].
    Put,
    /// [`ObjectStore::put_if_absent`].
    PutIfAbsent,
    /// [`ObjectStore::get`].
    Get,
    /// [`ObjectStore::get_range`].
    GetRange,
    /// [`ObjectStore::head`].
    Head,
    /// [`ObjectStore::list`].
    List,
    /// [`ObjectStore::delete`].
    Delete,
}

impl Operation {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Self; 7] =
        [Self::Put, Self::PutIfAbsent, Self::Get, Self::GetRange, Self::Head, Self::List, Self::Delete];

    /// The name in snapshots and views.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutIfAbsent => "put_if_absent",
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

#[derive(Debug)]
struct Fault {
    /// None matches every operation.
    operation: Option<Operation>,
    error: Error,
}

#[derive(Debug)]
struct Flip {
    key: String,
    offset: u64,
    once: bool,
}

#[derive(Debug, Default)]
struct State {
    latency: Duration,
    /// Of the next requests instead, each once.
    delays: VecDeque<Duration>,
    waves: Option<Waves>,
    faults: VecDeque<Fault>,
    flips: Vec<Flip>,
    requests: u64,
    ranges: Vec<(String, Range<u64>)>,
    /// The longest chain of requests of which each started after the one before had ended.
    finished_round: u64,
    rounds: u64,
}

/// See [`FaultStore::hold`].
#[derive(Debug)]
struct Waves {
    quiet: Duration,
    /// Requests so far.
    arrived: u64,
    /// Waves begun, and those let go.
    begun: u64,
    released: u64,
}

/// Passes everything to an inner store, with faults on the way.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    remote: bool,
    state: Mutex<State>,
}

impl FaultStore {
    /// No faults yet.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, remote: false, state: Mutex::new(State::default()) }
    }

    /// As [`Self::new`], and [`ObjectStore::is_local`] is false whatever the inner store is: brings the disk tier of the
    /// cache into play over a local directory.
    pub fn remote(inner: Arc<dyn ObjectStore>) -> Self {
        Self { remote: true, ..Self::new(inner) }
    }

    /// Every request takes this much longer. Set one when counting rounds: requests that run at the same time must
    /// overlap to be counted as one round.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Holds requests back until none has come for `quiet`, then lets all go together: what they have in common is that none of
    /// them waits for another. [`Self::rounds`] then counts these waves, whatever the machine's load, as long as it never
    /// takes `quiet` to compute from the answers of one wave what to ask for next.
    pub fn hold(&self, quiet: Duration) {
        self.state().waves = Some(Waves { quiet, arrived: 0, begun: 0, released: 0 });
    }

    /// Waits for the end of the wave that a request belongs to.
    async fn held(&self) {
        let joined = self.state().waves.as_mut().map(|waves| {
            if waves.begun == waves.released {
                waves.begun += 1;
            }
            waves.arrived += 1;
            waves.begun
        });
        let Some(wave) = joined else { return };
        let mut seen = None;
        loop {
            let quiet = {
                let mut state = self.state();
                let Some(waves) = &mut state.waves else { return };
                if waves.released >= wave || seen == Some(waves.arrived) {
                    waves.released = waves.released.max(wave);
                    return;
                }
                seen = Some(waves.arrived);
                waves.quiet
            };
            tokio::time::sleep(quiet).await;
        }
    }

    /// The next request (after those that this was said of before) takes this much longer, whatever the latency of the others.
    pub fn delay_next(&self, delay: Duration) {
        self.state().delays.push_back(delay);
    }

    /// The next `times` requests (of one kind, or of any) fail with `error` without reaching the inner store.
    pub fn fail_next(&self, operation: Option<Operation>, times: usize, error: Error) {
        let faults = std::iter::repeat_with(|| Fault { operation, error: error.clone() }).take(times);
        self.state().faults.extend(faults);
    }

    /// Every read of `key` that covers byte `offset` returns that byte inverted, until [`Self::heal`].
    pub fn flip(&self, key: &str, offset: u64) {
        self.state().flips.push(Flip { key: key.to_owned(), offset, once: false });
    }

    /// As [`Self::flip`], for the first such read only: a damaged transfer.
    pub fn flip_once(&self, key: &str, offset: u64) {
        self.state().flips.push(Flip { key: key.to_owned(), offset, once: true });
    }

    /// Forgets all faults, flips and the latency.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.delays.clear();
        state.flips.clear();
        state.latency = Duration::ZERO;
    }

    /// Requests since the start or [`Self::reset_counts`], failed ones included.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Sequential rounds: the longest chain of requests of which each started after the one before had ended; waves after
    /// [`Self::hold`].
    pub fn rounds(&self) -> u64 {
        let state = self.state();
        state.waves.as_ref().map_or(state.rounds, |waves| waves.begun)
    }

    /// Every ranged read, in order of arrival.
    pub fn ranges(&self) -> Vec<(String, Range<u64>)> {
        self.state().ranges.clone()
    }

    /// Sets requests, rounds and ranges back to nothing.
    pub fn reset_counts(&self) {
        let mut state = self.state();
        state.requests = 0;
        state.rounds = 0;
        state.finished_round = 0;
        state.ranges.clear();
        if let Some(waves) = &mut state.waves {
            (waves.begun, waves.released) = (0, 0);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters stay meaningful whatever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass<T>(&self, operation: Operation, request: impl Future<Output = Result<T>>) -> Result<T> {
        let (round, latency, fault) = {
            let mut state = self.state();
            state.requests += 1;
            let round = state.finished_round + 1;
            state.rounds = state.rounds.max(round);
            let hit = state.faults.iter().position(|f| f.operation.is_none_or(|o| o == operation));
            let fault = hit.and_then(|at| state.faults.remove(at));
            let latency = state.delays.pop_front().unwrap_or(state.latency);
            (round, latency, fault)
        };
        self.held().await;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let result = match fault {
            Some(fault) => Err(fault.error),
            None => request.await,
        };
        let mut state = self.state();
        state.finished_round = state.finished_round.max(round);
        result
    }

    fn spoil(&self, key: &str, start: u64, bytes: Bytes) -> Bytes {
        let covered = start..start + bytes.len() as u64;
        let mut hits = Vec::new();
        self.state().flips.retain(|flip| {
            let hit = flip.key == key && covered.contains(&flip.offset);
            if hit {
                hits.push((flip.offset - start) as usize);
            }
            !(hit && flip.once)
        });
        if hits.is_empty() {
            return bytes;
        }
        let mut spoiled = bytes.to_vec();
        for at in hits {
            spoiled[at] ^= 0xff;
        }
        Bytes::from(spoiled)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    fn root(&self) -> &str {
        self.inner.root()
    }

    fn is_local(&self) -> bool {
        !self.remote && self.inner.is_local()
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.pass(Operation::Put, self.inner.put(key, bytes)).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        self.pass(Operation::PutIfAbsent, self.inner.put_if_absent(key, bytes)).await
    }

    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome> {
        self.pass(Operation::PutIfAbsent, self.inner.put_file_if_absent(key, file, len)).await
    }

    async fn abort_uploads(&self, prefix: &str, before: SystemTime) -> Result<usize> {
        self.pass(Operation::List, self.inner.abort_uploads(prefix, before)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let bytes = self.pass(Operation::Get, self.inner.get(key)).await?;
        Ok(self.spoil(key, 0, bytes))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.state().ranges.push((key.to_owned(), range.clone()));
        let bytes = self.pass(Operation::GetRange, self.inner.get_range(key, range.clone())).await?;
        Ok(self.spoil(key, range.start, bytes))
    }

    async fn head(&self, key: &str) -> Result<u64> {
        self.pass(Operation::Head, self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        self.pass(Operation::List, self.inner.list(prefix, start_after)).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        self.pass(Operation::List, self.inner.list_page(prefix, start_after, limit)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        self.pass(Operation::Delete, self.inner.delete(keys)).await
    }
}
