//! Every integration test of the engine in one executable: each executable links the whole engine, and a dozen of them would
//! take longer to build than to run. `text_threads` counts the threads of its process and `tidy` needs no engine: they are alone.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "cache_paged.rs"]
mod cache_paged;
#[path = "cold_cost.rs"]
mod cold_cost;
#[path = "engine_aggregate.rs"]
mod engine_aggregate;
#[path = "engine_behaviour.rs"]
mod engine_behaviour;
#[path = "engine_cache.rs"]
mod engine_cache;
#[path = "engine_claims.rs"]
mod engine_claims;
#[path = "engine_compaction.rs"]
mod engine_compaction;
#[path = "engine_corpus.rs"]
mod engine_corpus;
#[path = "engine_ids.rs"]
mod engine_ids;
#[path = "engine_keys.rs"]
mod engine_keys;
#[path = "engine_merge_memory.rs"]
mod engine_merge_memory;
#[path = "engine_model.rs"]
mod engine_model;
#[path = "engine_pages.rs"]
mod engine_pages;
#[path = "engine_patches.rs"]
mod engine_patches;
#[path = "engine_ranking.rs"]
mod engine_ranking;
#[path = "engine_rounds.rs"]
mod engine_rounds;
#[path = "engine_scan.rs"]
mod engine_scan;
#[path = "engine_scifact.rs"]
mod engine_scifact;
mod engine_support;
#[path = "filter_oracle.rs"]
mod filter_oracle;
#[path = "format_golden.rs"]
mod format_golden;
#[path = "fuzz_inputs.rs"]
mod fuzz_inputs;
#[path = "storage_conformance.rs"]
mod storage_conformance;
#[path = "storage_local.rs"]
mod storage_local;
#[path = "text_boolean.rs"]
mod text_boolean;
#[path = "text_filter.rs"]
mod text_filter;
mod text_fixture;
#[path = "text_language.rs"]
mod text_language;
#[path = "text_scifact.rs"]
mod text_scifact;
#[path = "text_scoring.rs"]
mod text_scoring;
#[path = "vector_exact.rs"]
mod vector_exact;
#[path = "vector_oracle.rs"]
mod vector_oracle;
#[path = "vector_recall.rs"]
mod vector_recall;
mod vector_segment;
