use super::*;
use crate::limits::DEFAULT_RRF_K;

fn arm(kind: ArmKind, weight: f32, values: &[(i64, f32)]) -> Arm<i64> {
    Arm { kind, weight, hits: values.to_vec() }
}

fn scores(arms: &[Arm<i64>], method: Method) -> HashMap<i64, f64> {
    fuse(arms, Fusion { method, rrf_k: DEFAULT_RRF_K }).into_iter().map(|row| (row.id, row.score)).collect()
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn rrf_adds_weighted_reciprocal_ranks() {
    let arms =
        [arm(ArmKind::Vector(Metric::L2), 1.0, &[(7, 0.1), (8, 0.2)]), arm(ArmKind::Text, 2.0, &[(8, 9.0), (9, 3.0)])];
    let found = scores(&arms, Method::Rrf);
    assert_close(found[&7], 1.0 / 61.0);
    assert_close(found[&8], 1.0 / 62.0 + 2.0 / 61.0);
    assert_close(found[&9], 2.0 / 62.0);
}

#[test]
fn minmax_gives_the_best_one_the_worst_zero_and_equals_one() {
    let arms = [
        arm(ArmKind::Vector(Metric::Cosine), 1.0, &[(1, 0.2), (2, 0.4), (3, 1.0)]),
        arm(ArmKind::Text, 0.5, &[(3, 4.0), (4, 4.0)]),
    ];
    let found = scores(&arms, Method::MinMax);
    assert!((found[&1] - 1.0).abs() < 1e-6);
    assert!((found[&2] - 0.75).abs() < 1e-6);
    assert!((found[&3] - 0.5).abs() < 1e-6);
    assert_close(found[&4], 0.5);
}

#[test]
fn distribution_puts_the_mean_at_one_half_and_cuts_outliers() {
    let mut hits: Vec<(i64, f32)> = (1..=99).map(|id| (id, 1.0)).collect();
    hits.insert(0, (0, 100.0));
    let found = scores(&[arm(ArmKind::Text, 1.0, &hits)], Method::Distribution);
    assert_close(found[&0], 1.0);
    assert!(found[&1] > 0.45 && found[&1] < 0.5, "{}", found[&1]);
    let same = scores(&[arm(ArmKind::Text, 3.0, &[(1, 0.1), (2, 0.1), (3, 0.1)])], Method::Distribution);
    assert!(same.values().all(|score| *score == 1.5), "{same:?}");
    let pair = scores(&[arm(ArmKind::Vector(Metric::L2), 1.0, &[(1, 2.0), (2, 4.0)])], Method::Distribution);
    assert_close(pair[&1], 0.5 + 1.0 / 6.0);
    assert_close(pair[&2], 0.5 - 1.0 / 6.0);
}

#[test]
fn infinite_distances_spoil_no_score() {
    let hits = [(1, 1.0), (2, 2.0), (3, f32::INFINITY)];
    for method in [Method::Rrf, Method::MinMax, Method::Distribution] {
        let found = scores(&[arm(ArmKind::Vector(Metric::L2), 1.0, &hits)], method);
        assert!(found.values().all(|score| (0.0..=1.0).contains(score)), "{method:?}: {found:?}");
        assert!(found[&1] >= found[&2] && found[&2] > found[&3], "{method:?}: {found:?}");
    }
}

#[test]
fn places_are_those_of_the_arms_in_their_order() {
    let arms = [
        arm(ArmKind::Vector(Metric::Dot), 1.0, &[(5, -3.0)]),
        arm(ArmKind::Text, 1.0, &[(6, 2.0), (5, 1.0)]),
        arm(ArmKind::Text, 1.0, &[]),
    ];
    let rows = fuse(&arms, Fusion::default());
    let of = |id| rows.iter().find(|row| row.id == id).unwrap().places.clone();
    assert_eq!(of(5), [Some(Place { rank: 1, value: -3.0 }), Some(Place { rank: 2, value: 1.0 }), None]);
    assert_eq!(of(6), [None, Some(Place { rank: 1, value: 2.0 }), None]);
}
