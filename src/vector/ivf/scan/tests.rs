use super::*;

#[test]
fn masks_cover_exactly_the_allowed_rows_of_a_list() {
    let mut masks = Vec::new();
    fill_masks(&mut masks, &(10..75), None);
    assert_eq!(masks, [u32::MAX, u32::MAX, 1]);
    fill_masks(&mut masks, &(0..64), None);
    assert_eq!(masks, [u32::MAX, u32::MAX]);
    let allowed: RoaringBitmap = [3, 10, 41, 42, 74, 75].into_iter().collect();
    fill_masks(&mut masks, &(10..75), Some(&allowed));
    assert_eq!(masks, [1 | 1 << 31, 1, 1]);
}

#[test]
fn the_threshold_is_the_kth_smallest_value() {
    let mut smallest = Smallest::new(2);
    assert_eq!(smallest.threshold(), f32::INFINITY);
    assert!(smallest.push(3.0) && smallest.push(5.0) && smallest.push(-1.0) && !smallest.push(4.0));
    assert_eq!(smallest.threshold(), 3.0);
}

#[test]
fn candidates_with_doubtful_estimates_stay() {
    let mut candidates: Vec<Candidate> = (0..10).map(|i| Candidate::new(i as f32, i as f32 - 0.5, i, 0)).collect();
    candidates.push(Candidate::new(f32::NAN, 0.0, 10, 0));
    candidates.push(Candidate::new(0.0, -f32::NAN, 11, 0));
    keep_promising(&mut candidates, 2, 100);
    let ordinals: Vec<u32> = candidates.iter().map(|candidate| candidate.ordinal).collect();
    assert_eq!(ordinals, [0, 1, 2, 10, 11]);
}

#[test]
fn of_too_many_candidates_the_best_estimates_stay_and_never_fewer_than_k() {
    let all: Vec<Candidate> = (0..50).map(|i| Candidate::new((i * 37 % 50) as f32, -1.0, i, 0)).collect();
    for (most, expected) in [(20, 20), (3, 5)] {
        let mut candidates = all.clone();
        keep_promising(&mut candidates, 5, most);
        assert_eq!(candidates.len(), expected);
        assert!(candidates.iter().all(|candidate| candidate.estimate < expected as f32));
    }
}
