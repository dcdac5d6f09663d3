use super::*;
use crate::vector::random::Random;

fn bounds(estimate: f64, half: f64) -> Bounds {
    Bounds { estimate, lower: estimate - half }
}

#[test]
fn what_cannot_be_among_the_nearest_is_cut() {
    // The second smallest upper bound is 3.5.
    let all = [bounds(1.0, 0.5), bounds(3.0, 0.5), bounds(4.0, 0.5), bounds(4.1, 0.5), bounds(9.0, 6.0)];
    let cut = Cut::of(all.to_vec(), 2, 100);
    assert_eq!(all.map(|bounds| cut.keeps(&bounds)), [true, true, true, false, true]);
    let cut = Cut::of(all.to_vec(), 2, 3);
    assert_eq!(all.map(|bounds| cut.keeps(&bounds)), [true, true, true, false, false], "the best estimates");
}

#[test]
fn fewer_candidates_than_results_all_stay() {
    let all = vec![bounds(1.0, 0.0), bounds(f64::MAX, 0.0)];
    for k in [0, 3] {
        let cut = Cut::of(all.clone(), k, 1);
        assert!(all.iter().all(|bounds| cut.keeps(bounds)), "{k}");
    }
    assert!(Cut::of(Vec::new(), 5, 5).keeps(&bounds(1.0, 1.0)));
}

#[test]
fn a_row_of_which_nothing_is_known_stays() {
    let unknown = Bounds { estimate: f64::INFINITY, lower: f64::NEG_INFINITY };
    let mut all: Vec<Bounds> = (0..50).map(|i| bounds(f64::from(i), 0.1)).collect();
    all.push(unknown);
    assert!(Cut::of(all, 3, 5).keeps(&unknown));
}

#[test]
fn as_many_stay_as_are_wanted_and_no_true_neighbour_goes_while_bounds_hold() {
    let mut random = Random::new(2, 2);
    for round in 0..200 {
        let count = 1 + random.below(300);
        let mut real = Vec::new();
        let all: Vec<Bounds> = (0..count)
            .map(|_| {
                let (truth, half) = (random.below(1_000) as f64, random.below(50) as f64);
                real.push(truth);
                // Anywhere within the bounds.
                bounds(truth + half * (random.below(201) as f64 / 100.0 - 1.0), half)
            })
            .collect();
        let k = 1 + random.below(count);
        let cut = Cut::of(all.clone(), k, count);
        assert!(all.iter().filter(|bounds| cut.keeps(bounds)).count() >= k, "round {round}");
        let mut sorted = real.clone();
        sorted.sort_by(f64::total_cmp);
        for (bounds, truth) in all.iter().zip(&real) {
            assert!(*truth >= sorted[k - 1] || cut.keeps(bounds), "round {round}: {bounds:?} is {truth}");
        }
    }
}
