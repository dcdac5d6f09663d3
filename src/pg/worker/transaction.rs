//! Short transactions of a maintenance worker.

use crate::error::{Error, ErrorKind, Result};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

/// Settings that a database or a role may have set for people, not for us (pitfalls 2.f).
const SETTINGS: [(&CStr, &CStr); 8] = [
    (c"search_path", c"pg_catalog"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"row_security", c"off"),
];

/// \[worker\] Makes this process's transactions independent of the settings of its database. Outside a transaction.
pub fn pin_settings() -> Result<()> {
    guarded(|| {
        for (name, value) in SETTINGS {
            // SAFETY: C strings of settings that exist on all supported versions; overrides every other source.
            unsafe {
                pg_sys::SetConfigOption(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_SUSET,
                    pg_sys::GucSource::PGC_S_OVERRIDE,
                );
            }
        }
        Ok(())
    })
}

/// \[worker\] Runs `work` in a transaction of its own with a fresh snapshot. An error, be it returned or raised by
/// PostgreSQL, rolls it back and is returned; the process lives on.
pub fn transaction<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    transaction_after(|| Ok(()), |()| work())
}

/// \[worker\] As [`transaction`]; `before` runs in the transaction too, but before its snapshot is taken. Locks under
/// which the snapshot must be taken belong there.
pub fn transaction_after<L, T>(before: impl FnOnce() -> Result<L>, work: impl FnOnce(L) -> Result<T>) -> Result<T> {
    let result = guarded(|| {
        // SAFETY: no transaction is running in this process.
        unsafe { pg_sys::SetCurrentStatementStartTimestamp() };
        // SAFETY: as above.
        unsafe { pg_sys::StartTransactionCommand() };
        let locks = before()?;
        // SAFETY: a transaction is running.
        let snapshot = unsafe { pg_sys::GetTransactionSnapshot() };
        // SAFETY: a valid snapshot; popped below, or by the abort.
        unsafe { pg_sys::PushActiveSnapshot(snapshot) };
        let value = work(locks)?;
        // SAFETY: pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
        // SAFETY: the transaction that was started above.
        unsafe { pg_sys::CommitTransactionCommand() };
        Ok(value)
    });
    if result.is_err() {
        // SAFETY: ends whatever state the failed transaction is in; harmless if there is none.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    // SAFETY: outside a transaction, as it demands.
    unsafe { pg_sys::pgstat_report_stat(false) };
    result
}

/// Runs `work`; what PostgreSQL raises in it becomes an error of ours.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    pgrx::PgTryBuilder::new(AssertUnwindSafe(work)).catch_others(|caught| Err(convert(caught))).execute()
}

fn convert(caught: CaughtError) -> Error {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic { ereport: report, .. }) = caught;
    let mut error = Error::new(ErrorKind::Internal, report.message());
    if let Some(detail) = report.detail() {
        error = error.with_detail(detail);
    }
    if let Some(hint) = report.hint() {
        error = error.with_hint(hint);
    }
    error
}
