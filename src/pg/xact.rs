//! What this process remembers of its running transaction, and what it does at its end.
//!
//! PostgreSQL calls us back at the end of every transaction and subtransaction. Those calls must not fail: they set
//! plain variables and a flag in shared memory, nothing else. Only before a commit there is time to tidy up.

use crate::pg::am::open_scans;
use crate::pg::back_pressure;
use crate::pg::shmem;
use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WROTE: Cell<bool> = const { Cell::new(false) };
    /// A database that this transaction created.
    static CREATED: Cell<u32> = const { Cell::new(0) };
    static EPOCH: Cell<u64> = const { Cell::new(1) };
    static ABORTS: Cell<u64> = const { Cell::new(0) };
}

/// Asks for the callbacks, once per process. Everything below is valid only after this.
pub fn register() {
    if REGISTERED.get() {
        return;
    }
    // SAFETY: a function of this library, which stays loaded.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut()) };
    REGISTERED.set(true);
}

/// Changes whenever what was looked up or locked before may no longer hold: at the end of a transaction, at the rollback
/// of a subtransaction (which releases its locks), and after our own DDL.
pub fn epoch() -> u64 {
    EPOCH.get()
}

/// Forgets what was looked up.
pub fn new_epoch() {
    EPOCH.set(EPOCH.get() + 1);
}

/// How many transactions of this process were aborted.
pub fn aborts() -> u64 {
    ABORTS.get()
}

/// This transaction wrote something the maintenance worker should look at after its commit.
pub fn mark_written() {
    register();
    WROTE.set(true);
}

/// This transaction created a database, which maintenance should look at after its commit (one transaction creates one at most); the
/// invalid oid: it need not.
pub fn mark_created(database: pg_sys::Oid) {
    register();
    CREATED.set(database.to_u32());
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            // What fails is left to the end of the connection.
            let _ = open_scans::close_pending();
            back_pressure::committing();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            back_pressure::committed();
            if WROTE.replace(false) {
                // SAFETY: a plain global, set once when the process connects to its database.
                shmem::nudge_maintenance(unsafe { pg_sys::MyDatabaseId });
            }
            // 0 is no database.
            shmem::nudge_maintenance(pg_sys::Oid::from(CREATED.replace(0)));
            new_epoch();
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            back_pressure::rolled_back();
            WROTE.set(false);
            CREATED.set(0);
            ABORTS.set(ABORTS.get() + 1);
            new_epoch();
        }
        // The worker's periodic look finds what COMMIT PREPARED brings.
        pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            // As if it had committed: the transaction's end calls nobody back. The worker's count corrects a rollback.
            back_pressure::committed();
            WROTE.set(false);
            new_epoch();
        }
        _ => {}
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            back_pressure::savepoint_rolled_back(own);
            new_epoch();
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => back_pressure::savepoint_released(own, parent),
        _ => {}
    }
}
