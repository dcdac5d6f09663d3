use super::*;

#[test]
fn a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
    let histogram = Histogram::default();
    for micros in [0, 100, 101, 250, 300_000_000, 300_000_001, u64::from(u32::MAX)] {
        histogram.record(micros);
    }
    let found = histogram.snapshot();
    let last = DURATION_BOUNDS_MICROS.len();
    assert_eq!((found.buckets[0], found.buckets[1], found.buckets[last - 1], found.buckets[last]), (2, 2, 1, 2));
    assert_eq!(found.count(), 7);
    assert_eq!(found.micros, 100 + 101 + 250 + 300_000_000 + 300_000_001 + u64::from(u32::MAX));
}

#[test]
fn bounds_rise() {
    assert!(DURATION_BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
}

#[test]
fn nothing_is_lost_when_several_threads_record() {
    let histogram = Histogram::default();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let histogram = &histogram;
            scope.spawn(move || (0..10_000).for_each(|at| histogram.record(at * 37 + thread)));
        }
    });
    let found = histogram.snapshot();
    assert_eq!(found.count(), 40_000);
    assert_eq!(found.micros, (0..4_u64).flat_map(|thread| (0..10_000).map(move |at| at * 37 + thread)).sum::<u64>());
}

#[test]
fn zeroed_memory_is_an_empty_histogram() {
    // What shared memory relies on: nothing but counters that start at zero.
    let empty = HistogramSnapshot::default();
    assert_eq!(Histogram::default().snapshot(), empty);
    assert_eq!(size_of::<Histogram>(), (DURATION_BOUNDS_MICROS.len() + 2) * size_of::<u64>());
}

#[test]
fn buckets_are_cumulative_and_end_with_all() {
    let mut text = Exposition::default();
    text.family("d", FamilyKind::Histogram, "Durations.").buckets(
        &[("kind", "q")],
        &[500, 2_000_000],
        &[3, 0, 2],
        4_500_000,
    );
    let expected = "# HELP d Durations.\n# TYPE d histogram\n\
                    d_bucket{kind=\"q\",le=\"0.0005\"} 3\n\
                    d_bucket{kind=\"q\",le=\"2\"} 3\n\
                    d_bucket{kind=\"q\",le=\"+Inf\"} 5\n\
                    d_sum{kind=\"q\"} 4.5\n\
                    d_count{kind=\"q\"} 5\n";
    assert_eq!(text.finish(), expected);
}

#[test]
fn every_bound_of_a_duration_is_written_exactly() {
    let mut text = Exposition::default();
    text.family("d", FamilyKind::Histogram, "").histogram(&[], &Histogram::default().snapshot());
    let text = text.finish();
    let bounds: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("d_bucket{le=\"")?.strip_suffix("\"} 0"))
        .map(|bound| if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") })
        .collect();
    let expected: Vec<f64> =
        DURATION_BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]).collect();
    assert_eq!(bounds, expected);
}

#[test]
fn help_and_labels_are_escaped() {
    let mut text = Exposition::default();
    let mut family = text.family("m", FamilyKind::Gauge, "a \\ and\na \"line\"");
    family.count(&[("root", "s3://a\"b\\c\nd"), ("empty", "")], 7);
    family.sample(&[], 0.25);
    assert_eq!(
        text.finish(),
        "# HELP m a \\\\ and\\na \"line\"\n# TYPE m gauge\nm{root=\"s3://a\\\"b\\\\c\\nd\",empty=\"\"} 7\nm 0.25\n"
    );
}

#[test]
fn numbers_have_the_forms_that_prometheus_reads() {
    let mut text = Exposition::default();
    for value in [0.0, 1.0, -2.5, 4e-7, 1e15, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        text.family("m", FamilyKind::Counter, "").sample(&[], value);
    }
    let values: Vec<String> =
        text.finish().lines().filter_map(|line| Some(line.strip_prefix("m ")?.to_string())).collect();
    assert_eq!(values, ["0", "1", "-2.5", "0.0000004", "1000000000000000", "+Inf", "-Inf", "NaN"]);
}
