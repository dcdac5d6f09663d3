use super::*;
use crate::ids::{EntryOrder, Key};
use crate::ipc::message::{ProvidedEntry, RequestStats, ScanRow, Tombstone};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What it does depends on the kind of request: see `handle`.
#[derive(Default)]
struct Fake {
    running: AtomicUsize,
    handled: AtomicUsize,
}

/// Counts a request down however it ends.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn entry(key: Key) -> EntryId {
    EntryId { key, order: EntryOrder { seq: 1, xid: 2 } }
}

impl Handler for Arc<Fake> {
    fn connect(&self, _: Option<i32>) -> Box<dyn Session> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Session for Arc<Fake> {
    async fn handle(&mut self, request: Request, provider: &mut dyn Provider) -> Result<Reply> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.running);
        self.handled.fetch_add(1, Ordering::SeqCst);
        match request {
            Request::Ping => Ok(Reply::Done),
            // Never answers.
            Request::CheckStorage => std::future::pending().await,
            Request::DeleteObjects { .. } => panic!("a bug"),
            // Asks twice and tells what it got.
            Request::Stats => {
                let Provided { entries, delete_vectors: vectors, tombstones } =
                    provider.need(vec![entry(1), entry(2)], vec!["s".into()], true).await?;
                assert_eq!(tombstones, [Tombstone { key: 1, seq: 2 }, Tombstone { key: 3, seq: 4 }]);
                let more = provider.need(vec![entry(3)], vec![], false).await?.entries;
                assert_eq!(provider.need(vec![], vec![], false).await?, Provided::default());
                let bytes: usize = entries.iter().chain(&more).map(|e| e.payload.len()).sum();
                Ok(Reply::Stats(format!(
                    "{} entries, {} vectors, {bytes} bytes",
                    entries.len() + more.len(),
                    vectors.len()
                )))
            }
            Request::PutManifest { generation, .. } => {
                let text = "x".repeat(100_000);
                let row = |key| ResultRow { key, attributes: Some(text.clone()), ..ResultRow::default() };
                let rows = (0..Key::from(generation)).map(row).collect();
                Ok(Reply::Rows(rows, RequestStats { segments: 7, ..RequestStats::default() }))
            }
            Request::ScanNext { scan, rows } => {
                let row = |key| ScanRow { key, value: Some(0.5) };
                let rows = (0..Key::from(rows)).map(row).collect();
                let stats = RequestStats { segments: 9, ..RequestStats::default() };
                Ok(Reply::ScanRows { scan, rows, exhausted: true, stats })
            }
            other => Err(Error::invalid(format!("unexpected {other:?}"))),
        }
    }
}

struct Started {
    path: PathBuf,
    handler: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn start() -> Started {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/engine.sock");
    let server = Server::bind(&path).unwrap();
    let handler = Arc::new(Fake::default());
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.serve(Arc::new(handler.clone()), async {
        let _ = stopped.await;
    }));
    Started { path, handler, stop: Some(stop), task, _directory: directory }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    async fn raw(path: &Path) -> Self {
        Self { stream: UnixStream::connect(path).await.unwrap(), decoder: Decoder::new(Kind::Response) }
    }

    async fn new(path: &Path) -> Self {
        let mut client = Self::raw(path).await;
        client.send(&Request::Hello { protocol: PROTOCOL_VERSION, version: "t".into() }).await;
        assert!(matches!(client.receive().await, Some(Response::Hello { .. })));
        client
    }

    async fn send(&mut self, request: &Request) {
        self.stream.write_all(&encode(Kind::Request, request).unwrap()).await.unwrap();
    }

