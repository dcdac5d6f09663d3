//! \[worker\] The launcher: lists the databases once after a start or a promotion and requests maintenance for each, so that
//! what a crash left in write buffers is flushed. It connects to the shared catalogs only, so it is in nobody's way.

use super::signals;
use crate::pg::shmem;
use pgrx::pg_sys;

/// Entry point of the process; exit code 0 when all were listed.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn elacsym_launcher_main(_argument: pg_sys::Datum) {
    signals::for_database_worker();
    // SAFETY: no database and no user: the shared catalogs, as superuser.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    shmem::launcher_begins();
    for database in connectable_databases() {
        shmem::nudge_maintenance(database);
    }
    shmem::launcher_done();
}

/// The databases a worker can connect to, templates aside (nobody works in them, and connections to them are in the way of
/// CREATE DATABASE).
fn connectable_databases() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: a worker with a connection, outside a transaction.
    unsafe { pg_sys::StartTransactionCommand() };
    // A scan of a shared catalog needs a snapshot to exist.
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetTransactionSnapshot() };
    // SAFETY: inside a transaction; the relation always exists.
    let relation = unsafe { pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock.cast_signed()) };
    // SAFETY: an open relation, no keys.
    let scan = unsafe { pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut()) };
    loop {
        // SAFETY: an open scan.
        let tuple = unsafe { pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection) };
        if tuple.is_null() {
            break;
        }
        // SAFETY: a tuple of pg_database, valid until the next call.
        let row = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>() };
        // -2 marks a database whose DROP was interrupted.
        if row.datallowconn && !row.datistemplate && row.datconnlimit != -2 {
            found.push(row.oid);
        }
    }
    // SAFETY: opened above.
    unsafe { pg_sys::table_endscan(scan) };
    // SAFETY: opened above with the same lock.
    unsafe { pg_sys::table_close(relation, pg_sys::AccessShareLock.cast_signed()) };
    // SAFETY: started above.
    unsafe { pg_sys::CommitTransactionCommand() };
    found
}
