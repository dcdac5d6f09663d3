use super::*;

#[test]
fn what_was_used_longest_ago_goes_first() {
    let cache = Bounded::new(30);
    for key in 0..3 {
        cache.insert(key, key * 10, 10);
    }
    assert_eq!(cache.get(&0), Some(0));
    cache.insert(3, 30, 10);
    assert_eq!(cache.get(&1), None);
    assert_eq!((cache.get(&0), cache.get(&2), cache.get(&3)), (Some(0), Some(20), Some(30)));
    assert_eq!(cache.usage(), (3, 30));
}

#[test]
fn a_value_larger_than_the_budget_is_not_remembered_and_costs_nothing_else() {
    let cache = Bounded::new(30);
    cache.insert(1, 1, 10);
    cache.insert(2, 2, 31);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
}

#[test]
fn replacing_and_resizing_keep_the_books() {
    let cache = Bounded::new(30);
    cache.insert(1, 1, 10);
    cache.insert(1, 2, 20);
    assert_eq!(cache.usage(), (1, 20));
    cache.insert(2, 2, 10);
    cache.resize(10);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
    cache.clear();
    assert_eq!(cache.usage(), (0, 0));
}

#[test]
fn a_value_that_grows_while_it_is_used_makes_others_go() {
    let cache = Bounded::new(30);
    (0..3).for_each(|key| cache.insert(key, key * 10, 10));
    assert_eq!(cache.get_weighed(&1, |value| value + 5), Some(10));
    assert_eq!((cache.usage(), cache.get(&0)), ((2, 25), None));
    // More than all may have: whoever holds it keeps it, and it is made anew when it is wanted again.
    assert_eq!(cache.get_weighed(&1, |_| 100), Some(10));
    assert_eq!((cache.usage(), cache.get(&1)), ((0, 0), None));
    assert_eq!(cache.get_weighed(&1, |_| 1), None);
}
