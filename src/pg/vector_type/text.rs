//! The text format: `[1,2.5,-3]`, white space allowed around brackets and elements.

use std::ffi::{CStr, c_char, c_int};

use super::error::{Result, VectorError};
use super::layout::check_element;
use crate::limits::MAX_DIMENSIONS;

/// Longest text of one `float4`, without a terminator (PostgreSQL's FLOAT_SHORTEST_DECIMAL_LEN less one).
const MAX_ELEMENT_BYTES: usize = 15;

unsafe extern "C" {
    /// PostgreSQL's shortest decimal that reads back as the same `float4` (`common/shortest_dec.h`); writes no
    /// terminator, returns the length, never reports an error.
    safe fn float_to_shortest_decimal_bufn(number: f32, buffer: &mut [u8; MAX_ELEMENT_BYTES + 1]) -> c_int;
}

/// What counts as white space: the same in every locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A position in the text. The text ends in NUL, which no rule skips, so reading at the position is always valid.
struct Cursor<'a> {
    text: &'a CStr,
    position: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> u8 {
        self.text.to_bytes_with_nul()[self.position]
    }

    fn skip_space(&mut self) {
        while is_space(self.peek()) {
            self.position += 1;
        }
    }

    fn syntax(&self, detail: Option<&'static str>) -> VectorError {
        VectorError::Syntax { text: self.text.to_string_lossy().into_owned(), detail }
    }

    /// Reads the longest number from here on, exactly as `float4` input does (C's strtof, so also hexadecimal).
    fn number(&mut self) -> Result<f32> {
        let rest = &self.text.to_bytes_with_nul()[self.position..];
        let start = rest.as_ptr().cast::<c_char>();
        let mut end = start.cast_mut();
        // SAFETY: `start` points into a NUL-terminated string and `end` is a valid place for the result.
        let number = unsafe { libc::strtof(start, &raw mut end) };
        let length = (end as usize) - (start as usize);
        if length == 0 {
            return Err(self.syntax(None));
        }
        let token = &rest[..length];
        // The word "inf" is an infinite value; digits that come out infinite are a number too large.
        let is_word = token.iter().any(|byte| matches!(byte, b'n' | b'N'));
        if number.is_infinite() && !is_word {
            return Err(VectorError::ElementOutOfRange(String::from_utf8_lossy(token).into_owned()));
        }
        check_element(number)?;
        self.position += length;
        Ok(number)
    }
}

/// Reads the elements of a vector; at least one, at most [`MAX_DIMENSIONS`], all finite.
///
/// # Errors
/// [`VectorError::Syntax`], [`VectorError::Empty`], [`VectorError::TooManyDimensions`] and those of an element.
pub fn parse(text: &CStr) -> Result<Vec<f32>> {
    let mut cursor = Cursor { text, position: 0 };
    let mut elements = Vec::new();
    cursor.skip_space();
    if cursor.peek() != b'[' {
        return Err(cursor.syntax(Some("Vector contents must start with \"[\".")));
    }
    cursor.position += 1;
    cursor.skip_space();
    if cursor.peek() == b']' {
        return Err(VectorError::Empty);
    }
    loop {
        if elements.len() == MAX_DIMENSIONS {
            return Err(VectorError::TooManyDimensions);
        }
        cursor.skip_space();
        elements.push(cursor.number()?);
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.position += 1,
            b']' => break,
            _ => return Err(cursor.syntax(None)),
        }
    }
    cursor.position += 1;
    cursor.skip_space();
    if cursor.peek() != 0 {
        return Err(cursor.syntax(Some("Junk after closing right brace.")));
    }
    Ok(elements)
}

/// Writes a vector, each element as the shortest decimal that reads back the same.
pub fn format(elements: &[f32]) -> Vec<u8> {
    let mut text = Vec::with_capacity(elements.len() * 12 + 2);
    let mut buffer = [0u8; MAX_ELEMENT_BYTES + 1];
    text.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let length = float_to_shortest_decimal_bufn(*element, &mut buffer);
        let length = usize::try_from(length).expect("invariant: a length is not negative");
        text.extend_from_slice(&buffer[..length]);
    }
    text.push(b']');
    text
}
