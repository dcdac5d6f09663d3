use super::*;

#[test]
fn neighbours_are_read_together_and_each_range_lies_in_one_run() {
    let gap = MERGE_GAP;
    let ranges = [10..20, 20..30, 30 + gap..40 + gap, 41 + 2 * gap..50 + 2 * gap, 15..18, 0..10];
    assert_eq!(runs(&ranges), [0..40 + gap, 41 + 2 * gap..50 + 2 * gap]);
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for _ in 0..200 {
        let ranges: Vec<Range<u64>> = (0..random(60))
            .map(|_| {
                let start = random(40 << 20);
                start..start + random(300_000)
            })
            .collect();
        let runs = runs(&ranges);
        assert!(runs.is_sorted_by(|a, b| a.end <= b.start), "{runs:?}");
        for range in &ranges {
            let at = runs.partition_point(|run| run.start <= range.start) - 1;
            assert!(runs[at].start <= range.start && range.end <= runs[at].end, "{range:?} is in none of {runs:?}");
        }
    }
}

#[test]
fn a_run_of_many_neighbours_is_cut() {
    let ranges: Vec<Range<u64>> = (0..100).map(|i| i * 1_000_000..(i + 1) * 1_000_000).collect();
    let runs = runs(&ranges);
    assert!(runs.len() >= 25 && runs.iter().all(|run| run.end - run.start <= CHECK_BYTES));
}
