use super::*;
use crate::document::Value;
use crate::ids::EntryOrder;

fn id(key: i128) -> EntryId {
    EntryId { key, order: EntryOrder { seq: 7, xid: 9 } }
}

fn document(number: i64, vector: Option<Vec<f32>>) -> Document {
    Document { vector, attributes: vec![(3, Value::Int(number)), (4, Value::String("x".repeat(number as usize)))] }
}

#[test]
fn rows_come_back_as_they_went_those_with_a_vector_first() {
    let mut spill = Spill::new(None, 2).unwrap();
    let all: Vec<(EntryId, Document)> =
        (0..50).map(|i| (id(i), document(i as i64, (i % 3 != 0).then(|| vec![i as f32, -0.0])))).collect();
    all.iter().for_each(|(id, document)| spill.add(*id, document.clone()).unwrap());
    let rows = spill.finish(Arc::new(|| Ok(()))).unwrap();
    let (with, without): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, document)| document.vector.is_some());
    assert_eq!((rows.len(), rows.vectors()), (50, with.len()));
    for (row, (id, document)) in with.iter().chain(&without).enumerate() {
        assert_eq!((rows.id(row), &rows.document(row).unwrap()), (*id, document));
    }
    let mut values = Vec::new();
    rows.read(1..3, &mut values).unwrap();
    assert_eq!(values, [2.0, -0.0, 4.0, -0.0]);
    assert!(rows.is_vector(0, &[0, 0, 128, 63, 0, 0, 0, 128]).unwrap() && !rows.is_vector(0, &[0; 8]).unwrap());
}

#[test]
fn what_goes_by_way_of_the_disk_comes_back_whole_each_time() {
    let rows = Spill::new(None, 1).unwrap().finish(Arc::new(|| Ok(()))).unwrap();
    for bytes in [vec![7_u8; 3 << 20], vec![1, 2, 3], Vec::new()] {
        let back = rows.by_way_of_disk(|mut to| {
            to.write_all(&bytes).unwrap();
            Ok(to)
        });
        assert!(back.unwrap() == bytes);
    }
}

#[test]
fn a_cancelled_merge_reads_no_further() {
    let mut spill = Spill::new(None, 1).unwrap();
    spill.add(id(1), document(1, Some(vec![1.0]))).unwrap();
    let rows = spill.finish(Arc::new(|| Err(Error::new(ErrorKind::Cancelled, "enough")))).unwrap();
    assert_eq!(rows.document(0).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(rows.read(0..1, &mut Vec::new()).unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn wrong_dimensions_and_directories_are_errors() {
    let mut spill = Spill::new(None, 2).unwrap();
    assert_eq!(spill.add(id(1), document(1, Some(vec![1.0]))).unwrap_err().kind, ErrorKind::TypeMismatch);
    let error = Spill::new(Some(Path::new("/proc/none")), 2).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("/proc/none"), "{error}");
}
