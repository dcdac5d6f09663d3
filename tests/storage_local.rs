//! What only a local directory has to prove: nothing half-written after a kill, a full disk, modes, leftovers.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use elacsym::config::StorageConfig;
use elacsym::env::Env;
use elacsym::error::ErrorKind;
use elacsym::storage::{ObjectStore, open};

const DIRECTORY: &str = "ELACSYM_TEST_DIRECTORY";

async fn store(directory: &Path) -> Arc<dyn ObjectStore> {
    let url = format!("file://{}", directory.display());
    open(&StorageConfig::default(), &url, &Env::system(), Arc::default()).await.unwrap()
}

/// A body that tells whether it is whole: its first byte repeated.
fn body(i: u32) -> Bytes {
    Bytes::from(vec![i as u8; 300_000])
}

/// The name by which this executable knows a test of this file.
fn name(test: &str) -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    format!("{module}::{test}")
}

fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name(test), "--ignored", "--nocapture"]).env(DIRECTORY, directory);
    command
}

#[tokio::test]
async fn a_killed_writer_leaves_only_whole_objects() {
    let directory = tempfile::tempdir().unwrap();
    for millis in [60, 110, 170] {
        let mut writer = child("child_overwrites_for_ever", directory.path()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    let store = store(directory.path()).await;
    let objects = store.list("", None).await.unwrap();
    assert!(!objects.is_empty(), "the writer wrote nothing");
    for object in objects {
        let bytes = store.get(&object.key).await.unwrap();
        assert_eq!(bytes.len(), 300_000, "{object:?}");
        assert!(bytes.iter().all(|b| *b == bytes[0]), "{object:?} is a mixture");
    }
}

#[tokio::test]
#[ignore = "a part of a_killed_writer_leaves_only_whole_objects"]
async fn child_overwrites_for_ever() {
    // Without a parent (somebody runs all ignored tests) there is nothing to do.
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = store(Path::new(&directory)).await;
    for i in 0.. {
        store.put(&format!("d{}/object", i % 3), body(i)).await.unwrap();
    }
}

/// The shell limits the size of files to 8 blocks, which looks to the writer like a disk without room.
#[tokio::test]
async fn a_full_disk_is_exhausted_and_leaves_the_old_object() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    store.put("object", Bytes::from("old")).await.unwrap();
    let exe = std::env::current_exe().unwrap();
    let script = r#"trap "" XFSZ; ulimit -f 8; exec "$0" --exact "$1" --ignored --nocapture"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(exe)
        .arg(name("child_meets_a_full_disk"))
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}");
    assert_eq!(store.get("object").await.unwrap(), "old");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
}

#[tokio::test]
#[ignore = "a part of a_full_disk_is_exhausted_and_leaves_the_old_object"]
async fn child_meets_a_full_disk() {
    // Without a parent (somebody runs all ignored tests) there is nothing to do.
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = store(Path::new(&directory)).await;
    let error = store.put("object", body(1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
    assert!(error.message.contains("\"object\"") && error.hint.is_some());
}

#[tokio::test]
async fn files_and_directories_are_for_our_eyes_only_and_empty_ones_go() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let store = store(&root).await;
    assert!(store.list("", None).await.unwrap().is_empty(), "a root that was never written is empty");
    assert!(!root.exists());
    store.put("a/b/c", Bytes::from("x")).await.unwrap();
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("a"), mode("a/b"), mode("a/b/c")), (0o700, 0o700, 0o700, 0o600));
    store.delete(&["a/b/c".into()]).await.unwrap();
    assert!(root.exists() && !root.join("a").exists());
}

#[tokio::test]
async fn temporary_files_are_not_objects_and_old_ones_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    store.put("d/k", Bytes::from("x")).await.unwrap();
    let (young, old) =
        (directory.path().join("d/pgsql_tmp_elacsym-young"), directory.path().join("d/pgsql_tmp_elacsym-old"));
    std::fs::write(&young, "half").unwrap();
    let file = std::fs::File::create(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3 * 24 * 3_600)).unwrap();
    let keys: Vec<_> = store.list("", None).await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, ["d/k"]);
    assert!(young.exists() && !old.exists());
}

#[tokio::test]
async fn one_name_cannot_be_file_and_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    store.put("a", Bytes::from("x")).await.unwrap();
    assert_eq!(store.put("a/b", Bytes::from("x")).await.unwrap_err().kind, ErrorKind::Invalid);
    store.put("d/e", Bytes::from("x")).await.unwrap();
    assert_eq!(store.put("d", Bytes::from("x")).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(store.get("a").await.unwrap(), "x");
    assert_eq!(store.get("d/e").await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_deleters_of_one_directory_do_not_trip_over_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let tasks = (0..4).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let key = format!("a/b/{task}");
                store.put(&key, Bytes::from("x")).await.unwrap();
                store.delete(&[key]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(store.list("", None).await.unwrap().is_empty());
}
