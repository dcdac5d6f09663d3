use super::*;

/// The parts of `0..23` cut at these places.
fn parts(cuts: &[usize], length: usize) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (0..23).collect();
    let bytes = Bytes::from(bytes);
    let ends = cuts.iter().copied().chain([23]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let pieces = Pieces::from(starts.zip(ends).map(|(start, end)| bytes.slice(start..end)).collect::<Vec<_>>());
    assert_eq!(pieces.len(), 23);
    let mut found = Vec::new();
    pieces.each_part(length, |number, part| {
        assert_eq!(number, found.len());
        found.push(part.to_vec());
        Some(())
    });
    found
}

#[test]
fn parts_are_the_same_however_the_bytes_are_cut() {
    for length in [1, 4, 5, 23, 24] {
        let whole = parts(&[], length);
        assert_eq!(whole.len(), 23 / length);
        for cuts in [&[0][..], &[1], &[4], &[5, 5, 6], &[1, 2, 3, 4, 5, 6, 7], &[22], &[10, 20], &[23]] {
            assert_eq!(parts(cuts, length), whole, "{cuts:?} {length}");
        }
    }
}

#[test]
fn a_visitor_that_has_enough_ends_it() {
    let pieces = Pieces::from(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def")]);
    let mut seen = 0;
    let end = pieces.each_part(2, |number, part| {
        seen += 1;
        (number == 0 && part == b"ab").then_some(())
    });
    assert_eq!((end, seen), (None, 2));
    assert!(Pieces::default().is_empty() && !pieces.is_empty());
}
