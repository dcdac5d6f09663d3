use super::super::{BuildParams, build};
use super::*;
use crate::vector::Metric;
use crate::vector::random::Random;

/// 700 rows of 12 dimensions: enough that nothing is read exactly at once.
fn index() -> (Head, Vec<u8>, Vec<u8>, Vec<f32>) {
    let mut random = Random::new(8, 8);
    let vectors: Vec<f32> = (0..700 * 12).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    let params = BuildParams { metric: Metric::L2, dim: 12, seed: 3, threads: 1, lists: Some(9) };
    let built = build(&params, &vectors).unwrap();
    (Head::decode(&built.head, "x").unwrap(), built.postings, built.row_codes, vectors)
}

type Plain<'a> = Searcher<&'a Head, &'a RoaringBitmap>;

fn slices(section: &[u8], ranges: &[Range<u64>]) -> Vec<Bytes> {
    ranges.iter().map(|range| Bytes::copy_from_slice(&section[range.start as usize..range.end as usize])).collect()
}

#[test]
fn replies_of_the_wrong_kind_number_or_length_are_errors() {
    let (head, postings, _, _) = index();
    let query = [0.1; 12];
    let fresh = || -> Plain<'_> { Searcher::new(&head, &query, 5, 1.0, None).unwrap() };
    let Need::Postings(ranges) = fresh().need().clone() else { panic!("postings first") };
    let good = slices(&postings, &ranges);
    assert!(fresh().supply(Reply::Bytes(good.clone())).is_ok());
    assert_eq!(fresh().supply(Reply::Vectors(vec![])).unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(fresh().supply(Reply::Bytes(vec![])).unwrap_err().kind, ErrorKind::Internal);
    let mut short = good.clone();
    short[1].truncate(10);
    let error = fresh().supply(Reply::Bytes(short)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains("\"x\""), "{error}");
    let mut searcher = fresh();
    searcher.supply(Reply::Bytes(good)).unwrap();
    let Need::Vectors(ordinals) = searcher.need().clone() else { panic!("vectors second") };
    let wrong = vec![0.0; ordinals.len() * 12 - 1];
    assert_eq!(searcher.supply(Reply::Vectors(wrong)).unwrap_err().kind, ErrorKind::Internal);
}

/// The page layer catches damaged bytes; if it ever does not, a search must still not panic or end short.
#[test]
fn damaged_postings_and_codes_never_panic_or_lose_rows() {
    let (head, mut postings, mut codes, vectors) = index();
    let mut random = Random::new(1, 1);
    for byte in postings.iter_mut().chain(&mut codes) {
        *byte = random.next() as u8;
    }
    // Few enough that the codes of all are compared, and all rows.
    let some: RoaringBitmap = (0..700).filter(|row| row % 2 == 0).collect();
    for (allowed, k) in [(None, 10), (Some(&some), 10), (None, 600)] {
        for seed in 0..20 {
            let mut random = Random::new(seed, 2);
            let query: Vec<f32> = (0..12).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
            let mut searcher: Plain<'_> = Searcher::new(&head, &query, k, 1.0, allowed).unwrap();
            loop {
                let reply = match searcher.need() {
                    Need::Postings(ranges) => Reply::Bytes(slices(&postings, ranges)),
                    Need::RowCodes(ranges) => Reply::Bytes(slices(&codes, ranges)),
                    Need::Vectors(ordinals) => Reply::Vectors(vec![0.5; ordinals.len() * 12]),
                    Need::Done => break,
                };
                searcher.supply(reply).unwrap();
            }
            assert_eq!(searcher.finish().0.len(), k);
        }
    }
    assert_eq!(vectors.len(), 700 * 12);
}

#[test]
fn wrong_queries_and_efforts_are_refused() {
    let (head, _, _, _) = index();
    let kind =
        |query: &[f32], effort| -> ErrorKind { Plain::new(&head, query, 5, effort, None).expect_err("refused").kind };
    assert_eq!(kind(&[0.0; 11], 1.0), ErrorKind::TypeMismatch);
    assert_eq!(kind(&[f32::NAN; 12], 1.0), ErrorKind::Invalid);
    for effort in [0.0, -1.0, f32::NAN, f32::NEG_INFINITY] {
        assert_eq!(kind(&[0.0; 12], effort), ErrorKind::OutOfRange);
    }
}

#[test]
fn nothing_is_read_when_nothing_can_be_found() {
    let (head, _, _, _) = index();
    let nothing = RoaringBitmap::new();
    let beyond: RoaringBitmap = (700..800).collect();
    for (k, allowed) in [(0, None), (5, Some(&nothing)), (5, Some(&beyond))] {
        let searcher: Plain<'_> = Searcher::new(&head, &[0.1; 12], k, 1.0, allowed).unwrap();
        assert_eq!(searcher.need(), &Need::Done);
        assert!(searcher.finish().0.is_empty());
    }
}

#[test]
fn results_as_far_as_the_last_stay_as_far_as_they_are_asked_for() {
    let mut random = Random::new(4, 4);
    for round in 0..200 {
        let rows: Vec<(u32, f32)> = (0..60).map(|ordinal| (ordinal, random.below(6) as f32)).collect();
        let (count, ties) = (1 + round % 60, round / 20);
        let mut sorted = rows.clone();
        sorted.sort_by(nearest_first);
        let equal = sorted[count..].iter().filter(|row| row.1 == sorted[count - 1].1).count();
        let mut cut = rows;
        cut_off(&mut cut, count, ties);
        cut.sort_by(nearest_first);
        assert_eq!(cut, sorted[..count + equal.min(ties)], "{count} and {ties}");
    }
    let mut few = vec![(1, 0.0), (0, 0.0)];
    cut_off(&mut few, 2, 0);
    assert_eq!(few.len(), 2);
}

#[test]
fn an_exact_search_finds_all_equal_rows_when_asked_for_them() {
    let mut random = Random::new(6, 6);
    let vectors: Vec<f32> = (0..700 * 4).map(|_| random.below(2) as f32).collect();
    let params = BuildParams { metric: Metric::L2, dim: 4, seed: 3, threads: 1, lists: Some(9) };
    let built = build(&params, &vectors).unwrap();
    let head = Head::decode(&built.head, "x").unwrap();
    let row_of = |ordinal: &u32| {
        let row = built.order[*ordinal as usize] as usize;
        vectors[row * 4..row * 4 + 4].to_vec()
    };
    // As far from all rows.
    for (k, ties, expected) in [(10, 1_000, 700), (10, 5, 15), (10, 0, 10), (700, 9, 700)] {
        let searcher: Plain<'_> = Searcher::new(&head, &[0.5; 4], k, f32::INFINITY, None).unwrap();
        let mut searcher = searcher.with_ties(ties);
        while let Need::Vectors(ordinals) = searcher.need().clone() {
            let vectors = ordinals.iter().flat_map(row_of).collect();
            searcher.supply(Reply::Vectors(vectors)).unwrap();
        }
        let (found, _) = searcher.finish();
        assert_eq!(found.len(), expected);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "those with the least ordinals");
    }
}

