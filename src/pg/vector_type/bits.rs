//! Distances over `bit`, what `binary_quantize` makes: a varlena of the length in bits (`int4`) and the bits, the last byte
//! filled up with zeros.

use pgrx::pg_sys;

use super::call::{Args, Returned, value};
use super::error::{Result, VectorError};
use crate::pg::c_function::c_functions;

/// The length in bits, after the varlena header.
const LENGTH_BYTES: usize = 4;

/// Length in bits, and the bytes that hold them.
fn bits(args: &Args, n: usize) -> Result<(u32, &[u8])> {
    let datum = args.datum(n)?;
    // SAFETY: declared as `bit`, a varlena; a copy, if it had to be made, lives as long as the call's memory context.
    let detoasted = unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) };
    // SAFETY: detoasted; nobody writes to an argument while its function runs.
    let bytes = unsafe { pgrx::varlena_to_byte_slice(detoasted) };
    let corrupt = || VectorError::Corrupt("a bit string that is shorter than its header".to_owned());
    let (length, bytes) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(corrupt)?;
    Ok((u32::from_ne_bytes(*length), bytes))
}

fn pair(args: &Args) -> Result<(&[u8], &[u8])> {
    let ((left, left_bytes), (right, right_bytes)) = (bits(args, 0)?, bits(args, 1)?);
    if left != right {
        return Err(VectorError::DifferentBits(left, right));
    }
    Ok((left_bytes, right_bytes))
}

fn ones(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.map(|byte| u64::from(byte.count_ones())).sum()
}

/// Bits that differ.
fn hamming(args: &Args) -> Returned {
    let (left, right) = pair(args)?;
    value(ones(left.iter().zip(right).map(|(a, b)| a ^ b)) as f64)
}

/// One minus the share of the set bits that both have; 1 if they have none in common.
fn jaccard(args: &Args) -> Returned {
    let (left, right) = pair(args)?;
    let both = ones(left.iter().zip(right).map(|(a, b)| a & b));
    let either = ones(left.iter().zip(right).map(|(a, b)| a | b));
    value(if both == 0 { 1.0 } else { 1.0 - both as f64 / either as f64 })
}

c_functions! {
    run by crate::pg::vector_type::call::run;
    /// `hamming_distance(bit, bit)`, operator `<~>`
    elacsym_bit_hamming_distance = hamming;
    /// `jaccard_distance(bit, bit)`, operator `<%>`
    elacsym_bit_jaccard_distance = jaccard;
}
