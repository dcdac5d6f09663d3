//! JSON with its numbers as they are written: a parser makes 64-bit numbers of them, `numeric` has no such limit.

use crate::error::{Error, Result};
use serde_json::Value as Json;

/// The same JSON with a string of its digits in the place of each number.
///
/// # Errors
/// `Invalid` for what is no JSON.
pub fn with_digits(json: &str) -> Result<Json> {
    let bytes = json.as_bytes();
    let mut quoted = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => at + bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count(),
            _ => at + 1,
        };
        let is_number = matches!(byte, b'-' | b'0'..=b'9');
        if is_number {
            quoted.push(b'"');
        }
        quoted.extend_from_slice(&bytes[at..end]);
        if is_number {
            quoted.push(b'"');
        }
        at = end;
    }
    serde_json::from_slice(&quoted).map_err(|error| Error::invalid(format!("JSON cannot be read: {error}")))
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Behind the closing quote of the string that begins at a place.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
