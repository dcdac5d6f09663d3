//! Small shapes of every kind against brute force: exact at infinite effort, complete at any.

use crate::vector_segment;

use std::sync::Arc;

use elacsym::vector::{BuildParams, Head, Metric, SearchStream, build};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use vector_segment::{Segment, Sequence, recall};

/// Rows of one of several awkward kinds.
fn rows(kind: usize, n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Sequence(seed);
    let mut values: Vec<f32> = (0..n * dim)
        .map(|i| match kind {
            0 => random.normal(),
            1 => random.below(3) as f32 - 1.0,
            2 => 1.0,
            3 => random.normal() * 1e-3 + 100.0,
            4 => random.normal() * 1e30,
            5 => random.normal() * 1e-40,
            6 => [1.0, -3.0, 0.5][(i / dim) % 3],
            7 => f32::MAX * (random.uniform() - 0.5),
            _ => 0.0,
        })
        .collect();
    // Cosine needs a direction; the other metrics do not mind.
    if kind != 8 {
        for row in values.chunks_exact_mut(dim) {
            if row.iter().all(|x| *x == 0.0) {
                row[0] = f32::MIN_POSITIVE;
            }
        }
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_is_exact_at_infinite_effort_and_complete_at_any(
        kind in 0usize..9,
        n in prop_oneof![0usize..5, 5usize..600, 600usize..1200],
        dim in prop_oneof![1usize..70, Just(127), Just(384)],
        metric in 0usize..3,
        lists in prop_oneof![Just(None), (1usize..40).prop_map(Some)],
        k in prop_oneof![0usize..12, Just(400), Just(5000)],
        share in prop_oneof![Just(1.0), Just(0.0), 0.0f64..1.0],
        seed in any::<u64>(),
    ) {
        let metric = Metric::ALL[metric];
        prop_assume!(kind != 8 || metric != Metric::Cosine);
        let vectors = rows(kind, n, dim, seed);
        let segment = Segment::build_with(&BuildParams { metric, dim, seed, threads: 1, lists }, &vectors);
        let mut random = Sequence(seed ^ 1);
        let allowed: Option<RoaringBitmap> =
            (share < 1.0).then(|| (0..n as u32).filter(|_| f64::from(random.uniform()) < share).collect());
        let allowed = allowed.as_ref();
        for query in [rows(kind, 1, dim, seed ^ 2), rows(0, 1, dim, seed ^ 3)] {
            let truth = segment.exact(&query, k, allowed);
            let (found, _) = segment.search(&query, k, f32::INFINITY, allowed);
            prop_assert_eq!(&found, &truth);
            for effort in [0.01, 1.0] {
                let (found, _) = segment.search(&query, k, effort, allowed);
                prop_assert_eq!(found.len(), truth.len());
                prop_assert!(found.is_sorted_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)).is_lt()));
                prop_assert!(found.iter().all(|(row, _)| allowed.is_none_or(|allowed| allowed.contains(*row))));
                let exact = segment.exact(&query, n, None);
                prop_assert!(found.iter().all(|pair| exact.contains(pair)));
            }
        }
    }
}

#[test]
fn awkward_data_is_found_by_the_default_policy() {
    for metric in Metric::ALL {
        for kind in 0..8 {
            for dim in [1, 2, 3, 17, 100, 1025] {
                let vectors = rows(kind, 1000, dim, 7);
                let segment = Segment::build(metric, dim, &vectors);
                let queries = rows(kind, 20, dim, 8);
                let sum: f64 = queries
                    .chunks_exact(dim)
                    .map(|query| recall(&segment.search(query, 10, 1.0, None).0, &segment.exact(query, 10, None)))
                    .sum();
                assert!(sum / 20.0 >= 0.97, "{metric} kind {kind} dim {dim}: {}", sum / 20.0);
            }
        }
    }
}

#[test]
fn the_most_dimensions_work() {
    let dim = 16_000;
    let mut random = Sequence(4);
    let vectors: Vec<f32> = (0..400 * dim).map(|_| random.uniform() - 0.5).collect();
    let segment = Segment::build(Metric::Cosine, dim, &vectors);
    for row in [0, 57, 399] {
        let query = &vectors[row * dim..(row + 1) * dim];
        let (found, _) = segment.search(query, 10, 1.0, None);
        assert_eq!(found.len(), 10);
        assert_eq!(segment.order[found[0].0 as usize] as usize, row);
        assert_eq!(found, segment.exact(query, 10, None));
    }
}

#[test]
fn stored_vectors_find_themselves_at_dimensions_where_libraries_overflow() {
    for dim in [1536, 2048, 2112, 3072] {
        let mut random = Sequence(4);
        let vectors: Vec<f32> = (0..600 * dim).map(|_| random.uniform() - 0.5).collect();
        let segment = Segment::build(Metric::L2, dim, &vectors);
        for row in 0..50 {
            let query = &vectors[row * dim..(row + 1) * dim];
            let (found, _) = segment.search(query, 5, 1.0, None);
            assert_eq!(found, segment.exact(query, 5, None), "{dim} {row}");
        }
    }
}

#[test]
fn far_queries_keep_the_right_order() {
    let vectors = rows(0, 2000, 8, 5);
    let segment = Segment::build(Metric::L2, 8, &vectors);
    for distance in [1e2, 1e4, 1e6, 1e12, 1e30] {
        let query: Vec<f32> = (0..8).map(|i| if i % 2 == 0 { distance } else { -0.3 * distance }).collect();
        let found = segment.search(&query, 10, 1.0, None).0;
        assert_eq!(recall(&found, &segment.exact(&query, 10, None)), 1.0, "{distance}");
    }
}

#[test]
fn a_stream_returns_every_allowed_row_once_and_in_order() {
    let dim = 24;
    let vectors = rows(0, 3000, dim, 9);
    let params = BuildParams { metric: Metric::L2, dim, seed: 1, threads: 1, lists: None };
    let built = build(&params, &vectors).unwrap();
    let head = Arc::new(Head::decode(&built.head, "x").unwrap());
    let segment = Segment::build_with(&params, &vectors);
    let allowed: RoaringBitmap = (0..3000).filter(|row| row % 3 != 0).collect();
    let query = rows(0, 1, dim, 10);
    for effort in [1.0, f32::INFINITY] {
        let mut stream = SearchStream::new(head.clone(), query.clone(), effort, Some(allowed.clone())).unwrap();
        let mut all = Vec::new();
        for count in [1, 2, 10, 0, 100, 5000] {
            let batch = futures::executor::block_on(stream.next_batch(&segment, count)).unwrap();
            assert_eq!(batch.len(), count.min(2000 - all.len()));
            all.extend(batch);
        }
        assert!(futures::executor::block_on(stream.next_batch(&segment, 1)).unwrap().is_empty());
        let truth = segment.exact(&query, 3000, Some(&allowed));
        let late = all.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
        println!("effort {effort}: {late} rows out of order of {}; {:?}", all.len(), stream.stats());
        assert!(late <= 3);
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        assert_eq!(all, truth);
    }
}
