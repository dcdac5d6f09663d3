//! Reads through the block cache: right bytes or a clear error (INV-8), warm after a restart, merged requests.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use elacsym::cache::{BlockCache, CacheSettings, PAGE_BYTES, PagedObject, ReadStats, page_crcs};
use elacsym::config::{MIN_CACHE_DISK_BYTES, StorageConfig};
use elacsym::env::Env;
use elacsym::error::{Error, ErrorKind};
use elacsym::storage::{FaultStore, ObjectStore, Operation, open};
use proptest::prelude::*;

const PAGE: u64 = PAGE_BYTES as u64;

/// Bytes of which no two pages are alike.
fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect::<Vec<_>>().into()
}

/// A directory that passes for a remote store.
async fn remote(directory: &Path) -> Arc<FaultStore> {
    let url = format!("file://{}/store", directory.display());
    Arc::new(FaultStore::remote(open(&StorageConfig::default(), &url, &Env::system(), Arc::default()).await.unwrap()))
}

async fn on_disk(directory: &Path, memory: u64) -> Arc<BlockCache> {
    let settings = CacheSettings { memory, disk: MIN_CACHE_DISK_BYTES, path: directory.join("cache") };
    let cache = BlockCache::open(&settings).await.unwrap();
    assert!(cache.has_disk());
    Arc::new(cache)
}

fn paged(store: &Arc<FaultStore>, cache: &Arc<BlockCache>, bytes: &Bytes) -> PagedObject {
    PagedObject::new(store.clone(), "seg/search.idx", bytes.len() as u64, page_crcs(bytes).into(), cache.clone())
        .unwrap()
}

/// INV-8: a flipped byte in the store is an error that names object and offset, and is never cached.
#[tokio::test]
async fn inv_8_a_flipped_byte_in_the_store_is_an_error_with_name_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(5 * PAGE_BYTES + 77);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let object = paged(&store, &Arc::new(BlockCache::memory_only(1 << 20).await.unwrap()), &bytes);

    for flipped in [2 * PAGE + 123, 5 * PAGE + 76] {
        store.heal();
        store.flip("seg/search.idx", flipped);
        let page = flipped / PAGE;
        for range in [0..bytes.len() as u64, flipped..flipped + 1, page * PAGE..page * PAGE + 5] {
            for error in [object.read(range.clone()).await.unwrap_err(), object.read_uncached(range).await.unwrap_err()]
            {
                assert_eq!(error.kind, ErrorKind::Corrupt);
                assert!(error.message.contains("seg/search.idx"), "{error}");
                assert!(error.message.contains(&format!("offset {}", page * PAGE)), "{error}");
            }
        }
        // Other pages are readable, and the page itself once the store is well again.
        assert_eq!(object.read(0..10).await.unwrap(), bytes.slice(0..10));
        store.heal();
        let whole = page * PAGE..((page + 1) * PAGE).min(bytes.len() as u64);
        assert_eq!(object.read(whole.clone()).await.unwrap(), bytes.slice(whole.start as usize..whole.end as usize));
    }
}

/// INV-8: one wrong transfer is repeated, once.
#[tokio::test]
async fn inv_8_a_damaged_transfer_is_read_once_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(4 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let object = paged(&store, &Arc::new(BlockCache::memory_only(1 << 20).await.unwrap()), &bytes);
    store.flip_once("seg/search.idx", PAGE + 1);
    assert_eq!(object.read(0..4 * PAGE).await.unwrap(), bytes);
    let ranges: Vec<_> = store.ranges().into_iter().map(|(_, range)| range).collect();
    assert_eq!(ranges, [0..4 * PAGE, PAGE..2 * PAGE]);
}

/// INV-8: whatever happens to the files of the cache, answers stay right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_8_flipped_bytes_in_the_cache_files_never_reach_a_reader() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(40 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    for step in [4_099, 509, 16_381] {
        let cache = on_disk(directory.path(), 8 << 20).await;
        assert_eq!(paged(&store, &cache, &bytes).read(0..40 * PAGE).await.unwrap(), bytes);
        cache.close().await;
        drop(cache);
        spoil(&directory.path().join("cache"), step);
        store.reset_counts();
        let cache = on_disk(directory.path(), 8 << 20).await;
        assert_eq!(paged(&store, &cache, &bytes).read(0..40 * PAGE).await.unwrap(), bytes, "step {step}");
        assert!(store.requests() > 0, "the damage went unnoticed: was anything damaged?");
        cache.close().await;
    }
}