#[test]
fn a_searcher_can_be_sent_to_another_thread() {
    fn assert_send<T: Send + 'static>() {}
    assert_send::<Searcher<std::sync::Arc<Head>, std::sync::Arc<RoaringBitmap>>>();
}

#[test]
fn without_a_filter_a_search_reads_postings_once_and_then_exact_vectors() {
    const ROWS: usize = 20_000;
    let mut random = Random::new(9, 9);
    let vectors: Vec<f32> = (0..ROWS * 8).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
    let params = BuildParams { metric: Metric::L2, dim: 8, seed: 3, threads: 2, lists: None };
    let built = build(&params, &vectors).unwrap();
    let head = Head::decode(&built.head, "x").unwrap();
    let reads = |k: usize, allowed: Option<&RoaringBitmap>| {
        let mut searcher: Plain<'_> = Searcher::new(&head, &[0.1; 8], k, 1.0, allowed).unwrap();
        let mut kinds = Vec::new();
        loop {
            let (kind, reply) = match searcher.need() {
                Need::Postings(ranges) => ("postings", Reply::Bytes(slices(&built.postings, ranges))),
                Need::RowCodes(ranges) => ("codes", Reply::Bytes(slices(&built.row_codes, ranges))),
                Need::Vectors(ordinals) => {
                    let row = |ordinal: &u32| built.order[*ordinal as usize] as usize * 8;
                    let rows = ordinals.iter().flat_map(|ordinal| vectors[row(ordinal)..row(ordinal) + 8].to_vec());
                    ("vectors", Reply::Vectors(rows.collect()))
                }
                Need::Done => break,
            };
            kinds.push(kind);
            searcher.supply(reply).unwrap();
        }
        assert_eq!(searcher.finish().0.len(), k);
        kinds
    };
    for k in [1, 10, 100, DIRECT_RESULTS] {
        assert_eq!(reads(k, None), ["postings", "vectors"], "{k} results");
    }
    // Deletions are no filter.
    let alive: RoaringBitmap = (0..ROWS as u32).filter(|row| !row.is_multiple_of(20)).collect();
    assert_eq!(reads(10, Some(&alive)), ["postings", "vectors"]);
}

