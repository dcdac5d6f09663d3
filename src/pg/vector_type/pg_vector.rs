//! [`PgVector`]: an owned value of `vector`, for the glue's own SQL functions.

use std::ops::Deref;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::catalog::vector_type_oid;
use super::layout::{VectorArg, build_from, check_dimensions, check_element};
use crate::error::Result;

/// A value of the SQL type `vector`: 1 to 16,000 finite `f32`.
///
/// As an argument or a result of a `#[pg_extern(sql = "…")]` function it is the type `vector` of the extension
/// `vector`, be that pgvector or the stand-in.
#[derive(Debug, Clone, PartialEq)]
pub struct PgVector(Vec<f32>);

impl PgVector {
    /// A vector of these elements.
    ///
    /// # Errors
    /// `Invalid` when there is no element or one is not finite, `OutOfRange` when there are more than
    /// [`crate::limits::MAX_DIMENSIONS`].
    pub fn new(elements: Vec<f32>) -> Result<Self> {
        check_dimensions(elements.len())?;
        elements.iter().try_for_each(|element| check_element(*element))?;
        Ok(Self(elements))
    }

    /// Reads one value: detoasts it, checks its layout, copies its elements.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are no vector.
    ///
    /// # Safety
    /// `datum` is a non-null value of type `vector`.
    pub unsafe fn from_vector_datum(datum: pg_sys::Datum) -> Result<Self> {
        // SAFETY: as the caller says; the borrow ends here.
        let value = unsafe { VectorArg::new(datum) }?;
        Ok(Self(value.to_vec()))
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The elements, without a copy.
    pub fn into_elements(self) -> Vec<f32> {
        self.0
    }
}

impl Deref for PgVector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl FromDatum for PgVector {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller of this trait says that the datum is a value of the type, and it is not null.
        let value = unsafe { VectorArg::new(datum) }.map(|value| Self(value.to_vec()));
        match value {
            Ok(value) => Some(value),
            Err(error) => error.report(),
        }
    }
}

impl IntoDatum for PgVector {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        match build_from(&self.0) {
            Ok(datum) => Some(datum),
            Err(error) => error.report(),
        }
    }

    fn type_oid() -> pg_sys::Oid {
        vector_type_oid().unwrap_or(pg_sys::InvalidOid)
    }
}

// SAFETY: the type is the one that the name stands for; both directions go through the layout's checks.
unsafe impl SqlTranslatable for PgVector {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(PgVector);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: std::result::Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("vector"));
    const RETURN_SQL: std::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("vector")));
}

// SAFETY: an argument declared as `vector` is read as one.
unsafe impl<'fcx> ArgAbi<'fcx> for PgVector {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: the caller of this trait says that the types match.
        let value = unsafe { arg.unbox_arg_using_from_datum() };
        value.unwrap_or_else(|| panic!("argument {index} must not be null"))
    }
}

// SAFETY: what is boxed is a value of the type, allocated in the current memory context.
unsafe impl BoxRet for PgVector {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum is the result of this call.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}
