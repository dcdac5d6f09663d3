use super::*;

fn scored(score: f32, key: Key) -> Scored<()> {
    Scored { score, key, item: () }
}

#[test]
fn keeps_exactly_what_a_full_sort_would_keep() {
    let mut state = 7_u64;
    for k in [0, 1, 3, 10, 500] {
        let all: Vec<_> = (0..300)
            .map(|key| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Few distinct scores, so that ties at the border are the rule.
                scored((state >> 60) as f32, 1000 - key)
            })
            .collect();
        let mut expected = all.clone();
        expected.sort_by(Scored::rank_order);
        expected.truncate(k);
        let mut top = TopK::new(k);
        top.extend(all);
        assert_eq!(top.into_sorted(), expected);
    }
}

#[test]
fn equal_scores_are_ordered_by_key() {
    let mut top = TopK::new(2);
    top.extend([scored(1.0, 9), scored(1.0, -4), scored(1.0, 3)]);
    let keys: Vec<_> = top.into_sorted().into_iter().map(|c| c.key).collect();
    assert_eq!(keys, [-4, 3]);
}

#[test]
fn the_threshold_is_the_worst_kept_score() {
    let mut top = TopK::new(2);
    assert_eq!(top.threshold(), None);
    top.extend([scored(1.0, 1), scored(3.0, 2)]);
    assert_eq!(top.threshold(), Some(1.0));
    top.push(scored(2.0, 3));
    assert_eq!(top.threshold(), Some(2.0));
}
