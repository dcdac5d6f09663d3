use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

use super::*;
use crate::ids::{EntryId, EntryOrder};

const ID: &str = "01J00000000000000000000000";

fn info(id: &str, rows: u32) -> SegmentInfo {
    SegmentInfo {
        id: id.to_string(),
        root: "s3://b".to_string(),
        path: format!("cluster/1/namespace/{id}"),
        format: 1,
        rows: u64::from(rows),
        vectors: 0,
        tombstones: 0,
        parquet_bytes: 1,
        index_bytes: 1,
        tail_bytes: 1,
        min_key: 0,
        max_key: rows.into(),
        min_seq: 7,
        max_seq: 7,
    }
}

fn records(rows: u32) -> Vec<KeyRecord> {
    let id = |key| EntryId { key, order: EntryOrder { seq: 7, xid: 1 } };
    (0..rows).map(|row| KeyRecord { id: id(row.into()), ordinal: row }).collect()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn written(pins: &Pins, id: &str) -> PathBuf {
    pins.write(id, &pinned_keys::encode(id, &records(20)).unwrap());
    pins.path(id).unwrap()
}

#[test]
fn a_file_is_read_back_and_marked_as_used() {
    let directory = tempfile::tempdir().unwrap();
    let pins = Pins::new(&directory.path().join("cache"));
    assert_eq!(pins.read(&info(ID, 20), now()), None);
    let path = written(&pins, ID);
    assert_eq!(pins.read(&info(ID, 20), now()).unwrap(), records(20));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.modified().unwrap(), now());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_damaged_file_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let pins = Pins::new(directory.path());
    let length = fs::metadata(written(&pins, ID)).unwrap().len() as usize;
    for at in (0..length).step_by(5) {
        let path = written(&pins, ID);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert_eq!(pins.read(&info(ID, 20), now()), None, "byte {at}");
        assert!(!path.exists(), "byte {at}");
    }
    // whole, but of another segment
    let path = written(&pins, ID);
    let other = pins.path("01J00000000000000000000001").unwrap();
    fs::rename(path, &other).unwrap();
    assert_eq!(pins.read(&info("01J00000000000000000000001", 20), now()), None);
    assert!(!other.exists());
}

#[test]
fn a_disk_that_takes_nothing_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    // a file where the directory should be: also root cannot write there
    fs::write(directory.path().join(DIRECTORY), b"").unwrap();
    let pins = Pins::new(directory.path());
    let path = written(&pins, ID);
    assert!(!path.exists() && pins.failing.load(Ordering::Relaxed));
    assert_eq!(pins.read(&info(ID, 20), now()), None);
    pins.sweep(now());
    fs::remove_file(directory.path().join(DIRECTORY)).unwrap();
    assert!(written(&pins, ID).exists() && !pins.failing.load(Ordering::Relaxed));
}

#[test]
fn without_a_cache_path_nothing_is_pinned() {
    let pins = Pins::new(Path::new(""));
    pins.write(ID, b"bytes");
    assert_eq!(pins.read(&info(ID, 20), now()), None);
    pins.sweep(now());
    assert_eq!(pins.path(ID), None);
}

#[test]
fn an_id_cannot_name_another_directory() {
    let pins = Pins::new(Path::new("/cache"));
    for id in ["", "..", "../x", "a/b", "/etc/passwd", "a.b", "a\0"] {
        assert_eq!(pins.path(id), None, "{id:?}");
    }
    assert_eq!(pins.path(ID).unwrap(), Path::new("/cache/keys/01J00000000000000000000000.keys"));
}

#[tokio::test]
async fn the_file_goes_with_the_objects_of_its_segment_and_no_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let pins = Arc::new(Pins::new(directory.path()));
    let (gone, stays) = (written(&pins, ID), written(&pins, "01J00000000000000000000001"));
    let of_stays = info("01J00000000000000000000001", 20);
    pins.remove(&[of_stays.parquet_key(), "manifest.json".to_string(), "search.idx".to_string()]).await;
    assert!(gone.exists() && stays.exists());
    pins.remove(&info(ID, 20).object_keys()).await;
    assert!(!gone.exists() && stays.exists());
    // repeating is fine
    pins.remove(&info(ID, 20).object_keys()).await;
}

#[test]
fn only_files_that_no_vacuum_reads_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let pins = Pins::new(directory.path());
    let (old, used) = (written(&pins, ID), written(&pins, "01J00000000000000000000001"));
    for path in [&old, &used] {
        File::open(path).unwrap().set_modified(now() - UNUSED_LIMIT - Duration::from_secs(1)).unwrap();
    }
    let later = now() + UNUSED_LIMIT - Duration::from_secs(1);
    assert!(pins.read(&info("01J00000000000000000000001", 20), now()).is_some());
    pins.sweep(now() - Duration::from_secs(2));
    assert!(old.exists(), "not old enough");
    pins.sweep(later);
    assert!(!old.exists() && used.exists());
    // a clock that went back
    pins.sweep(UNIX_EPOCH);
    assert!(used.exists());
}
