use super::{Choice, Figures, Limits, bound, choose, pack};

const LIMITS: Limits = Limits { flush_rows: 100, max_rows: u64::MAX, complete: 50 };

fn rows(rows: u64) -> Figures {
    Figures { rows, bytes: rows * 1_000, ..Figures::default() }
}

/// What becomes of the segments when these are merged.
fn merge(segments: &mut Vec<Figures>, merged: &[usize]) {
    let live = merged.iter().map(|i| segments[*i].live()).sum();
    let mut index = 0;
    segments.retain(|_| {
        index += 1;
        !merged.contains(&(index - 1))
    });
    if live > 0 {
        segments.push(rows(live));
    }
}

/// Lets maintenance run until nothing is left to do; returns the rows it has rewritten.
fn settle(segments: &mut Vec<Figures>, limits: &Limits) -> u64 {
    let mut rewritten = 0;
    for _ in 0..100 {
        let Choice::Merge(merged) = choose(segments, limits) else { return rewritten };
        rewritten += merged.iter().map(|i| segments[*i].live()).sum::<u64>();
        merge(segments, &merged);
    }
    panic!("no end of merging: {segments:?}");
}

#[test]
fn the_number_of_segments_stays_within_the_bound_and_rows_are_rewritten_a_few_times() {
    for (flushed, least) in [(100, 100), (7, 100), (1, 50), (250, 100)] {
        let mut segments = Vec::new();
        let (mut total, mut rewritten) = (0, 0);
        for flush in 1..=2_000_u64 {
            segments.push(rows(flushed));
            total += flushed;
            rewritten += settle(&mut segments, &Limits { flush_rows: least, ..LIMITS });
            let bound = bound(total, least);
            assert!(segments.len() <= bound, "{} segments after {flush} flushes, bound {bound}", segments.len());
            assert_eq!(segments.iter().map(|s| s.rows).sum::<u64>(), total);
        }
        let times = rewritten as f64 / total as f64;
        println!("flushes of {flushed} with flush_rows {least}: each row rewritten {times:.1} times");
        assert!(times < if flushed >= least { 8.0 } else { 12.0 }, "each row is rewritten {times} times");
    }
}

#[test]
fn the_bound_is_that_of_the_issue() {
    assert_eq!([0, 99, 100, 199, 200, 800, 5_000].map(|n| bound(n, 100)), [2, 2, 2, 2, 3, 5, 7]);
}

#[test]
fn nothing_is_merged_within_the_bound() {
    assert_eq!(choose(&[], &LIMITS), Choice::Nothing);
    assert_eq!(choose(&[rows(5), rows(3)], &LIMITS), Choice::Nothing);
    assert_eq!(choose(&[rows(100_000), rows(1), rows(1), rows(1)], &LIMITS), Choice::Nothing);
}

#[test]
fn segments_without_anything_needed_vanish_together() {
    let gone = Figures { dead: 10, horizon: 50, ..rows(10) };
    let deletes = Figures { tombstones: 10, horizon: 50, ..Figures::default() };
    assert_eq!(choose(&[rows(5), gone, deletes], &LIMITS), Choice::Merge(vec![1, 2]));
}

#[test]
fn what_older_transactions_may_still_lose_against_is_waited_for() {
    let needed = Figures { dead: 10, horizon: 51, ..rows(10) };
    assert_eq!(choose(&[needed], &LIMITS), Choice::Wait);
    assert_eq!(choose(&[needed], &Limits { complete: 51, ..LIMITS }), Choice::Merge(vec![0]));
}

#[test]
fn a_segment_that_is_mostly_dead_is_rewritten_with_the_smaller_ones() {
    let dead = Figures { dead: 500, horizon: 90, ..rows(1_000) };
    assert_eq!(choose(&[rows(400), dead, rows(200), rows(5_000)], &LIMITS), Choice::Merge(vec![1, 2]));
    let few = Figures { dead: 390, ..rows(1_000) };
    assert_eq!(choose(&[rows(5_000), few], &LIMITS), Choice::Nothing);
    let small = Figures { dead: 20, ..rows(30) };
    assert_eq!(choose(&[rows(5_000), small], &LIMITS), Choice::Nothing);
}

#[test]
fn a_segment_with_an_outdated_index_is_rewritten() {
    let outdated = Figures { outdated: true, ..rows(10) };
    assert_eq!(choose(&[rows(50), outdated], &LIMITS), Choice::Merge(vec![1]));
}

#[test]
fn what_a_merge_under_way_replaces_is_left_alone() {
    let busy = Figures { busy: true, dead: 10, ..rows(10) };
    assert_eq!(choose(&[busy, busy, rows(10)], &LIMITS), Choice::Nothing);
    let Choice::Merge(merged) = choose(&[busy, busy, rows(3), rows(2), rows(1)], &LIMITS) else { panic!("no merge") };
    assert!(merged.iter().all(|i| *i >= 2), "{merged:?}");
}

#[test]
fn a_merge_holds_no_more_than_its_memory() {
    let limits = Limits { max_rows: 838, ..LIMITS };
    let mut segments: Vec<Figures> = (0..50).map(|_| rows(100)).collect();
    settle(&mut segments, &limits);
    assert!(segments.iter().all(|s| s.rows <= limits.max_rows));
    assert!(segments.len() <= 14, "{} segments of at most 838 rows for 5,000", segments.len());
    // One that is too large by itself is left as it is, whatever is dead in it.
    assert_eq!(choose(&[Figures { dead: 2_000, ..rows(4_000) }], &limits), Choice::Nothing);
}

#[test]
fn by_hand_everything_goes_into_as_few_segments_as_fit() {
    assert_eq!(pack(&[rows(5), rows(7), rows(1)], &LIMITS), [[1, 0, 2]]);
    assert!(pack(&[rows(5)], &LIMITS).is_empty());
    assert_eq!(pack(&[Figures { dead: 1, ..rows(5) }], &LIMITS), [[0]]);
    assert_eq!(pack(&[Figures { misplaced: true, ..rows(5) }], &LIMITS), [[0]]);
    let limits = Limits { max_rows: 838, ..LIMITS };
    let groups = pack(&[rows(400), rows(500), rows(600), rows(300)], &limits);
    assert_eq!(groups, [vec![2], vec![1, 3], vec![0]].into_iter().filter(|g| g.len() > 1).collect::<Vec<_>>());
}
