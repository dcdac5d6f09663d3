//! Values of pgvector's `halfvec`: int16 dimensions, int16 unused, binary16 elements.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DIMENSIONS;
use pgrx::pg_sys;

/// Bytes of a value before its elements, after the varlena header.
const HEADER_BYTES: usize = 4;

/// The elements, widened.
///
/// # Errors
/// `Corrupt` when the bytes are no halfvec.
///
/// # Safety
/// `datum` must be a non-null value of type `halfvec`.
pub unsafe fn elements(datum: pg_sys::Datum) -> Result<Vec<f32>> {
    // SAFETY: as the caller says.
    let value = unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) };
    // SAFETY: detoasted.
    let bytes = unsafe { pgrx::varlena_to_byte_slice(value) };
    let corrupt = || Error::new(ErrorKind::Corrupt, "a halfvec value is corrupt");
    let (header, elements) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(corrupt)?;
    let dim = usize::from(u16::from_ne_bytes([header[0], header[1]]));
    if dim == 0 || dim > MAX_DIMENSIONS || elements.len() != dim * 2 {
        return Err(corrupt());
    }
    Ok(elements.chunks_exact(2).map(|bits| widen(u16::from_ne_bytes([bits[0], bits[1]]))).collect())
}

/// IEEE 754 binary16 to binary32; exact.
fn widen(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        // Zero and subnormal: a multiple of 2^-24.
        0 => return f32::from_bits(sign | (fraction as f32 * 2.0_f32.powi(-24)).to_bits()),
        0x1f => 0x7f80_0000 | (fraction << 13),
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}
