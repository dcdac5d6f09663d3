//! elacsym: vector, full-text and hybrid search in PostgreSQL over data whose home is object storage.
//!
//! One crate, three parts that features keep apart:
//!
//! * **core** (no feature): words, limits, errors, schema and filter model, exact distances, IPC messages.
//! * **engine** (feature `engine`, default): everything that runs in the `elacsym-engine` process.
//! * **pg** (features `pg14` … `pg18`): the glue that PostgreSQL loads; the only place that names pgrx.
//!
//! `docs/architecture.md` has the process map and a walk of one write and one query.

#[cfg(all(feature = "engine", feature = "pg"))]
compile_error!("features `engine` and `pgNN` never meet: build the library with --no-default-features --features pgNN");

pub mod aggregate;
pub mod back_pressure;
pub mod batch;
pub mod compaction;
pub mod config;
pub mod decoded;
pub mod document;
pub mod error;
pub mod filter;
pub mod garbage;
pub mod ids;
pub mod ipc;
pub mod limits;
pub mod metrics;
pub mod rank;
pub mod schema;
pub mod segment_info;
pub mod timestamp;
pub mod vector;

#[cfg(feature = "engine")]
pub mod cache;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod env;
#[cfg(feature = "engine")]
pub mod scratch;
#[cfg(feature = "engine")]
pub mod segment;
#[cfg(feature = "engine")]
pub mod storage;
#[cfg(feature = "engine")]
pub mod text;

#[cfg(feature = "pg")]
#[allow(unsafe_code, missing_docs)]
pub mod pg;
