use super::*;

fn fences() -> Fences {
    let fence = |from: &str, block, postings| Fence { from: from.as_bytes().to_vec(), block, postings };
    let fences = vec![fence("a", 0, 0), fence("bo", 100, 900), fence("m", 220, 950)];
    Fences(vec![FieldFences { field: 3, fences, end: (400, 2_000), lengths: (400, 450) }])
}

#[test]
fn a_term_is_where_its_fences_say() {
    let (fences, field) = (fences(), Field::from_field_id(3));
    let place = |term: &str| fences.place(field, term.as_bytes());
    assert_eq!(place("A"), None, "below the first term");
    assert_eq!(place("a"), Some(TermPlace { block: 0..100, postings: 0..900 }));
    assert_eq!(place("bn"), place("a"));
    assert_eq!(place("bo"), Some(TermPlace { block: 100..220, postings: 900..950 }));
    assert_eq!(place("zz"), Some(TermPlace { block: 220..400, postings: 950..2_000 }));
    assert_eq!(fences.place(Field::from_field_id(4), b"a"), None);
}

#[test]
fn damaged_fences_and_blocks_are_errors() {
    let bytes = postcard::to_stdvec(&fences()).unwrap();
    assert_eq!(Fences::decode(&bytes, "x").unwrap(), fences());
    assert!(Fences::decode(&bytes[..bytes.len() - 1], "x").is_err());
    let mut unsorted = fences();
    unsorted.0[0].fences.swap(0, 1);
    assert!(Fences::decode(&postcard::to_stdvec(&unsorted).unwrap(), "x").is_err());
    let mut beyond = fences();
    beyond.0[0].end.0 = 219;
    assert!(Fences::decode(&postcard::to_stdvec(&beyond).unwrap(), "x").is_err());
    let mut backwards = fences();
    backwards.0[0].lengths = (2, 1);
    assert!(Fences::decode(&postcard::to_stdvec(&backwards).unwrap(), "x").is_err());
    let frame = zstd::bulk::compress(&[3, 4, 5], COMPRESSION).unwrap();
    assert_eq!(lengths(&frame, 3, "x").unwrap(), [3, 4, 5]);
    assert!(lengths(&frame, 4, "x").is_err() && lengths(&frame, 2, "x").is_err() && lengths(b"no", 3, "x").is_err());
    assert!(decode_trailer(b"\0\0\0\0ETT2", "x").is_err());
    assert_eq!(decode_trailer(b"\x05\0\0\0ETT1", "x").unwrap(), 5);
    let entry = Entry { shared: 1, rest: b"b".to_vec(), doc_freq: 1, postings: 1, positions: 1 };
    let block = Block { postings: 0, positions: 0, terms: vec![entry] };
    assert!(find(&postcard::to_stdvec(&block).unwrap(), b"b", "x").is_err(), "it shares more than there is");
    let entry = Entry { shared: 0, rest: b"b".to_vec(), doc_freq: 1, postings: u64::MAX, positions: 1 };
    let block = Block { postings: 1, positions: 0, terms: vec![entry] };
    assert!(find(&postcard::to_stdvec(&block).unwrap(), b"b", "x").is_err(), "it ends beyond everything");
}
