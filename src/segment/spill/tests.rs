use super::*;
use crate::document::Value;
use crate::ids::EntryOrder;
use crate::segment::merged_keys::MergedKeysWriter;

fn id(key: i128) -> EntryId {
    EntryId { key, order: EntryOrder { seq: 7, xid: 9 } }
}

fn document(number: i64, vector: Option<Vec<f32>>) -> Document {
    Document { vector, attributes: vec![(3, Value::Int(number)), (4, Value::String("x".repeat(number as usize)))] }
}

/// The rows of one segment: by ordinal those with a vector first.
fn keys(scratch: &Arc<Scratch>, vectors: u32, rows: u32) -> MergedKeys {
    let mut writer = MergedKeysWriter::new(scratch, [u64::from(vectors)]).unwrap();
    (0..rows).for_each(|row| writer.row(id(i128::from(row) * 2), 0, row).unwrap());
    writer.finish().unwrap()
}

#[test]
fn rows_come_back_as_they_went_in_any_order() {
    let scratch = Scratch::new(None);
    let mut spill = Spill::new(&scratch, 2).unwrap();
    let all: Vec<Document> = (0..50).map(|i| document(i, (i < 30).then(|| vec![i as f32 + 1.0, -0.0]))).collect();
    all.iter().for_each(|document| spill.add(document.clone()).unwrap());
    let rows = spill.finish(keys(&scratch, 30, 50)).unwrap();
    assert_eq!((rows.keys().rows(), rows.rows()), (50, 30));
    for (row, document) in all.iter().enumerate().rev() {
        let expected = (id(row as i128 * 2), document);
        assert_eq!((rows.id(row as u32).unwrap(), &rows.document(row as u32).unwrap()), expected);
    }
    let mut values = Vec::new();
    rows.read(1..3, &mut values).unwrap();
    assert_eq!(values, [2.0, -0.0, 3.0, -0.0]);
    assert!(rows.is_vector(0, &[0, 0, 128, 63, 0, 0, 0, 128]).unwrap() && !rows.is_vector(0, &[0; 8]).unwrap());
}

#[test]
fn a_cancelled_merge_reads_no_further() {
    let scratch = Scratch::new(None);
    let mut spill = Spill::new(&scratch, 1).unwrap();
    spill.add(document(1, Some(vec![1.0]))).unwrap();
    let rows = spill.finish(keys(&scratch, 1, 1)).unwrap();
    scratch.set_check(Some(Arc::new(|| Err(Error::new(ErrorKind::Cancelled, "enough")))));
    assert_eq!(rows.document(0).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(rows.read(0..1, &mut Vec::new()).unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn wrong_dimensions_and_numbers_of_rows_are_errors() {
    let scratch = Scratch::new(None);
    let mut spill = Spill::new(&scratch, 2).unwrap();
    assert_eq!(spill.add(document(1, Some(vec![1.0]))).unwrap_err().kind, ErrorKind::TypeMismatch);
    let spill = Spill::new(&scratch, 2).unwrap();
    assert_eq!(spill.finish(keys(&scratch, 0, 1)).unwrap_err().kind, ErrorKind::Internal);
}
