//! What the engine is doing now: one entry for each request under way, for `elacsym.activity`.
//!
//! Whoever answers a request enters it ([`Activities::begin`]) and runs the work within the entry ([`Running::run`]). The work
//! says how far it is ([`phase`], [`rows`]) without knowing who looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::Env;
use crate::ids::NamespaceId;
use crate::ipc::activity::Activity;
use crate::ipc::message::Request;

tokio::task_local! {
    static CURRENT: Arc<Entry>;
}

/// Parts of a long piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It has no parts, or has only begun.
    None = 0,
    /// Finds out what is live.
    Resolve = 1,
    /// Makes a segment.
    Build = 2,
    /// Writes it to object storage.
    Upload = 3,
}

impl Phase {
    fn name(number: u8) -> Option<&'static str> {
        [None, Some("resolve"), Some("build"), Some("upload")].get(usize::from(number)).copied().flatten()
    }
}

/// Says which part of the request's work begins. Outside of a request it does nothing.
pub fn phase(phase: Phase) {
    // An error: nobody looks at this work.
    let _ = CURRENT.try_with(|entry| entry.phase.store(phase as u8, Ordering::Relaxed));
}

/// Says how many of how many rows are done. Outside of a request it does nothing.
pub fn rows(done: u64, total: u64) {
    let _ = CURRENT.try_with(|entry| {
        entry.done.store(done, Ordering::Relaxed);
        entry.total.store(total, Ordering::Relaxed);
    });
}

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    namespace: Option<NamespaceId>,
    pid: Option<i32>,
    /// Monotonic.
    began: Duration,
    phase: AtomicU8,
    done: AtomicU64,
    /// 0: not known.
    total: AtomicU64,
}

/// All requests under way, in the order in which they began.
#[derive(Debug, Default)]
pub struct Activities {
    last: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    all: &'a Activities,
    number: u64,
    entry: Arc<Entry>,
}

impl Activities {
    /// Enters a request of the process `pid`; `None` for those that are not worth a look.
    pub fn begin(&self, request: &Request, pid: Option<i32>, env: &Env) -> Option<Running<'_>> {
        let (kind, namespace) = describe(request)?;
        let entry = Arc::new(Entry {
            kind,
            namespace,
            pid,
            began: env.clock.monotonic(),
            phase: AtomicU8::new(Phase::None as u8),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        });
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(number, entry.clone());
        Some(Running { all: self, number, entry })
    }

    /// What is under way.
    pub fn list(&self, env: &Env) -> Vec<Activity> {
        let now = env.clock.monotonic();
        let running: Vec<Arc<Entry>> =
            self.running.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        running.iter().map(|entry| entry.told(now)).collect()
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for entry in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            *counts.entry(entry.kind).or_default() += 1;
        }
        counts
    }
}

impl Entry {
    fn told(&self, now: Duration) -> Activity {
        let total = self.total.load(Ordering::Relaxed);
        let known = (total > 0).then_some(total);
        Activity {
            pid: self.pid,
            namespace: self.namespace,
            kind: self.kind.to_string(),
            phase: Phase::name(self.phase.load(Ordering::Relaxed)).map(str::to_string),
            rows_done: known.map(|total| self.done.load(Ordering::Relaxed).min(total)),
            rows_total: known,
            elapsed_micros: u64::try_from(now.saturating_sub(self.began).as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Running<'_> {
    /// Runs the work of the request.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.entry.clone(), work).await
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.all.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// What a request is called, and what it is about.
fn describe(request: &Request) -> Option<(&'static str, Option<NamespaceId>)> {
    Some(match request {
        Request::Query(request) | Request::Candidates(request) => ("query", Some(request.namespace.id)),
        Request::Fetch(request) => ("fetch", Some(request.namespace.id)),
        Request::Page(request) => ("page", Some(request.namespace.id)),
        Request::Aggregate(request) => ("count", Some(request.namespace.id)),
        Request::Check(request) => ("check", Some(request.namespace.id)),
        Request::ScanOpen(request) => ("scan", Some(request.namespace.id)),
        Request::ScanNext { .. } => ("scan", None),
        Request::Keys(request) => ("keys", Some(request.namespace.id)),
        Request::Flush(request) => ("flush", Some(request.namespace.id)),
        // Short ones, and those that say by themselves how far they are.
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
