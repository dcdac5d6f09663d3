use super::super::Head;
use super::*;
use crate::vector::random::Random;
use crate::vector::simd::tests::with_portable;

fn values(count: usize) -> Vec<f32> {
    let mut random = Random::new(8, 8);
    (0..count).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()
}

fn params(metric: Metric, dim: usize) -> BuildParams {
    BuildParams { metric, dim, seed: 3, threads: 1, lists: None }
}

#[test]
fn the_bytes_depend_on_input_and_seed_alone() {
    let vectors = values(9000 * 20);
    for metric in Metric::ALL {
        let one = build(&params(metric, 20), &vectors).unwrap();
        let three = build(&BuildParams { threads: 3, ..params(metric, 20) }, &vectors).unwrap();
        let portable = with_portable(|| build(&params(metric, 20), &vectors).unwrap());
        assert!(one == three && one == portable, "{metric}");
        assert!(one != build(&BuildParams { seed: 4, ..params(metric, 20) }, &vectors).unwrap());
    }
}

#[test]
fn the_order_is_a_permutation_and_the_lengths_agree() {
    let vectors = values(700 * 33);
    for lists in [None, Some(1), Some(13), Some(5000)] {
        let built = build(&BuildParams { lists, ..params(Metric::L2, 33) }, &vectors).unwrap();
        let mut order = built.order.clone();
        order.sort_unstable();
        assert_eq!(order, (0..700).collect::<Vec<_>>());
        let head = Head::decode(&built.head, "x").unwrap();
        assert_eq!((head.rows(), head.dim(), head.metric()), (700, 33, Metric::L2));
        assert_eq!(head.postings_len(), built.postings.len() as u64);
        assert_eq!(head.row_codes_len(), built.row_codes.len() as u64);
        assert_eq!(head.list_rows(head.lists() - 1).end, 700);
        assert!(head.memory_bytes() > built.head.len() / 2 && head.memory_bytes() < 2 * built.head.len());
        assert!((0..700).all(|row| head.list_rows(head.list_of(row)).contains(&row)));
    }
}

#[test]
fn of_more_rows_than_fit_the_lists_are_trained_on_a_sample() {
    let (dim, rows) = (20, 9_000);
    let vectors = values(rows * dim);
    let input = InMemory(Points { values: &vectors, dim });
    let whole = build(&params(Metric::L2, dim), &vectors).unwrap();
    assert!(build_from(&params(Metric::L2, dim), &input, rows).unwrap() == whole);
    let sampled = build_from(&params(Metric::L2, dim), &input, rows / 4).unwrap();
    assert!(sampled != whole);
    let threads = BuildParams { threads: 3, ..params(Metric::L2, dim) };
    assert!(sampled == build_from(&threads, &input, rows / 4).unwrap(), "the bytes do not depend on threads");
    let mut order = sampled.order.clone();
    order.sort_unstable();
    assert_eq!(order, (0..rows as u32).collect::<Vec<_>>());
    let head = Head::decode(&sampled.head, "x").unwrap();
    assert_eq!(head.rows() as usize, rows);
    let largest = (0..head.lists()).map(|list| head.list_rows(list).len()).max().unwrap();
    assert!(largest < 4 * rows / head.lists(), "a list has {largest} of {rows} rows, there are {}", head.lists());
}

#[test]
fn no_rows_make_an_empty_index() {
    let built = build(&params(Metric::Cosine, 5), &[]).unwrap();
    let head = Head::decode(&built.head, "x").unwrap();
    assert_eq!((head.rows(), head.lists(), head.postings_len(), head.row_codes_len()), (0, 0, 0, 0));
    assert!(built.order.is_empty() && built.postings.is_empty() && built.row_codes.is_empty());
}

#[test]
fn wrong_input_is_refused() {
    let kind = |metric, dim, vectors: &[f32]| build(&params(metric, dim), vectors).unwrap_err().kind;
    assert_eq!(kind(Metric::L2, 0, &[]), ErrorKind::OutOfRange);
    assert_eq!(kind(Metric::L2, 16_001, &[]), ErrorKind::OutOfRange);
    assert_eq!(kind(Metric::L2, 2, &[1.0; 3]), ErrorKind::Invalid);
    assert_eq!(kind(Metric::L2, 1, &[f32::NAN]), ErrorKind::Invalid);
    assert_eq!(kind(Metric::Cosine, 2, &[1.0, 1.0, 0.0, 0.0]), ErrorKind::Invalid);
}
