use super::*;

fn record(key: Key, ordinal: u32) -> KeyRecord {
    KeyRecord { id: EntryId { key, order: EntryOrder { seq: key as u64 + 5, xid: 3 } }, ordinal }
}

#[test]
fn every_key_is_found_and_no_other() {
    for n in [0_i64, 1, 584, 585, 586, 1170, 2000] {
        let records: Vec<_> = (0..n).map(|i| record(i * 3 + 1, i as u32)).collect();
        let (bytes, fences) = encode(&records);
        assert_eq!(bytes.len() as u64, encoded_len(n as u64));
        assert_eq!(fences.len() as u64, blocks(n as u64));
        assert_eq!(decode_blocks(&bytes).collect::<Vec<_>>(), records);
        let look_up = |key| {
            let block = block_of(&fences, key)?;
            let range = block_range(block, bytes.len() as u64);
            find(&bytes[range.start as usize..range.end as usize], key)
        };
        for key in -2..n * 3 + 4 {
            let expected =
                (key >= 1 && (key - 1) % 3 == 0 && key <= (n - 1) * 3 + 1).then(|| record(key, (key / 3) as u32));
            assert_eq!(look_up(key), expected, "key {key} of {n}");
        }
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused() {
    assert!(check_unique(&[record(1, 0), record(2, 1)]).is_ok());
    let error = check_unique(&[record(1, 0), record(1, 1)]).unwrap_err();
    assert!(error.message.contains("key 1 "), "{error}");
}
