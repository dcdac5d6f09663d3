use super::*;
use crate::error::ErrorKind;

const OBJECT: &str = "file:///x/search.idx";

fn footer() -> Footer {
    Footer {
        rows: 2,
        vectors: 2,
        tombstones: 1,
        min_key: -3,
        max_key: 9,
        min_seq: 1,
        max_seq: u64::MAX,
        schema: r#"{"vector":null,"attributes":[]}"#.to_string(),
        key_index: Span { offset: 0, len: 84 },
        fences: Blob((-3_i64).to_le_bytes().to_vec().into()),
        identities: Span { offset: 128, len: 48 },
        postings: Span { offset: 192, len: 10 },
        row_codes: Span { offset: 256, len: 0 },
        head: Blob(Bytes::from_static(b"head")),
        text_files: vec![TextFile { name: "idx".to_string(), span: Span { offset: 256, len: 44 } }],
        hotcache: Blob(Bytes::from_static(b"hot")),
        attribute_values: vec![(3, 2)],
        vector_pages: vec![VectorPage { first: 0, count: 2, offset: 99 }],
        parquet: Some(ParquetTail { len: 1000, offset: 996, bytes: Blob(Bytes::from_static(b"PAR1")) }),
        parquet_crcs: Blob::from_u32s(&[7]),
        body_crcs: Blob::from_u32s(&[8]),
    }
}

#[test]
fn a_tail_reads_back_as_it_was_written() {
    let tail = encode_tail(&footer(), 300);
    let len = 300 + tail.len() as u64;
    assert_eq!(decode_tail(&tail, OBJECT, len).unwrap(), footer());
}

#[test]
fn inv_8_every_flipped_bit_and_every_truncation_is_corrupt() {
    let tail = encode_tail(&footer(), 300);
    let len = 300 + tail.len() as u64;
    for at in 0..tail.len() * 8 {
        let mut damaged = tail.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        let error = decode_tail(&damaged, OBJECT, len).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "bit {at}");
        assert!(error.message.contains(OBJECT), "{error}");
    }
    for cut in 0..tail.len() {
        assert_eq!(decode_tail(&tail[..cut], OBJECT, len).unwrap_err().kind, ErrorKind::Corrupt);
        assert_eq!(decode_tail(&tail[cut + 1..], OBJECT, len).unwrap_err().kind, ErrorKind::Corrupt);
    }
}

#[test]
fn no_footer_makes_decoding_panic_even_with_a_right_checksum() {
    let tail = encode_tail(&footer(), 300);
    let len = 300 + tail.len() as u64;
    let footer_len = tail.len() - TRAILER_BYTES;
    let mut rejected = 0;
    for at in 0..footer_len {
        for change in [0xff, 0x80, 0x01, 0x7f] {
            let mut damaged = tail.clone();
            damaged[at] ^= change;
            let crc = crc32fast::hash(&damaged[..footer_len]);
            damaged[footer_len + 12..footer_len + 16].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32fast::hash(&damaged[footer_len..footer_len + 60]);
            damaged[footer_len + 60..].copy_from_slice(&crc.to_le_bytes());
            rejected += usize::from(decode_tail(&damaged, OBJECT, len).is_err());
        }
    }
    assert!(rejected > footer_len, "{rejected}");
}

#[test]
fn what_points_outside_the_body_is_corrupt() {
    type Change = fn(&mut Footer);
    let changes: [Change; 9] = [
        |f| f.postings.len = 200,
        |f| f.row_codes.offset = u64::MAX,
        |f| f.text_files[0].span.len = 45,
        |f| f.vectors = 3,
        |f| f.rows = 3,
        |f| f.fences = Blob::default(),
        |f| f.vector_pages[0].count = 1,
        |f| f.vector_pages[0].first = 1,
        |f| f.parquet = None,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut footer = footer();
        change(&mut footer);
        let tail = encode_tail(&footer, 300);
        let error = decode_tail(&tail, OBJECT, 300 + tail.len() as u64).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "change {at}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let tail = encode_tail(&footer(), 300);
    let mut newer = tail.clone();
    let trailer = tail.len() - TRAILER_BYTES;
    newer[trailer + 8] = 2;
    let crc = crc32fast::hash(&newer[trailer..trailer + 60]);
    newer[trailer + 60..].copy_from_slice(&crc.to_le_bytes());
    let error = decode_tail(&newer, OBJECT, 300 + tail.len() as u64).unwrap_err();
    assert!(error.message.contains("unknown segment format 2"), "{error}");
}

#[test]
fn sections_of_wide_keys_are_wider() {
    let wide = Footer {
        schema: r#"{"vector":null,"attributes":[],"id":"uuid"}"#.to_string(),
        min_key: crate::ids::Key::MIN,
        max_key: crate::ids::Key::MAX,
        // Three records, two rows, one block.
        key_index: Span { offset: 0, len: 108 },
        identities: Span { offset: 128, len: 64 },
        fences: Blob(vec![0; 16].into()),
        ..footer()
    };
    let decoded = |footer: &Footer| {
        let tail = encode_tail(footer, 300);
        decode_tail(&tail, OBJECT, 300 + tail.len() as u64)
    };
    assert_eq!(decoded(&wide).unwrap(), wide);
    let narrow_schema = Footer { schema: footer().schema, ..wide.clone() };
    assert_eq!(decoded(&narrow_schema).unwrap_err().kind, ErrorKind::Corrupt);
    let wide_schema = Footer { schema: wide.schema, ..footer() };
    assert_eq!(decoded(&wide_schema).unwrap_err().kind, ErrorKind::Corrupt);
}
