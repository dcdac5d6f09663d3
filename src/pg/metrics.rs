//! The server's figures for Prometheus: what shared memory holds, which every process of the server can tell, connected to a
//! database or not. The engine's own are beside them in `elacsym.metrics()` and at `/metrics`.

use crate::metrics::{Exposition, FamilyKind};
use crate::pg::database_gauges::DatabaseFigures;
use crate::pg::{counters, shmem};
use FamilyKind::{Counter, Gauge};
use pgrx::pg_sys;

/// \[backend, supervisor\] The families, in Prometheus' text format. Empty when not preloaded.
pub fn server_text() -> String {
    let mut text = Exposition::default();
    let (Some(engine), Some(server)) = (shmem::engine_state(), counters::server()) else { return text.finish() };
    let running = f64::from(u8::from(engine.pid != 0));
    text.single("elacsym_engine_up", Gauge, "1 while an engine runs.", running);
    text.family("elacsym_engine_starts_total", Counter, "How often an engine was started since the server's start.")
        .count(&[], engine.starts);
    for (name, help, durations) in [
        (
            "elacsym_query_duration_seconds",
            "Time that sessions spent on a search: a call of a function, or an index scan.",
            &server.searches,
        ),
        ("elacsym_upsert_duration_seconds", "Time that a call of upsert took.", &server.upserts),
        ("elacsym_flush_duration_seconds", "Time that the engine took to make a segment.", &server.flushes),
        ("elacsym_compaction_duration_seconds", "Time that a compaction took.", &server.compactions),
    ] {
        text.family(name, FamilyKind::Histogram, help).histogram(&[], durations);
    }
    let help = "Searches that took elacsym.log_min_duration or more.";
    text.family("elacsym_slow_queries_total", Counter, help).count(&[], server.slow_searches);
    let help = "Entries that were written, rolled back ones too, by operation.";
    let mut family = text.family("elacsym_entries_written_total", Counter, help);
    for (op, count) in ["upsert", "delete", "patch"].into_iter().zip(server.entries) {
        family.count(&[("op", op)], count);
    }
    text.family("elacsym_entries_written_bytes_total", Counter, "Bytes of the payloads of these entries.")
        .count(&[], server.entry_bytes);
    of_databases(&mut text);
    text.finish()
}

type Field = fn(&DatabaseFigures) -> u64;

/// Gauges, one for each database.
const OF_DATABASE: [(&str, &str, Field); 7] = [
    ("elacsym_namespaces", "Namespaces and indexes.", |d| d.namespaces),
    ("elacsym_segments", "Live segments.", |d| d.segments),
    ("elacsym_segment_rows", "Rows in live segments, dead ones too.", |d| d.rows),
    ("elacsym_segment_dead_rows", "Rows in live segments that delete vectors mark.", |d| d.dead_rows),
    ("elacsym_segment_bytes", "Bytes of the objects of live segments.", |d| d.bytes),
    ("elacsym_buffer_rows", "Entries in the write buffer.", |d| d.buffered_rows),
    ("elacsym_buffer_bytes", "Bytes of their payloads.", |d| d.buffered_bytes),
];

fn of_databases(text: &mut Exposition) {
    let databases = shmem::databases();
    for (name, help, field) in OF_DATABASE {
        let mut family = text.family(name, Gauge, help);
        for (_, figures) in &databases {
            family.count(&[("database", &figures.name)], field(figures));
        }
    }
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let help = "Time since the maintenance worker of the database counted these; it does while something changes.";
    let mut family = text.family("elacsym_database_counted_age_seconds", Gauge, help);
    for (_, figures) in &databases {
        let age = now.saturating_sub(figures.counted_at).max(0);
        family.sample(&[("database", &figures.name)], age as f64 / 1e6);
    }
}
