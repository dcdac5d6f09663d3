//! \[worker\] The launcher: lists the databases after a start or a promotion, and from time to time, and requests maintenance for
//! each, so that what a crash left in write buffers is flushed, and orphans are found where nobody writes. Then it looks after what
//! dropped databases have left in object storage. It connects to the shared catalogs only, so it is in nobody's way.

use super::transaction::transaction;
use super::{signals, unowned};
use crate::pg::{error, shmem};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;

/// Entry point of the process; exit code 0 when all were listed.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn elacsym_launcher_main(_argument: pg_sys::Datum) {
    signals::for_database_worker();
    // SAFETY: no database and no user: the shared catalogs, as superuser.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    shmem::launcher_begins();
    let found = match transaction(|| Ok(databases())) {
        Ok(found) => found,
        Err(failure) => return error::report(failure, PgLogLevel::WARNING),
    };
    for database in found.iter().filter(|database| database.is_worked_in) {
        shmem::nudge_maintenance(database.oid);
    }
    shmem::launcher_done();
    if let Err(failure) = unowned::tidy_dropped() {
        let message = format!("elacsym could not look after what dropped databases have left: {}", failure.message);
        error::report(crate::error::Error { message, ..failure }, PgLogLevel::LOG);
    }
}

/// A row of `pg_database`.
#[derive(Debug, Clone, Copy)]
pub struct Database {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// A worker can connect to it, and it is no template: nobody works in those, and connections to them are in the way of CREATE
    /// DATABASE.
    pub is_worked_in: bool,
}

/// Every database. Inside a transaction.
pub fn databases() -> Vec<Database> {
    let mut found = Vec::new();
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
        let is_worked_in = row.datallowconn && !row.datistemplate && row.datconnlimit != -2;
        found.push(Database { oid: row.oid, is_worked_in });
    }
    // SAFETY: opened above.
    unsafe { pg_sys::table_endscan(scan) };
    // SAFETY: opened above with the same lock.
    unsafe { pg_sys::table_close(relation, pg_sys::AccessShareLock.cast_signed()) };
    found
}
