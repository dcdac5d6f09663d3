use proptest::prelude::*;

use super::*;

fn info(records: &[KeyRecord]) -> SegmentInfo {
    let seqs = || records.iter().map(|r| r.id.order.seq);
    SegmentInfo {
        id: "01J00000000000000000000000".to_string(),
        root: "file:///r".to_string(),
        path: "p".to_string(),
        format: 1,
        rows: records.len() as u64,
        vectors: 0,
        tombstones: 0,
        parquet_bytes: 1,
        index_bytes: 1,
        tail_bytes: 1,
        min_key: records.first().map_or(0, |r| r.id.key),
        max_key: records.last().map_or(0, |r| r.id.key),
        min_seq: seqs().min().unwrap_or(0),
        max_seq: seqs().max().unwrap_or(0),
    }
}

fn record(key: i64, seq: u64, xid: u64, ordinal: u32) -> KeyRecord {
    KeyRecord { id: EntryId { key: Key::from(key), order: EntryOrder { seq, xid } }, ordinal }
}

/// Rows of a heap as a table filled row by row has them: 60 on a page, the log position grows, ordinals by list.
fn heap(rows: u32) -> Vec<KeyRecord> {
    let tid = |row: u32| i64::from(row / 60) << 16 | i64::from(row % 60 + 1);
    (0..rows).map(|row| record(tid(row), 0x1_0000_0000 + u64::from(row) * 712, 740, row * 7919 % rows)).collect()
}

#[test]
fn what_was_encoded_is_decoded() {
    for rows in [0, 1, 2, 61, 5_003] {
        let records = heap(rows);
        let info = info(&records);
        let bytes = encode(&info.id, &records).unwrap();
        assert_eq!(decode(&bytes, &info).unwrap(), records);
    }
}

#[test]
fn a_row_of_a_heap_takes_a_few_bytes() {
    let records = heap(100_003);
    let bytes = encode("01J00000000000000000000000", &records).unwrap();
    let of_row = bytes.len() as f64 / records.len() as f64;
    assert!((1.0..8.0).contains(&of_row), "{of_row} bytes a row");
}

#[test]
fn any_changed_missing_or_added_byte_is_noticed() {
    let records = heap(40);
    let info = info(&records);
    let bytes = encode(&info.id, &records).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let what = decode(&damaged, &info).unwrap_err();
            let region = match at {
                0..8 => "bad magic",
                8..12 => "another format version",
                _ => "checksum mismatch",
            };
            assert_eq!(what, region, "byte {at}");
        }
        assert!(decode(&bytes[..at], &info).is_err(), "cut at {at}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat(), &info).is_err());
}

#[test]
fn the_keys_of_another_segment_are_refused() {
    let records = heap(40);
    let info = info(&records);
    let bytes = encode(&info.id, &records).unwrap();
    let wrong = |change: fn(&mut SegmentInfo), part: &str| {
        let mut other = info.clone();
        change(&mut other);
        let what = decode(&bytes, &other).unwrap_err();
        assert!(what.contains(part), "{what}");
    };
    wrong(|info| info.id = "01J00000000000000000000001".to_string(), "01J00000000000000000000000");
    wrong(|info| info.rows = 41, "it has 40 rows, the segment 41");
    wrong(|info| info.min_key += 1, "range");
    wrong(|info| info.max_key -= 1, "range");
    wrong(|info| info.min_seq += 1, "range");
    wrong(|info| info.max_seq -= 1, "range");
}

/// Bytes with a right checksum that [`encode`] does not write: by a bug, that is.
#[test]
fn what_cannot_be_the_rows_of_a_segment_is_refused() {
    let records = heap(40);
    let mut twice = records.clone();
    twice[3].ordinal = twice[4].ordinal;
    let mut beyond = records.clone();
    beyond[3].ordinal = 40;
    let mut order = records.clone();
    order.swap(3, 4);
    let mut key = records.clone();
    key[4].id.key = key[3].id.key;
    let info = info(&records);
    for wrong in [twice, beyond, order, key] {
        let bytes = encode(&info.id, &wrong).unwrap();
        assert!(decode(&bytes, &info).unwrap_err().contains("out of order or range"));
    }
}

/// Version 1 as it is on people's disks: other bytes need another version.
#[test]
fn the_first_version_is_read_as_ever() {
    let records = [record(0x1_0001, 100, 3, 1), record(0x1_0002, 90, 3, 2), record(0x2_0001, u64::MAX, 4, 0)];
    let info = SegmentInfo { id: "01A".to_string(), ..info(&records) };
    let columns = Columns {
        keys: vec![0x1_0001, 1, 0xffff],
        seqs: vec![100, -10, -91],
        xids: vec![3, 0, 1],
        ordinals: vec![1, 2, 0],
    };
    let golden = [
        3, 0x82, 0x80, 8, 2, 0xfe, 0xff, 7, // keys, zigzag
        3, 0xc8, 1, 19, 0xb5, 1, // seqs
        3, 6, 0, 2, // xids
        3, 1, 2, 0, // ordinals
    ];
    assert_eq!(postcard::to_allocvec(&columns).unwrap(), golden);
    let bytes = encode("01A", &records).unwrap();
    assert_eq!(bytes[..12], *b"ELACKEYS\x01\0\0\0");
    assert_eq!(bytes[16..21], *b"\x0301A\x03");
    let frame = bytes[22..].to_vec();
    assert_eq!(usize::from(bytes[21]), frame.len());
    assert_eq!(zstd::bulk::decompress(&frame, 100).unwrap(), golden);
    assert_eq!(decode(&bytes, &info).unwrap(), records);
}

proptest! {
    #[test]
    fn any_rows_come_back(
        rows in proptest::collection::btree_map(any::<i64>(), (any::<u64>(), any::<u64>()), 0..200),
        turn in any::<u32>(),
    ) {
        let count = rows.len() as u32;
        let ordinal = |at: usize| ((at as u64 + u64::from(turn)) % u64::from(count)) as u32;
        let records: Vec<KeyRecord> =
            rows.into_iter().enumerate().map(|(at, (key, (seq, xid)))| record(key, seq, xid, ordinal(at))).collect();
        let info = info(&records);
        let bytes = encode(&info.id, &records).unwrap();
        prop_assert_eq!(decode(&bytes, &info).unwrap(), records);
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let records = heap(4);
        let info = info(&records);
        prop_assert!(decode(&bytes, &info).is_err());
        // and where the checksum is right
        let mut framed = b"ELACKEYS\x01\0\0\0".to_vec();
        framed.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        framed.extend_from_slice(&bytes);
        prop_assert!(decode(&framed, &info).is_err());
    }
}
