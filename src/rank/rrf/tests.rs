use super::*;

#[test]
fn ranks_count_from_one_and_weights_multiply() {
    let arms = [Arm { weight: 1.0, keys: vec![10, 20] }, Arm { weight: 2.0, keys: vec![20, 30] }];
    let fused = fuse(&arms, 60);
    let score = |key| fused.iter().find(|f| f.key == key).map(|f| f.score).unwrap();
    assert!((score(10) - 1.0 / 61.0).abs() < 1e-7);
    assert!((score(20) - (1.0 / 62.0 + 2.0 / 61.0)).abs() < 1e-7);
    assert!((score(30) - 2.0 / 62.0).abs() < 1e-7);
    let keys: Vec<_> = fused.iter().map(|f| f.key).collect();
    assert_eq!(keys, [20, 30, 10]);
    assert_eq!(fused[0].ranks, [Some(2), Some(1)]);
}

#[test]
fn ties_are_ordered_by_key() {
    let arms = [Arm { weight: 1.0, keys: vec![7] }, Arm { weight: 1.0, keys: vec![-7] }];
    let keys: Vec<_> = fuse(&arms, 60).iter().map(|f| f.key).collect();
    assert_eq!(keys, [-7, 7]);
}

#[test]
fn no_arms_fuse_to_nothing() {
    assert!(fuse(&[], 60).is_empty());
    assert!(fuse(&[Arm { weight: 1.0, keys: vec![] }], 60).is_empty());
}
