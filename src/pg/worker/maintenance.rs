//! \[worker\] The process around [`super::database::run`]: one for each database that has work, short-lived.
//!
//! Exit code 0: done, or not wanted. 1: an error or SIGTERM; the supervisor starts another after a pause that grows with
//! each failure. Nothing else ends it without taking the cluster down, so nothing in it may abort.

use super::{database, signals};
use crate::pg::shmem;
use pgrx::pg_sys;

/// Entry point of the process; the argument is the oid of the database.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn elacsym_maintenance_main(argument: pg_sys::Datum) {
    signals::for_database_worker();
    let oid = pg_sys::Oid::from(u32::try_from(argument.value()).unwrap_or(0));
    if !shmem::claim(oid) {
        return;
    }
    // Also where nobody may connect: a copied database has to say what it reads of its template.
    let flags = pg_sys::BGWORKER_BYPASS_ALLOWCONN;
    // SAFETY: called once in this process, before any transaction; the bootstrap superuser.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(oid, pg_sys::InvalidOid, flags) };
    shmem::connected();
    database::run(oid);
}
