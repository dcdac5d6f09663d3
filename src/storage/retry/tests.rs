use std::cell::Cell;

use super::*;
use crate::error::ErrorKind;

fn timeouts() -> StorageTimeouts {
    StorageTimeouts { attempts: 4, deadline_ms: 1_000_000, ..StorageTimeouts::default() }
}

#[tokio::test]
async fn transient_failures_are_repeated_until_success_and_counted() {
    let (env, _) = Env::fixed(1, 0);
    let (metrics, calls) = (StoreMetrics::default(), Cell::new(0));
    let value = retry(&timeouts(), &env, &metrics, |number| {
        calls.set(calls.get() + 1);
        async move { if number < 2 { Err(Failure::Transient(Error::unavailable("busy"))) } else { Ok(number) } }
    })
    .await
    .unwrap();
    assert_eq!((value, calls.get(), metrics.snapshot("").retries), (2, 3, 2));
}

#[tokio::test]
async fn a_final_failure_is_not_repeated() {
    let (env, _) = Env::fixed(1, 0);
    let calls = Cell::new(0);
    let error = retry::<(), _>(&timeouts(), &env, &StoreMetrics::default(), |_| {
        calls.set(calls.get() + 1);
        async { Err(Failure::Final(Error::invalid("no"))) }
    })
    .await
    .unwrap_err();
    assert_eq!((error.kind, calls.get()), (ErrorKind::Invalid, 1));
}

#[tokio::test]
async fn attempts_and_deadline_both_end_it() {
    let (env, clock) = Env::fixed(1, 0);
    let fail = || async { Err::<(), _>(Failure::Transient(Error::unavailable("busy"))) };
    let calls = Cell::new(0);
    let error = retry(&timeouts(), &env, &StoreMetrics::default(), |_| {
        calls.set(calls.get() + 1);
        fail()
    })
    .await
    .unwrap_err();
    assert_eq!((error.kind, calls.get()), (ErrorKind::Unavailable, 4));
    assert!(error.detail.unwrap().contains("4 attempts"));

    calls.set(0);
    let short = StorageTimeouts { deadline_ms: 5_000, attempts: 100, ..timeouts() };
    retry(&short, &env, &StoreMetrics::default(), |_| {
        calls.set(calls.get() + 1);
        clock.advance(Duration::from_secs(2));
        fail()
    })
    .await
    .unwrap_err();
    assert_eq!(calls.get(), 3);
}

#[test]
fn waits_double_up_to_a_bound_and_are_spread_over_all_of_it() {
    assert_eq!(delay_before(1, 0.0), Duration::ZERO);
    assert_eq!(delay_before(1, 0.5), Duration::from_millis(50));
    assert_eq!(delay_before(3, 0.5), Duration::from_millis(200));
    assert_eq!(delay_before(60, 1.0), MAX_DELAY);
}