    async fn receive(&mut self) -> Option<Response> {
        loop {
            if let Some(response) = self.decoder.take().unwrap() {
                return Some(response);
            }
            match self.stream.read(self.decoder.space()).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.advance(count),
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Response {
        self.send(request).await;
        self.receive().await.unwrap()
    }
}

async fn until(what: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(10), "it never happened");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_connection_cancels_the_work_at_once() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    client.send(&Request::CheckStorage).await;
    until(|| server.handler.running.load(Ordering::SeqCst) == 1).await;
    drop(client);
    let took = until(|| server.handler.running.load(Ordering::SeqCst) == 0).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_the_engine_waits_for_entries_cancels_too() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    assert!(matches!(client.ask(&Request::Stats).await, Response::Need { .. }));
    drop(client);
    let took = until(|| server.handler.running.load(Ordering::SeqCst) == 0).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn the_engine_gets_what_it_needs_in_parts_and_the_connection_stays_usable() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    for _ in 0..2 {
        let need = client.ask(&Request::Stats).await;
        let entries = vec![entry(1), entry(2)];
        assert_eq!(need, Response::Need { entries, delete_vectors: vec!["s".into()], tombstones: true });
        for key in [1, 2] {
            let entries = vec![ProvidedEntry { id: entry(key), payload: vec![0; 10] }];
            let tombstones = vec![Tombstone { key: key * 2 - 1, seq: key as u64 * 2 }];
            client.send(&Request::Provide { entries, delete_vectors: vec![], tombstones, last: false }).await;
        }
        let last = Request::Provide {
            entries: vec![],
            delete_vectors: vec![("s".into(), vec![1])],
            tombstones: vec![],
            last: true,
        };
        let need = client.ask(&last).await;
        assert_eq!(need, Response::Need { entries: vec![entry(3)], delete_vectors: vec![], tombstones: false });
        let entries = vec![ProvidedEntry { id: entry(3), payload: vec![0; 5] }];
        let answer =
            client.ask(&Request::Provide { entries, delete_vectors: vec![], tombstones: vec![], last: true }).await;
        assert_eq!(answer, Response::Stats("3 entries, 1 vectors, 25 bytes".into()));
    }
}

#[tokio::test]
async fn another_protocol_version_is_told_both_versions_and_is_not_served() {
    let server = start();
    let mut client = Client::raw(&server.path).await;
    let hello = client.ask(&Request::Hello { protocol: PROTOCOL_VERSION + 1, version: "9.9.9".into() }).await;
    assert!(matches!(hello, Response::Hello { protocol: PROTOCOL_VERSION, .. }), "{hello:?}");
    let Some(Response::Error(error)) = client.receive().await else { panic!("no error") };
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("9.9.9") && error.message.contains(env!("CARGO_PKG_VERSION")), "{error}");
    assert!(error.hint.unwrap().contains("Restart the server"));
    assert_eq!(client.receive().await, None);
    assert_eq!(server.handler.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let server = start();
    let mut good = Client::new(&server.path).await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0; 64], &[255; 64]] {
        let mut client = Client::raw(&server.path).await;
        client.stream.write_all(garbage).await.unwrap();
        assert!(matches!(client.receive().await, Some(Response::Error(_))));
        assert_eq!(client.receive().await, None);
    }
    // A request before the hello, and one in the middle of another.
    let mut client = Client::raw(&server.path).await;
    assert!(matches!(client.ask(&Request::Ping).await, Response::Error(_)));
    assert_eq!(client.receive().await, None);
    let mut client = Client::new(&server.path).await;
    client.send(&Request::CheckStorage).await;
    assert!(matches!(client.ask(&Request::Ping).await, Response::Error(_)));
    assert_eq!(client.receive().await, None);
    assert_eq!(good.ask(&Request::Ping).await, Response::Done);
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_connection_stays_usable() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    let answer = client.ask(&Request::DeleteObjects { root: String::new(), keys: vec![] }).await;
    let Response::Error(error) = answer else { panic!("{answer:?}") };
    assert_eq!((error.kind, error.detail.as_deref()), (ErrorKind::Internal, Some("a bug")));
    assert_eq!(client.ask(&Request::Ping).await, Response::Done);
}

#[tokio::test]
async fn many_rows_come_in_bounded_frames_in_order() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    for wanted in [0, 1, 100] {
        let request =
            Request::PutManifest { root: String::new(), path: String::new(), generation: wanted, json: String::new() };
        client.send(&request).await;
        let mut keys = Vec::new();
        let mut frames = 0;
        loop {
            let Some(Response::Rows { rows, last, stats }) = client.receive().await else { panic!("no rows") };
            assert!(rows.len() <= 12, "{} rows of 100 kB in one frame", rows.len());
            keys.extend(rows.iter().map(|row| row.key));
            frames += 1;
            assert_eq!(stats.segments, if last { 7 } else { 0 });
            if last {
                break;
            }
        }
        assert_eq!(keys, (0..Key::from(wanted)).collect::<Vec<_>>());
        assert!(frames >= wanted / 12, "{frames}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_work_at_once() {
    let server = start();
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let path = server.path.clone();
        tasks.spawn(async move {
            let mut client = Client::new(&path).await;
            for _ in 0..20 {
                assert_eq!(client.ask(&Request::Ping).await, Response::Done);
            }
            client
        });
    }
    let clients = tasks.join_all().await;
    assert_eq!(clients.len(), 200);
    assert_eq!(server.handler.handled.load(Ordering::SeqCst), 4_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_connections_and_removes_the_socket() {
    let mut server = start();
    let mut client = Client::new(&server.path).await;
    client.send(&Request::CheckStorage).await;
    until(|| server.handler.running.load(Ordering::SeqCst) == 1).await;
    server.stop.take().unwrap().send(()).unwrap();
    (&mut server.task).await.unwrap();
    assert_eq!(client.receive().await, None);
    assert_eq!(server.handler.running.load(Ordering::SeqCst), 0);
    assert!(!server.path.exists());
}

#[tokio::test]
async fn a_dead_engines_socket_is_replaced_and_only_its_owner_can_reach_it() {
    let server = start();
    server.task.abort();
    assert!(server.path.exists());
    let _second = Server::bind(&server.path).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.path), 0o600);
    assert_eq!(mode(server.path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(&path).unwrap_err();
    assert!(error.message.contains("engine.sock"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn rows_of_a_scan_come_in_parts_and_no_rows_are_one_part() {
    let server = start();
    let mut client = Client::new(&server.path).await;
    for (wanted, least_parts) in [(0, 1), (3, 1), (200_000, 3)] {
        client.send(&Request::ScanNext { scan: 5, rows: wanted }).await;
        let (mut keys, mut parts) = (Vec::new(), 0);
        loop {
            let Some(Response::ScanRows { scan: 5, rows, exhausted: true, last, stats }) = client.receive().await
            else {
                panic!("no rows of the scan");
            };
            keys.extend(rows.iter().map(|row| row.key));
            parts += 1;
            assert_eq!(stats.segments, if last { 9 } else { 0 });
            if last {
                break;
            }
        }
        assert_eq!(keys, (0..Key::from(wanted)).collect::<Vec<_>>());
        assert!(parts >= least_parts, "{parts}");
    }
}
