//! Signal handlers of the workers. They are PostgreSQL's own functions, declared here once more so that their addresses can
//! be handed over without pgrx' wrappers around them.

use pgrx::pg_sys;
use std::ffi::c_int;

unsafe extern "C-unwind" {
    /// Sets `ConfigReloadPending` and the latch.
    fn SignalHandlerForConfigReload(signal: c_int);
    /// Sets `ShutdownRequestPending` and the latch.
    fn SignalHandlerForShutdownRequest(signal: c_int);
    /// Sets `ProcDiePending` and the latch: the next `CHECK_FOR_INTERRUPTS` ends the process.
    fn die(signal: c_int);
}

type Handler = unsafe extern "C-unwind" fn(c_int);

fn set(signal: c_int, handler: Handler) {
    #[cfg(feature = "pg18")]
    // SAFETY: an async-signal-safe handler of PostgreSQL itself.
    unsafe {
        pg_sys::pqsignal_be(signal, Some(handler));
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as above.
    unsafe {
        pg_sys::pqsignal(signal, Some(handler));
    }
}

fn unblock() {
    // SAFETY: a worker starts with its signals blocked and unblocks them once its handlers are set.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() };
}

/// \[supervisor\] SIGHUP and SIGTERM only set flags: the main loop acts on them.
pub fn for_main_loop() {
    set(libc::SIGHUP, SignalHandlerForConfigReload);
    set(libc::SIGTERM, SignalHandlerForShutdownRequest);
    unblock();
}

/// \[launcher, maintenance\] SIGTERM ends the process at its next `CHECK_FOR_INTERRUPTS`, so in the middle of a statement
/// or of a wait for the engine too. (The default for workers raises inside the handler, at any instruction.)
pub fn for_database_worker() {
    set(libc::SIGHUP, SignalHandlerForConfigReload);
    set(libc::SIGTERM, die);
    unblock();
}
