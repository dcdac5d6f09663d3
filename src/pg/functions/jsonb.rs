//! `jsonb` as an argument and as a result: JSON text on our side. pgrx's own type panics on numbers that do not fit
//! (jsonb holds any numeric) and parses results that are text already.

use crate::error::{Error, Result};
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::ffi::CStr;

/// A `jsonb` value as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jsonb(pub String);

impl Jsonb {
    /// The value, parsed; `argument` names it in errors.
    ///
    /// # Errors
    /// `Invalid` for a number out of range or nesting deeper than the parser follows.
    pub fn parse(&self, argument: &str) -> Result<serde_json::Value> {
        serde_json::from_str(&self.0).map_err(|error| {
            Error::invalid(format!("argument \"{argument}\" cannot be read: {error}"))
                .with_hint("Numbers must fit into 64 bits, and nesting must be below 128 levels.")
        })
    }
}

impl FromDatum for Jsonb {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller of this trait says that the datum is a jsonb.
        let text = unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(datum)]) }?;
        let text: *mut std::ffi::c_char = text.cast_mut_ptr();
        // SAFETY: jsonb_out returns a C string.
        let copy = unsafe { CStr::from_ptr(text) }.to_str().map(str::to_string);
        // SAFETY: allocated by jsonb_out, not used after this.
        unsafe { pg_sys::pfree(text.cast()) };
        match copy {
            Ok(copy) => Some(Self(copy)),
            Err(_) => {
                crate::pg::error::raise(Error::invalid("JSON text is not UTF-8").with_hint(super::text::ENCODING_HINT))
            }
        }
    }
}

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        match crate::pg::heap_table::jsonb(&self.0) {
            Ok(datum) => Some(datum),
            Err(error) => crate::pg::error::raise(error),
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: the type is the one that the name stands for.
unsafe impl SqlTranslatable for Jsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

// SAFETY: an argument declared as `jsonb` is read as one.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the caller of this trait says that the types match.
        let value = unsafe { arg.unbox_arg_using_from_datum() };
        value.unwrap_or_else(|| panic!("argument {index} must not be null"))
    }
}

// SAFETY: what is boxed is a value of the type, allocated in the current memory context.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum is the result of this call.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}
