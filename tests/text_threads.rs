//! The text arm works on the caller's thread only. Alone in its binary, because it counts the threads of the process.
#![allow(clippy::unwrap_used)] // the fixture is test code outside of #[test] functions
#![cfg(all(feature = "engine", target_os = "linux"))]

mod text_fixture;

use elacsym::document::{Document, Value};
use elacsym::schema::NamespaceSchema;
use elacsym::text::TextBuilder;
use serde_json::json;
use text_fixture::{Spread, open, parse};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn building_opening_and_searching_start_no_thread() {
    let schema =
        NamespaceSchema::parse(&json!({"attributes": {"body": {"type": "string", "full_text": true}}})).unwrap();
    let document = Document { vector: None, attributes: vec![(0, Value::String("one two three".into()))] };
    let before = threads();
    let mut builder = TextBuilder::new(&schema).unwrap();
    for _ in 0..10_000 {
        builder.add(&document).unwrap();
    }
    assert_eq!(threads(), before);
    assert!(builder.memory_bytes() > 0);
    let bundle = builder.finish().unwrap();
    let (segment, _) = open(&schema, &bundle);
    let spread = Spread { segments: vec![(0, segment)], buffer: Vec::new() };
    assert_eq!(spread.search(&parse(&schema, "two", &[("body", 1.0)]), 10).len(), 10);
    assert_eq!(threads(), before);
}
