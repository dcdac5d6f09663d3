//! `_PG_init`: what happens when PostgreSQL loads the library.

use super::{am, error, explain, gucs, hooks, order_column, policies, shmem, whole_answer, worker};
use pgrx::pg_sys;

/// \[postmaster, backend\] Settings always; everything else only when preloaded and not during `pg_upgrade`, whose server
/// must run without any process of ours.
pub fn init() {
    gucs::define();
    am::options::register();
    // SAFETY: written by PostgreSQL before it loads libraries.
    let preloading = unsafe { pg_sys::process_shared_preload_libraries_in_progress };
    // SAFETY: as above.
    let upgrading = unsafe { pg_sys::IsBinaryUpgrade };
    if !preloading || upgrading {
        return;
    }
    shmem::request();
    hooks::install();
    whole_answer::install();
    explain::install();
    policies::install();
    order_column::install();
    worker::supervisor::register();
}

/// \[backend\] True when the library was preloaded, so that shared memory and the engine exist.
pub fn is_loaded() -> bool {
    shmem::is_attached()
}

/// \[backend\] Raises the one error of an unprepared server unless the library was preloaded. Every function that needs the
/// engine or writes data calls it first ([`super::client::call`] does it itself).
#[track_caller]
pub fn require() {
    if !is_loaded() {
        error::raise_not_loaded();
    }
}