/// A file system without room for the cache costs requests, nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a file system of some 10 MiB, named by ELACSYM_TEST_SMALL_DISK"]
async fn a_full_disk_leaves_the_memory_tier() {
    let Ok(small) = std::env::var("ELACSYM_TEST_SMALL_DISK") else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(2_000 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let settings = CacheSettings { memory: 1 << 20, disk: MIN_CACHE_DISK_BYTES, path: Path::new(&small).join("cache") };
    let cache = Arc::new(BlockCache::open(&settings).await.unwrap());
    assert!(!cache.has_disk(), "is {small} really smaller than {MIN_CACHE_DISK_BYTES}?");
    let object = paged(&store, &cache, &bytes);
    for _ in 0..2 {
        assert_eq!(object.read(0..2_000 * PAGE).await.unwrap(), bytes);
    }
    std::fs::write(Path::new(&small).join("room"), vec![1; 1 << 20]).expect("the cache gave its space back");
}

/// What makes the process of the next test one of its own.
const CANNOT_GROW: &str = "ELACSYM_TEST_FILES_CANNOT_GROW";

/// A disk that takes nothing costs requests, nothing else. Files of a process of its own are limited to half a megabyte.
#[test]
fn a_disk_that_takes_nothing_leaves_the_memory_tier() {
    let limited =
        "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact --ignored cache_paged::in_a_process_whose_files_cannot_grow";
    let mut process = std::process::Command::new("sh");
    let process = process.args(["-c", limited]).arg(std::env::current_exe().unwrap()).env(CANNOT_GROW, "1");
    let output = process.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above"]
async fn in_a_process_whose_files_cannot_grow() {
    if std::env::var_os(CANNOT_GROW).is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(20 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let path = directory.path().join("cache");
    let settings = CacheSettings { memory: 8 << 20, disk: MIN_CACHE_DISK_BYTES, path };
    let cache = Arc::new(BlockCache::open(&settings).await.unwrap());
    assert!(!cache.has_disk(), "half a megabyte was enough for {MIN_CACHE_DISK_BYTES} bytes");
    store.reset_counts();
    let object = paged(&store, &cache, &bytes);
    for _ in 0..2 {
        assert_eq!(object.read(0..20 * PAGE).await.unwrap(), bytes);
    }
    assert_eq!(store.requests(), 1, "the second time from memory");
}

/// Inverts every `step`-th byte of every non-empty block of the cache's files.
fn spoil(directory: &Path, step: usize) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path, step);
        } else if let Ok(mut bytes) = std::fs::read(&path)
            && bytes.iter().any(|b| *b != 0)
        {
            bytes.iter_mut().step_by(step).for_each(|b| *b ^= 0xff);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_disk_cache_warm() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(200 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let cache = on_disk(directory.path(), 16 << 20).await;
    assert_eq!(paged(&store, &cache, &bytes).read(0..200 * PAGE).await.unwrap(), bytes);
    cache.close().await;
    drop(cache);

    store.reset_counts();
    let cache = on_disk(directory.path(), 16 << 20).await;
    let stats = Arc::new(ReadStats::default());
    let object = paged(&store, &cache, &bytes).with_stats(stats.clone());
    assert_eq!(object.read(0..200 * PAGE).await.unwrap(), bytes);
    assert_eq!(store.requests(), 0);
    let seen = stats.snapshot();
    assert_eq!((seen.hits_disk, seen.hits_memory, seen.misses, seen.requests), (200, 0, 0, 0));
    object.read(0..200 * PAGE).await.unwrap();
    assert_eq!(stats.snapshot().hits_memory, 200);
    assert_eq!(cache.stats().hits_disk, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_evicts_is_still_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(400 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    let cache = on_disk(directory.path(), 1 << 20).await;
    let object = paged(&store, &cache, &bytes);
    for page in 0..400 {
        object.read(page * PAGE..(page + 1) * PAGE).await.unwrap();
    }
    store.reset_counts();
    for page in 0..400 {
        let range = page * PAGE..(page + 1) * PAGE;
        assert_eq!(object.read(range.clone()).await.unwrap(), bytes.slice(range.start as usize..range.end as usize));
    }
    assert_eq!(store.requests(), 0, "{:?}", cache.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_fetch_each_page_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(64 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    store.set_latency(std::time::Duration::from_millis(20));
    let object = paged(&store, &Arc::new(BlockCache::memory_only(4 << 20).await.unwrap()), &bytes);
    let readers = (0..20).map(|i| {
        let (object, bytes) = (object.clone(), bytes.clone());
        tokio::spawn(async move {
            let range = i * PAGE..(i + 30) * PAGE;
            let read = object.read(range.clone()).await.unwrap();
            assert_eq!(read, bytes.slice(range.start as usize..range.end as usize));
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
    let fetched: u64 = store.ranges().iter().map(|(_, range)| range.end - range.start).sum();
    assert_eq!(fetched, 49 * PAGE);
}

/// A waiter whose fetcher failed tries for itself: one reader's bad luck is not everybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failed_fetch_fails_only_its_own_reader() {
    let directory = tempfile::tempdir().unwrap();
    let store = remote(directory.path()).await;
    let bytes = content(2 * PAGE_BYTES);
    store.put("seg/search.idx", bytes.clone()).await.unwrap();
    store.set_latency(std::time::Duration::from_millis(20));
    store.fail_next(Some(Operation::GetRange), 1, Error::unavailable("down"));
    let object = paged(&store, &Arc::new(BlockCache::memory_only(4 << 20).await.unwrap()), &bytes);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let object = object.clone();
                async move { object.read(0..10).await }
            })
        })
        .collect();
    let mut failed = 0;
    for reader in readers {
        match reader.await.unwrap() {
            Ok(read) => assert_eq!(read, bytes.slice(0..10)),
            Err(error) => {
                assert_eq!(error.message, "down");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 1);
}

#[test]
fn blocking_reads_work_from_plain_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let bytes = content(3 * PAGE_BYTES);
    let stats = Arc::new(ReadStats::default());
    let object = runtime.block_on(async {
        let store = remote(directory.path()).await;
        store.put("seg/search.idx", bytes.clone()).await.unwrap();
        paged(&store, &Arc::new(BlockCache::memory_only(1 << 20).await.unwrap()), &bytes).with_stats(stats.clone())
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for range in [5..6, PAGE - 1..PAGE + 1, 0..3 * PAGE, 7..7] {
                    let read = object.read_blocking(runtime.handle(), range.clone()).unwrap();
                    assert_eq!(read, bytes.slice(range.start as usize..range.end as usize));
                }
            });
        }
    });
    let seen = stats.snapshot();
    assert_eq!((seen.bytes, seen.misses + seen.hits_memory), (3 * PAGE, 4 * 6));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any reads, in any order, over any mixture of cached and missing pages, equal slices of the object.
    #[test]
    fn random_reads_equal_the_plain_slice(
        length in 1_usize..20 * PAGE_BYTES,
        memory_pages in 1_u64..40,
        batches in prop::collection::vec(prop::collection::vec((0.0..=1.0_f64, 0.0..=1.0_f64), 1..8), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = remote(directory.path()).await;
            let bytes = content(length);
            store.put("seg/search.idx", bytes.clone()).await.unwrap();
            let cache = Arc::new(BlockCache::memory_only(memory_pages * 17 * 1_024).await.unwrap());
            let object = paged(&store, &cache, &bytes);
            for batch in &batches {
                let ranges: Vec<_> = batch.iter().map(|(a, b)| {
                    let (a, b) = ((a * length as f64) as u64, (b * length as f64) as u64);
                    a.min(b)..a.max(b)
                }).collect();
                let read = object.read_many(&ranges).await.unwrap();
                let joined = read.concat();
                if let Some(in_memory) = object.joined_in_memory(&ranges).unwrap() {
                    assert!(in_memory == joined, "{ranges:?} of {length}, in memory");
                }
                assert!(object.read_joined(&ranges).await.unwrap() == joined, "{ranges:?} of {length}");
                for (range, read) in ranges.iter().zip(read) {
                    let expected = bytes.slice(range.start as usize..range.end as usize);
                    assert!(read == expected, "{range:?} of {length}");
                    assert!(object.read(range.clone()).await.unwrap() == expected);
                    assert!(object.read_uncached(range.clone()).await.unwrap() == expected);
                }
            }
        });
    }
}
