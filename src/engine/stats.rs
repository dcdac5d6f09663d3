//! Counters of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

/// Kinds of request that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`super::Engine::query`].
    Query,
    /// [`super::Engine::fetch`].
    Fetch,
    /// [`super::Engine::flush`].
    Flush,
    /// [`super::Engine::put_manifest`].
    PutManifest,
    /// [`super::Engine::delete_objects`].
    DeleteObjects,
    /// [`super::Engine::check_storage`].
    CheckStorage,
    /// [`super::Engine::scan_open`].
    ScanOpen,
    /// [`super::Engine::scan_next`].
    ScanNext,
    /// [`super::Engine::keys`].
    Keys,
    /// [`super::Engine::check_segment`].
    CheckSegment,
    /// [`super::Engine::text_match`].
    TextMatch,
    /// [`super::Engine::scorer`].
    ScorerOpen,
    /// [`super::Engine::score_texts`].
    ScoreTexts,
    /// [`super::Engine::corpus`].
    Corpus,
    /// [`super::Engine::page`].
    Page,
    /// [`super::Engine::check`].
    Check,
    /// [`super::Engine::aggregate`].
    Aggregate,
    /// [`super::Engine::text_analysis`].
    TextAnalysis,
    /// [`super::Engine::warm`].
    Warm,
}

/// Names in the order of the discriminants.
const NAMES: [&str; 19] = [
    "query",
    "fetch",
    "flush",
    "put_manifest",
    "delete_objects",
    "check_storage",
    "scan_open",
    "scan_next",
    "keys",
    "check_segment",
    "text_match",
    "scorer_open",
    "score_texts",
    "corpus",
    "page",
    "check",
    "aggregate",
    "text_analysis",
    "warm",
];

#[derive(Debug, Default)]
struct Counter {
    requests: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

/// Requests since the start. A cancelled request is not counted.
#[derive(Debug, Default)]
pub struct RequestCounters([Counter; NAMES.len()]);

impl RequestCounters {
    /// Counts one finished request.
    pub fn count(&self, kind: Kind, micros: u64, ok: bool) {
        let counter = &self.0[kind as usize];
        counter.requests.fetch_add(1, Ordering::Relaxed);
        counter.errors.fetch_add(u64::from(!ok), Ordering::Relaxed);
        counter.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// By kind: `requests`, `errors`, `micros` (sum of durations).
    pub fn to_json(&self) -> Json {
        let value = |counter: &Counter| {
            json!({
                "requests": counter.requests.load(Ordering::Relaxed),
                "errors": counter.errors.load(Ordering::Relaxed),
                "micros": counter.micros.load(Ordering::Relaxed),
            })
        };
        NAMES.iter().zip(&self.0).map(|(name, counter)| (name.to_string(), value(counter))).collect()
    }
}
