use super::*;
use crate::ids::EntryOrder;

fn id(key: i128, seq: u64) -> EntryId {
    EntryId { key, order: EntryOrder { seq, xid: 1 } }
}

fn input(records: &[(i128, u64, u32)], deleted: &[u32], forget: bool) -> Input {
    let records = records.iter().map(|(key, seq, ordinal)| KeyRecord { id: id(*key, *seq), ordinal: *ordinal });
    Input { records: records.collect(), deleted: deleted.iter().copied().collect(), forget }
}

#[test]
fn inv_3_of_each_key_the_entry_with_the_highest_order_stays() {
    let old = input(&[(1, 10, 1), (2, 11, 0), (3, 12, 2), (5, 13, 3)], &[0, 1], false);
    let new = input(&[(1, 20, 0), (2, 21, TOMBSTONE), (4, 5, 1)], &[], false);
    let merged = merge(&[old, new]);
    assert_eq!(merged.rows, [vec![(2, id(3, 12)), (3, id(5, 13))], vec![(0, id(1, 20)), (1, id(4, 5))]]);
    assert_eq!(merged.tombstones, [id(2, 21)]);
}

#[test]
fn a_dead_row_leaves_the_record_that_its_key_is_dead() {
    let merged = merge(&[input(&[(1, 10, 0), (2, 11, 1)], &[0], false)]);
    assert_eq!((merged.rows, merged.tombstones), (vec![vec![(1, id(2, 11))]], vec![id(1, 10)]));
}

#[test]
fn what_nothing_can_lose_against_any_more_is_forgotten() {
    let forgotten = || input(&[(1, 10, 0), (2, 11, TOMBSTONE), (3, 12, TOMBSTONE)], &[0], true);
    assert!(merge(&[forgotten()]).tombstones.is_empty());
    // The winner of a key decides, whatever its losers may do.
    let kept = || input(&[(1, 5, TOMBSTONE), (2, 15, TOMBSTONE)], &[], false);
    assert_eq!(merge(&[forgotten(), kept()]).tombstones, [id(2, 15)]);
    assert_eq!(merge(&[kept(), forgotten()]).tombstones, [id(2, 15)]);
}
