//! Keys for VACUUM: from the engine's own disk, whatever becomes of storage; from storage, whatever becomes of that disk.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use elacsym::document::{Document, Value};
use elacsym::engine::Engine;
use elacsym::env::Env;
use elacsym::error::Result;
use elacsym::ids::{EntryId, EntryOrder, Key};
use elacsym::ipc::message::{FlushRequest, KeysRequest, Tombstone};
use elacsym::schema::NamespaceSchema;
use engine_support::{Database, Random, settings};
use serde_json::json;

/// An engine with its own disk, and storage beside it.
struct Fixture {
    directory: tempfile::TempDir,
    database: Database,
    seq: u64,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let schema = json!({"vector_dim": 4, "attributes": {"n": {"type": "int"}}});
        let database = Database::new(&directory.path().join("objects"), NamespaceSchema::parse(&schema).unwrap());
        Self { directory, database, seq: 1_000 }
    }

    fn objects(&self) -> PathBuf {
        self.directory.path().join("objects")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// A new process: nothing in memory.
    async fn engine(&self) -> Engine {
        let mut settings = settings(&self.objects());
        settings.cache_path = self.cache();
        Engine::new(settings, Env::system()).await.unwrap()
    }

    fn add(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.seq += 1;
            let document = Document {
                vector: (key % 7 != 0).then(|| (0..4).map(|d| ((key * 7 + d * 3) % 11) as f32 + 0.5).collect()),
                attributes: vec![(0, Value::Int(key as i64))],
            };
            self.database.upsert(key, EntryOrder { seq: self.seq, xid: 1 + self.seq / 10 }, document);
        }
    }

    fn kill(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.seq += 1;
        self.database.tombstones.extend(keys.into_iter().map(|key| Tombstone { key, seq: self.seq }));
        self.seq += 1;
    }

    async fn ids(&self, engine: &Engine, checksums: bool) -> Result<BTreeSet<EntryId>> {
        let request = KeysRequest { namespace: self.database.view(), checksums };
        let found = engine.keys(request, &mut self.database.provider()).await?;
        let ids: BTreeSet<EntryId> = found.iter().map(|info| info.id).collect();
        assert_eq!(ids.len(), found.len(), "each once");
        Ok(ids)
    }

    async fn keys(&self, engine: &Engine) -> Vec<Key> {
        self.ids(engine, false).await.unwrap().iter().map(|id| id.key).collect()
    }

    fn pinned(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = files(&self.cache().join("keys"));
        files.sort();
        files
    }

    fn hide_storage(&self) {
        std::fs::rename(self.objects(), self.objects().with_extension("away")).unwrap();
    }

    fn bring_storage_back(&self) {
        // A failed attempt may have made the directory anew.
        let _ = std::fs::remove_dir_all(self.objects());
        std::fs::rename(self.objects().with_extension("away"), self.objects()).unwrap();
    }

    /// Three segments with dead rows of both kinds: in delete vectors, and by tombstones that are not folded in.
    async fn with_segments() -> Self {
        let mut fixture = Self::new();
        let engine = fixture.engine().await;
        fixture.add(0..300);
        fixture.database.flush(&engine).await.unwrap();
        fixture.kill((0..300).step_by(3));
        fixture.add((0..100).step_by(3));
        fixture.database.flush(&engine).await.unwrap();
        fixture.add(300..400);
        fixture.database.flush(&engine).await.unwrap();
        fixture.kill((0..400).step_by(5));
        fixture
    }

    fn expected() -> Vec<Key> {
        (0..400).filter(|key| (key % 3 != 0 || *key < 100 || *key >= 300) && key % 5 != 0).collect()
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// INV-6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_need_no_storage_once_they_are_pinned() {
    let fixture = Fixture::with_segments().await;
    assert_eq!(fixture.pinned().len(), 3, "each flush pins");
    fixture.hide_storage();
    let engine = fixture.engine().await;
    assert_eq!(fixture.keys(&engine).await, Fixture::expected());
    // and again, with delete vectors and tombstones known
    assert_eq!(fixture.keys(&engine).await, Fixture::expected());
    assert!(!fixture.objects().exists(), "storage was not touched");
}

