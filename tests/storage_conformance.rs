//! Every store behaves the same: one suite, run for `file://` and for `s3://` against a real server.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use elacsym::config::StorageConfig;
use elacsym::env::Env;
use elacsym::error::ErrorKind;
use elacsym::storage::{
    MeteredStore, ObjectStore, Operation, PutOutcome, StoreMetrics, StoreRegistry, open, open_checked,
};
use support::{BUCKET, Moto};

type Store = Arc<dyn ObjectStore>;

async fn conforms(config: StorageConfig, base: &str) {
    let env = Env::system();
    let at = |name: &str| {
        let (config, env, url) = (config.clone(), env.clone(), format!("{base}/{name}"));
        async move { open_checked(&config, &url, &env, Arc::default()).await.unwrap() }
    };
    round_trips_and_overwrites(at("round").await).await;
    ranges_are_exact(at("ranges").await).await;
    missing_objects_are_named(at("missing").await).await;
    one_of_many_creators_wins(at("race").await).await;
    listings_are_sorted_and_complete(at("lists").await).await;
    more_than_a_thousand_keys(at("many").await).await;
    large_objects_travel_whole(at("large").await).await;
    files_travel_whole_unless_the_object_exists(at("files").await).await;
    any_text_is_a_key(at("unicode").await).await;
    bad_keys_reach_nothing(at("bad").await).await;
    roots_do_not_see_each_other(at("inner").await, at("inner2").await, at("inner/deep").await).await;
}

async fn round_trips_and_overwrites(store: Store) {
    for body in ["", "a", "another body"] {
        store.put("dir/object", Bytes::from(body)).await.unwrap();
        assert_eq!(store.get("dir/object").await.unwrap(), body);
        assert_eq!(store.head("dir/object").await.unwrap(), body.len() as u64);
    }
    assert_eq!(store.put_if_absent("dir/object", Bytes::from("x")).await.unwrap(), PutOutcome::Exists);
    assert_eq!(store.get("dir/object").await.unwrap(), "another body");
    store.delete(&["dir/object".into()]).await.unwrap();
    assert_eq!(store.put_if_absent("dir/object", Bytes::from("x")).await.unwrap(), PutOutcome::Created);
    store.delete(&["dir/object".into(), "dir/never".into()]).await.unwrap();
    assert!(store.list("", None).await.unwrap().is_empty());
    store.delete(&[]).await.unwrap();
}

async fn ranges_are_exact(store: Store) {
    store.put("o", Bytes::from("0123456789")).await.unwrap();
    for (range, expected) in
        [(0..1, "0"), (0..10, "0123456789"), (9..10, "9"), (3..7, "3456"), (4..4, ""), (10..10, "")]
    {
        assert_eq!(store.get_range("o", range).await.unwrap(), expected);
    }
    for range in [0..11, 9..11, 10..11, 100..200] {
        let error = store.get_range("o", range.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{range:?}: {error}");
        assert!(error.message.contains("/o\"") && error.message.contains("offset"), "{error}");
    }
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 5..4;
    assert_eq!(store.get_range("o", backwards).await.unwrap_err().kind, ErrorKind::Invalid);
}

async fn missing_objects_are_named(store: Store) {
    let errors = [
        store.get("a/nothing").await.map(drop).unwrap_err(),
        store.get_range("a/nothing", 0..1).await.map(drop).unwrap_err(),
        store.head("a/nothing").await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("a/nothing") && error.message.contains(store.root()), "{error}");
    }
    store.put("a/b/c", Bytes::from("x")).await.unwrap();
    assert_eq!(store.get("a/b").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.head("a/b").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.get("a/b/c/d").await.unwrap_err().kind, ErrorKind::NotFound);
    store.delete(&["a/b".into(), "a/b/c/d".into()]).await.unwrap();
    assert_eq!(store.get("a/b/c").await.unwrap(), "x");
}

async fn one_of_many_creators_wins(store: Store) {
    for round in 0..5 {
        let key = format!("fence/{round}");
        let attempts = (0..16).map(|i| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { store.put_if_absent(&key, Bytes::from(format!("writer {i}"))).await.unwrap() })
        });
        let outcomes: Vec<_> = futures::future::join_all(attempts).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..16).filter(|i| outcomes[*i] == PutOutcome::Created).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(store.get(&key).await.unwrap(), format!("writer {}", winners[0]));
    }
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    store.list(prefix, after).await.unwrap().into_iter().map(|o| o.key).collect()
}

