//! Registering dynamic workers, and noticing their end.

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;

/// The library PostgreSQL loads in a new worker process (`dynamic_library_path` applies).
pub const LIBRARY: &str = "elacsym";

/// One dynamic worker of this process.
#[derive(Debug)]
pub struct Registered {
    handle: *mut pg_sys::BackgroundWorkerHandle,
}

/// \[supervisor\] Asks the postmaster for a worker that runs `function(argument)` with access to a database, once the server
/// accepts writes. It is not restarted. None: `max_worker_processes` are in use.
pub fn register(name: &str, kind: &str, function: &str, argument: pg_sys::Datum) -> Option<Registered> {
    // SAFETY: set when the process started.
    let pid = unsafe { pg_sys::MyProcPid };
    let builder = BackgroundWorkerBuilder::new(name)
        .set_type(kind)
        .set_library(LIBRARY)
        .set_function(function)
        .set_argument(Some(argument))
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .set_notify_pid(pid);
    let mut worker: pg_sys::BackgroundWorker = (&builder).into();
    let mut handle = std::ptr::null_mut();
    // SAFETY: both point to valid, initialised values; the postmaster copies the first.
    let registered = unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle) };
    registered.then_some(Registered { handle })
}

impl Registered {
    /// The worker has ended, or never got to start.
    pub fn has_stopped(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle is ours and not freed before `release`.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.handle, &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED
    }

    /// Frees the handle.
    pub fn release(self) {
        // SAFETY: allocated by RegisterDynamicBackgroundWorker, ours, not used again.
        unsafe { pg_sys::pfree(self.handle.cast()) };
    }
}
