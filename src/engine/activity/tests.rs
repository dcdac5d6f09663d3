use super::*;
use crate::ipc::message::{FetchRequest, NamespaceView};

fn fetch() -> Request {
    let namespace = NamespaceView { id: NamespaceId([7; 16]), ..NamespaceView::nothing() };
    Request::Fetch(Box::new(FetchRequest {
        namespace,
        keys: Vec::new(),
        include_vector: false,
        include_attributes: Vec::new(),
    }))
}

#[tokio::test]
async fn a_request_is_listed_with_its_progress_until_it_ends() {
    let (env, clock) = Env::fixed(1, 0);
    let all = Activities::default();
    let running = all.begin(&fetch(), Some(42), &env).unwrap();
    clock.advance(Duration::from_millis(5));
    let found = running
        .run(async {
            let before = all.list(&env);
            phase(Phase::Build);
            rows(3, 10);
            (before, all.list(&env))
        })
        .await;
    let before = Activity {
        pid: Some(42),
        namespace: Some(NamespaceId([7; 16])),
        kind: "fetch".into(),
        phase: None,
        rows_done: None,
        rows_total: None,
        elapsed_micros: 5_000,
    };
    let after = Activity { phase: Some("build".into()), rows_done: Some(3), rows_total: Some(10), ..before.clone() };
    assert_eq!(found, (vec![before], vec![after]));
    assert_eq!(all.counts().into_iter().collect::<Vec<_>>(), [("fetch", 1)]);
    drop(running);
    assert!(all.list(&env).is_empty());
    assert!(all.counts().is_empty());
}

#[tokio::test]
async fn requests_that_run_at_once_do_not_see_each_others_progress() {
    let env = Env::system();
    let all = Activities::default();
    let (one, two) = (all.begin(&fetch(), Some(1), &env).unwrap(), all.begin(&fetch(), Some(2), &env).unwrap());
    tokio::join!(one.run(async { rows(1, 5) }), two.run(async { rows(4, 9) }));
    let found: Vec<_> = all.list(&env).into_iter().map(|a| (a.pid, a.rows_done, a.rows_total)).collect();
    assert_eq!(found, [(Some(1), Some(1), Some(5)), (Some(2), Some(4), Some(9))]);
}

#[test]
fn progress_outside_of_a_request_is_nobodys() {
    phase(Phase::Upload);
    rows(1, 2);
    assert!(Activities::default().list(&Env::system()).is_empty());
}

#[test]
fn a_request_that_only_asks_for_figures_is_not_listed() {
    let (all, env) = (Activities::default(), Env::system());
    assert!(all.begin(&Request::Stats, None, &env).is_none());
    assert!(all.begin(&Request::Activity, None, &env).is_none());
    assert!(all.list(&env).is_empty());
}
