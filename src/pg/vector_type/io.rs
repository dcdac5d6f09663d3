//! Text and binary input and output, and the type modifier.

use std::ffi::CString;

use pgrx::pg_sys;

use super::arrays::ArrayArg;
use super::call::{Args, Returned, value};
use super::error::{Result, VectorError};
use super::layout::{build, build_from, check_dimensions, check_element, check_typmod};
use super::text;
use crate::limits::MAX_DIMENSIONS;
use crate::pg::c_function::c_functions;

fn input(args: &Args) -> Returned {
    let elements = text::parse(args.cstring(0)?)?;
    check_typmod(args.int4(2)?, elements.len())?;
    build_from(&elements).map(Some)
}

fn output(args: &Args) -> Returned {
    let text = text::format(&args.vector(0)?);
    value(CString::new(text).expect("invariant: numbers, brackets and commas hold no NUL"))
}

fn typmod_in(args: &Args) -> Returned {
    let dimensions = ArrayArg::new(args, 0)?.integer_typmods();
    let [dimensions] = dimensions[..] else {
        return Err(VectorError::TypeModifier("invalid type modifier".into()));
    };
    if dimensions < 1 {
        return Err(VectorError::TypeModifier("dimensions for type vector must be at least 1".into()));
    }
    if usize::try_from(dimensions).is_ok_and(|dimensions| dimensions > MAX_DIMENSIONS) {
        let message = format!("dimensions for type vector cannot exceed {MAX_DIMENSIONS}");
        return Err(VectorError::TypeModifier(message));
    }
    value(dimensions)
}

/// The next `int16` of a message.
fn read_int2(message: pg_sys::StringInfo) -> u16 {
    // SAFETY: the buffer of a receive function; a short one is reported by PostgreSQL.
    let number = unsafe { pg_sys::pq_getmsgint(message, 2) };
    u16::try_from(number).expect("invariant: two bytes were read")
}

fn receive(args: &Args) -> Returned {
    let message = args.message(0)?;
    let dimensions = usize::from(read_int2(message));
    let reserved = read_int2(message);
    check_dimensions(dimensions)?;
    check_typmod(args.int4(2)?, dimensions)?;
    if reserved != 0 {
        return Err(VectorError::ReservedField(reserved));
    }
    let size = dimensions * size_of::<f32>();
    let length = i32::try_from(size).expect("invariant: at most MAX_DIMENSIONS elements");
    // SAFETY: the buffer of a receive function; a short one is reported by PostgreSQL.
    let bytes = unsafe { pg_sys::pq_getmsgbytes(message, length) };
    // SAFETY: PostgreSQL checked that `length` bytes remain, and the buffer stays for the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) };
    build(dimensions, |elements| {
        for (element, bytes) in elements.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *element = f32::from_be_bytes(*bytes);
            check_element(*element)?;
        }
        Ok(())
    })
    .map(Some)
}

fn send(args: &Args) -> Returned {
    let vector = args.vector(0)?;
    value(binary(&vector)?)
}

/// The binary format: `int16` dimensions, `int16` zero, `float4` elements, all big-endian.
fn binary(elements: &[f32]) -> Result<Vec<u8>> {
    let dimensions = u16::try_from(elements.len()).map_err(|_| VectorError::TooManyDimensions)?;
    let mut bytes = Vec::with_capacity(4 + size_of_val(elements));
    bytes.extend_from_slice(&dimensions.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend(elements.iter().flat_map(|element| element.to_be_bytes()));
    Ok(bytes)
}

c_functions! {
    run by crate::pg::vector_type::call::run;
    /// `vector_in(cstring, oid, integer)`
    elacsym_vector_in = input;
    /// `vector_out(vector)`
    elacsym_vector_out = output;
    /// `vector_typmod_in(cstring[])`
    elacsym_vector_typmod_in = typmod_in;
    /// `vector_recv(internal, oid, integer)`
    elacsym_vector_recv = receive;
    /// `vector_send(vector)`
    elacsym_vector_send = send;
}
