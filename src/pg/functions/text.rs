//! `text` as an argument: UTF-8, or a clear error. pgrx's `&str` and `String` panic in a database of another encoding.

use crate::error::Error;
use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, pg_sys};
use std::ops::Deref;

/// What to do about text that is not UTF-8.
pub const ENCODING_HINT: &str = "elacsym needs a database whose encoding is UTF8.";

/// A `text` value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self(text.to_string()),
            Err(_) => crate::pg::error::raise(Error::invalid("text argument is not UTF-8").with_hint(ENCODING_HINT)),
        }
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller of this trait says that the datum is a text, which is a varlena of bytes.
        let bytes = unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, oid) }?;
        Some(Self::new(bytes))
    }
}

// SAFETY: `unbox` returns an owned value.
unsafe impl UnboxDatum for Text {
    type As<'src> = Self;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self
    where
        Self: 'src,
    {
        // SAFETY: the caller of this trait says that the datum is a text, which is a varlena of bytes.
        Self::new(unsafe { <[u8]>::unbox(datum) })
    }
}

// SAFETY: the type is the one that the name stands for.
unsafe impl SqlTranslatable for Text {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Text);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}

// SAFETY: an argument declared as `text` is read as one.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the caller of this trait says that the types match.
        let value = unsafe { arg.unbox_arg_using_from_datum() };
        value.unwrap_or_else(|| panic!("argument {index} must not be null"))
    }
}
