use super::*;

fn fences() -> Fences {
    let fence = |from: &str, block, postings| Fence { from: from.as_bytes().to_vec(), block, postings };
    let fences = vec![fence("a", 0, 0), fence("bo", 100, 900), fence("m", 220, 950)];
    Fences(vec![FieldFences { field: 3, fences, end: (400, 2_000) }])
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
    assert!(decode_trailer(b"\0\0\0\0ETT1", "x").is_err());
    assert_eq!(decode_trailer(b"\x05\0\0\0ETT2", "x").unwrap(), 5);
}

fn block(terms: Vec<Entry>, lengths: &[u8]) -> Vec<u8> {
    let lengths = zstd::bulk::compress(lengths, COMPRESSION).unwrap();
    postcard::to_stdvec(&Block { postings: 10, positions: 100, terms, lengths }).unwrap()
}

fn entry(shared: u32, rest: &str, doc_freq: u32) -> Entry {
    Entry { shared, rest: rest.as_bytes().to_vec(), doc_freq, postings: 5, positions: 7 }
}

#[test]
fn a_block_tells_of_a_term_where_its_postings_and_how_long_its_rows_are() {
    let bytes = block(vec![entry(0, "ab", 2), entry(1, "c", 1), entry(0, "x", 3)], &[1, 2, 3, 4, 5, 6]);
    let of = |term: &str| find(&bytes, term.as_bytes(), 3, "x").unwrap();
    let info = |postings: Range<usize>, positions, doc_freq| TermInfo {
        doc_freq,
        postings_range: postings,
        positions_range: positions,
    };
    assert_eq!(of("ab"), Some((info(10..15, 100..107, 2), vec![1, 2])));
    assert_eq!(of("ac"), Some((info(15..20, 107..114, 1), vec![3])));
    assert_eq!(of("x"), Some((info(20..25, 114..121, 3), vec![4, 5, 6])));
    assert_eq!(of("a"), None);
}

#[test]
fn damaged_blocks_are_errors() {
    let fails = |bytes: &[u8]| find(bytes, b"b", 3, "x").is_err();
    assert!(!fails(&block(vec![entry(0, "b", 3)], &[1, 2, 3])));
    assert!(fails(&block(vec![entry(1, "b", 1)], &[1])), "it shares more than there is");
    assert!(fails(&block(vec![entry(0, "b", 4)], &[1, 2, 3, 4])), "more rows than there are");
    assert!(fails(&block(vec![entry(0, "b", 3)], &[1, 2])), "lengths are missing");
    assert!(fails(&block(vec![entry(0, "b", 3)], &[1, 2, 3, 4])), "there are more");
    let beyond = Entry { postings: u64::MAX, ..entry(0, "b", 1) };
    assert!(fails(&block(vec![beyond], &[1])), "it ends beyond everything");
    let mut not_a_frame = Block { postings: 0, positions: 0, terms: vec![entry(0, "b", 1)], lengths: b"no".to_vec() };
    assert!(fails(&postcard::to_stdvec(&not_a_frame).unwrap()));
    not_a_frame.terms.clear();
    assert_eq!(find(&postcard::to_stdvec(&not_a_frame).unwrap(), b"b", 3, "x").unwrap(), None);
}
