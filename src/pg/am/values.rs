//! SQL values to attribute values, for rows and for what filters compare them with.
//!
//! The translation keeps equality, and order but for long strings: `a < b` in SQL implies `a' <= b'` here. Where it is not exact
//! (`numeric`, NaN, infinite times, long strings) a filter finds too many rows and never too few, and rows are looked at again:
//! by the executor, or with [`SqlType::in_full`] by a filter in JSON.

use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Decimal, Exact, held_string};
use crate::ids::Uuid;
use crate::limits::{MAX_LIST_VALUES, MIN_CUT_STRING_BYTES};
use crate::schema::AttributeType;
use crate::timestamp;
use pgrx::pg_sys;

/// 2000-01-01 in microseconds since 1970.
const EPOCH_2000: i64 = 10_957 * timestamp::DAY;

/// SQL types that an attribute column may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SqlType {
    Text,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
    TextArray,
    Int4Array,
    Int8Array,
}

/// One value, and whether the translation kept all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The attribute's value.
    pub value: Value,
    /// Different SQL values have different translations.
    pub exact: bool,
}

impl SqlType {
    /// The type of that oid.
    pub fn from_oid(oid: pg_sys::Oid) -> Option<Self> {
        Some(match oid {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Self::Text,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT8OID => Self::Int8,
            pg_sys::FLOAT4OID => Self::Float4,
            pg_sys::FLOAT8OID => Self::Float8,
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::DATEOID => Self::Date,
            pg_sys::TIMESTAMPOID => Self::Timestamp,
            pg_sys::TIMESTAMPTZOID => Self::TimestampTz,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::TEXTARRAYOID | pg_sys::VARCHARARRAYOID => Self::TextArray,
            pg_sys::INT4ARRAYOID => Self::Int4Array,
            pg_sys::INT8ARRAYOID => Self::Int8Array,
            _ => return None,
        })
    }

    /// The attribute type that holds its values.
    pub fn attribute(self) -> AttributeType {
        match self {
            Self::Text => AttributeType::String,
            Self::Int2 | Self::Int4 | Self::Int8 => AttributeType::Int,
            Self::Date | Self::Timestamp | Self::TimestampTz => AttributeType::Timestamp,
            Self::Uuid => AttributeType::Uuid,
            Self::Float4 | Self::Float8 | Self::Numeric => AttributeType::Float,
            Self::Bool => AttributeType::Bool,
            Self::TextArray => AttributeType::ArrayString,
            Self::Int4Array | Self::Int8Array => AttributeType::ArrayInt,
        }
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.attribute().is_array()
    }

    /// Translates a value that is not null.
    ///
    /// # Errors
    /// `OutOfRange` for an array of too many elements; `Invalid` for text that is not UTF-8.
    ///
    /// # Safety
    /// `datum` must be a value of this type.
    pub unsafe fn translate(self, datum: pg_sys::Datum) -> Result<Translated> {
        let exact = |value| Ok(Translated { value, exact: true });
        match self {
            Self::Text => {
                // SAFETY: as the caller says.
                let (text, exact) = cut(unsafe { text(datum) }?);
                Ok(Translated { value: Value::String(text), exact })
            }
            Self::Int2 => exact(Value::Int(i64::from(datum.value() as i16))),
            Self::Int4 => exact(Value::Int(i64::from(datum.value() as i32))),
            Self::Int8 => exact(Value::Int(datum.value() as i64)),
            Self::Date => Ok(point_in_time(match datum.value() as i32 {
                i32::MIN => timestamp::NEG_INFINITY,
                i32::MAX => timestamp::INFINITY,
                days => i64::from(days).saturating_mul(timestamp::DAY),
            })),
            Self::Timestamp | Self::TimestampTz => Ok(point_in_time(datum.value() as i64)),
            Self::Float4 | Self::Float8 => {
                // SAFETY: as the caller says.
                Ok(float(unsafe { self.number(datum) }?))
            }
            Self::Numeric => {
                // SAFETY: as the caller says.
                Ok(Translated { exact: false, ..float(unsafe { self.number(datum) }?) })
            }
            Self::Bool => exact(Value::Bool(datum.value() as u8 != 0)),
            Self::Uuid => {
                let mut bytes = [0; 16];
                // SAFETY: a uuid is 16 bytes, passed by reference.
                unsafe { std::ptr::copy_nonoverlapping(datum.cast_mut_ptr::<u8>(), bytes.as_mut_ptr(), 16) };
                exact(Value::Uuid(Uuid(bytes)))
            }
            Self::TextArray | Self::Int4Array | Self::Int8Array => {
                // SAFETY: as the caller says.
                let elements = unsafe { self.elements(datum) }?;
                let all_exact = elements.iter().all(|element| element.as_ref().is_some_and(|e| e.exact));
                let elements = elements.into_iter().flatten().map(|element| element.value);
                let value = if self == Self::TextArray {
                    Value::ArrayString(elements.filter_map(string).collect())
                } else {
                    Value::ArrayInt(elements.filter_map(int).collect())
                };
                Ok(Translated { value, exact: all_exact })
            }
        }
    }

