use std::collections::HashMap;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::storage::{MeteredStore, Operation};

#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    headers: HashMap<String, String>,
}

/// What the scripted server says; an empty text closes the connection without an answer.
type Script = Box<dyn Fn(usize, &Seen) -> String + Send + Sync>;

/// A server that answers by a script and remembers what it was asked.
struct Scripted {
    store: S3Store,
    metrics: Arc<StoreMetrics>,
    seen: Arc<Mutex<Vec<Seen>>>,
    _credentials: tempfile::NamedTempFile,
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

async fn serve(stream: TcpStream, seen: &Mutex<Vec<Seen>>, script: &Script) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length]).await?;
    let request = Seen { method, path, headers };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    stream.write_all(script(number, &request).as_bytes()).await
}

impl Scripted {
    async fn start(script: impl Fn(usize, &Seen) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (seen, script): (Arc<Mutex<Vec<Seen>>>, Arc<Script>) = (Arc::default(), Arc::new(Box::new(script)));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (log.clone(), script.clone());
                tokio::spawn(async move { serve(stream, &log, &script).await });
            }
        });
        let credentials = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(credentials.path(), "[default]\naws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
        let config = StorageConfig {
            s3_endpoint: Some(endpoint),
            s3_path_style: true,
            s3_credentials_file: Some(credentials.path().to_owned()),
            timeouts: StorageTimeouts { attempts: 3, read_ms: 500, ..StorageTimeouts::default() },
            ..StorageConfig::default()
        };
        let metrics = Arc::new(StoreMetrics::default());
        let store = S3Store::open(&config, "bucket".into(), "p".into(), Env::system(), metrics.clone()).await.unwrap();
        Self { store, metrics, seen, _credentials: credentials }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_recognised_as_ours() {
    // The writer's mark that the first request carried, or another one.
    for (ours, expected) in [(true, PutOutcome::Created), (false, PutOutcome::Exists)] {
        let mark = Mutex::new(String::new());
        let server = Scripted::start(move |number, request| match (number, request.method.as_str()) {
            (0, _) => {
                *mark.lock().unwrap() = request.headers["x-amz-meta-elacsym-writer"].clone();
                String::new()
            }
            (_, "PUT") => answer("412 Precondition Failed", "", "<Error><Code>PreconditionFailed</Code></Error>"),
            _ => {
                let writer = if ours { mark.lock().unwrap().clone() } else { "another".to_owned() };
                answer("200 OK", &format!("x-amz-meta-elacsym-writer: {writer}\r\n"), "")
            }
        })
        .await;
        let outcome = server.store.put_if_absent("fence", Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(outcome, expected);
        assert_eq!(server.seen()[0].headers["if-none-match"], "*");
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_create_that_is_refused_at_once_asks_nothing_more() {
    let server = Scripted::start(|_, _| answer("412 Precondition Failed", "", "")).await;
    assert_eq!(server.store.put_if_absent("fence", Bytes::new()).await.unwrap(), PutOutcome::Exists);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn throttling_and_broken_answers_are_repeated_and_counted() {
    let server = Scripted::start(|number, _| match number {
        0 => answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>"),
        // Promises ten bytes, sends five and hangs up.
        1 => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n01234".into(),
        _ => answer("200 OK", "", "0123456789"),
    })
    .await;
    assert_eq!(server.store.get("k").await.unwrap(), "0123456789");
    assert_eq!(server.metrics.snapshot("").retries, 2);
}

#[tokio::test]
async fn retries_belong_to_the_operation_that_was_repeated() {
    let server = Scripted::start(|number, _| match number {
        0 | 2 => answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>"),
        1 => answer("200 OK", "", "0123456789"),
        _ => answer("206 Partial Content", "Content-Range: bytes 0-3/10\r\n", "0123"),
    })
    .await;
    let metrics = server.metrics.clone();
    let metered = MeteredStore::new(Arc::new(server.store), metrics.clone(), Env::system());
    assert_eq!(metered.get("k").await.unwrap(), "0123456789");
    assert_eq!(metered.get_range("k", 0..4).await.unwrap(), "0123");
    let found = metrics.snapshot("");
    let retries = |operation| found.operation(operation).unwrap().retries;
    assert_eq!([Operation::Get, Operation::GetRange, Operation::Put].map(retries), [1, 1, 0]);
    assert_eq!((found.retries, found.total_requests()), (2, 2));
}

const STARTED: &str = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";

fn large() -> Bytes {
    Bytes::from(vec![7; MULTIPART_BYTES + 1])
}

#[tokio::test]
async fn an_upload_of_which_a_part_fails_is_aborted() {
    let server = Scripted::start(|_, request| match request.method.as_str() {
        "POST" => answer("200 OK", "", STARTED),
        "PUT" if request.path.contains("partNumber=2") => {
            answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>")
        }
        "PUT" => answer("200 OK", "ETag: \"e\"\r\n", ""),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    assert_eq!(server.store.put("k", large()).await.unwrap_err().kind, ErrorKind::Denied);
    let seen = server.seen();
    let last = seen.last().unwrap();
    assert!(last.method == "DELETE" && last.path.contains("uploadId=u1"), "{last:?}");
    assert!(!seen.iter().any(|r| r.method == "POST" && r.path.contains("uploadId")), "never completed");
}

#[tokio::test]
async fn an_upload_whose_caller_goes_away_is_aborted() {
    let server = Scripted::start(|_, request| match request.method.as_str() {
        "POST" => answer("200 OK", "", STARTED),
        // Throttled for ever: the upload is under way when its caller leaves.
        "PUT" => answer("503 Slow Down", "", ""),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    let upload = tokio::time::timeout(Duration::from_millis(150), server.store.put("k", large())).await;
    if upload.is_err() {
        for _ in 0..100 {
            if server.seen().iter().any(|r| r.method == "DELETE") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(server.seen().iter().any(|r| r.method == "DELETE"), "{upload:?}");
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_counts_as_done() {
    let server = Scripted::start(|_, request| match request.method.as_str() {
        "POST" if request.path.contains("uploads") => answer("200 OK", "", STARTED),
        "POST" => answer("404 Not Found", "", "<Error><Code>NoSuchUpload</Code></Error>"),
        "PUT" => answer("200 OK", "ETag: \"e\"\r\n", ""),
        "HEAD" => format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", MULTIPART_BYTES + 1),
        _ => answer("204 No Content", "", ""),
    })
    .await;
    // On the first attempt nothing was lost: somebody else aborted the upload.
    assert_eq!(server.store.put("k", large()).await.unwrap_err().kind, ErrorKind::Unavailable);

    let completions = std::sync::atomic::AtomicUsize::new(0);
    let server = Scripted::start(move |_, request| match request.method.as_str() {
        "POST" if request.path.contains("uploads") => answer("200 OK", "", STARTED),
        "POST" if completions.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => String::new(),
        "POST" => answer("404 Not Found", "", "<Error><Code>NoSuchUpload</Code></Error>"),
        "PUT" => answer("200 OK", "ETag: \"e\"\r\n", ""),
        _ => format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", MULTIPART_BYTES + 1),
    })
    .await;
    server.store.put("k", large()).await.unwrap();
    assert!(!server.seen().iter().any(|r| r.method == "DELETE"));
}

#[tokio::test]
async fn an_object_that_exists_is_not_replaced_by_a_file_unless_a_lost_attempt_made_it() {
    let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
    file.set_len(MULTIPART_BYTES as u64 + 1).unwrap();
    for ours in [false, true] {
        let writer = Mutex::new(String::new());
        let server = Scripted::start(move |_, request| match request.method.as_str() {
            "POST" if request.path.contains("uploads") => {
                let header = request.headers.get("x-amz-meta-elacsym-writer").cloned();
                *writer.lock().unwrap() = header.unwrap();
                answer("200 OK", "", STARTED)
            }
            "POST" => answer("412 Precondition Failed", "", "<Error><Code>PreconditionFailed</Code></Error>"),
            "PUT" => answer("200 OK", "ETag: \"e\"\r\n", ""),
            "HEAD" => {
                let writer = if ours { writer.lock().unwrap().clone() } else { "somebody".to_string() };
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nx-amz-meta-elacsym-writer: {writer}\r\nContent-Length: 5\r\n\r\n")
            }
            _ => answer("204 No Content", "", ""),
        })
        .await;
        let outcome = server.store.put_file_if_absent("k", &file, MULTIPART_BYTES as u64 + 1).await.unwrap();
        assert_eq!(outcome, if ours { PutOutcome::Created } else { PutOutcome::Exists });
        let seen = server.seen();
        let completion = seen.iter().find(|r| r.method == "POST" && !r.path.contains("uploads")).unwrap();
        assert_eq!(completion.headers.get("if-none-match").map(String::as_str), Some("*"));
        assert!(seen.iter().any(|r| r.method == "DELETE"), "the upload is aborted");
    }
}

#[tokio::test]
async fn inv_4_an_object_of_somebody_else_is_not_taken_for_a_file_whose_completion_was_lost() {
    let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
    let len = MULTIPART_BYTES as u64 + 1;
    file.set_len(len).unwrap();
    for ours in [false, true] {
        let (writer, completions) = (Mutex::new(String::new()), std::sync::atomic::AtomicUsize::new(0));
        let server = Scripted::start(move |_, request| match request.method.as_str() {
            "POST" if request.path.contains("uploads") => {
                let header = request.headers.get("x-amz-meta-elacsym-writer").cloned();
                *writer.lock().unwrap() = header.unwrap();
                answer("200 OK", "", STARTED)
            }
            "POST" if completions.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => String::new(),
            "POST" => answer("404 Not Found", "", "<Error><Code>NoSuchUpload</Code></Error>"),
            "PUT" => answer("200 OK", "ETag: \"e\"\r\n", ""),
            "HEAD" => {
                let writer = if ours { writer.lock().unwrap().clone() } else { "somebody".to_string() };
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nx-amz-meta-elacsym-writer: {writer}\r\nContent-Length: {len}\r\n\r\n")
            }
            _ => answer("204 No Content", "", ""),
        })
        .await;
        let outcome = server.store.put_file_if_absent("k", &file, len).await.map_err(|error| error.kind);
        assert_eq!(outcome, if ours { Ok(PutOutcome::Created) } else { Err(ErrorKind::Unavailable) });
    }
}

#[tokio::test]
async fn a_delete_reports_the_key_that_was_refused() {
    let body = "<DeleteResult><Error><Key>p/gone</Key><Code>NoSuchKey</Code></Error>\
                <Error><Key>p/kept</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let server = Scripted::start(move |_, _| answer("200 OK", "", body)).await;
    let error = server.store.delete(&["gone".into(), "kept".into()]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.detail.unwrap().contains("AccessDenied"));
}
