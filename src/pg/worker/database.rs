//! \[worker\] Maintenance of one database: flush.

use pgrx::pg_sys;

/// Runs until nothing is left to do; connected to `database`, outside a transaction.
pub fn run(_database: pg_sys::Oid) {
    crate::pg::shmem::take_pending();
}
