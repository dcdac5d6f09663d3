use super::*;
use crate::ids::EntryOrder;

fn entry(key: Key, seq: u64, xid: u64, op: Op) -> BufferedEntry {
    BufferedEntry { id: EntryId { key, order: EntryOrder { seq, xid } }, op }
}

#[test]
fn inv_3_of_one_key_the_highest_order_stays_and_xid_breaks_ties() {
    let entries = [
        entry(2, 5, 1, Op::Upsert),
        entry(1, 9, 7, Op::Upsert),
        entry(1, 9, 8, Op::Delete),
        entry(1, 10, 1, Op::Upsert),
        entry(2, 5, 2, Op::Delete),
    ];
    let kept = highest_of_each_key(&entries);
    assert_eq!(kept, [entry(1, 10, 1, Op::Upsert), entry(2, 5, 2, Op::Delete)]);
}
