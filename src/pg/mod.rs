//! The glue that PostgreSQL loads: the only place that names pgrx. No PostgreSQL process ever starts a thread.

pub mod acl;
pub mod am;
pub mod back_pressure;
pub mod buckets;
pub mod buffer_table;
pub mod bulk;
pub mod c_function;
pub mod catalog;
pub mod client;
pub mod compaction;
pub mod compaction_progress;
pub mod counters;
pub mod database_gauges;
pub mod engine_call;
pub mod error;
pub mod explain;
pub mod flush;
pub mod functions;
pub mod garbage;
pub mod grants;
pub mod gucs;
pub mod heap_table;
pub mod hooks;
pub mod locks;
pub mod manifest;
pub mod metrics;
pub mod namespace;
pub mod opclass;
pub mod order_column;
pub mod policies;
pub mod preload;
pub mod prices;
pub mod query_stats;
pub mod search_log;
pub mod shmem;
pub mod snapshot;
pub mod stat_engine;
pub mod text_operators;
pub mod vector_type;
pub mod view;
pub mod wait;
pub mod whole_answer;
pub mod worker;
pub mod xact;

pgrx::pg_module_magic!(name = c"elacsym", version = c"0.1.0");

/// Library initialisation, run by the postmaster when preloaded and by any backend that loads it later.
#[allow(non_snake_case)]
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    preload::init();
}
