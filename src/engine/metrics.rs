//! The engine's figures for Prometheus.

use std::sync::PoisonError;
use std::time::Duration;

use super::Engine;
use crate::ipc::activity::Activity;
use crate::metrics::{Exposition, FamilyKind};
use crate::storage::{LATENCY_BOUNDS_MS, StoreSnapshot};

use FamilyKind::{Counter, Gauge};

/// What the supervisor last told of the server's own figures.
#[derive(Debug)]
pub(super) struct OfServer {
    text: String,
    /// Monotonic.
    told: Duration,
}

impl Engine {
    /// What the engine is doing now.
    pub fn activity(&self) -> Vec<Activity> {
        self.activities.list(&self.env)
    }

    /// Takes over the figures that the server counts in its shared memory: families that follow those of the engine.
    pub fn set_server_metrics(&self, text: String) {
        let told = self.env.clock.monotonic();
        *self.of_server.write().unwrap_or_else(PoisonError::into_inner) = Some(OfServer { text, told });
    }

    /// What a scraper gets: the engine's figures, and the server's as they were last told.
    pub async fn scraped(&self) -> String {
        let mut text = self.metrics().await;
        if let Some(server) = self.of_server.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let age = self.env.clock.monotonic().saturating_sub(server.told);
            let mut exposition = Exposition::default();
            exposition.single(
                "elacsym_server_metrics_age_seconds",
                Gauge,
                "Time since the server told the figures that follow.",
                age.as_secs_f64(),
            );
            text.push_str(&exposition.finish());
            text.push_str(&server.text);
        }
        text
    }

    /// The engine's figures in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let mut text = Exposition::default();
        text.family("elacsym_engine_info", Gauge, "The engine that answers; always 1.")
            .count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let uptime = self.micros_since(self.started) as f64 / 1e6;
        text.single("elacsym_engine_uptime_seconds", Gauge, "Time since the engine started.", uptime);
        if let Some(bytes) = resident_bytes() {
            text.single(
                "elacsym_engine_resident_memory_bytes",
                Gauge,
                "Memory of the engine's process that is not swapped out.",
                bytes as f64,
            );
        }
        let threads = self.cpu().threads() as f64;
        text.single("elacsym_engine_cpu_threads", Gauge, "Threads that build and search.", threads);
        let mut running = text.family("elacsym_requests_running", Gauge, "Requests under way, by kind.");
        for (kind, count) in self.activities.counts() {
            running.count(&[("kind", kind)], count);
        }
        self.counters.expose(&mut text);
        self.expose_cache(&mut text);
        self.expose_kept(&mut text);
        expose_stores(&mut text, &self.stores.snapshot().await);
        text.finish()
    }

    fn expose_cache(&self, text: &mut Exposition) {
        let cache = self.cache.stats();
        let (memory, disk) = ([("tier", "memory")], [("tier", "disk")]);
        let mut family = text.family("elacsym_cache_hits_total", Counter, "Blocks found in the cache, by tier.");
        family.count(&memory, cache.hits_memory);
        family.count(&disk, cache.hits_disk);
        text.family("elacsym_cache_misses_total", Counter, "Blocks found in no tier of the cache.")
            .count(&[], cache.misses);
        let help = "Blocks that left a tier of the cache to make room.";
        let mut family = text.family("elacsym_cache_evictions_total", Counter, help);
        family.count(&memory, cache.evictions_memory);
        family.count(&disk, cache.evictions_disk);
        let help = "Blocks of the cache whose checksum was wrong; they were fetched again.";
        text.family("elacsym_cache_mismatches_total", Counter, help).count(&[], cache.disk_mismatches);
        text.family("elacsym_cache_inserted_bytes_total", Counter, "Bytes that were put into the cache.")
            .count(&[], cache.bytes_inserted);
        text.family("elacsym_cache_bytes", Gauge, "Bytes in the memory tier of the cache.")
            .count(&memory, cache.memory_bytes);
        let help = "Size of a tier of the cache; 0 where it is off or unusable.";
        let mut family = text.family("elacsym_cache_capacity_bytes", Gauge, help);
        family.count(&memory, cache.memory_capacity);
        family.count(&disk, cache.disk_capacity);
    }

    fn expose_kept(&self, text: &mut Exposition) {
        let kept = [
            ("open_segments", self.segments.usage()),
            ("buffer", self.buffer.usage()),
            ("patched", self.patched.usage()),
            ("delete_vectors", self.delete_vectors.usage()),
            ("tombstones", self.tombstones.usage()),
            ("views", self.views.usage()),
            ("results", self.results.usage()),
        ];
        let help = "What the engine keeps decoded beside the cache, by what it is.";
        let mut family = text.family("elacsym_engine_kept_entries", Gauge, help);
        for (what, (count, _)) in &kept {
            family.count(&[("what", what)], *count as u64);
        }
        let mut family = text.family("elacsym_engine_kept_bytes", Gauge, help);
        for (what, (_, bytes)) in &kept {
            family.count(&[("what", what)], *bytes as u64);
        }
    }
}

fn expose_stores(text: &mut Exposition, stores: &[StoreSnapshot]) {
    let all = || {
        stores.iter().flat_map(|store| {
            let root = store.root.as_str();
            store
                .operations
                .iter()
                .map(move |operation| ([("root", root), ("operation", operation.operation.as_str())], operation))
        })
    };
    let mut family = text.family(
        "elacsym_object_store_requests_total",
        Counter,
        "Operations on object storage, retries not counted again.",
    );
    all().for_each(|(labels, operation)| family.count(&labels, operation.requests));
    let mut family =
        text.family("elacsym_object_store_errors_total", Counter, "Operations on object storage that failed.");
    all().for_each(|(labels, operation)| family.count(&labels, operation.errors));
    let mut family = text.family("elacsym_object_store_retries_total", Counter, "Attempts beyond the first.");
    all().for_each(|(labels, operation)| family.count(&labels, operation.retries));
    let mut family =
        text.family("elacsym_object_store_bytes_total", Counter, "Bytes sent to and received from object storage.");
    all().for_each(|(labels, operation)| family.count(&labels, operation.bytes));
    let help = "Time that operations on object storage took, with their retries.";
    let mut family = text.family("elacsym_object_store_duration_seconds", FamilyKind::Histogram, help);
    let bounds = LATENCY_BOUNDS_MS.map(|bound| bound * 1_000);
    all().for_each(|(labels, operation)| family.buckets(&labels, &bounds, &operation.histogram, operation.latency_us));
}

/// The process's resident set; `None` where the system does not tell.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}
