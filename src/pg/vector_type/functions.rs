//! Distances, measures, arithmetic and comparisons.

use std::cmp::Ordering;

use pgrx::pg_sys;

use super::call::{Args, Returned, value};
use super::distance;
use super::error::{Result, VectorError};
use super::layout::{build, build_from};
use crate::pg::c_function::c_functions;

fn l2_distance(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(f64::from(distance::l2_squared(&left, &right)).sqrt())
}

fn l2_squared_distance(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(f64::from(distance::l2_squared(&left, &right)))
}

fn inner_product(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(f64::from(distance::inner_product(&left, &right)))
}

fn negative_inner_product(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(f64::from(-distance::inner_product(&left, &right)))
}

fn cosine_distance(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(distance::cosine(&left, &right))
}

fn spherical_distance(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(distance::spherical(&left, &right))
}

fn l1_distance(args: &Args) -> Returned {
    let (left, right) = args.vector_pair()?;
    value(f64::from(distance::l1(&left, &right)))
}

fn dims(args: &Args) -> Returned {
    let count = i32::try_from(args.vector(0)?.len()).map_err(|_| VectorError::TooManyDimensions)?;
    value(count)
}

fn norm(args: &Args) -> Returned {
    value(distance::norm(&args.vector(0)?))
}

/// Result of an operation over elements, unless it left the range of `float4`.
fn finite(element: f32) -> Result<f32> {
    if element.is_infinite() { Err(VectorError::Overflow) } else { Ok(element) }
}

fn l2_normalize(args: &Args) -> Returned {
    let vector = args.vector(0)?;
    let norm = distance::norm(&vector);
    build(vector.len(), |result| {
        // The zero vector has no direction: it stays what it is.
        if norm > 0.0 {
            for (target, source) in result.iter_mut().zip(vector.iter()) {
                *target = finite((f64::from(*source) / norm) as f32)?;
            }
        }
        Ok(())
    })
    .map(Some)
}

/// Applies `operation` to each pair of elements.
fn element_wise(args: &Args, operation: impl Fn(f32, f32) -> Result<f32>) -> Returned {
    let (left, right) = args.vector_pair()?;
    build(left.len(), |result| {
        for (target, (x, y)) in result.iter_mut().zip(left.iter().zip(right.iter())) {
            *target = operation(*x, *y)?;
        }
        Ok(())
    })
    .map(Some)
}

fn add(args: &Args) -> Returned {
    element_wise(args, |x, y| finite(x + y))
}

fn subtract(args: &Args) -> Returned {
    element_wise(args, |x, y| finite(x - y))
}

fn multiply(args: &Args) -> Returned {
    element_wise(args, |x, y| {
        let product = finite(x * y)?;
        if product == 0.0 && x != 0.0 && y != 0.0 { Err(VectorError::Underflow) } else { Ok(product) }
    })
}

fn concat(args: &Args) -> Returned {
    let (left, right) = (args.vector(0)?, args.vector(1)?);
    build(left.len() + right.len(), |result| {
        let (head, tail) = result.split_at_mut(left.len());
        head.copy_from_slice(&left);
        tail.copy_from_slice(&right);
        Ok(())
    })
    .map(Some)
}

/// Elements `start` (counted from 1) to `start + count - 1`, as far as there are any, like `substring`.
fn subvector(args: &Args) -> Returned {
    let vector = args.vector(0)?;
    let (start, count) = (i64::from(args.int4(1)?), i64::from(args.int4(2)?));
    if count < 1 {
        return Err(VectorError::Empty);
    }
    let first = usize::try_from((start - 1).max(0)).map_err(|_| VectorError::Empty)?;
    let end = usize::try_from((start - 1 + count).max(0)).map_err(|_| VectorError::Empty)?;
    let part = vector.get(first..end.min(vector.len())).ok_or(VectorError::Empty)?;
    build_from(part).map(Some)
}

