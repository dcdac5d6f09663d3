//! The background workers: `supervisor` (the engine's parent), `launcher` (finds databases), `maintenance` (the process
//! around `database`, one for each database with work).

mod abandoned;
mod collect;
mod compaction;
pub mod database;
pub mod engine_process;
mod fold;
mod gauges;
pub mod launcher;
pub mod log_pump;
pub mod maintenance;
mod registration;
mod signals;
pub mod supervisor;
mod sweep;
pub mod transaction;
pub mod unowned;

use crate::error::Error;
use crate::pg::error;
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::time::Duration;

/// \[backend, worker\] Sleeps until the latch is set or `pause` is over, then acts on interrupts (cancel, termination) and
/// on the postmaster's death.
pub fn nap(pause: Duration) {
    wait(None, pause);
    pg_sys::check_for_interrupts!();
}

/// \[worker\] Waits for the latch, for bytes (or the end) on `readable`, or until `pause` is over; resets the latch. Ends
/// the process when the postmaster is gone.
fn wait(readable: Option<i32>, pause: Duration) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if readable.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    let milliseconds = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    let fd = readable.unwrap_or(pg_sys::PGINVALID_SOCKET);
    // SAFETY: the latch of the running process; the descriptor, if any, is open.
    let happened = unsafe {
        pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, events.cast_signed(), fd, milliseconds, pg_sys::PG_WAIT_EXTENSION)
    };
    if happened.cast_unsigned() & pg_sys::WL_LATCH_SET != 0 {
        // SAFETY: our own latch; everything that sets it is looked at again after this.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    }
}

/// Into the server's log alone.
fn log(report: Error) {
    error::report(report, PgLogLevel::LOG);
}
