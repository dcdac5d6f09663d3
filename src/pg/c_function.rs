//! SQL functions below the level of `#[pg_extern]`: those with `internal` arguments, and those that keep state from one call
//! to the next.

use crate::error::{Error, Result};
use crate::pg::error::OrRaise;
use pgrx::pg_sys;
use std::ffi::CStr;

/// What a function hands back: none is SQL's NULL.
pub type Returned = Result<Option<pg_sys::Datum>>;

/// One call. The extension's script declares each function with the argument types that its body asks for here; that
/// declaration is what the `unsafe` blocks below rely on.
pub struct Call {
    fcinfo: pg_sys::FunctionCallInfo,
}

impl Call {
    /// Argument `n`, counted from 0; none for NULL.
    pub fn nullable(&self, n: usize) -> Result<Option<pg_sys::Datum>> {
        // SAFETY: the call info is PostgreSQL's, valid for the call.
        let count = unsafe { (*self.fcinfo).nargs };
        if usize::try_from(count).unwrap_or(0) <= n {
            return Err(Error::internal(format!("a function of elacsym was called with {count} arguments")));
        }
        // SAFETY: there are more than `n` arguments.
        Ok(unsafe { pgrx::fcinfo::pg_getarg_datum(self.fcinfo, n) })
    }

    /// Argument `n`, which the declaration (STRICT) says is not NULL.
    pub fn datum(&self, n: usize) -> Result<pg_sys::Datum> {
        self.nullable(n)?.ok_or_else(|| Error::internal("a strict function of elacsym was called with null"))
    }

    /// Argument `n` as a text in UTF-8.
    pub fn text(&self, n: usize) -> Result<String> {
        let datum = self.datum(n)?;
        // SAFETY: declared as `text`.
        unsafe { text(datum) }
    }

    /// Argument `n` as a C string in UTF-8.
    pub fn cstring(&self, n: usize) -> Result<String> {
        let datum = self.datum(n)?;
        // SAFETY: declared as `cstring`, hence with a zero byte at its end.
        let bytes = unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }.to_bytes();
        utf8(bytes)
    }

    /// What PostgreSQL keeps about the function from call to call.
    pub fn flinfo(&self) -> *mut pg_sys::FmgrInfo {
        // SAFETY: the call info is PostgreSQL's, valid for the call.
        unsafe { (*self.fcinfo).flinfo }
    }

    /// The state that the calls of one expression share; dropped when the statement ends.
    pub fn state<T>(&mut self, new: impl FnOnce() -> T) -> Result<&mut T> {
        let flinfo = self.flinfo();
        if flinfo.is_null() {
            return Err(Error::internal("a function of elacsym was called without function information"));
        }
        // SAFETY: not null, valid for the call.
        let extra = unsafe { (*flinfo).fn_extra };
        // SAFETY: as above.
        let context = unsafe { (*flinfo).fn_mcxt };
        if extra.is_null() {
            let state = pgrx::PgMemoryContexts::For(context).leak_and_drop_on_delete(new());
            // SAFETY: as above; the field is the function's own, and the state lives as long as `fn_mcxt`.
            unsafe { (*flinfo).fn_extra = state.cast() };
        }
        // SAFETY: only this function body stores there, always a `T`.
        Ok(unsafe { &mut *(*flinfo).fn_extra.cast::<T>() })
    }
}

/// A value of type `text` in UTF-8.
///
/// # Safety
/// `datum` must be one.
pub unsafe fn text(datum: pg_sys::Datum) -> Result<String> {
    // SAFETY: the caller's contract.
    let packed = unsafe { pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr()) };
    // SAFETY: a detoasted value, possibly with a short header.
    let bytes = unsafe { pgrx::varlena_to_byte_slice(packed) };
    utf8(bytes)
}

/// Bytes in the encoding of the database, as UTF-8.
fn utf8(bytes: &[u8]) -> Result<String> {
    let pointer = bytes.as_ptr().cast_mut().cast::<std::ffi::c_char>();
    let length = i32::try_from(bytes.len()).map_err(|_| Error::internal("a text is longer than 2 GB"))?;
    let encoding = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: the bytes are readable for that length; the result is they themselves or a converted copy.
    let converted = unsafe { pg_sys::pg_server_to_any(pointer, length, encoding) };
    let converted = if converted == pointer {
        bytes
    } else {
        // SAFETY: a converted copy ends with a zero byte.
        unsafe { CStr::from_ptr(converted) }.to_bytes()
    };
    String::from_utf8(converted.to_vec()).map_err(|_| Error::invalid("the text is not valid in its encoding"))
}

/// UTF-8 as a value of type `cstring`, in the encoding of the database and the current memory context.
pub fn to_cstring(text: &str) -> Result<pg_sys::Datum> {
    let length = i32::try_from(text.len()).map_err(|_| Error::internal("a text is longer than 2 GB"))?;
    // SAFETY: the bytes are readable for that length.
    let copy = unsafe { pg_sys::pnstrdup(text.as_ptr().cast(), text.len()) };
    let encoding = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: a C string of that length.
    let converted = unsafe { pg_sys::pg_any_to_server(copy, length, encoding) };
    Ok(pg_sys::Datum::from(converted))
}

/// Runs one function body; everything it owned is dropped before an error is raised.
///
/// # Safety
/// `fcinfo` is the call info that PostgreSQL passed to a function declared as `body` expects.
pub unsafe fn run(fcinfo: pg_sys::FunctionCallInfo, body: fn(&mut Call) -> Returned) -> pg_sys::Datum {
    match body(&mut Call { fcinfo }).or_raise() {
        Some(datum) => datum,
        // SAFETY: the caller's contract.
        None => unsafe { pgrx::fcinfo::pg_return_null(fcinfo) },
    }
}

/// Binds function bodies (`fn(&mut Call) -> Returned`) to the symbols that the extension's script names. Each symbol needs
/// a twin `pg_finfo_<symbol>`, by which PostgreSQL learns the calling convention. `run by` names what calls a body of
/// another shape; without it, it is [`run`].
macro_rules! c_functions {
    (run by $run:path; $($(#[$doc:meta])* $symbol:ident = $body:path;)*) => {$(
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($symbol)))]
            extern "C" fn finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
                static RECORD: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &RECORD
            }
        };

        $(#[$doc])*
        ///
        /// # Safety
        /// To be called by PostgreSQL, through a function declared as the extension's script declares it.
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            // SAFETY: PostgreSQL passes the call info of this very call.
            unsafe { $run(fcinfo, $body) }
        }
    )*};
    ($($(#[$doc:meta])* $symbol:ident = $body:path;)*) => {
        $crate::pg::c_function::c_functions! { run by $crate::pg::c_function::run; $($(#[$doc])* $symbol = $body;)* }
    };
}
pub(crate) use c_functions;
