//! A merge of many more bytes than `elacsym.build_memory` takes half of that, some bytes for each row, and what batches of rows take:
//! measured in a process of its own.
//!
//! `ELACSYM_MERGE_ROWS=500000 ELACSYM_MERGE_FLUSHED=12500 ELACSYM_MERGE_MEMORY=256 cargo test --release --test all merge_memory --
//! --nocapture` gives the figures of `docs/performance.md`.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use elacsym::config::EngineSettings;
use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::env::Env;
use elacsym::ids::{EntryOrder, Key};
use elacsym::ipc::message::CompactRequest;
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, engine, settings};
use serde_json::json;

const DIM: usize = 384;
/// What is in memory whatever the setting and the number of rows: a batch of 2 MB on its way through Parquet, as documents, as columns
/// and with the writer's levels and places of each number (14 MB); the code that is read from disk when it is first used (11 MB); threads,
/// their stacks, and what the allocator keeps of what was freed (8 MB). With the default of rows these are 34 MB; the rest is slack.
const BATCHES: usize = 48 << 20;
/// What each row takes: its places in old and new orders.
const ROW_BYTES: usize = 20;
/// Name of the test, for the child.
const TEST: &str = "engine_merge_memory::a_merge_of_more_than_memory_stays_within_its_setting";
/// Tells the child where everything is.
const CHILD: &str = "ELACSYM_MERGE_CHILD";

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn build_memory() -> usize {
    number("ELACSYM_MERGE_MEMORY", 32) << 20
}

/// A figure of this process in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Seconds that this process has computed; ticks are hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// The merge, alone in its process.
fn merge(directory: &Path) {
    let request: CompactRequest = postcard::from_bytes(&std::fs::read(directory.join("request")).unwrap()).unwrap();
    let input: u64 = request.inputs.iter().map(|input| input.info.bytes()).sum();
    let rows: u64 = request.inputs.iter().map(|input| input.info.rows).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = EngineSettings {
            build_memory: build_memory() as u64,
            cache_memory: 1 << 20,
            cache_path: directory.join("local"),
            ..settings(&directory.join("store"))
        };
        let engine = Arc::new(Engine::new(settings, Env::system()).await.unwrap());
        let (before, program_before) = (memory("VmRSS"), memory("RssFile"));
        let (start, computed) = (Instant::now(), processor_seconds());
        let result = engine.compact(request).await.unwrap();
        let (took, computed) = (start.elapsed().as_secs_f64(), processor_seconds() - computed);
        assert_eq!(result.segment.unwrap().rows, rows);
        let (peak, took_memory) = (memory("VmHWM"), memory("VmHWM").saturating_sub(before));
        let stats: serde_json::Value = serde_json::from_str(&result.stats).unwrap();
        println!(
            "merged {rows} rows, {} MB, in {took:.1} s ({computed:.1} s of a processor): {} MB more than before ({} of them program), {} MB in all, {} MB of temporary files",
            input >> 20,
            took_memory >> 20,
            memory("RssFile").saturating_sub(program_before) >> 20,
            peak >> 20,
            stats["scratch_bytes"].as_u64().unwrap() >> 20
        );
        assert!(input as usize > 2 * build_memory(), "{input} bytes are not many more");
        let may_take = build_memory() / 2 + rows as usize * ROW_BYTES + BATCHES;
        assert!(took_memory <= may_take, "{} of {} MB", took_memory >> 20, may_take >> 20);
    });
}

#[test]
fn a_merge_of_more_than_memory_stays_within_its_setting() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return merge(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let schema = json!({"vector_dim": DIM, "attributes": {"body": {"type": "string", "full_text": true}, "n": "int"}});
    let mut database = Database::new(&store, NamespaceSchema::parse(&schema).unwrap());
    let (rows, flushed) = (number("ELACSYM_MERGE_ROWS", 36_000), number("ELACSYM_MERGE_FLUSHED", 9_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let request = runtime.block_on(async {
        let engine = engine(&store).await;
        let mut random = Random::new(3);
        for key in 0..rows {
            let words: Vec<String> = (0..40).map(|_| format!("word{}", random.below(80) * random.below(80))).collect();
            let document = Document {
                vector: Some((0..DIM).map(|_| random.unit() - 0.5).collect()),
                attributes: vec![(0, Value::String(words.join(" "))), (1, Value::Int(key as i64))],
            };
            database.upsert(key as Key, EntryOrder { seq: 1 + key as u64, xid: 1 }, document);
            if (key + 1) % flushed == 0 {
                database.flush(&engine).await.unwrap();
            }
        }
        database.compact_request(&(0..database.segments.len()).collect::<Vec<_>>(), u64::MAX)
    });
    std::fs::write(directory.path().join("request"), postcard::to_allocvec(&request).unwrap()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success() && said.contains("merged "), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    // The files have no name: nothing is left of them.
    let left = std::fs::read_dir(directory.path().join("local/compaction")).unwrap().count();
    assert_eq!(left, 0);
}
