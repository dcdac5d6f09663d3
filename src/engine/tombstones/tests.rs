use super::*;
use crate::ids::EntryOrder;

#[test]
fn the_highest_tombstone_of_a_key_kills_up_to_its_seq_and_no_later_entry() {
    let tombstone = |key, seq| Tombstone { key, seq };
    let tombstones = Tombstones::new(vec![tombstone(7, 3), tombstone(2, 9), tombstone(7, 5), tombstone(7, 1)]);
    let kill = |key, seq| tombstones.kill(EntryId { key, order: EntryOrder { seq, xid: u64::MAX } });
    assert_eq!([kill(7, 5), kill(7, 6), kill(2, 9), kill(2, 10), kill(3, 1)], [true, false, true, false, false]);
    assert!(!Tombstones::default().kill(EntryId { key: 1, order: EntryOrder { seq: 0, xid: 0 } }));
}
