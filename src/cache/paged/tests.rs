use super::*;
use crate::storage::FaultStore;

#[test]
fn pages_cover_a_range_exactly() {
    let page = PAGE_BYTES as u64;
    for (range, pages) in
        [(0..0, 0..0), (5..5, 0..0), (0..1, 0..1), (0..page, 0..1), (page - 1..page + 1, 0..2), (page..page + 1, 1..2)]
    {
        assert_eq!(pages_of(&range), pages, "{range:?}");
    }
}

#[test]
fn page_checksums_end_with_the_shorter_page() {
    assert!(page_crcs(&[]).is_empty());
    assert_eq!(page_crcs(&[0; PAGE_BYTES]).len(), 1);
    assert_eq!(page_crcs(&[7; PAGE_BYTES + 1]), [crc32fast::hash(&[7; PAGE_BYTES]), crc32fast::hash(&[7])]);
}

async fn object(pages: usize) -> (PagedObject, Arc<FaultStore>, tempfile::TempDir) {
    with_cache(pages, 256 << 20).await
}

async fn with_cache(pages: usize, memory: u64) -> (PagedObject, Arc<FaultStore>, tempfile::TempDir) {
    use crate::config::StorageConfig;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let (config, env) = (StorageConfig::default(), crate::env::Env::system());
    let inner = crate::storage::open(&config, &url, &env, Arc::default()).await.unwrap();
    let store = Arc::new(FaultStore::new(inner));
    let bytes: Bytes = (0..pages * PAGE_BYTES).map(|i| (i / 7) as u8).collect::<Vec<_>>().into();
    store.put("k", bytes.clone()).await.unwrap();
    store.reset_counts();
    let cache = Arc::new(BlockCache::memory_only(memory).await.unwrap());
    let object = PagedObject::new(store.clone(), "k", bytes.len() as u64, page_crcs(&bytes).into(), cache).unwrap();
    (object, store, directory)
}

fn at(page: u64) -> Range<u64> {
    page * PAGE_BYTES as u64 + 10..page * PAGE_BYTES as u64 + 20
}

#[tokio::test]
async fn near_pages_share_a_request_and_far_ones_do_not() {
    let (object, store, _directory) = object(64).await;
    store.set_latency(std::time::Duration::from_millis(30));
    // Between 0 and 2 lies one page, exactly the gap; between 2 and 5 two, one more; 11 and 12 touch.
    object.read_many(&[at(12), at(0), at(2), at(5), at(11), at(0)]).await.unwrap();
    let page = PAGE_BYTES as u64;
    let mut ranges: Vec<_> = store.ranges().into_iter().map(|(_, range)| range).collect();
    ranges.sort_by_key(|r| r.start);
    assert_eq!(ranges, [0..3 * page, 5 * page..6 * page, 11 * page..13 * page]);
    assert_eq!(store.rounds(), 1);
    // What lay in the gap was not wanted, so it is not cached; what was wanted is.
    store.reset_counts();
    object.read_many(&[at(0), at(2), at(5), at(11), at(12)]).await.unwrap();
    assert_eq!(store.requests(), 0);
    object.read(at(1)).await.unwrap();
    assert_eq!(store.requests(), 1);
}

#[tokio::test]
async fn many_pages_share_requests_as_far_as_the_gaps_between_them_are_worth_fetching() {
    let (object, store, _directory) = object(600).await;
    // Every third page: as many gaps of two pages as it takes are closed, which here is all of them.
    let ranges: Vec<_> = (0..2 * READ_REQUESTS).map(|i| at(i * 3)).collect();
    object.read_many(&ranges).await.unwrap();
    assert_eq!(store.requests(), 1);
    store.reset_counts();
    // Gaps of two pages and, above, of nine, which are too wide whatever the number of requests.
    let far: Vec<_> = (0..READ_REQUESTS).map(|i| at(200 + i * 10)).collect();
    let near = [at(190), at(193)];
    object.read_many(&[&near[..], &far[1..]].concat()).await.unwrap();
    assert_eq!(store.requests(), READ_REQUESTS);
    store.reset_counts();
    // Of many objects that are read at the same time each is fewer requests.
    let stats = Arc::new(ReadStats::default());
    stats.share_among(16);
    let ranges: Vec<_> = (0..40).map(|i| at(5 + i * 12)).collect();
    object.with_stats(stats).read_many(&ranges).await.unwrap();
    assert!(store.requests() <= 3, "{} requests", store.requests());
}

