//! The bytes of a `vector` value: the only place that reads or writes them.
//!
//! ```text
//! offset 0   4   varlena header
//! offset 4   2   int16 dimensions, 1 to 16,000
//! offset 6   2   int16 reserved, zero
//! offset 8   4n  float4 elements, native byte order
//! ```

use std::marker::PhantomData;
use std::ops::Deref;

use pgrx::pg_sys;

use super::error::{Result, VectorError};
use crate::limits::MAX_DIMENSIONS;

/// Bytes before the first element.
const HEADER_BYTES: usize = 8;

/// What a value starts with.
#[repr(C)]
struct Header {
    varlena: u32,
    dimensions: i16,
    reserved: i16,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Accepts a number of dimensions that a vector may have.
///
/// # Errors
/// [`VectorError::Empty`] and [`VectorError::TooManyDimensions`].
pub fn check_dimensions(dimensions: usize) -> Result<()> {
    match dimensions {
        0 => Err(VectorError::Empty),
        1..=MAX_DIMENSIONS => Ok(()),
        _ => Err(VectorError::TooManyDimensions),
    }
}

/// Accepts a vector's dimensions for a type modifier; -1 stands for none.
///
/// # Errors
/// [`VectorError::Unexpected`].
pub fn check_typmod(typmod: i32, dimensions: usize) -> Result<()> {
    if typmod == -1 || usize::try_from(typmod) == Ok(dimensions) {
        Ok(())
    } else {
        Err(VectorError::Unexpected { expected: typmod, actual: dimensions })
    }
}

/// Accepts an element that a vector may hold.
///
/// # Errors
/// [`VectorError::NotANumber`] and [`VectorError::Infinite`].
pub fn check_element(element: f32) -> Result<()> {
    if element.is_nan() {
        Err(VectorError::NotANumber)
    } else if element.is_infinite() {
        Err(VectorError::Infinite)
    } else {
        Ok(())
    }
}

/// A `vector` argument, borrowed: its elements without a copy where the value is stored plainly, and a detoasted
/// copy in the current memory context (freed on drop) where it is not.
pub struct VectorArg<'a> {
    value: *mut pg_sys::varlena,
    is_copy: bool,
    elements: &'a [f32],
    source: PhantomData<&'a pg_sys::varlena>,
}

impl<'a> VectorArg<'a> {
    /// Detoasts and checks one value.
    ///
    /// # Errors
    /// [`VectorError::Corrupt`] when the bytes are no vector of a layout known here.
    ///
    /// # Safety
    /// `datum` is a non-null value of type `vector` that stays where it is for `'a`.
    pub unsafe fn new(datum: pg_sys::Datum) -> Result<Self> {
        let given = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the caller says this is a varlena value; detoasting it yields one with a four-byte header,
        // aligned as the type says (int4).
        let value = unsafe { pg_sys::pg_detoast_datum(given) };
        let mut result = Self { value, is_copy: !std::ptr::eq(value, given), elements: &[], source: PhantomData };
        // SAFETY: `value` has just been detoasted.
        let size = unsafe { pgrx::varsize_4b(value) };
        if size < HEADER_BYTES {
            return Err(VectorError::Corrupt(format!("{size} bytes are less than its header")));
        }
        // SAFETY: the value is aligned for int4 and at least as long as the header.
        let header = unsafe { &*value.cast::<Header>() };
        let dimensions = usize::try_from(header.dimensions).unwrap_or(0);
        if dimensions == 0 || dimensions > MAX_DIMENSIONS || size != HEADER_BYTES + dimensions * size_of::<f32>() {
            return Err(VectorError::Corrupt(format!("{} dimensions in {size} bytes", header.dimensions)));
        }
        if header.reserved != 0 {
            return Err(VectorError::Corrupt(format!("reserved field is {}, not 0", header.reserved)));
        }
        // SAFETY: the size says that the header is part of one allocation with the elements.
        let first = unsafe { value.byte_add(HEADER_BYTES) }.cast::<f32>();
        // SAFETY: the size was checked against the dimensions; the elements are aligned because the value is and the
        // header is a multiple of four bytes; nobody writes to an argument while its function runs.
        result.elements = unsafe { std::slice::from_raw_parts(first, dimensions) };
        Ok(result)
    }

    /// The elements.
    pub fn elements(&self) -> &[f32] {
        self.elements
    }

    /// The detoasted value itself, to be returned as a result.
    pub fn into_datum(self) -> pg_sys::Datum {
        let datum = pg_sys::Datum::from(self.value);
        std::mem::forget(self);
        datum
    }
}

impl Deref for VectorArg<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.elements
    }
}

impl Drop for VectorArg<'_> {
    fn drop(&mut self) {
        if self.is_copy {
            // SAFETY: detoasting allocated this copy, nobody else knows of it, and the borrow of its elements ends
            // with this value.
            unsafe { pg_sys::pfree(self.value.cast()) };
        }
    }
}

/// Allocates a vector of `dimensions` zeros in the current memory context and lets `fill` write its elements.
///
/// # Errors
/// Those of [`check_dimensions`], and those of `fill`.
pub fn build(dimensions: usize, fill: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<pg_sys::Datum> {
    check_dimensions(dimensions)?;
    let size = HEADER_BYTES + dimensions * size_of::<f32>();
    // SAFETY: allocation in the current memory context, which is always valid inside a function call.
    let value = unsafe { pg_sys::palloc0(size) };
    let stored_dimensions = i16::try_from(dimensions).expect("invariant: checked against MAX_DIMENSIONS");
    // SAFETY: freshly allocated with room for the header, and palloc aligns to eight bytes.
    unsafe { value.cast::<Header>().write(Header { varlena: 0, dimensions: stored_dimensions, reserved: 0 }) };
    let length = i32::try_from(size).expect("invariant: at most MAX_DIMENSIONS elements");
    // SAFETY: the value is ours and `length` bytes long.
    unsafe { pgrx::set_varsize_4b(value.cast(), length) };
    // SAFETY: the elements are part of the allocation.
    let first = unsafe { value.byte_add(HEADER_BYTES) }.cast::<f32>();
    // SAFETY: `dimensions` zeroed floats follow the header; nothing else refers to them.
    fill(unsafe { std::slice::from_raw_parts_mut(first, dimensions) })?;
    Ok(pg_sys::Datum::from(value))
}

/// Allocates a vector of these elements in the current memory context. The elements are not checked.
///
/// # Errors
/// Those of [`check_dimensions`].
pub fn build_from(elements: &[f32]) -> Result<pg_sys::Datum> {
    build(elements.len(), |target| {
        target.copy_from_slice(elements);
        Ok(())
    })
}
