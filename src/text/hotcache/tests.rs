use super::*;
use crate::error::ErrorKind;

fn file(name: &str, bytes: Vec<u8>) -> BundleSource {
    (name.to_string(), bytes.len() as u64, std::sync::Arc::new(bytes))
}

fn sample() -> Vec<u8> {
    let files = vec![file("a", (0..100).collect()), file("b", vec![7; 300 << 10])];
    let read = |file, range| PlannedRead { file, range };
    let needed = vec![read(0, 10..20), read(0, 20..30), read(0, 90..100), read(1, 0..(300 << 10))];
    encode(&files, needed, vec![read(0, 25..40), read(0, 50..51)]).unwrap()
}

#[test]
fn slices_come_back_merged() {
    let files = decode(&sample(), "x").unwrap();
    let slices = |file: &HotFile| file.slices.iter().map(|(start, bytes)| (*start, bytes.len())).collect::<Vec<_>>();
    assert_eq!(
        files.iter().map(|file| (file.name.as_str(), file.len)).collect::<Vec<_>>(),
        [("a", 100), ("b", 300 << 10)]
    );
    assert_eq!(slices(&files[0]), [(10, 30), (50, 1), (90, 10)]);
    assert_eq!(files[0].slices[0].1.as_slice(), (10..40).collect::<Vec<u8>>());
    assert_eq!(slices(&files[1]), [(0, 300 << 10)]);
}

#[test]
fn what_is_only_useful_is_limited() {
    let files = vec![file("b", vec![7; 20 << 20])];
    let read = |start: u64, len: u64| PlannedRead { file: 0, range: start..start + len };
    let too_long = read(0, MAX_SLICE_BYTES + 1);
    let many = (0..40).map(|i| read(i * 2 * MAX_SLICE_BYTES / 4 * 2, MAX_SLICE_BYTES));
    let hot = encode(&files, Vec::new(), std::iter::once(too_long).chain(many).collect()).unwrap();
    assert!(hot.len() as u64 <= MAX_TOTAL_BYTES + 1_000, "{}", hot.len());
}

#[test]
fn damage_anywhere_is_an_error_that_names_the_object() {
    let bytes = sample();
    let damaged = (0..bytes.len()).step_by(1.max(bytes.len() / 3_000)).chain(0..200);
    for at in damaged {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        let error = decode(&bytes, "seg/search.idx").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains("seg/search.idx"), "{error}");
    }
    for len in (0..200).chain([bytes.len() - 1]) {
        assert_eq!(decode(&bytes[..len], "x").unwrap_err().kind, ErrorKind::Corrupt);
    }
}

#[test]
fn nonsense_with_a_right_checksum_is_an_error() {
    let mut state = 1_u64;
    for round in 0..2_000 {
        let mut bytes = sample()[..160].to_vec();
        for _ in 0..1 + round % 4 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            let at = 8 + (state >> 33) as usize % 152;
            bytes[at] = (state >> 20) as u8;
        }
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = decode(&bytes, "x") {
            assert_eq!(error.kind, ErrorKind::Corrupt);
        }
    }
}
