use super::*;

#[test]
fn keys_are_relative_paths_of_whole_components() {
    for key in ["a", "a/b.c", "a b", "größe", "...", ".hidden", "a/..b"] {
        validate_key(key).unwrap();
    }
    for key in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a\0b",
        "a\nb",
        "pgsql_tmp_elacsym-x",
        "d/pgsql_tmp_elacsym-x",
    ] {
        assert_eq!(validate_key(key).unwrap_err().kind, ErrorKind::Invalid, "{key:?}");
    }
    validate_key(&"x".repeat(key::MAX_COMPONENT_BYTES)).unwrap();
    assert!(validate_key(&"x".repeat(key::MAX_COMPONENT_BYTES + 1)).is_err());
    assert!(validate_key(&"x/".repeat(MAX_KEY_BYTES)).is_err());
}

#[tokio::test]
async fn the_fault_store_counts_rounds_as_the_longest_chain() {
    let directory = tempfile::tempdir().unwrap();
    let store = FaultStore::new(Arc::new(local::LocalStore::new(
        directory.path().to_owned(),
        "file:///x".to_owned(),
        Env::system(),
    )));
    store.put("k", Bytes::from_static(b"abc")).await.unwrap();
    store.reset_counts();
    store.set_latency(std::time::Duration::from_millis(30));
    let read = || store.get_range("k", 0..1);
    let (a, b, c) = tokio::join!(read(), read(), async { (read().await, read().await) });
    assert!(a.is_ok() && b.is_ok() && c.0.is_ok() && c.1.is_ok());
    assert_eq!((store.requests(), store.rounds()), (4, 2));
    store.fail_next(Some(Operation::Head), 1, Error::unavailable("down"));
    assert_eq!(store.get("k").await.unwrap(), "abc");
    assert_eq!(store.head("k").await.unwrap_err().message, "down");
    assert_eq!(store.head("k").await.unwrap(), 3);
    store.flip("k", 1);
    assert_eq!(store.get("k").await.unwrap()[1], b'b' ^ 0xff);
    assert_eq!(store.get_range("k", 2..3).await.unwrap(), "c");
    store.heal();
    assert_eq!(store.get("k").await.unwrap(), "abc");
}
