//! Sequential round trips to object storage of one search while nothing is cached: at most three.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use elacsym::cache::{BlockCache, ReadStats};
use elacsym::config::StorageConfig;
use elacsym::document::{Document, Value};
use elacsym::env::Env;
use elacsym::ids::{EntryId, EntryOrder, Key};
use elacsym::ipc::message::TextQuery;
use elacsym::schema::NamespaceSchema;
use elacsym::segment::{Place, RowRead, Segment, SegmentSource, WriteOptions, prefetch_attributes, write_segment};
use elacsym::storage::{FaultStore, ObjectStore, StoreRegistry};
use elacsym::text::ParsedTextQuery;
use elacsym::vector::{SearchParams, search};
use serde_json::json;

async fn read_attribute(segment: &Arc<Segment>, ordinals: &[u32], stats: &Arc<ReadStats>) -> usize {
    let mut read = RowRead::new(segment, ordinals, &[0]).unwrap();
    while !read.need().is_empty() {
        read.supply(segment.read_rows(read.need(), stats).await.unwrap()).unwrap();
    }
    read.finish().unwrap().values().filter(|document| !document.attributes.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_search_with_its_values_takes_three_round_trips() {
    let schema = NamespaceSchema::parse(&json!({"vector_dim": 64, "attributes": {
        "body": {"type": "string", "full_text": true},
    }}))
    .unwrap();
    let vector = |key: Key| -> Vec<f32> { (0..64).map(|d| ((key * (d + 7) * 31) % 113) as f32 - 56.0).collect() };
    let entries = (0..4000).map(|key| {
        let id = EntryId { key, order: EntryOrder { seq: 1, xid: 1 } };
        let body = format!("word{} word{} common filler text", key % 50, key % 171);
        (id, Document { vector: Some(vector(key)), attributes: vec![(0, Value::String(body))] })
    });
    let directory = tempfile::tempdir().unwrap();
    let root = format!("file://{}", directory.path().display());
    let place = Place { id: "01".to_string(), root: root.clone(), path: "p/01".to_string() };
    let written = write_segment(&schema, entries.collect(), Vec::new(), &WriteOptions { threads: 1 }, place).unwrap();
    let registry = StoreRegistry::new(StorageConfig { url: root.clone(), ..Default::default() }, Env::system());
    let store = Arc::new(FaultStore::new(registry.get(&root).await.unwrap()));
    store.put(&written.info.index_key(), written.index).await.unwrap();
    store.put(&written.info.parquet_key(), written.parquet.unwrap()).await.unwrap();
    store.set_latency(Duration::from_millis(20));

    for arm in ["vector", "text"] {
        store.reset_counts();
        let stats = Arc::new(ReadStats::default());
        let cache = Arc::new(BlockCache::memory_only(64 << 20).await.unwrap());
        let tail = Segment::read_tail(&written.info, store.as_ref(), &stats).await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let segment = Segment::open(&written.info, &schema, &tail, store.clone(), cache, &runtime).unwrap();
        let segment = Arc::new(segment);
        let ordinals: Vec<u32> = if arm == "vector" {
            let source = SegmentSource::new(segment.clone(), stats.clone(), vec![0]);
            let params = SearchParams { k: 10, effort: 1.0, allowed: None };
            let head = segment.head().unwrap();
            let (hits, _) = search(head, &source, &vector(9), &params).await.unwrap();
            hits.into_iter().map(|(ordinal, _)| ordinal).collect()
        } else {
            let query = TextQuery::of_attribute(0, "word3 word40".to_string());
            let query = ParsedTextQuery::parse(&schema, &query).unwrap();
            let text = segment.text().unwrap().clone();
            segment.prefetch_text(&text.plan_dictionaries(Some(&query), None).unwrap(), &stats).await.unwrap();
            segment.prefetch_text(&text.plan_postings(Some(&query), None).unwrap(), &stats).await.unwrap();
            let hits = tokio::task::spawn_blocking(move || {
                let counts = text.stats(&query).unwrap();
                text.search(&query, &counts, 10, None).unwrap()
            });
            let ordinals: Vec<u32> = hits.await.unwrap().into_iter().map(|(ordinal, _)| ordinal).collect();
            // Together, as the engine does.
            let (ids, attributes) = tokio::join!(
                segment.identities(&ordinals, &stats),
                prefetch_attributes(&segment, &ordinals, &[0], &stats)
            );
            assert_eq!(ids.unwrap().len(), 10);
            attributes.unwrap();
            ordinals
        };
        assert_eq!(ordinals.len(), 10);
        assert_eq!(segment.identities(&ordinals, &stats).await.unwrap().len(), 10);
        assert_eq!(read_attribute(&segment, &ordinals, &stats).await, 10);
        println!("{arm}: {} rounds, {} requests, {:?}", store.rounds(), store.requests(), stats.snapshot());
        assert!(store.rounds() <= 3, "{arm}: {} rounds", store.rounds());
    }
}
