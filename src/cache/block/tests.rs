use std::sync::atomic::AtomicUsize;

use super::*;

fn key(block: u32) -> BlockKey {
    BlockKey { object: object_id("file:///r", "k"), block }
}

#[test]
fn an_object_id_depends_on_root_and_key_and_never_changes() {
    let ids = [("a", "b/c"), ("a/b", "c"), ("", "a/b/c"), ("a", "b/d")].map(|(root, key)| object_id(root, key));
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 4);
    // It names blocks on disk, so it must stay. From an independent implementation that gives the published value for "a".
    assert_eq!(object_id("s3://b/p", "k"), 0x639c_d5a6_4012_cf17_199f_f736_7454_8533);
}

#[test]
fn a_damaged_length_on_disk_is_an_error_not_an_allocation() {
    let bytes = u64::MAX.to_le_bytes();
    assert!(Block::decode(&mut bytes.as_slice()).is_err());
    let mut encoded = Vec::new();
    let block = Block(Arc::new(Page::new(Bytes::from_static(b"abc"), true)));
    block.encode(&mut encoded).unwrap();
    assert_eq!(encoded.len(), block.estimated_size());
    let back = Block::decode(&mut encoded.as_slice()).unwrap();
    assert_eq!(back.0.bytes, "abc");
    assert!(!back.0.verified.load(Ordering::Relaxed), "what comes from disk is not verified");
    assert!(Block::decode(&mut &encoded[..9]).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_of_a_block_fetch_it_once() {
    let cache = Arc::new(BlockCache::memory_only(1 << 20).await.unwrap());
    let fetches = Arc::new(AtomicUsize::new(0));
    let readers = (0..32).map(|_| {
        let (cache, fetches) = (cache.clone(), fetches.clone());
        tokio::spawn(async move {
            let fetch = || async move {
                fetches.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                Ok(Bytes::from_static(b"block"))
            };
            cache.get_or_fetch(key(0), true, |_| true, fetch).await
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.await.unwrap().unwrap(), "block");
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failed_fetch_is_reported_and_not_remembered() {
    let cache = Arc::new(BlockCache::memory_only(1 << 20).await.unwrap());
    let failed = cache.get_or_fetch(key(0), true, |_| true, || async { Err(Error::unavailable("down")) }).await;
    assert_eq!(failed.unwrap_err().message, "down");
    let read = cache.get_or_fetch(key(0), true, |_| true, || async { Ok(Bytes::from_static(b"x")) }).await;
    assert_eq!(read.unwrap(), "x");
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits_memory, stats.bytes_inserted), (2, 0, 1));
}

#[tokio::test]
async fn memory_stays_within_its_capacity() {
    let cache = BlockCache::memory_only(1 << 20).await.unwrap();
    for block in 0..1_000 {
        cache.insert(key(block), &Bytes::from(vec![0; 16 << 10]), false);
    }
    let stats = cache.stats();
    assert!(stats.memory_bytes <= 1 << 20 && stats.memory_bytes > 1 << 19, "{stats:?}");
}

#[tokio::test]
async fn an_unusable_directory_leaves_the_memory_tier() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    for path in [file.join("below"), file.clone(), PathBuf::from("/proc/elacsym")] {
        let settings = CacheSettings { memory: 1 << 20, disk: MIN_CACHE_DISK_BYTES, path };
        let cache = BlockCache::open(&settings).await.unwrap();
        assert!(!cache.has_disk());
        cache.insert(key(0), &Bytes::from_static(b"x"), true);
        assert_eq!(cache.lookup(key(0), true, |_| true).await.unwrap(), (Bytes::from_static(b"x"), Tier::Memory));
    }
}

#[tokio::test]
async fn two_engines_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = CacheSettings { memory: 1 << 20, disk: MIN_CACHE_DISK_BYTES, path: directory.path().into() };
    let first = BlockCache::open(&settings).await.unwrap();
    let second = BlockCache::open(&settings).await.unwrap();
    assert!(first.has_disk() && !second.has_disk());
}

#[tokio::test]
async fn local_blocks_never_reach_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let settings = CacheSettings { memory: 1 << 20, disk: MIN_CACHE_DISK_BYTES, path: directory.path().into() };
    let cache = BlockCache::open(&settings).await.unwrap();
    for block in 0..100 {
        cache.insert(key(block), &Bytes::from(vec![1; 16 << 10]), false);
    }
    cache.close().await;
    drop(cache);
    let cache = BlockCache::open(&settings).await.unwrap();
    for block in 0..100 {
        assert!(cache.lookup(key(block), true, |_| true).await.is_none());
    }
}

#[tokio::test]
async fn a_scan_does_not_push_out_what_is_asked_for_again_and_again() {
    let cache = BlockCache::memory_only(4 << 20).await.unwrap();
    let page = Bytes::from(vec![7; 16 << 10]);
    // A tenth of the cache.
    let hot = 0..25;
    for block in hot.clone() {
        cache.insert(key(block), &page, false);
        assert!(cache.hit_memory(key(block), |_| true).is_some());
    }
    // Four times the cache, each page once.
    for block in 1_000..2_000 {
        cache.insert(key(block), &page, false);
    }
    let left = hot.clone().filter(|block| cache.hit_memory(key(*block), |_| true).is_some()).count();
    assert_eq!(left, hot.len());
    // And it still learns: what is asked for now stays in the next scan.
    let new = 3_000..3_025;
    for block in new.clone() {
        cache.insert(key(block), &page, false);
        assert!(cache.hit_memory(key(block), |_| true).is_some());
    }
    for block in 5_000..6_000 {
        cache.insert(key(block), &page, false);
    }
    let left = new.clone().filter(|block| cache.hit_memory(key(*block), |_| true).is_some()).count();
    assert_eq!(left, new.len());
}

#[tokio::test]
async fn blocks_that_make_room_in_memory_are_counted() {
    let cache = BlockCache::memory_only(1 << 20).await.unwrap();
    let bytes = Bytes::from(vec![7; 16 << 10]);
    for block in 0..32 {
        cache.insert(key(block), &bytes, true);
    }
    assert_eq!(cache.stats().evictions_memory, 0, "half of it fits");
    for block in 32..132 {
        cache.insert(key(block), &bytes, true);
    }
    let stats = cache.stats();
    let kept = stats.memory_bytes / (bytes.len() + BLOCK_OVERHEAD_BYTES) as u64;
    assert_eq!(stats.evictions_memory, 132 - kept);
    assert_eq!(stats.evictions_disk, 0);
}
