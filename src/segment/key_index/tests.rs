use super::*;

fn record(key: Key, ordinal: u32) -> KeyRecord {
    KeyRecord { id: EntryId { key, order: EntryOrder { seq: key as u64 + 5, xid: 3 } }, ordinal }
}

fn encode(layout: Layout, records: &[KeyRecord]) -> Result<(Vec<u8>, Vec<Key>)> {
    let (mut out, mut encoder) = (Vec::new(), BlockEncoder::new(layout));
    records.iter().try_for_each(|record| encoder.push(*record, &mut out))?;
    Ok((out, encoder.finish()))
}

#[test]
fn every_key_is_found_and_no_other() {
    for (layout, far) in [(Layout::Narrow, 0), (Layout::Wide, 0), (Layout::Wide, 1 << 100), (Layout::Wide, Key::MIN)] {
        for n in [0, 1, 454, 455, 456, 584, 585, 586, 910, 1170, 2000] {
            let records: Vec<_> = (0..n).map(|i| record(far + i * 3 + 1, i as u32)).collect();
            let (bytes, fences) = encode(layout, &records).unwrap();
            assert_eq!(bytes.len() as u64, layout.encoded_len(n as u64));
            assert_eq!(fences.len() as u64, layout.blocks(n as u64));
            assert_eq!(layout.decode_fences(&layout.encode_fences(&fences)), Some(fences.clone()));
            assert_eq!(layout.decode_blocks(&bytes).collect::<Vec<_>>(), records);
            let look_up = |key| {
                let block = block_of(&fences, key)?;
                let range = block_range(block, bytes.len() as u64);
                layout.find(&bytes[range.start as usize..range.end as usize], key)
            };
            for key in 0..n * 3 + 4 {
                let expected = (key >= 1 && (key - 1) % 3 == 0 && key <= (n - 1) * 3 + 1)
                    .then(|| record(far + key, (key / 3) as u32));
                assert_eq!(look_up(far + key), expected, "key {key} of {n}, {layout:?}");
            }
        }
    }
}

#[test]
fn extreme_keys_come_back_in_the_bytes_of_their_width() {
    for (layout, keys, bytes) in [
        (Layout::Narrow, [Key::from(i64::MIN), -1, 0, Key::from(i64::MAX)], 24),
        (Layout::Wide, [Key::MIN, -1, 1 << 64, Key::MAX], 32),
    ] {
        for key in keys {
            let id = EntryId { key, order: EntryOrder { seq: u64::MAX, xid: 7 } };
            let mut out = Vec::new();
            layout.encode_identity(id, &mut out);
            assert_eq!((out.len(), layout.decode_identity(&out)), (bytes, id));
        }
    }
    assert_eq!(Layout::Wide.decode_fences(&[0; 24]), None);
    assert_eq!(Layout::Narrow.decode_fences(&[0; 24]), Some(vec![0; 3]));
}

#[test]
fn a_key_that_occurs_twice_is_refused() {
    assert!(encode(Layout::Narrow, &[record(1, 0), record(2, 1)]).is_ok());
    for last in [1, 0] {
        let error = encode(Layout::Wide, &[record(1, 0), record(last, 1)]).unwrap_err();
        assert!(error.message.contains(&format!("key {last} ")), "{error}");
    }
}

#[test]
fn a_key_that_its_segment_has_no_bytes_for_is_refused() {
    for key in [Key::from(i64::MAX) + 1, Key::from(i64::MIN) - 1] {
        let records = [record(key, 0)];
        assert!(encode(Layout::Wide, &records).is_ok());
        let error = encode(Layout::Narrow, &records).unwrap_err();
        assert!(error.message.contains("wider than 64 bits"), "{error}");
    }
}
