//! The background workers: `supervisor` (the engine's parent), `launcher` (finds databases), `maintenance` (the process
//! around `database`, one for each database with work).

pub mod database;
pub mod engine_process;
pub mod launcher;
pub mod log_pump;
pub mod maintenance;
mod signals;
pub mod supervisor;
pub mod transaction;

use pgrx::pg_sys;
use std::time::Duration;

/// The name PostgreSQL loads the library by in a new worker process; `dynamic_library_path` applies.
const LIBRARY: &std::ffi::CStr = c"elacsym";

/// \[backend, worker\] Sleeps until the latch is set or `pause` is over, then acts on interrupts (cancel, termination) and
/// on the postmaster's death.
pub fn nap(pause: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    // SAFETY: the latch of the running process.
    let happened = unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events.cast_signed(), milliseconds, pg_sys::PG_WAIT_EXTENSION)
    };
    if happened.cast_unsigned() & pg_sys::WL_LATCH_SET != 0 {
        // SAFETY: our own latch.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    }
    pg_sys::check_for_interrupts!();
}

/// A text as one of PostgreSQL's fixed-size, zero-terminated fields; cut if it is too long.
fn fixed<const N: usize>(text: &std::ffi::CStr) -> [std::ffi::c_char; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().take(N - 1).zip(text.to_bytes()) {
        *to = *from as std::ffi::c_char;
    }
    field
}