async fn listings_are_sorted_and_complete(store: Store) {
    // '-' and '.' sort before '/', '0' after it: a walk by directory must still sort by the whole key.
    let all = ["a-b", "a.b/x", "a/b", "a/c/d", "a0", "b"];
    for (size, key) in all.iter().enumerate() {
        store.put(key, Bytes::from(vec![b'x'; size])).await.unwrap();
    }
    assert_eq!(keys(&store, "", None).await, all);
    assert_eq!(keys(&store, "a", None).await, all[..5]);
    assert_eq!(keys(&store, "a/", None).await, ["a/b", "a/c/d"]);
    assert_eq!(keys(&store, "a/c/", None).await, ["a/c/d"]);
    assert_eq!(keys(&store, "a/c", Some("a/c")).await, ["a/c/d"]);
    assert_eq!(keys(&store, "", Some("a/b")).await, ["a/c/d", "a0", "b"]);
    assert_eq!(keys(&store, "", Some("zzz")).await, Vec::<String>::new());
    assert_eq!(keys(&store, "no/such/", None).await, Vec::<String>::new());
    for limit in 1..=all.len() + 1 {
        let (mut pages, mut last) = (Vec::new(), None::<String>);
        loop {
            let page = store.list_page("", last.as_deref(), limit).await.unwrap();
            let is_last = page.len() < limit;
            assert!(page.len() <= limit);
            pages.extend(page.into_iter().map(|o| o.key));
            if is_last {
                break;
            }
            last = pages.last().cloned();
        }
        assert_eq!(pages, all, "pages of {limit}");
    }
    // The name after all keys of a directory: the character after the slash.
    assert_eq!(store.list_page("", Some("a0"), 1).await.unwrap()[0].key, "b");
    assert_eq!(store.list_page("a", Some("a/c0"), 9).await.unwrap()[0].key, "a0");
    let now = std::time::SystemTime::now();
    for (size, object) in store.list("", None).await.unwrap().iter().enumerate() {
        assert_eq!(object.size, size as u64);
        let age = now.duration_since(object.modified).unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{object:?}");
    }
}

async fn more_than_a_thousand_keys(store: Store) {
    use futures::StreamExt;
    let all: Vec<String> = (0..1_234).map(|i| format!("n/{i:05}")).collect();
    let puts = all.iter().map(|key| store.put(key, Bytes::from_static(b"x")));
    futures::stream::iter(puts).buffer_unordered(16).for_each(|done| async { done.unwrap() }).await;
    assert_eq!(keys(&store, "n/", None).await, all);
    assert_eq!(keys(&store, "n/", Some("n/00099")).await, all[100..]);
    for (after, limit) in [(None, 1_000), (Some("n/00099"), 10), (Some("n/00099"), 1_100)] {
        let page = store.list_page("n/", after, limit).await.unwrap();
        let first = after.map_or(0, |_| 100);
        assert!(page.iter().map(|o| &o.key).eq(&all[first..first + limit]), "{after:?} {limit}");
    }
    store.delete(&all).await.unwrap();
    assert!(keys(&store, "", None).await.is_empty());
}

