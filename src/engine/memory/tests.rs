use super::*;

#[test]
fn the_limits_and_the_least_cache_are_about_the_setting() {
    for total in [256 << 20, 1 << 30, 64_u64 << 30] {
        let budgets = Budgets::of(total);
        let kept = budgets.segments + budgets.buffer + budgets.patched + 3 * budgets.delete_vectors;
        let most = kept as u64 + blocks_of(total, kept as u64);
        assert!(most <= total, "{most} of {total}");
        assert!(most > total / 64 * 58, "{most} of {total} can be used");
    }
}

#[test]
fn blocks_have_what_nothing_else_takes_and_never_nothing() {
    assert_eq!(blocks_of(1024, 0), 1024);
    assert_eq!(blocks_of(1024, 1000), 128);
    assert_eq!(blocks_of(1024, 4000), 128);
    assert_eq!(blocks_of(1, 4000), 1);
}