/// Two segments of other scales and means tell of their candidates in the same units, which are those of the metric.
#[test]
fn bounds_of_all_segments_are_in_the_units_of_the_metric() {
    const ROWS: usize = 17_000;
    let mut random = Random::new(5, 5);
    let query: Vec<f32> = (0..16).map(|_| random.below(2001) as f32 / 500.0 - 1.0).collect();
    for metric in Metric::ALL {
        for (spread, middle) in [(1.0, 0.0), (40.0, 3.0)] {
            let value = |random: &mut Random| (random.below(2001) as f32 / 1000.0 - 1.0) * spread + middle;
            let vectors: Vec<f32> = (0..ROWS * 16).map(|_| value(&mut random)).collect();
            let params = BuildParams { metric, dim: 16, seed: 3, threads: 2, lists: None };
            let built = build(&params, &vectors).unwrap();
            let head = Head::decode(&built.head, "x").unwrap();
            let mut searcher: Plain<'_> = Searcher::new(&head, &query, 10, 1.0, None).unwrap();
            assert!(searcher.bounds().is_empty(), "nothing is known yet");
            let Need::Postings(ranges) = searcher.need().clone() else { panic!("postings first") };
            searcher.supply(Reply::Bytes(slices(&built.postings, &ranges))).unwrap();
            let bounds = searcher.bounds();
            assert!(bounds.len() >= 10);
            let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let truth = |ordinal: u32| -> f64 {
                let row = &vectors[built.order[ordinal as usize] as usize * 16..][..16];
                let pairs = || row.iter().zip(&query).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                match metric {
                    Metric::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum(),
                    Metric::Cosine => pairs().map(|(a, b)| (a / norm(row) - b / norm(&query)).powi(2)).sum(),
                    Metric::Dot => -pairs().map(|(a, b)| a * b).sum::<f64>() / norm(&query),
                }
            };
            let held = searcher.promising.iter().zip(&bounds).filter(|(candidate, bounds)| {
                let (truth, half): (f64, f64) = (truth(candidate.ordinal), bounds.estimate - bounds.lower);
                (truth - bounds.estimate).abs() <= 2.0 * half
            });
            let held = held.count();
            assert!(held * 10 >= bounds.len() * 9, "{metric} {spread}: {held} of {}", bounds.len());
            // Nothing is left out that may be among the nearest.
            let before = searcher.need().clone();
            searcher.keep(&Cut::of(bounds, 10, usize::MAX));
            let (Need::Vectors(before), Need::Vectors(after)) = (before, searcher.need().clone()) else {
                panic!("exact vectors next")
            };
            assert!(after.len() >= 10 && after.iter().all(|row| before.contains(row)));
        }
    }
}
