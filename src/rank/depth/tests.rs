use super::*;

#[test]
fn where_all_are_visible_no_more_is_asked_for() {
    assert_eq!(deep_enough(100, 1.0), 100);
    assert_eq!(deep_enough(0, 1.0), 0);
    assert_eq!(deep_enough(100, f64::NAN), 100);
    assert_eq!(deep_enough(100, 7.0), 100);
}

#[test]
fn a_few_more_than_expected_are_asked_for() {
    let asked = deep_enough(100, 0.99);
    assert!((104..110).contains(&asked), "{asked}");
    let asked = deep_enough(10, 0.9);
    assert!((14..18).contains(&asked), "{asked}");
}

#[test]
fn a_third_that_is_dead_is_asked_for_at_once() {
    let asked = deep_enough(100, 2.0 / 3.0);
    assert!((150..200).contains(&asked), "{asked}");
    assert!(deep_enough(100, 0.0) < (DEEPEST_STEP + 2) * 100, "a guess is bounded");
}

#[test]
fn the_next_question_goes_deeper_and_not_too_deep() {
    for asked in [1, 7, 120, 5_000] {
        for share in [0.0, 0.1, 0.5, 0.9, 1.0, f64::NAN] {
            let next = deeper(asked, 100, share);
            assert!(
                next > asked && next <= (asked * DEEPEST_STEP).max(asked + asked / LEAST_STEP + 1),
                "{asked} {share} {next}"
            );
        }
    }
    assert_eq!(deeper(120, 100, 0.0), 480, "nothing is known of a share that small");
    let next = deeper(120, 100, 0.7);
    assert!((140..200).contains(&next), "{next}");
}

#[test]
fn numbers_without_bound_do_not_overflow() {
    assert_eq!(deeper(usize::MAX, usize::MAX, 0.5), usize::MAX);
    assert!(deep_enough(usize::MAX, 0.3) >= usize::MAX / 2);
}
