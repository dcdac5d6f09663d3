use super::*;
use crate::document::Value;
use crate::ids::EntryOrder;
use crate::segment::Spill;
use serde_json::json;
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes of one document.
const LARGE: usize = 1 << 20;

#[test]
fn of_large_documents_only_a_few_are_in_memory_at_once() {
    let schema =
        NamespaceSchema::parse(&json!({"attributes": {"body": {"type": "string", "indexed": false}}})).unwrap();
    let mut spill = Spill::new(None, 0).unwrap();
    for key in 0..40 {
        let id = EntryId { key, order: EntryOrder { seq: 1, xid: 1 } };
        let body = if key < 20 { "x".repeat(LARGE) } else { "y".to_string() };
        spill
            .add(id, Document { vector: None, attributes: vec![(schema.attributes[0].id, Value::String(body))] })
            .unwrap();
    }
    let rows = spill.finish(Arc::new(|| Ok(()))).unwrap();
    let place = Place { id: "01".to_string(), root: "file:///r".to_string(), path: "p/01".to_string() };
    let options = MergeOptions { threads: 1, training_bytes: 1 << 20 };
    let batches = RefCell::new(Vec::new());
    let on = |step| {
        if let MergeStep::Wrote(rows) = step {
            batches.borrow_mut().push(rows);
        }
    };
    let written = write_merged(&schema, &rows, Vec::new(), &options, place, &on).unwrap();
    assert_eq!(written.info.rows, 40);
    let batches = batches.into_inner();
    assert_eq!(batches.iter().sum::<usize>(), 40);
    assert!(batches[0] <= BATCH_BYTES / LARGE, "{batches:?}");
    assert!(batches.len() <= 4, "small ones go together: {batches:?}");
}
