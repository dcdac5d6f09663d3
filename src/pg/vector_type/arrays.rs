//! Arrays as arguments and results: the casts and the aggregates' states.

use std::marker::PhantomData;

use pgrx::pg_sys;

use super::call::Args;
use super::error::{Result, VectorError};

/// An array argument, detoasted; a copy made for that is freed on drop.
pub struct ArrayArg<'a> {
    array: *mut pg_sys::ArrayType,
    is_copy: bool,
    source: PhantomData<&'a Args>,
}

impl<'a> ArrayArg<'a> {
    /// Argument `n`, which the extension's script declares as an array.
    pub fn new(args: &'a Args, n: usize) -> Result<Self> {
        let given = args.datum(n)?.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: an array is a varlena value.
        let array = unsafe { pg_sys::pg_detoast_datum(given) };
        Ok(Self { array: array.cast(), is_copy: !std::ptr::eq(array, given), source: PhantomData })
    }

    fn header(&self) -> &pg_sys::ArrayType {
        // SAFETY: a detoasted array starts with this header and is aligned for it.
        unsafe { &*self.array }
    }

    /// Number of array dimensions; 0 for an empty array.
    pub fn ndim(&self) -> i32 {
        self.header().ndim
    }

    /// Type of the elements.
    pub fn element_type(&self) -> pg_sys::Oid {
        self.header().elemtype
    }

    /// Whether any element is NULL.
    pub fn contains_nulls(&self) -> bool {
        // SAFETY: a detoasted array.
        self.header().dataoffset != 0 && unsafe { pg_sys::array_contains_nulls(self.array) }
    }

    /// The dimensions' numbers of type modifier input; PostgreSQL reports arrays that are none.
    pub fn integer_typmods(&self) -> Vec<i32> {
        let mut count = 0;
        // SAFETY: a detoasted array; `count` is a valid place for the result.
        let numbers = unsafe { pg_sys::ArrayGetIntegerTypmods(self.array, &raw mut count) };
        let count = usize::try_from(count).expect("invariant: a count is not negative");
        // SAFETY: PostgreSQL returned `count` numbers.
        unsafe { std::slice::from_raw_parts(numbers, count) }.to_vec()
    }

    /// The elements, none of which is NULL, converted one by one. A pass-by-reference element is valid while `self` is.
    pub fn elements<T>(
        &self,
        length: i32,
        by_value: bool,
        align: u8,
        convert: impl FnMut(pg_sys::Datum) -> T,
    ) -> Vec<T> {
        let mut datums = std::ptr::null_mut();
        let mut count = 0;
        // SAFETY: a detoasted array whose element type the caller describes; without NULLs no null flags are needed.
        unsafe {
            pg_sys::deconstruct_array(
                self.array,
                self.element_type(),
                length,
                by_value,
                align.cast_signed(),
                &raw mut datums,
                std::ptr::null_mut(),
                &raw mut count,
            );
        }
        let count = usize::try_from(count).expect("invariant: a count is not negative");
        if count == 0 {
            return Vec::new();
        }
        // SAFETY: PostgreSQL allocated `count` datums.
        let elements = unsafe { std::slice::from_raw_parts(datums, count) }.iter().copied().map(convert).collect();
        // SAFETY: allocated by deconstruct_array for the caller, and used no more.
        unsafe { pg_sys::pfree(datums.cast()) };
        elements
    }

    /// The numbers of an aggregate's state: a plain `float8[]` of at least one element.
    ///
    /// # Errors
    /// [`VectorError::State`], which names `function`, for any other array.
    pub fn state(&self, function: &'static str) -> Result<&[f64]> {
        let header = self.header();
        if header.ndim != 1 || header.dataoffset != 0 || header.elemtype != pg_sys::FLOAT8OID {
            return Err(VectorError::State(function));
        }
        // SAFETY: one-dimensional, so one length follows the header.
        let length = unsafe { *self.array.add(1).cast::<i32>() };
        let length = usize::try_from(length).unwrap_or(0);
        if length == 0 {
            return Err(VectorError::State(function));
        }
        // The header is 16 bytes, one length and one lower bound 4 each: the data starts at 24, which is aligned.
        // SAFETY: a one-dimensional array without NULLs has its data there.
        let first = unsafe { self.array.byte_add(24) }.cast::<f64>();
        // SAFETY: the array says that it holds `length` numbers of 8 bytes; the array lives as long as `self`.
        Ok(unsafe { std::slice::from_raw_parts(first, length) })
    }
}

impl Drop for ArrayArg<'_> {
    fn drop(&mut self) {
        if self.is_copy {
            // SAFETY: detoasting allocated this copy and nobody else knows of it.
            unsafe { pg_sys::pfree(self.array.cast()) };
        }
    }
}

const _: () = assert!(size_of::<pg_sys::ArrayType>() == 16);

/// Allocates a one-dimensional array of pass-by-value elements.
fn build(
    mut datums: Vec<pg_sys::Datum>,
    element_type: pg_sys::Oid,
    element_bytes: i32,
    align: u8,
) -> Result<pg_sys::Datum> {
    let count = i32::try_from(datums.len()).map_err(|_| VectorError::TooManyDimensions)?;
    // SAFETY: `count` datums of a by-value type of that size and alignment.
    let array = unsafe {
        pg_sys::construct_array(datums.as_mut_ptr(), count, element_type, element_bytes, true, align.cast_signed())
    };
    Ok(pg_sys::Datum::from(array))
}

/// Allocates a `real[]`.
///
/// # Errors
/// None for at most [`crate::limits::MAX_DIMENSIONS`] elements.
pub fn build_float4(elements: &[f32]) -> Result<pg_sys::Datum> {
    let datums = elements.iter().map(|x| pg_sys::Datum::from(x.to_bits() as usize)).collect();
    build(datums, pg_sys::FLOAT4OID, 4, b'i')
}

/// Allocates a `double precision[]`.
///
/// # Errors
/// None for at most [`crate::limits::MAX_DIMENSIONS`] elements and a count.
pub fn build_float8(elements: &[f64]) -> Result<pg_sys::Datum> {
    let datums = elements.iter().map(|x| pg_sys::Datum::from(x.to_bits() as usize)).collect();
    build(datums, pg_sys::FLOAT8OID, 8, b'd')
}
