use super::*;

const WIDE: Budget = Budget { rows: 100, bytes: 1000 };

/// (key, seq, xid, horizon of a patch)
type Entry = (Key, u64, u64, Option<u64>);

fn take(oldest_running: u64, budget: Budget, entries: &[Entry]) -> Taken<u64> {
    let mut batch = Batch::new(oldest_running, budget);
    for (key, seq, xid, horizon) in entries {
        let candidate = Candidate {
            id: EntryId { key: *key, order: EntryOrder { seq: *seq, xid: *xid } },
            op: if horizon.is_some() { Op::Patch } else { Op::Upsert },
            horizon: horizon.unwrap_or(0),
            bytes: 10,
        };
        if !batch.offer(candidate, *seq) {
            break;
        }
    }
    batch.finish()
}

#[test]
fn a_patch_waits_until_every_older_transaction_is_over() {
    let entries = [(1, 10, 5, None), (1, 30, 6, Some(8))];
    let waits = take(7, WIDE, &entries);
    assert_eq!(waits, Taken { entries: vec![10], bytes: 10, rest: None, waiting: Some(6) });
    let goes = take(8, WIDE, &entries);
    assert_eq!(goes, Taken { entries: vec![10, 30], bytes: 20, rest: None, waiting: None });
}

#[test]
fn older_patches_go_with_a_younger_one_that_may_go() {
    // The older one drew its order first, but looked at the next transaction later.
    let entries = [(1, 30, 5, Some(12)), (2, 31, 5, Some(12)), (1, 40, 6, Some(8))];
    let taken = take(8, WIDE, &entries);
    assert_eq!(taken, Taken { entries: vec![40, 30], bytes: 10, rest: None, waiting: Some(5) });
}

#[test]
fn a_full_batch_still_takes_what_its_patches_rest_on() {
    let narrow = Budget { rows: 2, bytes: 1000 };
    let entries = [(1, 50, 5, Some(6)), (2, 51, 5, None), (3, 20, 6, None), (1, 30, 7, None), (1, 60, 8, None)];
    let taken = take(9, narrow, &entries);
    assert_eq!(taken, Taken { entries: vec![50, 51, 30], bytes: 30, rest: Some(6), waiting: None });
    // Without patches it ends at once.
    let plain = [(1, 50, 5, None), (2, 51, 5, None), (3, 20, 6, None), (1, 30, 7, None)];
    assert_eq!(take(9, narrow, &plain), Taken { entries: vec![50, 51], bytes: 20, rest: Some(6), waiting: None });
}

#[test]
fn one_entry_larger_than_the_budget_is_taken_alone() {
    let taken = take(9, Budget { rows: 10, bytes: 5 }, &[(1, 10, 5, None), (2, 11, 6, None)]);
    assert_eq!(taken, Taken { entries: vec![10], bytes: 10, rest: Some(6), waiting: None });
}