#[tokio::test]
async fn ranges_are_joined_in_their_order_and_without_a_request_only_if_all_is_in_memory() {
    let (object, store, _directory) = object(8).await;
    let page = PAGE_BYTES as u64;
    let ranges = [at(5), page - 3..page + 3, 7..7, at(0)];
    assert_eq!(object.joined_in_memory(&ranges).unwrap(), None);
    let read = object.read_joined(&ranges).await.unwrap();
    assert_eq!(read, object.read_many(&ranges).await.unwrap().concat());
    store.reset_counts();
    assert_eq!(object.joined_in_memory(&ranges).unwrap(), Some(read));
    assert_eq!(object.joined_in_memory(&[at(0), at(7)]).unwrap(), None);
    let beyond = object.len()..object.len() + 1;
    assert_eq!(object.joined_in_memory(&[at(0), beyond]).unwrap_err().kind, crate::error::ErrorKind::Corrupt);
    assert_eq!(store.requests(), 0);
}

#[tokio::test]
async fn pages_that_are_read_again_and_again_stay_while_others_pass() {
    // The cache holds a quarter of the object; what is hot is a tenth of the cache.
    let (object, store, _directory) = with_cache(1_024, 4 << 20).await;
    let hot: Vec<_> = (0..25).map(at).collect();
    for round in 0..100 {
        // As a query does it; the cache itself sees one of eight of these reads.
        object.read_many(&hot).await.unwrap();
        object.read_many(&hot).await.unwrap();
        let cold: Vec<_> = (0..32).map(|i| at(25 + (round * 32 + i) % 990)).collect();
        object.read_many(&cold).await.unwrap();
        if round == 1 {
            store.reset_counts();
        }
    }
    let again = store.ranges().iter().filter(|(_, range)| range.start < 25 * PAGE_BYTES as u64).count();
    assert_eq!(again, 0, "of {} requests", store.requests());
}

#[tokio::test]
async fn a_long_range_arrives_as_parallel_requests() {
    let (object, store, _directory) = object(1_024).await;
    store.set_latency(std::time::Duration::from_millis(50));
    assert_eq!(object.read(0..object.len()).await.unwrap().len() as u64, object.len());
    assert_eq!((store.requests(), store.rounds()), (4, 1));
}

#[tokio::test]
async fn ranges_outside_the_object_are_refused_without_a_request() {
    let (object, store, _directory) = object(2).await;
    store.reset_counts();
    let end = object.len();
    #[allow(clippy::reversed_empty_ranges)]
    for range in [end..end + 1, 0..end + 1, 5..4, u64::MAX - 1..u64::MAX] {
        let error = object.read(range).await.unwrap_err();
        assert_eq!(error.kind, crate::error::ErrorKind::Corrupt);
    }
    assert_eq!(object.read(end..end).await.unwrap().len(), 0);
    assert!(object.read_many(&[]).await.unwrap().is_empty());
    assert_eq!(store.requests(), 0);
    let cache = Arc::new(BlockCache::memory_only(1 << 20).await.unwrap());
    assert!(PagedObject::new(store, "k", end, vec![0; 3].into(), cache).is_err(), "one checksum too many");
}

#[tokio::test]
async fn a_slice_of_one_page_is_not_copied() {
    let (object, _store, _directory) = object(2).await;
    let (a, b) = (object.read(0..100).await.unwrap(), object.read(10..50).await.unwrap());
    assert_eq!(a.slice(10..50).as_ptr(), b.as_ptr());
}

#[tokio::test]
async fn an_unpolled_reader_does_not_hold_up_another() {
    use futures::FutureExt;
    let (object, store, _directory) = object(2).await;
    store.set_latency(std::time::Duration::from_millis(20));
    let mut first = Box::pin(object.read(at(0)));
    // Polled once, so that it has claimed the page, and never again.
    assert!(futures::poll!(first.as_mut().fuse()).is_pending());
    let second = tokio::time::timeout(std::time::Duration::from_secs(5), object.read(at(0))).await;
    assert_eq!(second.expect("must not wait for the first reader").unwrap().len(), 10);
    assert_eq!(store.ranges().len(), 1);
}
