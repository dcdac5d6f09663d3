use super::*;

const MIB: u64 = 1 << 20;

fn limits(delay: u64, stop: u64) -> Limits {
    Limits { delay: delay * MIB, stop: stop * MIB }
}

#[test]
fn nobody_waits_up_to_the_limit() {
    for committed in [0, MIB, 100 * MIB] {
        assert_eq!(limits(100, 400).delay_at(committed), Duration::ZERO);
    }
}

#[test]
fn the_delay_is_proportional_to_the_excess_and_bounded() {
    let limits = limits(100, 400);
    assert_eq!(limits.delay_at(101 * MIB), MAX_DELAY / 100);
    assert_eq!(limits.delay_at(150 * MIB), MAX_DELAY / 2);
    assert_eq!(limits.delay_at(200 * MIB), MAX_DELAY);
    assert_eq!(limits.delay_at(u64::MAX), MAX_DELAY);
    let mut last = Duration::ZERO;
    for committed in (90..300).map(|m| m * MIB) {
        let delay = limits.delay_at(committed);
        assert!(delay >= last);
        last = delay;
    }
}

#[test]
fn where_the_hard_limit_is_near_the_delay_is_longest_there() {
    assert_eq!(limits(100, 110).delay_at(105 * MIB), MAX_DELAY / 2);
    assert_eq!(limits(100, 110).delay_at(110 * MIB), MAX_DELAY);
    // at the limit or below it there is no room between the two
    assert_eq!(limits(100, 50).delay_at(100 * MIB), Duration::ZERO);
    assert_eq!(limits(100, 50).delay_at(100 * MIB + 1), MAX_DELAY);
}

#[test]
fn zero_switches_a_limit_off() {
    assert_eq!(limits(0, 400).delay_at(u64::MAX), Duration::ZERO);
    assert!(!limits(100, 0).refuses(u64::MAX - 1, 1));
    assert_eq!(limits(100, 0).delay_at(150 * MIB), MAX_DELAY / 2);
    assert_eq!(limits(0, 0).flush_all_from(), u64::MAX);
}

#[test]
fn the_hard_limit_refuses_what_would_pass_it_and_never_below_the_first_limit() {
    assert!(!limits(100, 400).refuses(400 * MIB - 10, 10));
    assert!(limits(100, 400).refuses(400 * MIB - 10, 11));
    assert!(!limits(100, 50).refuses(99 * MIB, 10));
    assert!(limits(100, 50).refuses(100 * MIB, 1));
}

#[test]
fn everything_is_due_before_anybody_waits() {
    let limits = limits(100, 400);
    assert_eq!(limits.delay_at(limits.flush_all_from()), Duration::ZERO);
    assert_eq!(limits.flush_all_from(), 50 * MIB);
    assert_eq!(super::Limits { delay: 0, stop: 400 }.flush_all_from(), 200);
}

#[test]
fn a_transaction_adds_up() {
    let mut ledger = Ledger::new();
    ledger.write(1, 10);
    ledger.write(1, 5);
    ledger.remove(1, 7);
    assert_eq!(ledger.end(), Totals { written: 15, removed: 7 });
    assert_eq!(ledger.end(), Totals::default());
}

#[test]
fn a_rolled_back_savepoint_takes_its_own_savepoints_along_and_nothing_else() {
    let mut ledger = Ledger::new();
    ledger.write(1, 1);
    ledger.write(2, 10); // savepoint
    ledger.write(3, 100); // one inside it
    ledger.merge(3, 2); // released
    ledger.remove(2, 1_000);
    assert_eq!(ledger.cut(2), Totals { written: 110, removed: 1_000 });
    ledger.write(4, 10_000);
    ledger.merge(4, 1);
    assert_eq!(ledger.cut(5), Totals::default());
    assert_eq!(ledger.end(), Totals { written: 10_001, removed: 0 });
}

#[test]
fn what_a_parent_wrote_after_its_child_goes_with_the_parent() {
    let mut ledger = Ledger::new();
    ledger.write(2, 1);
    ledger.write(3, 10);
    ledger.merge(3, 2);
    ledger.write(2, 100);
    assert_eq!(ledger.cut(2), Totals { written: 111, removed: 0 });
    assert_eq!(ledger.end(), Totals::default());
}

#[test]
fn a_million_released_savepoints_take_no_memory() {
    let mut ledger = Ledger::new();
    for number in 2..1_000_002 {
        ledger.write(number, 1);
        ledger.merge(number, 1);
    }
    assert_eq!(ledger.parts.len(), 1);
    assert_eq!(ledger.end().written, 1_000_000);
}