async fn large_objects_travel_whole(store: Store) {
    let body: Bytes =
        (0..20 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into();
    store.put("big", body.clone()).await.unwrap();
    assert_eq!(store.head("big").await.unwrap(), 20 << 20);
    assert!(store.get("big").await.unwrap() == body);
    let range = (8 << 20) - 5..(16 << 20) + 5;
    assert!(store.get_range("big", range.clone()).await.unwrap() == body[range.start as usize..range.end as usize]);
}

async fn files_travel_whole_unless_the_object_exists(store: Store) {
    use std::io::Write;
    let bytes: Vec<u8> = (0..21 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let file = Arc::new(file);
    // What comes after that length in the file is not part of it.
    for len in [0_u64, 1_000, 16 << 20, (16 << 20) + 1, 20 << 20] {
        let key = format!("file/{len}");
        assert_eq!(store.put_file_if_absent(&key, &file, len).await.unwrap(), PutOutcome::Created);
        assert!(store.get(&key).await.unwrap() == bytes[..len as usize], "{len} bytes");
    }
    for len in [1_000, 20 << 20] {
        assert_eq!(store.put_file_if_absent("file/1000", &file, len).await.unwrap(), PutOutcome::Exists);
        assert_eq!(
            store.put_file_if_absent(&format!("file/{}", 20 << 20), &file, len).await.unwrap(),
            PutOutcome::Exists
        );
    }
    assert_eq!(store.head("file/1000").await.unwrap(), 1_000);
    assert_eq!(store.abort_uploads("", std::time::SystemTime::now()).await.unwrap(), 0, "none is left unfinished");
}

async fn any_text_is_a_key(store: Store) {
    let mut all =
        ["größe/中文 🦀", "a b+c%20&d=e?f#g", "quote'\"<>&amp;", "back\\slash", "e\u{301}", "\u{e9}"].map(String::from);
    for key in &all {
        store.put(key, Bytes::from(key.clone())).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), *key);
    }
    all.sort();
    assert_eq!(keys(&store, "", None).await, all);
    store.delete(&all).await.unwrap();
    assert!(keys(&store, "", None).await.is_empty());
}

/// INV-9: No object outside the root is ever written or deleted.
async fn bad_keys_reach_nothing(store: Store) {
    let long = "x/".repeat(500);
    for key in
        ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "nul\0", "line\n", "pgsql_tmp_elacsym-1", &long]
    {
        let bytes = Bytes::from_static(b"x");
        let errors = [
            store.put(key, bytes.clone()).await.unwrap_err(),
            store.put_if_absent(key, bytes).await.map(drop).unwrap_err(),
            store.get(key).await.map(drop).unwrap_err(),
            store.get_range(key, 0..1).await.map(drop).unwrap_err(),
            store.head(key).await.map(drop).unwrap_err(),
            store.delete(&["fine".into(), key.into()]).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|e| e.kind == ErrorKind::Invalid), "{key:?}: {errors:?}");
    }
    for prefix in ["/", "../", "a//", "a/../b"] {
        assert_eq!(store.list(prefix, None).await.unwrap_err().kind, ErrorKind::Invalid, "{prefix}");
    }
}

