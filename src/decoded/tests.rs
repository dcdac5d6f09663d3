use super::*;
use crate::error::Error;

#[test]
fn equal_bytes_are_decoded_once_and_errors_are_not_kept() {
    let mut decoded = Decoded::new(2);
    assert_eq!(decoded.get(b"a", || Ok(1)).unwrap(), 1);
    assert_eq!(decoded.get(b"a", || Ok(2)).unwrap(), 1);
    assert!(decoded.get(b"b", || Err(Error::internal("no"))).is_err());
    assert_eq!(decoded.get(b"b", || Ok(3)).unwrap(), 3);
}

#[test]
fn the_oldest_makes_room_and_long_forms_are_not_kept() {
    let mut decoded = Decoded::new(2);
    for (form, value) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
        assert_eq!(decoded.get(form, || Ok(value)).unwrap(), value);
    }
    assert_eq!(decoded.get(b"b", || Ok(9)).unwrap(), 2);
    assert_eq!(decoded.get(b"a", || Ok(9)).unwrap(), 9);
    let long = vec![0; Decoded::<i32>::MAX_BYTES + 1];
    assert_eq!(decoded.get(&long, || Ok(4)).unwrap(), 4);
    assert_eq!(decoded.get(&long, || Ok(5)).unwrap(), 5);
}
