use super::with_digits;
use serde_json::json;

#[test]
fn numbers_become_strings_and_nothing_else_changes() {
    let written =
        r#"{"a 1": [1, -2.50, 3e+5], "b\"2": "x\\", "c": [true, false, null, "4", ""], "é": 9007199254740993.1}"#;
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