/// INV-9, the other half: roots that share a prefix of their names do not meet.
async fn roots_do_not_see_each_other(inner: Store, inner2: Store, deep: Store) {
    inner.put("k", Bytes::from("inner")).await.unwrap();
    inner2.put("k", Bytes::from("inner2")).await.unwrap();
    deep.put("k", Bytes::from("deep")).await.unwrap();
    assert_eq!(keys(&inner, "", None).await, ["deep/k", "k"]);
    assert_eq!(keys(&inner2, "", None).await, ["k"]);
    assert_eq!(keys(&deep, "", None).await, ["k"]);
    inner.delete(&["k".into()]).await.unwrap();
    assert_eq!(inner2.get("k").await.unwrap(), "inner2");
    assert_eq!(inner.get("deep/k").await.unwrap(), "deep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn local_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(StorageConfig::default(), &format!("file://{}", directory.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_store_conforms() {
    let Some(moto) = Moto::start("s3_store_conforms") else { return };
    let (_directory, credentials) = support::credentials();
    conforms(moto.config(&credentials), &format!("s3://{BUCKET}/some/prefix")).await;
    // No upload is left half done: nothing outside what the tests wrote, nothing pending.
    let config = moto.config(&credentials);
    let whole = open(&config, &format!("s3://{BUCKET}"), &Env::system(), Arc::default()).await.unwrap();
    assert!(whole.list("", None).await.unwrap().iter().all(|o| o.key.starts_with("some/prefix/")), "INV-9");
}

#[tokio::test]
async fn inv_9_uploads_that_a_crash_left_are_ended_below_the_prefix_alone() {
    use std::time::{Duration, SystemTime};
    let Some(moto) = Moto::start("unfinished_uploads") else { return };
    let (_directory, credentials) = support::credentials();
    let config = moto.config(&credentials);
    let store = |prefix: &str| {
        let (config, url) = (config.clone(), format!("s3://{BUCKET}/{prefix}"));
        async move { open(&config, &url, &Env::system(), Arc::default()).await.unwrap() }
    };
    for key in ["mine/a/1/x", "mine/a/1/y", "mine/b/z", "other/a/1/x"] {
        assert_eq!(moto.http("POST", &format!("/{BUCKET}/{key}?uploads"), b""), 200);
    }
    let (mine, other) = (store("mine").await, store("other").await);
    let now = SystemTime::now();
    // moto says of all that they began in November 2010.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    assert_eq!(mine.abort_uploads("a/", long_ago).await.unwrap(), 0, "they may be under way");
    assert_eq!(mine.abort_uploads("a/", now).await.unwrap(), 2);
    assert_eq!(mine.abort_uploads("a/", now).await.unwrap(), 0);
    assert_eq!(mine.abort_uploads("", now).await.unwrap(), 1);
    assert_eq!(other.abort_uploads("", now).await.unwrap(), 1, "that of another prefix was still there");
}

#[tokio::test]
async fn s3_errors_name_what_is_wrong_and_what_to_do() {
    let Some(moto) = Moto::start("s3_errors") else { return };
    let (_directory, credentials) = support::credentials();
    let env = Env::system();
    let good = moto.config(&credentials);

    let error = open_checked(&good, "s3://no-such-bucket/x", &env, Arc::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("bucket \"no-such-bucket\"") && error.hint.is_some(), "{error}");

    let nowhere = format!("http://{}", support::free_address());
    let unreachable = StorageConfig { s3_endpoint: Some(nowhere.clone()), ..good.clone() };
    let metrics = Arc::new(StoreMetrics::default());
    let error = open_checked(&unreachable, &good.url, &env, metrics.clone()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains(&nowhere) && error.hint.is_some(), "{error}");
    assert!(metrics.snapshot("").retries >= 2);

    let gone = StorageConfig { s3_credentials_file: Some("/no/such/file".into()), ..good.clone() };
    let error = open(&gone, &good.url, &env, Arc::default()).await.unwrap_err();
    assert!(error.message.contains("/no/such/file"), "{error}");

    // A file without the profile: nothing is sent, and the reason is said.
    let empty = credentials.with_file_name("empty");
    std::fs::write(&empty, "[other]\naws_access_key_id = a\naws_secret_access_key = hunter2secret\n").unwrap();
    let without = StorageConfig { s3_credentials_file: Some(empty), ..good.clone() };
    let error = open_checked(&without, &good.url, &env, Arc::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(error.hint.as_ref().unwrap().contains("s3_credentials_file"));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// An S3 server in a few lines that answers every request the same way.
async fn always(status: &'static str, body: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (endpoint, server)
}

#[tokio::test]
async fn answers_of_the_service_are_told_apart() {
    let (_directory, credentials) = support::credentials();
    let cases = [
        ("403 Forbidden", "<Error><Code>AccessDenied</Code><Message>no</Message></Error>", ErrorKind::Denied, 0),
        (
            "403 Forbidden",
            "<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIDTEST</AWSAccessKeyId></Error>",
            ErrorKind::Denied,
            0,
        ),
        ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>", ErrorKind::Unavailable, 2),
        ("500 Internal Server Error", "", ErrorKind::Unavailable, 2),
        ("502 Bad Gateway", "<html>proxy</html>", ErrorKind::Unavailable, 2),
        ("400 Bad Request", "<Error><Code>AuthorizationHeaderMalformed</Code></Error>", ErrorKind::Invalid, 0),
        ("301 Moved Permanently", "<Error><Code>PermanentRedirect</Code></Error>", ErrorKind::Invalid, 0),
        ("507 Insufficient Storage", "", ErrorKind::Exhausted, 0),
        ("200 OK", "a whole object, whatever range was asked", ErrorKind::Invalid, 0),
    ];
    for (status, body, kind, retries) in cases {
        let (endpoint, server) = always(status, body).await;
        let config = StorageConfig {
            s3_endpoint: Some(endpoint),
            s3_region: Some("us-east-1".into()),
            s3_path_style: true,
            s3_credentials_file: Some(credentials.clone()),
            timeouts: support::quick(),
            ..StorageConfig::default()
        };
        let metrics = Arc::new(StoreMetrics::default());
        let store = open(&config, "s3://bucket/p", &Env::system(), metrics.clone()).await.unwrap();
        let error = store.get_range("key", 0..4).await.unwrap_err();
        assert_eq!((error.kind, metrics.snapshot("").retries), (kind, retries), "{status}: {error}");
        assert!(!format!("{error:?}").contains("AKIDTEST"), "{error:?}");
        server.abort();
    }
}

#[tokio::test]
async fn a_store_that_ignores_create_if_absent_is_refused_by_name() {
    // Accepts every write and returns "first": what a store does that overwrites silently looks the same to the second put.
    let (endpoint, server) = always("200 OK", "first").await;
    let (_directory, credentials) = support::credentials();
    let config = StorageConfig {
        s3_endpoint: Some(endpoint),
        s3_region: Some("us-east-1".into()),
        s3_path_style: true,
        s3_credentials_file: Some(credentials),
        timeouts: support::quick(),
        ..StorageConfig::default()
    };
    let error = open_checked(&config, "s3://bucket/p", &Env::system(), Arc::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("s3://bucket/p") && error.message.contains("create-if-absent"), "{error}");
    server.abort();
}

#[tokio::test]
async fn the_registry_opens_a_root_once_and_counts_its_requests() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/data", directory.path().display());
    let registry = StoreRegistry::new(StorageConfig { url: url.clone(), ..StorageConfig::default() }, Env::system());
    let first = registry.get_checked(&url).await.unwrap();
    let again = registry.get(&format!("{url}/")).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "one store for every spelling of its root");
    first.put("k", Bytes::from("four")).await.unwrap();
    first.get("k").await.unwrap();
    assert!(first.get("missing").await.is_err());
    let before = registry.snapshot().await;
    let gets = before[0].operation(Operation::Get).unwrap().clone();
    // The probe reads once.
    assert_eq!((gets.requests, gets.errors, gets.bytes), (3, 0, 4 + 5));
    assert_eq!(gets.histogram.iter().sum::<u64>(), 3);

    registry.reconfigure(StorageConfig { url: url.clone(), ..StorageConfig::default() }).await;
    let reopened = registry.get(&url).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &reopened));
    assert_eq!(reopened.get("k").await.unwrap(), "four");
    assert_eq!(
        registry.snapshot().await[0].operation(Operation::Get).unwrap().requests,
        4,
        "counters survive a reload"
    );
}

