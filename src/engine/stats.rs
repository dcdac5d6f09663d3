//! Counters of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use crate::metrics::{Exposition, FamilyKind, Histogram};

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
    /// [`super::Engine::compact`].
    Compact,
    /// [`super::Engine::carry`].
    Carry,
}

/// Names in the order of the discriminants.
const NAMES: [&str; 21] = [
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
    "compact",
    "carry",
];

#[derive(Debug, Default)]
struct Counter {
    durations: Histogram,
    errors: AtomicU64,
}

/// Requests since the start. A cancelled request is not counted.
#[derive(Debug, Default)]
pub struct RequestCounters([Counter; NAMES.len()]);

impl RequestCounters {
    /// Counts one finished request.
    pub fn count(&self, kind: Kind, micros: u64, ok: bool) {
        let counter = &self.0[kind as usize];
        counter.durations.record(micros);
        if !ok {
            counter.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// By kind: `requests`, `errors`, `micros` (sum of durations).
    pub fn to_json(&self) -> Json {
        let value = |counter: &Counter| {
            let durations = counter.durations.snapshot();
            json!({
                "requests": durations.count(),
                "errors": counter.errors.load(Ordering::Relaxed),
                "micros": durations.micros,
            })
        };
        NAMES.iter().zip(&self.0).map(|(name, counter)| (name.to_string(), value(counter))).collect()
    }

    /// The same, with all durations, for Prometheus.
    pub fn expose(&self, text: &mut Exposition) {
        let help = "Time the engine took for a request, by kind.";
        let mut family = text.family("elacsym_request_duration_seconds", FamilyKind::Histogram, help);
        for (name, counter) in NAMES.iter().zip(&self.0) {
            family.histogram(&[("kind", name)], &counter.durations.snapshot());
        }
        let help = "Requests that ended with an error, by kind.";
        let mut family = text.family("elacsym_request_errors_total", FamilyKind::Counter, help);
        for (name, counter) in NAMES.iter().zip(&self.0) {
            family.count(&[("kind", name)], counter.errors.load(Ordering::Relaxed));
        }
    }
}
