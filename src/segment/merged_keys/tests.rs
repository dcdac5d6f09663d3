use super::*;

fn id(key: Key) -> EntryId {
    EntryId { key, order: EntryOrder { seq: (key.unsigned_abs() as u64).wrapping_mul(3), xid: 9 } }
}

#[test]
fn rows_are_numbered_by_input_and_ordinal_those_with_a_vector_first() {
    // Of the first input ordinals below 2 have a vector, of the second none, of the third all.
    let mut writer = MergedKeysWriter::new(&Scratch::new(None), [2, 0, 10]).unwrap();
    for (key, input, ordinal) in [(-5, 0, 3), (1, 2, 9), (2, 1, 0), (7, 0, 1), (1 << 90, 2, 4), (Key::MAX, 0, 2)] {
        writer.row(id(key), input, ordinal).unwrap();
        if key == 2 {
            writer.tombstone(id(3)).unwrap();
        }
    }
    let keys = writer.finish().unwrap();
    assert_eq!((keys.rows(), keys.vectors(), keys.tombstones()), (6, 3, 1));
    let ids: Vec<Key> = (0..6).map(|row| keys.id(row).unwrap().key).collect();
    assert_eq!(ids, [7, 1 << 90, 1, Key::MAX, -5, 2]);
    let mut all = Vec::new();
    keys.for_each(&mut |id, row| {
        all.push((id, row));
        Ok(())
    })
    .unwrap();
    let rows = [Some(4), Some(2), Some(5), None, Some(0), Some(1), Some(3)];
    let expected: Vec<_> = [-5, 1, 2, 3, 7, 1 << 90, Key::MAX].map(id).into_iter().zip(rows).collect();
    assert_eq!(all, expected);
    assert_eq!(keys.of_input(0).iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn nothing_may_stay() {
    let keys = MergedKeysWriter::new(&Scratch::new(None), [0]).unwrap().finish().unwrap();
    assert_eq!((keys.rows(), keys.tombstones()), (0, 0));
    keys.for_each(&mut |_, _| panic!("an entry")).unwrap();
}
