//! Casts between `vector` and arrays of numbers, and the one that applies a type modifier.

use pgrx::pg_sys;

use super::arrays::{self, ArrayArg};
use super::call::{Args, Returned};
use super::error::{Result, VectorError};
use super::layout::{build_from, check_dimensions, check_element, check_typmod};
use crate::pg::c_function::c_functions;

fn to_typmod(args: &Args) -> Returned {
    let vector = args.vector(0)?;
    check_typmod(args.int4(1)?, vector.len())?;
    Ok(Some(vector.into_datum()))
}

/// One element of a `numeric[]`, rounded by PostgreSQL's own cast, which reports what is too large for `real`.
fn numeric_to_float4(datum: pg_sys::Datum) -> f32 {
    // SAFETY: the function takes one `numeric` and returns `real`, and the array's elements are `numeric`.
    let number = unsafe { pgrx::fcinfo::direct_function_call::<f32>(pg_sys::numeric_float4, &[Some(datum)]) };
    number.expect("invariant: numeric_float4 returns no NULL")
}

/// The elements of an array of one of the four number types, each rounded to `float4`.
fn array_elements(array: &ArrayArg<'_>) -> Result<Vec<f32>> {
    let elements = match array.element_type() {
        pg_sys::INT4OID => array.elements(4, true, b'i', |datum| datum.value() as i32 as f32),
        pg_sys::FLOAT4OID => array.elements(4, true, b'i', |datum| f32::from_bits(datum.value() as u32)),
        pg_sys::FLOAT8OID => array.elements(8, true, b'd', |datum| f64::from_bits(datum.value() as u64) as f32),
        pg_sys::NUMERICOID => array.elements(-1, false, b'i', numeric_to_float4),
        _ => return Err(VectorError::ArrayType),
    };
    Ok(elements)
}

fn from_array(args: &Args) -> Returned {
    let array = ArrayArg::new(args, 0)?;
    if array.ndim() > 1 {
        return Err(VectorError::ArrayShape);
    }
    if array.contains_nulls() {
        return Err(VectorError::ArrayNull);
    }
    let elements = array_elements(&array)?;
    check_dimensions(elements.len())?;
    check_typmod(args.int4(1)?, elements.len())?;
    elements.iter().try_for_each(|element| check_element(*element))?;
    build_from(&elements).map(Some)
}

fn to_float4_array(args: &Args) -> Returned {
    arrays::build_float4(&args.vector(0)?).map(Some)
}

c_functions! {
    run by crate::pg::vector_type::call::run;
    /// `vector(vector, integer, boolean)`
    elacsym_vector_to_typmod = to_typmod;
    /// `array_to_vector(integer[] | real[] | double precision[] | numeric[], integer, boolean)`
    elacsym_vector_from_array = from_array;
    /// `vector_to_float4(vector, integer, boolean)`
    elacsym_vector_to_float4 = to_float4_array;
}
