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
mod tests {
    use super::with_digits;
    use serde_json::json;

    #[test]
    fn numbers_become_strings_and_nothing_else_changes() {
        let written = r#"{"a 1": [1, -2.50, 3e+5], "b\"2": "x\\", "c": [true, false, null, "4", ""], "é": 9007199254740993.1}"#;
        let expected = json!({
            "a 1": ["1", "-2.50", "3e+5"], "b\"2": "x\\", "c": [true, false, null, "4", ""], "é": "9007199254740993.1"
        });
        assert_eq!(with_digits(written).unwrap(), expected);
        assert_eq!(with_digits("12345678901234567890123").unwrap(), json!("12345678901234567890123"));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", "\"open", "\"\\", "1 2", "{1: 2"] {
            assert!(with_digits(text).is_err(), "{text}");
        }
    }
}
