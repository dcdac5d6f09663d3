//! The function-call interface: typed arguments in, a [`Datum`](pg_sys::Datum) or an ERROR out.

use std::ffi::CStr;

use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::error::{Result, VectorError};
use super::layout::VectorArg;

/// What a function hands back: `None` is SQL's NULL.
pub type Returned = Result<Option<pg_sys::Datum>>;

/// The arguments of one call. The extension's script declares every function STRICT and with the types that its body
/// asks for here; that declaration is what the `unsafe` blocks below rely on.
pub struct Args {
    fcinfo: pg_sys::FunctionCallInfo,
}

impl Args {
    /// Argument `n`, counted from 0, as it is.
    pub fn datum(&self, n: usize) -> Result<pg_sys::Datum> {
        // SAFETY: the call info is PostgreSQL's, valid for the call.
        let count = unsafe { (*self.fcinfo).nargs };
        if usize::try_from(count).unwrap_or(0) <= n {
            return Err(VectorError::Declaration(n + 1));
        }
        // SAFETY: there are more than `n` arguments.
        unsafe { pgrx::fcinfo::pg_getarg_datum(self.fcinfo, n) }.ok_or(VectorError::Declaration(n + 1))
    }

    /// Argument `n` as a vector.
    pub fn vector(&self, n: usize) -> Result<VectorArg<'_>> {
        let datum = self.datum(n)?;
        // SAFETY: declared as `vector`; arguments outlive the call, and `self` lives no longer.
        unsafe { VectorArg::new(datum) }
    }

    /// Arguments 0 and 1 as vectors of equal dimensions.
    pub fn vector_pair(&self) -> Result<(VectorArg<'_>, VectorArg<'_>)> {
        let (left, right) = (self.vector(0)?, self.vector(1)?);
        if left.len() == right.len() { Ok((left, right)) } else { Err(VectorError::Different(left.len(), right.len())) }
    }

    /// Argument `n` as an `int4`.
    pub fn int4(&self, n: usize) -> Result<i32> {
        let datum = self.datum(n)?;
        // SAFETY: declared as `integer`, not null.
        unsafe { i32::from_datum(datum, false) }.ok_or(VectorError::Declaration(n + 1))
    }

    /// Argument `n` as a C string.
    pub fn cstring(&self, n: usize) -> Result<&CStr> {
        let datum = self.datum(n)?;
        // SAFETY: declared as `cstring`, hence NUL-terminated, and it outlives the call.
        Ok(unsafe { CStr::from_ptr(datum.cast_mut_ptr()) })
    }

    /// Argument `n` as the message buffer of a receive function.
    pub fn message(&self, n: usize) -> Result<pg_sys::StringInfo> {
        Ok(self.datum(n)?.cast_mut_ptr())
    }
}

/// Runs one function body; everything it owned is dropped before an error is reported.
///
/// # Safety
/// `fcinfo` is the call info that PostgreSQL passed to a function declared as `body` expects.
pub unsafe fn run(fcinfo: pg_sys::FunctionCallInfo, body: fn(&Args) -> Returned) -> pg_sys::Datum {
    match body(&Args { fcinfo }) {
        Ok(Some(datum)) => datum,
        // SAFETY: see above.
        Ok(None) => unsafe { pgrx::fcinfo::pg_return_null(fcinfo) },
        Err(error) => error.report(),
    }
}

/// A result that is passed by value.
pub fn value(result: impl IntoDatum) -> Returned {
    Ok(result.into_datum())
}
