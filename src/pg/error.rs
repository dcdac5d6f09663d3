//! [`Error`] to PostgreSQL's `ereport`: the only place that knows SQLSTATEs.

use crate::error::{Error, ErrorKind, Result};
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// The SQLSTATE of each kind of error.
///
/// * `TypeMismatch` is 22000 (data exception), not 42804: it is what pgvector raises for a wrong dimension, and clients
///   already catch it; 42804 is about the types of a statement, not about values.
/// * `Unavailable` is 58000 (an error outside PostgreSQL) and means: try again. Not class 57P: connection pools take
///   57P01 to 57P03 for a dead connection and would close a healthy one.
/// * `Fenced` is 55000: the object is not in the state the caller assumed.
pub fn sqlstate(kind: ErrorKind) -> PgSqlErrorCode {
    match kind {
        ErrorKind::Invalid => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        ErrorKind::TypeMismatch => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        ErrorKind::OutOfRange => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        ErrorKind::NotFound => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        ErrorKind::AlreadyExists => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
        ErrorKind::Denied => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        ErrorKind::Unavailable => PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
        ErrorKind::Corrupt => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        ErrorKind::Fenced => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        ErrorKind::Cancelled => PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        ErrorKind::Exhausted => PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
        ErrorKind::Internal => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        ErrorKind::StatementType => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        ErrorKind::LimitExceeded => PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
    }
}

/// \[backend, worker\] Raises `error` as a PostgreSQL ERROR. Rust destructors run on the way out.
#[track_caller]
pub fn raise(error: Error) -> ! {
    report(error, PgLogLevel::ERROR);
    unreachable!("invariant: ERROR does not return")
}

/// \[backend\] What REPEATABLE READ says when something it would change has been changed since its snapshot: clients know to
/// retry.
#[track_caller]
pub fn raise_serialization_failure(message: &str) -> ! {
    let error = Error::invalid(message).with_hint("Run the transaction again.");
    emit(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE, error, PgLogLevel::ERROR);
    unreachable!("invariant: ERROR does not return")
}

/// \[backend, worker\] Writes `error` to the server log (and to the client, if `level` says so) and goes on.
/// `level` is below ERROR for every caller but [`raise`].
#[track_caller]
pub fn report(error: Error, level: PgLogLevel) {
    emit(sqlstate(error.kind), error, level);
}

/// \[backend\] Writes a message that is no complaint to the server log.
#[track_caller]
pub fn log_line(message: String, detail: Option<String>) {
    let mut report = ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "elacsym");
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    report.report(PgLogLevel::LOG);
}

/// \[backend\] The one error of everything that needs the engine when the library was not preloaded.
#[track_caller]
pub fn raise_not_loaded() -> ! {
    let error = Error::invalid("elacsym is not loaded")
        .with_detail("The library must be loaded when the server starts, because it runs the elacsym engine.")
        .with_hint(
            "Add elacsym to shared_preload_libraries (shared_preload_libraries = 'elacsym') and restart the server.",
        );
    emit(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, error, PgLogLevel::ERROR);
    unreachable!("invariant: ERROR does not return")
}

#[track_caller]
fn emit(code: PgSqlErrorCode, error: Error, level: PgLogLevel) {
    let mut report = ErrorReport::new(code, error.message, "elacsym");
    if let Some(detail) = error.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(hint);
    }
    report.report(level);
}

/// The value, or the error as a PostgreSQL ERROR: `Fenced`, that something was changed meanwhile, as a serialization failure.
#[track_caller]
pub fn or_raise_or_retry<T>(result: Result<T>) -> T {
    match result {
        Err(error) if error.kind == ErrorKind::Fenced => raise_serialization_failure(&error.message),
        result => result.or_raise(),
    }
}

/// `?` for functions that PostgreSQL calls.
pub trait OrRaise<T> {
    /// The value, or the error as a PostgreSQL ERROR.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    #[track_caller]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => raise(error),
        }
    }
}