    /// All of a value, for aggregates: numbers that are not finite, and long strings outside arrays, as they are.
    ///
    /// # Errors
    /// As [`Self::translate`].
    ///
    /// # Safety
    /// `datum` must be a value of this type.
    pub unsafe fn whole(self, datum: pg_sys::Datum) -> Result<Value> {
        match self {
            // SAFETY: as the caller says.
            Self::Text => unsafe { text(datum) }.map(Value::String),
            // SAFETY: as the caller says.
            Self::Float4 | Self::Float8 | Self::Numeric => unsafe { self.number(datum) }.map(Value::Float),
            // SAFETY: as the caller says.
            _ => unsafe { self.translate(datum) }.map(|translated| translated.value),
        }
    }

    /// # Safety
    /// `datum` must be a value of this type, which must be one of the floats or numeric.
    unsafe fn number(self, datum: pg_sys::Datum) -> Result<f64> {
        match self {
            Self::Float4 => Ok(f64::from(f32::from_bits(datum.value() as u32))),
            Self::Float8 => Ok(f64::from_bits(datum.value() as u64)),
            _ => {
                // SAFETY: as the caller says; overflow becomes infinity.
                let float8 =
                    unsafe { pgrx::direct_function_call_as_datum(pg_sys::numeric_float8_no_overflow, &[Some(datum)]) };
                let float8 = float8.ok_or_else(|| Error::internal("numeric_float8_no_overflow returned null"))?;
                Ok(f64::from_bits(float8.value() as u64))
            }
        }
    }

    /// All of a value as comparisons need it that an index cannot make: one value, or the elements of an array that are not null.
    ///
    /// # Errors
    /// As [`Self::translate`]; `Internal` for a type that an index always holds in full.
    ///
    /// # Safety
    /// `datum` must be a value of this type.
    pub unsafe fn in_full(self, datum: pg_sys::Datum) -> Result<Vec<Exact>> {
        let time = |micros: i128| Exact::Time(micros + i128::from(EPOCH_2000));
        let value = match self {
            // SAFETY: as the caller says.
            Self::Text => Exact::Text(unsafe { text(datum) }?),
            // SAFETY: as the caller says.
            Self::Float4 | Self::Float8 => Exact::float(unsafe { self.number(datum) }?),
            // SAFETY: as the caller says.
            Self::Numeric => Exact::Number(unsafe { decimal(datum) }?),
            Self::Date => match datum.value() as i32 {
                i32::MIN => Exact::time(timestamp::NEG_INFINITY),
                i32::MAX => Exact::time(timestamp::INFINITY),
                days => time(i128::from(days) * i128::from(timestamp::DAY)),
            },
            Self::Timestamp | Self::TimestampTz => match datum.value() as i64 {
                infinite @ (timestamp::NEG_INFINITY | timestamp::INFINITY) => Exact::time(infinite),
                micros => time(i128::from(micros)),
            },
            Self::TextArray => {
                // SAFETY: as the caller says; each element is a text.
                let elements = unsafe { self.each(datum, text_in_full) }?;
                return Ok(elements.into_iter().flatten().collect());
            }
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Bool | Self::Uuid | Self::Int4Array | Self::Int8Array => {
                return Err(Error::internal(format!("values of {self:?} are held in full")));
            }
        };
        Ok(vec![value])
    }

    /// The elements of an array of this element type (or of this array type), flattened; `None` for null ones.
    ///
    /// # Errors
    /// As [`Self::translate`].
    ///
    /// # Safety
    /// `datum` must be an array, either of this type or with elements of this type.
    pub unsafe fn elements(self, datum: pg_sys::Datum) -> Result<Vec<Option<Translated>>> {
        // SAFETY: as the caller says; an element is of its type.
        unsafe { self.each(datum, Self::translate) }
    }

