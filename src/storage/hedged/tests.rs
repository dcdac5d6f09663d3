use super::*;
use crate::config::StorageConfig;
use crate::env::Env;
use crate::error::Error;
use crate::storage::{FaultStore, Operation};
use std::time::Instant;

/// A store over a file of ten bytes whose latency can be set, below a hedging one.
async fn store() -> (HedgedStore, Arc<FaultStore>, Arc<StoreMetrics>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let inner = crate::storage::open(&StorageConfig::default(), &url, &Env::system(), Arc::default()).await.unwrap();
    let slow = Arc::new(FaultStore::remote(inner));
    slow.put("k", Bytes::from_static(b"0123456789")).await.unwrap();
    let metrics = Arc::new(StoreMetrics::default());
    (HedgedStore::new(slow.clone(), metrics.clone(), Env::system()), slow, metrics, directory)
}

async fn read(store: &HedgedStore) -> Result<Bytes> {
    store.get_range("k", 2..5).await
}

/// Reads until the usual latency is known and a few extra requests are saved up.
async fn warm_up(store: &HedgedStore) {
    for _ in 0..10 * MIN_SAMPLES {
        assert_eq!(read(store).await.unwrap(), "234");
    }
}

#[tokio::test]
async fn a_slow_read_is_sent_once_more_and_the_faster_answer_counts() {
    let (store, slow, metrics, _directory) = store().await;
    warm_up(&store).await;
    // A busy machine may have been slow already.
    let before = metrics.snapshot("");
    slow.reset_counts();
    slow.delay_next(Duration::from_secs(5));
    let start = Instant::now();
    assert_eq!(read(&store).await.unwrap(), "234");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let after = metrics.snapshot("");
    let counted = (after.hedges - before.hedges, after.hedges_won - before.hedges_won);
    assert_eq!((slow.requests(), counted), (2, (1, 1)));
}

#[tokio::test]
async fn extra_requests_are_a_bounded_share_of_all() {
    let (store, slow, metrics, _directory) = store().await;
    warm_up(&store).await;
    slow.reset_counts();
    let before = metrics.snapshot("").hedges;
    // Slow as a whole: every read is slower than those before.
    slow.set_latency(MIN_DELAY * 2);
    let reads: u32 = 60;
    for _ in 0..reads {
        read(&store).await.unwrap();
    }
    let most = MAX_SAVED + SHARE * f64::from(reads);
    let hedges = metrics.snapshot("").hedges - before;
    assert!(hedges > 0 && hedges as f64 <= most, "{hedges} of {reads}");
    assert_eq!(slow.requests(), u64::from(reads) + hedges);
}

#[tokio::test]
async fn an_error_counts_only_if_both_fail() {
    let (store, slow, metrics, _directory) = store().await;
    warm_up(&store).await;
    let before = metrics.snapshot("");
    // The first one hangs, and the second, which it makes necessary, fails.
    slow.delay_next(MIN_DELAY * 10);
    let both = async {
        let reading = read(&store);
        let fail = async {
            tokio::time::sleep(MIN_DELAY / 2).await;
            slow.fail_next(Some(Operation::GetRange), 1, Error::unavailable("down"));
        };
        tokio::join!(reading, fail).0
    };
    assert_eq!(both.await.unwrap(), "234");
    let after = metrics.snapshot("");
    assert_eq!((after.hedges - before.hedges, after.hedges_won - before.hedges_won), (1, 0));
    slow.fail_next(Some(Operation::GetRange), 1, Error::unavailable("down"));
    assert_eq!(read(&store).await.unwrap_err().message, "down", "failing at once is not being slow");
}
