use super::*;

#[test]
fn a_fixed_environment_repeats_itself() {
    let (a, clock) = Env::fixed(7, 1_000);
    let (b, _) = Env::fixed(7, 1_000);
    assert_eq!(a.rng.next_u64(), b.rng.next_u64());
    assert_eq!(a.ids.ulid(), b.ids.ulid());
    clock.advance(Duration::from_millis(5));
    assert_eq!(a.now_ms(), 1_005);
    assert_eq!(b.now_ms(), 1_000);
}

#[test]
fn unit_numbers_stay_below_one_and_spread() {
    let (env, _) = Env::fixed(1, 0);
    let draws: Vec<f64> = (0..10_000).map(|_| env.rng.unit()).collect();
    assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = draws.iter().sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
}

#[test]
fn identifiers_are_unique_and_carry_their_time() {
    let env = Env::system();
    let ids: std::collections::HashSet<_> = (0..1_000).map(|_| env.ids.ulid()).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(env.ids.ulid().timestamp_ms().abs_diff(env.now_ms()) < 60_000);
}