    /// What `read` makes of each element, given its type and its value.
    ///
    /// # Errors
    /// `OutOfRange` for an array of too many elements; those of `read`.
    ///
    /// # Safety
    /// As [`Self::elements`]; `read` must be sound for each element that is not null.
    unsafe fn each<T>(
        self,
        datum: pg_sys::Datum,
        read: unsafe fn(Self, pg_sys::Datum) -> Result<T>,
    ) -> Result<Vec<Option<T>>> {
        let element = match self {
            Self::TextArray => Self::Text,
            Self::Int4Array => Self::Int4,
            Self::Int8Array => Self::Int8,
            scalar => scalar,
        };
        // SAFETY: an array is a varlena.
        let array = unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) }.cast::<pg_sys::ArrayType>();
        // SAFETY: a detoasted array.
        let kind = unsafe { (*array).elemtype };
        let (mut width, mut by_value, mut align) = (0_i16, false, 0 as std::ffi::c_char);
        // SAFETY: the oid of an existing type.
        unsafe { pg_sys::get_typlenbyvalalign(kind, &raw mut width, &raw mut by_value, &raw mut align) };
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0_i32);
        // SAFETY: the array and the storage of its element type.
        unsafe {
            pg_sys::deconstruct_array(
                array,
                kind,
                i32::from(width),
                by_value,
                align,
                &raw mut values,
                &raw mut nulls,
                &raw mut count,
            );
        }
        let count = usize::try_from(count).unwrap_or(0);
        if count > MAX_LIST_VALUES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("array of {count} values is longer than {MAX_LIST_VALUES}"),
            ));
        }
        let mut elements = Vec::with_capacity(count);
        for i in 0..count {
            // SAFETY: `count` elements each.
            let is_null = unsafe { *nulls.add(i) };
            // SAFETY: as above.
            let value = unsafe { *values.add(i) };
            // SAFETY: an element of the array's type.
            elements.push(if is_null { None } else { Some(unsafe { read(element, value) }?) });
        }
        Ok(elements)
    }
}

fn string(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

fn int(value: Value) -> Option<i64> {
    if let Value::Int(int) = value { Some(int) } else { None }
}

/// Microseconds since 2000-01-01, as PostgreSQL counts. What is too late for an attribute is one with infinity.
fn point_in_time(micros: i64) -> Translated {
    let since_1970 = match micros {
        timestamp::NEG_INFINITY => timestamp::NEG_INFINITY,
        micros => micros.saturating_add(EPOCH_2000),
    };
    Translated { value: Value::Timestamp(since_1970), exact: since_1970 != timestamp::INFINITY }
}

/// Attribute floats are finite; SQL's NaN is above everything and equal to itself.
fn float(value: f64) -> Translated {
    let kept = if value.is_nan() { f64::MAX } else { value.clamp(f64::MIN, f64::MAX) };
    // -0 equals 0 in SQL, and must be the same term.
    let kept = if kept == 0.0 { 0.0 } else { kept };
    Translated { value: Value::Float(kept), exact: kept.abs() < f64::MAX }
}

/// Long strings keep their beginning: as many whole characters as a filterable string may have bytes. Exact is what cannot be
/// the beginning of another.
fn cut(mut text: String) -> (String, bool) {
    let exact = text.len() < MIN_CUT_STRING_BYTES;
    text.truncate(held_string(&text).len());
    (text, exact)
}

/// A `numeric` value.
///
/// # Errors
/// `Internal` if it is not what `numeric` prints.
///
/// # Safety
/// `datum` must be a non-null numeric.
unsafe fn decimal(datum: pg_sys::Datum) -> Result<Decimal> {
    // SAFETY: as the caller says.
    let text = unsafe { pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &[Some(datum)]) };
    let text = text.ok_or_else(|| Error::internal("numeric_out returned null"))?;
    // SAFETY: numeric_out returns a C string of the current memory context.
    let text = unsafe { std::ffi::CStr::from_ptr(text.cast_mut_ptr::<std::ffi::c_char>()) };
    let number = text.to_str().ok().and_then(Decimal::parse);
    number.ok_or_else(|| Error::internal(format!("numeric_out returned {text:?}")))
}

/// # Safety
/// `datum` must be a non-null text.
unsafe fn text_in_full(_: SqlType, datum: pg_sys::Datum) -> Result<Exact> {
    // SAFETY: as the caller says.
    unsafe { text(datum) }.map(Exact::Text)
}

/// A `text` value.
///
/// # Errors
/// `Invalid` if it is not UTF-8.
///
/// # Safety
/// `datum` must be a non-null value of a type stored as text is.
pub unsafe fn text(datum: pg_sys::Datum) -> Result<String> {
    // SAFETY: as the caller says.
    let value = unsafe { pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr()) };
    // SAFETY: detoasted; short headers are fine.
    let bytes = unsafe { pgrx::varlena_to_byte_slice(value) };
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Error::invalid("text that is not UTF-8 cannot be indexed").with_hint("Use a database with encoding UTF8.")
    })
}
