use super::*;
use crate::document::{Document, Value};
use crate::error::ErrorKind;
use crate::segment::{Place, RowRead, WriteOptions, WrittenSegment, write_segment};
use serde_json::json;

use crate::config::StorageConfig;
use crate::env::Env;
use crate::storage::StoreRegistry;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"vector_dim": 4, "attributes": {
        "body": {"type": "string", "full_text": true}, "n": {"type": "int"},
    }}))
    .unwrap()
}

fn id(key: Key) -> EntryId {
    EntryId { key, order: EntryOrder { seq: (100 + key) as u64, xid: 5 } }
}

fn document(key: Key) -> Document {
    Document {
        vector: (key % 5 != 0).then(|| (0..4).map(|d| ((key * 7 + d * 3) % 11) as f32 + 0.5).collect()),
        attributes: vec![(0, Value::String(format!("word{} other", key % 3))), (1, Value::Int(key as i64))],
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
    cache: Arc<BlockCache>,
    stats: Arc<ReadStats>,
    written: WrittenSegment,
}

impl Fixture {
    async fn new(rows: Key) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = format!("file://{}", directory.path().display());
        let place = Place { id: "01".to_string(), root: root.clone(), path: "p/01".to_string() };
        let entries = (0..rows).map(|key| (id(key * 2), document(key * 2))).collect();
        let written = write_segment(&schema(), entries, vec![id(-8)], &WriteOptions { threads: 1 }, place).unwrap();
        let registry = StoreRegistry::new(StorageConfig { url: root.clone(), ..Default::default() }, Env::system());
        let store = registry.get(&root).await.unwrap();
        store.put(&written.info.index_key(), written.index.clone()).await.unwrap();
        if let Some(parquet) = &written.parquet {
            store.put(&written.info.parquet_key(), parquet.clone()).await.unwrap();
        }
        let cache = Arc::new(BlockCache::memory_only(8 << 20).await.unwrap());
        Self { _directory: directory, store, cache, stats: Arc::default(), written }
    }

    fn open_tail(&self, tail: &[u8]) -> Result<Segment> {
        let runtime = tokio::runtime::Handle::current();
        Segment::open(&self.written.info, &schema(), tail, self.store.clone(), self.cache.clone(), &runtime)
    }

    async fn open(&self) -> Result<Segment> {
        let tail = Segment::read_tail(&self.written.info, self.store.as_ref(), &self.stats).await?;
        self.open_tail(&tail)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_is_one_read_and_every_entry_is_found() {
    let fixture = Fixture::new(2000).await;
    let segment = Arc::new(fixture.open().await.unwrap());
    assert_eq!(fixture.stats.snapshot().requests, 1);
    let records = segment.key_records(&fixture.stats).await.unwrap();
    assert_eq!(records, fixture.written.key_records());
    assert_eq!(
        records.iter().map(|record| record.id).collect::<Vec<_>>(),
        (0..2000).map(|key| id(key * 2)).collect::<Vec<_>>()
    );
    let keys: Vec<Key> = (-10..4010).collect();
    let hits = segment.lookup(&keys, &fixture.stats).await.unwrap();
    let mut ordinals = Vec::new();
    for (key, hit) in keys.iter().zip(hits) {
        match hit {
            None => assert!(*key != -8 && (*key < 0 || key % 2 == 1 || *key >= 4000), "key {key}"),
            Some(hit) => {
                assert_eq!(hit.order, id(*key).order);
                assert_eq!(hit.ordinal.is_none(), *key == -8);
                ordinals.extend(hit.ordinal.map(|ordinal| (ordinal, *key)));
            }
        }
    }
    ordinals.sort_unstable();
    assert_eq!(ordinals.len(), 2000);
    let places: Vec<u32> = ordinals.iter().map(|(ordinal, _)| *ordinal).collect();
    let identities = segment.identities(&places, &fixture.stats).await.unwrap();
    assert!(identities.iter().zip(&ordinals).all(|(identity, (_, key))| *identity == id(*key)));
    // Rows with vectors come first, and each has its own.
    for (ordinal, key) in &ordinals {
        let has_vector = u64::from(*ordinal) < segment.info().vectors;
        assert_eq!(has_vector, document(*key).vector.is_some());
        if has_vector && ordinal % 50 == 0 {
            let vector = segment.vectors(&[*ordinal], &fixture.stats).await.unwrap();
            assert_eq!(Some(vector), document(*key).vector);
        }
    }
    assert!(segment.vectors(&[1999], &fixture.stats).await.is_err());
    let mut read = RowRead::new(&segment, &[1999, 0, 700], &[1, 9]).unwrap();
    while !read.need().is_empty() {
        read.supply(segment.read_rows(read.need(), &fixture.stats).await.unwrap()).unwrap();
    }
    let rows = read.finish().unwrap();
    for ordinal in [0, 700, 1999] {
        let key = ordinals[ordinal].1;
        assert_eq!(rows[&(ordinal as u32)].attributes, vec![(1, Value::Int(key as i64))]);
    }
    // Facts are remembered: asking again reads nothing.
    let before = fixture.stats.snapshot();
    segment.lookup(&keys, &fixture.stats).await.unwrap();
    assert_eq!(fixture.stats.snapshot(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_8_every_damaged_byte_of_the_tail_is_corrupt() {
    let fixture = Fixture::new(40).await;
    let tail = Segment::read_tail(&fixture.written.info, fixture.store.as_ref(), &fixture.stats).await.unwrap();
    assert!(fixture.open_tail(&tail).is_ok());
    for at in 0..tail.len() {
        let mut damaged = tail.to_vec();
        damaged[at] ^= 0x41;
        let error = fixture.open_tail(&damaged).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "byte {at}");
        assert!(error.message.contains("search.idx"), "{error}");
    }
    for cut in (0..tail.len()).step_by(7) {
        assert_eq!(fixture.open_tail(&tail[..cut]).unwrap_err().kind, ErrorKind::Corrupt);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tail_makes_opening_panic_even_with_right_checksums() {
    let fixture = Fixture::new(40).await;
    let tail = Segment::read_tail(&fixture.written.info, fixture.store.as_ref(), &fixture.stats).await.unwrap();
    let footer_len = tail.len() - super::super::TRAILER_BYTES;
    for at in 0..footer_len {
        let mut damaged = tail.to_vec();
        damaged[at] = damaged[at].wrapping_add(1 + (at % 200) as u8);
        let crc = crc32fast::hash(&damaged[..footer_len]);
        damaged[footer_len + 12..footer_len + 16].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32fast::hash(&damaged[footer_len..footer_len + 60]);
        damaged[footer_len + 60..].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = fixture.open_tail(&damaged) {
            assert!(matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Invalid), "byte {at}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_6_a_missing_object_is_corrupt_and_named() {
    let fixture = Fixture::new(40).await;
    let segment = fixture.open().await.unwrap();
    fixture.store.delete(&fixture.written.info.object_keys()).await.unwrap();
    for error in [
        fixture.open().await.map(drop).unwrap_err(),
        segment.lookup(&[4], &fixture.stats).await.map(drop).unwrap_err(),
        segment.vectors(&[0], &fixture.stats).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.message.contains("p/01/"), "{error}");
    }
}
