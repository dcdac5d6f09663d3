use super::*;
use crate::error::ErrorKind;

#[test]
fn a_delete_vector_survives_its_encoding_and_no_change_goes_unnoticed() {
    let vector = DeleteVector(RoaringBitmap::from_iter([1, 5, 70_000]));
    let bytes = vector.encode();
    assert_eq!(DeleteVector::decode(&bytes, "s").unwrap(), vector);
    assert_eq!(DeleteVector::decode(&[], "s").unwrap(), DeleteVector::default());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let error = DeleteVector::decode(&bad, "seg").unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("seg"));
    }
    for len in 1..bytes.len() {
        assert_eq!(DeleteVector::decode(&bytes[..len], "s").unwrap_err().kind, ErrorKind::Corrupt);
    }
}
