//! What can be wrong with a vector, with the SQLSTATE that clients of pgvector already test for.
//!
//! The crate's own error kinds are coarser than these codes, and drivers and applications match on the codes, so the
//! type's functions have their own error; [`crate::error::Error`] can be made from it.

use std::fmt;

use pgrx::prelude::*;

use crate::error::{Error, ErrorKind};
use crate::limits::MAX_DIMENSIONS;

/// What is wrong with a vector, its text or its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VectorError {
    /// A vector of no dimensions.
    Empty,
    /// More than [`MAX_DIMENSIONS`] dimensions.
    TooManyDimensions,
    /// The column or cast asks for `expected` dimensions and the value has `actual`.
    Unexpected {
        /// What the type modifier or the aggregate's state says.
        expected: i32,
        /// What the value has.
        actual: usize,
    },
    /// Two operands whose dimensions must be equal and are not.
    Different(usize, usize),
    /// Two bit strings whose lengths must be equal and are not.
    DifferentBits(u32, u32),
    /// An element is not a number.
    NotANumber,
    /// An element is infinite.
    Infinite,
    /// Text that is not a vector, and where it went wrong if that helps.
    Syntax {
        /// The whole text.
        text: String,
        /// Which rule it breaks.
        detail: Option<&'static str>,
    },
    /// A number of the text that no `float4` can hold.
    ElementOutOfRange(String),
    /// An operation's result is too large for `float4`.
    Overflow,
    /// An operation's result is too small for `float4`.
    Underflow,
    /// The reserved field of the binary format is not zero.
    ReservedField(u16),
    /// A type modifier that is wrong in itself; the text is the whole message.
    TypeModifier(String),
    /// An array of more than one dimension.
    ArrayShape,
    /// An array with a NULL in it.
    ArrayNull,
    /// An array whose element type has no conversion.
    ArrayType,
    /// An aggregate's state that none of its functions can have made, and the function that got it.
    State(&'static str),
    /// Stored bytes that are not a vector.
    Corrupt(String),
    /// A function declared otherwise than the extension's script declares it.
    Declaration(usize),
}

/// Result of the functions of this type.
pub type Result<T> = std::result::Result<T, VectorError>;

impl VectorError {
    /// The code that pgvector reports for the same mistake.
    pub fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Self::TooManyDimensions => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::Syntax { .. } => PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
            Self::ElementOutOfRange(_) | Self::Overflow | Self::Underflow => {
                PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
            }
            Self::TypeModifier(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ArrayNull => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::State(_) | Self::Declaration(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Corrupt(_) => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            Self::Empty
            | Self::Unexpected { .. }
            | Self::Different(..)
            | Self::DifferentBits(..)
            | Self::NotANumber
            | Self::Infinite
            | Self::ReservedField(_)
            | Self::ArrayShape
            | Self::ArrayType => PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        }
    }

    /// The second line of the report, where there is one.
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Syntax { detail, .. } => *detail,
            _ => None,
        }
    }

    /// Reports this as an ERROR of the running statement. Call it with nothing left to drop.
    pub fn report(self) -> ! {
        let (code, message, detail) = (self.sqlstate(), self.to_string(), self.detail());
        match detail {
            Some(detail) => {
                ereport!(ERROR, code, message, detail);
            }
            None => {
                ereport!(ERROR, code, message);
            }
        }
    }
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("vector must have at least 1 dimension"),
            Self::TooManyDimensions => write!(f, "vector cannot have more than {MAX_DIMENSIONS} dimensions"),
            Self::Unexpected { expected, actual } => write!(f, "expected {expected} dimensions, not {actual}"),
            Self::Different(left, right) => write!(f, "different vector dimensions {left} and {right}"),
            Self::DifferentBits(left, right) => write!(f, "different bit lengths {left} and {right}"),
            Self::NotANumber => f.write_str("NaN not allowed in vector"),
            Self::Infinite => f.write_str("infinite value not allowed in vector"),
            Self::Syntax { text, .. } => write!(f, "invalid input syntax for type vector: \"{text}\""),
            Self::ElementOutOfRange(number) => write!(f, "\"{number}\" is out of range for type vector"),
            Self::Overflow => f.write_str("value out of range: overflow"),
            Self::Underflow => f.write_str("value out of range: underflow"),
            Self::ReservedField(value) => write!(f, "expected unused to be 0, not {value}"),
            Self::TypeModifier(message) => f.write_str(message),
            Self::ArrayShape => f.write_str("array must be 1-D"),
            Self::ArrayNull => f.write_str("array must not contain nulls"),
            Self::ArrayType => f.write_str("unsupported array type"),
            Self::State(function) => write!(f, "{function}: expected state array"),
            Self::Corrupt(what) => write!(f, "stored vector is corrupt: {what}"),
            Self::Declaration(argument) => write!(f, "argument {argument} of a vector function is missing or null"),
        }
    }
}

impl std::error::Error for VectorError {}

impl From<VectorError> for Error {
    fn from(error: VectorError) -> Self {
        let kind = match &error {
            VectorError::TooManyDimensions
            | VectorError::ElementOutOfRange(_)
            | VectorError::Overflow
            | VectorError::Underflow => ErrorKind::OutOfRange,
            VectorError::Unexpected { .. } | VectorError::Different(..) | VectorError::DifferentBits(..) => {
                ErrorKind::TypeMismatch
            }
            VectorError::Corrupt(_) => ErrorKind::Corrupt,
            VectorError::State(_) | VectorError::Declaration(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        };
        let converted = Error::new(kind, error.to_string());
        match error.detail() {
            Some(detail) => converted.with_detail(detail),
            None => converted,
        }
    }
}
