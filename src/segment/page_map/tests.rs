use super::*;
use crate::document::{Document, Value};
use crate::ids::{EntryId, EntryOrder};
use crate::schema::NamespaceSchema;
use crate::segment::columns::write_parquet;
use serde_json::json;

/// Every vector is found by its range, over many pages and row groups, with rows without vectors after them.
fn every_vector_is_where_the_map_says(dim: usize, vectors: usize, without: usize) -> usize {
    let schema = NamespaceSchema::parse(&json!({"vector_dim": dim, "attributes": {"n": {"type": "int"}}})).unwrap();
    let documents: Vec<Document> = (0..vectors + without)
        .map(|row| Document {
            vector: (row < vectors).then(|| (0..dim).map(|d| (row * 31 + d) as f32).collect()),
            attributes: vec![(0, Value::Int(row as i64))],
        })
        .collect();
    let id = |key| EntryId { key, order: EntryOrder { seq: 1, xid: 1 } };
    let rows: Vec<_> = documents.iter().zip(0..).map(|(document, key)| (id(key), document)).collect();
    let file = write_parquet(&schema, &rows).unwrap();
    let pages = vector_pages(&file, 3, dim, vectors, |row, bytes| {
        Ok(is_same(bytes, documents[row].vector.as_deref().unwrap()))
    })
    .unwrap();
    for (row, document) in documents.iter().enumerate() {
        let range = vector_range(&pages, dim, row as u32);
        let Some(vector) = &document.vector else {
            assert_eq!(range, None);
            continue;
        };
        let range = range.unwrap();
        let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(file[range.start as usize..range.end as usize], bytes, "row {row}");
    }
    let tail = parquet_tail(&file).unwrap();
    let metadata = parse_metadata(&tail.bytes.0, tail.len, "rows.parquet").unwrap();
    assert_eq!(metadata.file_metadata().num_rows() as usize, vectors + without);
    pages.len()
}

#[test]
fn vectors_are_located_over_pages_and_row_groups() {
    assert_eq!(every_vector_is_where_the_map_says(3, 1, 0), 1);
    assert_eq!(every_vector_is_where_the_map_says(3, 5, 7), 1);
    assert!(every_vector_is_where_the_map_says(700, 900, 10) > 2);
    // More than one row group; vectors end inside the second.
    assert!(every_vector_is_where_the_map_says(2, 66_000, 500) >= 2);
}

#[test]
fn a_wrong_expectation_is_noticed() {
    let schema = NamespaceSchema::parse(&json!({"vector_dim": 2})).unwrap();
    let document = Document { vector: Some(vec![1.0, 2.0]), attributes: Vec::new() };
    let id = EntryId { key: 1, order: EntryOrder { seq: 1, xid: 1 } };
    let file = write_parquet(&schema, &[(id, &document)]).unwrap();
    assert!(vector_pages(&file, 3, 2, 1, |_, bytes| Ok(is_same(bytes, &[1.0, 3.0]))).is_err());
}

#[test]
fn damaged_metadata_is_an_error() {
    let schema = NamespaceSchema::parse(&json!({"vector_dim": 2})).unwrap();
    let document = Document { vector: Some(vec![1.0, 2.0]), attributes: Vec::new() };
    let id = EntryId { key: 1, order: EntryOrder { seq: 1, xid: 1 } };
    let file = write_parquet(&schema, &[(id, &document)]).unwrap();
    let tail = parquet_tail(&file).unwrap();
    for cut in 0..tail.bytes.0.len() {
        let cut = tail.bytes.0.slice(..cut);
        assert!(parse_metadata(&cut, tail.len, "rows.parquet").is_err());
    }
}