#[tokio::test]
async fn a_snapshot_of_the_counters_is_serialisable() {
    let directory = tempfile::tempdir().unwrap();
    let (env, url) = (Env::system(), format!("file://{}", directory.path().display()));
    let inner = open(&StorageConfig::default(), &url, &env, Arc::default()).await.unwrap();
    let store = MeteredStore::new(inner, Arc::default(), env);
    store.put("k", Bytes::from("x")).await.unwrap();
    let json: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&serde_json::to_string(&store.snapshot()).unwrap()).unwrap();
    assert_eq!(json["root"], url);
    assert_eq!(store.snapshot().total_requests(), 1);
}

/// Runs the ignored test below in a process of its own, whose environment holds the credentials.
#[test]
fn credentials_come_from_the_environment_too() {
    let Some(moto) = Moto::start("credentials_come_from_the_environment_too") else { return };
    let run = |with_credentials: bool| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let (_, module) = module_path!().split_once("::").unwrap();
        child.args(["--exact", &format!("{module}::child_uses_the_default_credentials"), "--ignored"]);
        child
            .env("ELACSYM_TEST_ENDPOINT", moto.endpoint())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", "/nonexistent");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
            child.env_remove(name);
        }
        if with_credentials {
            child.env("AWS_ACCESS_KEY_ID", "AKIDENV").env("AWS_SECRET_ACCESS_KEY", "s");
        }
        let output = child.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (ok, out) = run(true);
    assert!(ok && out.contains("1 passed"), "{out}");
    let (ok, out) = run(false);
    assert!(!ok && out.contains("Denied") && out.contains("no credentials"), "{out}");
}

#[tokio::test]
#[ignore = "a part of credentials_come_from_the_environment_too"]
async fn child_uses_the_default_credentials() {
    // Without a parent (somebody runs all ignored tests) there is nothing to do.
    let Ok(endpoint) = std::env::var("ELACSYM_TEST_ENDPOINT") else { return };
    let config = StorageConfig {
        s3_endpoint: Some(endpoint),
        s3_path_style: true,
        timeouts: support::quick(),
        ..StorageConfig::default()
    };
    open_checked(&config, &format!("s3://{BUCKET}/env"), &Env::system(), Arc::default()).await.unwrap();
}
