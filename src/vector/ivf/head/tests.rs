use super::super::{BuildParams, build};
use super::*;
use crate::error::ErrorKind;
use crate::vector::random::Random;

fn head(rows: usize) -> Vec<u8> {
    let mut random = Random::new(8, 8);
    let vectors: Vec<f32> = (0..rows * 17).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    let params = BuildParams { metric: Metric::L2, dim: 17, seed: 3, threads: 1, lists: Some(9) };
    build(&params, &vectors).unwrap().head
}

fn assert_corrupt(bytes: &[u8], what: &str) {
    let error = Head::decode(bytes, "some/search.idx").expect_err(what);
    assert_eq!(error.kind, ErrorKind::Corrupt, "{what}: {error}");
    assert!(error.message.contains("some/search.idx") && error.message.contains("offset"), "{error}");
}

#[test]
fn any_changed_byte_is_noticed() {
    let bytes = head(100);
    assert!(Head::decode(&bytes, "x").is_ok());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert_corrupt(&changed, &format!("byte {at}"));
    }
}

#[test]
fn any_truncation_or_appendix_is_noticed() {
    let bytes = head(100);
    for length in 0..bytes.len() {
        assert_corrupt(&bytes[..length], &format!("{length} bytes"));
    }
    let mut longer = bytes;
    longer.push(0);
    assert_corrupt(&longer, "one byte more");
}

/// Corruption that the checksums agree with (a hostile or buggy writer): still no panic, whatever the header says.
#[test]
fn headers_with_valid_checksums_and_wrong_contents_never_panic() {
    let bytes = head(40);
    let mut random = Random::new(77, 1);
    for _ in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(HEADER_CRC_AT);
            let value = [0, 1, 0x7f, 0x80, 0xff, random.next() as u8][random.below(6)];
            changed[at] = value;
        }
        let crc = crc32fast::hash(&changed[..HEADER_CRC_AT]);
        changed[HEADER_CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = Head::decode(&changed, "x") {
            assert_eq!(error.kind, ErrorKind::Corrupt);
        }
    }
}

#[test]
fn random_bytes_are_no_head() {
    let mut random = Random::new(5, 5);
    for length in [0, 1, 4, 255, 256, 257, 1000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        assert_corrupt(&bytes, "random");
        if length >= 4 {
            bytes[..4].copy_from_slice(&MAGIC);
            assert_corrupt(&bytes, "random behind the magic");
        }
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = head(3);
    bytes[4] = 2;
    let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
    bytes[HEADER_CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    assert!(Head::decode(&bytes, "x").unwrap_err().message.contains("format 2"));
}
