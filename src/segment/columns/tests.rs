use super::*;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use crate::document::DocumentId;
use crate::ids::EntryOrder;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 2, "attributes": {
        "Seq": {"type": "int"}, "XID": {"type": "string"}, "XID_": {"type": "bool"},
        "body": {"type": "string", "full_text": true}, "score": {"type": "float"}, "tags": {"type": "array_string"},
        "u_at": {"type": "timestamp"}, "v_ref": {"type": "uuid"}, "w_sizes": {"type": "array_int"},
    }}))
    .unwrap()
}

#[test]
fn names_that_are_taken_get_underscores_and_ids_stay() {
    let map = ColumnMap::new(&schema());
    assert_eq!(
        map.names,
        ["id", "seq", "xid", "vector", "Seq_", "XID_", "XID__", "body", "score", "tags", "u_at", "v_ref", "w_sizes"]
    );
    assert_eq!(map.attribute(&schema(), 0), Some(4));
    assert_eq!(map.attribute(&schema(), 5), Some(9));
    assert_eq!(map.attribute(&schema(), 9), None);
}

#[test]
fn any_parquet_reader_gets_every_value_back() {
    let schema = schema();
    let full = Document {
        vector: Some(vec![0.5, -1.5]),
        attributes: vec![
            (0, Value::Int(i64::MIN)),
            (1, Value::String("ä".to_string())),
            (2, Value::Bool(true)),
            (3, Value::String(String::new())),
            (4, Value::Float(-0.0)),
            (5, Value::ArrayString(vec!["a".to_string(), String::new()])),
            (6, Value::Timestamp(-1)),
            (7, Value::Uuid(Uuid([7; 16]))),
            (8, Value::ArrayInt(vec![i64::MIN, 0, 0])),
        ],
    };
    let empty_array = Document {
        vector: None,
        attributes: vec![(5, Value::ArrayString(Vec::new())), (8, Value::ArrayInt(Vec::new()))],
    };
    let id = |key| EntryId { key, order: EntryOrder { seq: u64::MAX, xid: 1 << 63 } };
    let documents = [full, empty_array, Document::default()];
    let rows: Vec<_> = documents.iter().zip(7..).map(|(document, key)| (id(key), document)).collect();
    let file = write_parquet(&schema, &rows).unwrap();
    let metadata = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let logical = |column: usize| {
        metadata.parquet_schema().root_schema().get_fields()[column].get_basic_info().logical_type_ref().cloned()
    };
    assert_eq!(logical(11), Some(LogicalType::Uuid));
    assert!(matches!(logical(10), Some(LogicalType::Timestamp { .. })));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = reader.into_iter().next().unwrap().unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[7, 8, 9]);
    assert_eq!(batch.column(1).as_primitive::<arrow_array::types::UInt64Type>().value(2), u64::MAX);
    assert_eq!(batch.column(2).as_primitive::<arrow_array::types::UInt64Type>().value(0), 1 << 63);
    assert!(batch.column(3).is_null(1));
    for (row, document) in documents.iter().enumerate() {
        for (place, attribute) in schema.attributes.iter().enumerate() {
            let value = value_at(batch.column(4 + place), attribute.kind, row);
            assert_eq!(value.as_ref(), document.get(attribute.id), "row {row}, {}", attribute.name);
        }
    }
    let ids: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.metadata()[parquet::arrow::PARQUET_FIELD_ID_META_KEY].clone())
        .collect();
    assert_eq!(ids, ["0", "1", "2", "3", "16", "17", "18", "19", "20", "21", "22", "23", "24"]);
    let names: Vec<String> = batch.schema().fields().iter().skip(10).map(|f| f.data_type().to_string()).collect();
    assert_eq!(names[..2], ["Timestamp(µs, \"UTC\")", "FixedSizeBinary(16)"]);
}

#[test]
fn any_parquet_reader_sees_uuids_as_uuids_and_texts_as_texts() {
    let file_of = |kind: &str, ids: &[&str]| {
        let schema = NamespaceSchema::parse(&json!({"id": kind, "attributes": {"key": "int"}})).unwrap();
        let rows: Vec<(EntryId, Document)> = ids
            .iter()
            .map(|id| {
                let id = DocumentId::from_text(schema.id, id).unwrap();
                let entry = EntryId { key: id.key(), order: EntryOrder { seq: 1, xid: 1 } };
                (entry, Document::new(&id, None, vec![(0, Value::Int(5))]))
            })
            .collect();
        let borrowed: Vec<_> = rows.iter().map(|(id, document)| (*id, document)).collect();
        (ColumnMap::new(&schema).names, write_parquet(&schema, &borrowed).unwrap())
    };
    let batch_of =
        |file: Bytes| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let uuid = "0191e0a5-7cf8-7bd2-8f6e-5d6b2a6a0c11";
    let (names, file) = file_of("uuid", &[uuid]);
    assert_eq!(names, ["id", "seq", "xid", "key"]);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let id = builder.parquet_schema().root_schema().get_fields()[0].clone();
    assert_eq!(id.get_basic_info().logical_type_ref().cloned(), Some(LogicalType::Uuid));
    assert!(!id.is_optional());
    assert_eq!(batch_of(file).column(0).as_fixed_size_binary().value(0), Uuid::parse(uuid).unwrap().0);

    let (names, file) = file_of("text", &["abc", "é"]);
    assert_eq!(names, ["key", "seq", "xid", "key_", "id"]);
    let batch = batch_of(file);
    // The first bytes of SHA-256("abc").
    assert_eq!(batch.column(0).as_fixed_size_binary().value(0)[..4], [0xba, 0x78, 0x16, 0xbf]);
    let ids: Vec<_> = batch.column(4).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["abc", "é"]);
}
