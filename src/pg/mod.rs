//! The glue that PostgreSQL loads: the only place that names pgrx. No PostgreSQL process ever starts a thread.

pub mod vector_type;

pgrx::pg_module_magic!(name = c"elacsym", version = c"0.1.0");

/// Library initialisation, run by the postmaster when preloaded and by any backend that loads it later.
#[allow(non_snake_case)]
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {}
