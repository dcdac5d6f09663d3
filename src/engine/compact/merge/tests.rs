use super::*;
use crate::ids::{EntryId, EntryOrder};
use crate::scratch::Scratch;

fn id(key: i128, seq: u64) -> EntryId {
    EntryId { key, order: EntryOrder { seq, xid: 1 } }
}

/// Its records by ascending key, and what is known of it.
type Given = (Vec<KeyRecord>, Input);

fn input(records: &[(i128, u64, u32)], deleted: &[u32], forget: bool) -> Given {
    let records: Vec<KeyRecord> =
        records.iter().map(|(key, seq, ordinal)| KeyRecord { id: id(*key, *seq), ordinal: *ordinal }).collect();
    let tombstones = records.iter().filter(|record| record.ordinal == TOMBSTONE).count() as u64;
    let entries = (records.len() as u64 - tombstones, tombstones);
    (records, Input { deleted: deleted.iter().copied().collect(), forget, entries, ..Input::default() })
}

/// For each input the ordinals that stay, and the records of deletes; parts of so many records are read.
fn merge(inputs: Vec<Given>, part: usize) -> (Vec<Vec<u32>>, Vec<EntryId>) {
    let (records, inputs): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
    let count = inputs.len();
    let stays = MergedKeysWriter::new(&Scratch::new(None), vec![0; count]).unwrap();
    let mut merger = Merger::new(inputs, stays);
    let mut read = vec![0; count];
    loop {
        merger.advance().unwrap();
        let wanted = merger.wanted();
        if wanted.is_empty() {
            break;
        }
        for i in wanted {
            let end = records[i].len().min(read[i] + part);
            merger.supply(i, records[i][read[i]..end].to_vec(), end == records[i].len()).unwrap();
            read[i] = end;
        }
    }
    let keys = merger.finish().unwrap();
    let mut tombstones = Vec::new();
    keys.for_each(&mut |id, row| {
        if row.is_none() {
            tombstones.push(id);
        }
        Ok(())
    })
    .unwrap();
    ((0..count).map(|i| keys.of_input(i).iter().collect()).collect(), tombstones)
}

#[test]
fn inv_3_of_each_key_the_entry_with_the_highest_order_stays() {
    let old = || input(&[(1, 10, 1), (2, 11, 0), (3, 12, 2), (5, 13, 3)], &[0, 1], false);
    let new = || input(&[(1, 20, 0), (2, 21, TOMBSTONE), (4, 5, 1)], &[], false);
    for part in [1, 2, 100] {
        assert_eq!(merge(vec![old(), new()], part), (vec![vec![2, 3], vec![0, 1]], vec![id(2, 21)]));
        assert_eq!(merge(vec![new(), old()], part), (vec![vec![0, 1], vec![2, 3]], vec![id(2, 21)]));
    }
}

#[test]
fn a_dead_row_leaves_the_record_that_its_key_is_dead() {
    let merged = merge(vec![input(&[(1, 10, 0), (2, 11, 1)], &[0], false)], 1);
    assert_eq!(merged, (vec![vec![1]], vec![id(1, 10)]));
}

#[test]
fn what_nothing_can_lose_against_any_more_is_forgotten() {
    let forgotten = || input(&[(1, 10, 0), (2, 11, TOMBSTONE), (3, 12, TOMBSTONE)], &[0], true);
    assert!(merge(vec![forgotten()], 2).1.is_empty());
    // The winner of a key decides, whatever its losers may do.
    let kept = || input(&[(1, 5, TOMBSTONE), (2, 15, TOMBSTONE)], &[], false);
    assert_eq!(merge(vec![forgotten(), kept()], 1).1, [id(2, 15)]);
    assert_eq!(merge(vec![kept(), forgotten()], 1).1, [id(2, 15)]);
}

#[test]
fn a_key_index_that_does_not_have_each_row_once_is_refused() {
    for wrong in [
        vec![(1, 1, 0), (1, 2, 1)],
        vec![(2, 1, 0), (1, 2, 1)],
        vec![(1, 1, 0), (2, 2, 0)],
        vec![(1, 1, 0), (2, 2, 2)],
        vec![(1, 1, 0)],
        vec![(1, 1, 0), (2, 1, 1), (3, 1, TOMBSTONE)],
    ] {
        let (records, _) = input(&wrong, &[], false);
        let mut two_rows = Input { entries: (2, 0), ..Input::default() };
        assert_eq!(two_rows.supply(records, true), Err(BadKeyIndex), "{wrong:?}");
    }
}