/// INV-6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_pinned_keys_and_storage_there_is_an_error_and_never_a_part_of_the_keys() {
    let fixture = Fixture::with_segments().await;
    let lost = fixture.pinned().remove(1);
    let id = lost.file_stem().unwrap().to_str().unwrap().to_string();
    std::fs::remove_file(&lost).unwrap();
    fixture.hide_storage();
    let engine = fixture.engine().await;
    let error = fixture.ids(&engine, false).await.unwrap_err();
    assert!(error.message.starts_with(&format!("the keys of segment {id} are not on the local disk")), "{error}");
    assert!(!lost.exists());
    fixture.bring_storage_back();
    assert_eq!(fixture.keys(&engine).await, Fixture::expected());
    // Pinned by that.
    assert!(lost.exists());
    fixture.hide_storage();
    assert_eq!(fixture.keys(&fixture.engine().await).await, Fixture::expected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_fetched_anew() {
    let fixture = Fixture::with_segments().await;
    let (first, second) = (fixture.pinned()[0].clone(), fixture.pinned()[1].clone());
    let right = std::fs::read(&first).unwrap();
    let length = right.len();
    // cut, changed at the start, in the middle, at the end, another segment's
    let mut broken: Vec<Vec<u8>> = vec![right[..length / 2].to_vec(), std::fs::read(&second).unwrap(), Vec::new()];
    for at in [0, 9, 13, 20, length / 2, length - 1] {
        broken.push(right.clone());
        broken.last_mut().unwrap()[at] ^= 0x04;
    }
    for bytes in broken {
        std::fs::write(&first, bytes).unwrap();
        let engine = fixture.engine().await;
        assert_eq!(fixture.keys(&engine).await, Fixture::expected());
        assert_eq!(std::fs::read(&first).unwrap(), right, "pinned anew, as the flush had pinned it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_file_costs_nothing_but_the_independence() {
    let mut fixture = Fixture::new();
    std::fs::create_dir(fixture.cache()).unwrap();
    std::fs::write(fixture.cache().join("keys"), b"in the way").unwrap();
    let engine = fixture.engine().await;
    for first in [0, 50] {
        fixture.add(first..first + 50);
        fixture.database.flush(&engine).await.unwrap();
    }
    fixture.kill([7]);
    assert_eq!(fixture.keys(&engine).await, (0..100).filter(|key| *key != 7).collect::<Vec<Key>>());
    fixture.hide_storage();
    assert!(fixture.ids(&fixture.engine().await, false).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_to_be_pinned_is_and_it_goes_with_its_objects() {
    let mut fixture = Fixture::new();
    let engine = fixture.engine().await;
    fixture.add(0..50);
    let request = FlushRequest {
        namespace: fixture.database.view(),
        root: fixture.database.root.clone(),
        path: "cluster/1/other".to_string(),
        pin_keys: false,
    };
    engine.flush(request, &mut fixture.database.provider()).await.unwrap();
    assert_eq!(fixture.pinned(), Vec::<PathBuf>::new());
    let first = fixture.database.flush(&engine).await.unwrap().segment.unwrap();
    fixture.add(50..60);
    let second = fixture.database.flush(&engine).await.unwrap().segment.unwrap();
    assert_eq!(fixture.pinned().len(), 2);
    engine.delete_objects(&first.root, &first.object_keys()).await.unwrap();
    assert_eq!(fixture.pinned(), [fixture.cache().join("keys").join(format!("{}.keys", second.id))]);
}

/// Pinned keys against the keys that verification reads from the rows themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pinned_keys_are_those_of_the_rows_whatever_happened_to_the_segments() {
    for seed in 0..12 {
        let mut random = Random::new(seed + 1);
        let mut fixture = Fixture::new();
        let engine = fixture.engine().await;
        // as in a heap: a slot is used again only after its tombstone
        let mut used = BTreeSet::new();
        for _ in 0..8 {
            let free: Vec<Key> = (0..120).filter(|key| !used.contains(key) && random.chance(50)).collect();
            fixture.add(free.iter().copied());
            used.extend(free);
            fixture.database.flush(&engine).await.unwrap();
            let dead: Vec<Key> = used.iter().copied().filter(|_| random.chance(30)).collect();
            fixture.kill(dead.iter().copied());
            used.retain(|key| !dead.contains(key));
            if random.chance(30) {
                // as if another engine had written the segments
                fixture.pinned().iter().for_each(|file| std::fs::remove_file(file).unwrap());
            }
            let pinned = fixture.ids(&engine, false).await.unwrap();
            assert_eq!(pinned, fixture.ids(&engine, true).await.unwrap(), "seed {seed}");
            assert_eq!(pinned.iter().map(|id| id.key).collect::<BTreeSet<Key>>(), used, "seed {seed}");
        }
    }
}
