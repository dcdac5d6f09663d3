//! Two servers over one prefix: neither may delete while the other lives (INV-4, INV-9).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::engine_support;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use elacsym::config::EngineSettings;
use elacsym::engine::Engine;
use elacsym::env::Env;
use elacsym::error::ErrorKind;
use elacsym::garbage::marks::Server;
use elacsym::ids::NamespaceId;
use engine_support::settings;

const CLUSTER: NamespaceId = NamespaceId([7; 16]);
const OTHER: NamespaceId = NamespaceId([8; 16]);

async fn server(root: &Path, home: &Path) -> Engine {
    let settings = EngineSettings { socket_path: home.join("engine.sock"), ..settings(root) };
    Engine::new(settings, Env::system()).await.unwrap()
}

fn marks(root: &Path) -> Vec<String> {
    let directory = root.join(Server::prefix(CLUSTER));
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// As if the mark had been written so long ago.
fn age(root: &Path, mark: &str, by: Duration) {
    let path = root.join(Server::prefix(CLUSTER)).join(mark);
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
}

#[tokio::test]
async fn of_two_servers_that_live_neither_gets_the_claim() {
    let root = tempfile::tempdir().unwrap();
    let (a_home, b_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = format!("file://{}", root.path().display());
    let a = server(root.path(), a_home.path()).await;
    // Alone; a look without an announcement leaves nothing.
    a.claim(&url, CLUSTER, None).await.unwrap();
    assert_eq!(marks(root.path()), Vec::<String>::new());
    a.claim(&url, CLUSTER, Some(1_000)).await.unwrap();
    let own = marks(root.path());
    assert_eq!(own.len(), 1);

    let b = server(root.path(), b_home.path()).await;
    for announce in [Some(5), None] {
        let error = b.claim(&url, CLUSTER, announce).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fenced);
        assert!(error.message.contains(&url) && error.detail.is_some() && error.hint.is_some(), "{error:?}");
    }
    // What another cluster does is nobody's business.
    b.claim(&url, OTHER, Some(5)).await.unwrap();
    // The first one notices the other after a restart at the latest, under the name it had.
    let a = server(root.path(), a_home.path()).await;
    assert_eq!(a.claim(&url, CLUSTER, Some(1_000)).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(marks(root.path()).len(), 2);

    // The other has not said anything for longer than it counts as alive.
    let others: Vec<String> = marks(root.path()).into_iter().filter(|mark| !own.contains(mark)).collect();
    age(root.path(), &others[0], Duration::from_secs(7));
    a.claim(&url, CLUSTER, None).await.unwrap();
    a.claim(&url, CLUSTER, Some(1_000)).await.unwrap();
    assert_eq!(marks(root.path()), own);
    // It comes back.
    assert_eq!(b.claim(&url, CLUSTER, Some(5)).await.unwrap_err().kind, ErrorKind::Fenced);
    let a = server(root.path(), a_home.path()).await;
    assert_eq!(a.claim(&url, CLUSTER, Some(1_000)).await.unwrap_err().kind, ErrorKind::Fenced);
}

/// A copy of a volume has the same file with the same name.
#[tokio::test]
async fn twins_of_one_name_find_each_other() {
    let root = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let url = format!("file://{}", root.path().display());
    let (a, b) = (server(root.path(), home.path()).await, server(root.path(), home.path()).await);
    // So short a time that no answer is remembered.
    let valid = Some(5);
    for _ in 0..3 {
        a.claim(&url, CLUSTER, valid).await.unwrap();
    }
    // As after a restart: the first answer cannot tell.
    b.claim(&url, CLUSTER, valid).await.unwrap();
    for _ in 0..2 {
        for twin in [&a, &b] {
            assert_eq!(twin.claim(&url, CLUSTER, valid).await.unwrap_err().kind, ErrorKind::Fenced);
        }
    }
    assert_eq!(marks(root.path()).len(), 2);
    // The new name stays.
    drop(a);
    let a = server(root.path(), home.path()).await;
    assert_eq!(a.claim(&url, CLUSTER, valid).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(marks(root.path()).len(), 2);
}

#[tokio::test]
async fn a_server_that_changes_its_time_leaves_one_mark() {
    let root = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let url = format!("file://{}", root.path().display());
    for seconds in [1_000, 0, 50] {
        // A new process each time: the last answer is not remembered.
        let engine = server(root.path(), home.path()).await;
        engine.claim(&url, CLUSTER, Some(seconds)).await.unwrap();
        let marks = marks(root.path());
        assert!(marks.len() == 1 && marks[0].ends_with(&format!("-{seconds}")), "{marks:?}");
    }
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_marks_are_put_once() {
    let root = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let url = format!("file://{}", root.path().display());
    let engine = server(root.path(), home.path()).await;
    for (key, text) in [("c/5/b", "one"), ("c/5/a", "two!"), ("c/6/a", ""), ("c/5/b", "again")] {
        engine.put_mark(&url, key, text.to_string()).await.unwrap();
    }
    let page = engine.list_objects(&url, "c/5/", None, 1_000).await.unwrap();
    let shown: Vec<(&str, u64)> = page.iter().map(|object| (object.key.as_str(), object.bytes)).collect();
    assert_eq!(shown, [("c/5/a", 4), ("c/5/b", 3)]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!(page.iter().all(|object| (0..600_000_000).contains(&(now - object.modified))), "{page:?}");
    let page = engine.list_objects(&url, "c/", Some("c/50"), 1).await.unwrap();
    assert_eq!(page[0].key, "c/6/a");
    for limit in [0, 1_001] {
        assert_eq!(engine.list_objects(&url, "", None, limit).await.unwrap_err().kind, ErrorKind::OutOfRange);
    }
}