/// One bit for each element, set where it is positive, as a `bit` value: a varlena of the length in bits (`int4`) and
/// the bits, the first one in the highest place of the first byte.
fn binary_quantize(args: &Args) -> Returned {
    const HEADER_BYTES: usize = 8;
    let vector = args.vector(0)?;
    let size = HEADER_BYTES + vector.len().div_ceil(8);
    let bits = i32::try_from(vector.len()).map_err(|_| VectorError::TooManyDimensions)?;
    let length = i32::try_from(size).map_err(|_| VectorError::TooManyDimensions)?;
    // SAFETY: allocation in the current memory context.
    let result = unsafe { pg_sys::palloc0(size) };
    // SAFETY: the value is ours and `length` bytes long.
    unsafe { pgrx::set_varsize_4b(result.cast(), length) };
    // SAFETY: the length in bits follows the four bytes of the varlena header.
    unsafe { result.byte_add(4).cast::<i32>().write(bits) };
    // SAFETY: the bits follow the header, up to the end of the allocation, which is zeroed.
    let bytes =
        unsafe { std::slice::from_raw_parts_mut(result.byte_add(HEADER_BYTES).cast::<u8>(), size - HEADER_BYTES) };
    for (byte, elements) in bytes.iter_mut().zip(vector.chunks(8)) {
        for (place, element) in elements.iter().enumerate() {
            *byte |= u8::from(*element > 0.0) << (7 - place);
        }
    }
    Ok(Some(pg_sys::Datum::from(result)))
}

/// Element by element, then the shorter first, as PostgreSQL orders arrays. -0 equals 0; there is no NaN to order.
fn compare(args: &Args) -> Result<Ordering> {
    let (left, right) = (args.vector(0)?, args.vector(1)?);
    let unequal = left.iter().zip(right.iter()).find(|(x, y)| x != y);
    Ok(match unequal {
        Some((x, y)) if x < y => Ordering::Less,
        Some(_) => Ordering::Greater,
        None => left.len().cmp(&right.len()),
    })
}

fn less(args: &Args) -> Returned {
    value(compare(args)?.is_lt())
}

fn less_or_equal(args: &Args) -> Returned {
    value(compare(args)?.is_le())
}

fn equal(args: &Args) -> Returned {
    value(compare(args)?.is_eq())
}

fn not_equal(args: &Args) -> Returned {
    value(compare(args)?.is_ne())
}

fn greater_or_equal(args: &Args) -> Returned {
    value(compare(args)?.is_ge())
}

fn greater(args: &Args) -> Returned {
    value(compare(args)?.is_gt())
}

fn three_way(args: &Args) -> Returned {
    value(compare(args)? as i32)
}

c_functions! {
    run by crate::pg::vector_type::call::run;
    /// `l2_distance(vector, vector)`, operator `<->`
    elacsym_vector_l2_distance = l2_distance;
    /// `vector_l2_squared_distance(vector, vector)`
    elacsym_vector_l2_squared_distance = l2_squared_distance;
    /// `inner_product(vector, vector)`
    elacsym_vector_inner_product = inner_product;
    /// `vector_negative_inner_product(vector, vector)`, operator `<#>`
    elacsym_vector_negative_inner_product = negative_inner_product;
    /// `cosine_distance(vector, vector)`, operator `<=>`
    elacsym_vector_cosine_distance = cosine_distance;
    /// `vector_spherical_distance(vector, vector)`
    elacsym_vector_spherical_distance = spherical_distance;
    /// `l1_distance(vector, vector)`, operator `<+>`
    elacsym_vector_l1_distance = l1_distance;
    /// `vector_dims(vector)`
    elacsym_vector_dims = dims;
    /// `vector_norm(vector)`
    elacsym_vector_norm = norm;
    /// `l2_normalize(vector)`
    elacsym_vector_l2_normalize = l2_normalize;
    /// `subvector(vector, integer, integer)`
    elacsym_vector_subvector = subvector;
    /// `binary_quantize(vector)`
    elacsym_vector_binary_quantize = binary_quantize;
    /// `vector_add(vector, vector)`, operator `+` and transition of `sum`
    elacsym_vector_add = add;
    /// `vector_sub(vector, vector)`, operator `-`
    elacsym_vector_sub = subtract;
    /// `vector_mul(vector, vector)`, operator `*`
    elacsym_vector_mul = multiply;
    /// `vector_concat(vector, vector)`, operator `||`
    elacsym_vector_concat = concat;
    /// `vector_lt(vector, vector)`, operator `<`
    elacsym_vector_lt = less;
    /// `vector_le(vector, vector)`, operator `<=`
    elacsym_vector_le = less_or_equal;
    /// `vector_eq(vector, vector)`, operator `=`
    elacsym_vector_eq = equal;
    /// `vector_ne(vector, vector)`, operator `<>`
    elacsym_vector_ne = not_equal;
    /// `vector_ge(vector, vector)`, operator `>=`
    elacsym_vector_ge = greater_or_equal;
    /// `vector_gt(vector, vector)`, operator `>`
    elacsym_vector_gt = greater;
    /// `vector_cmp(vector, vector)`, support function of the btree class
    elacsym_vector_cmp = three_way;
}
