use super::*;
use crate::config::{EngineSettings, LogLevel, StorageConfig};
use crate::env::Env;

async fn started() -> (u16, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let settings = EngineSettings {
        storage: StorageConfig { url: format!("file://{}", directory.path().display()), ..StorageConfig::default() },
        cache_memory: 8 << 20,
        cache_disk: 0,
        cache_path: "".into(),
        result_cache: 0,
        engine_threads: 1,
        build_memory: 256 << 20,
        socket_path: "engine.sock".into(),
        log_level: LogLevel::Error,
        metrics_port: 0,
    };
    let engine = Arc::new(Engine::new(settings, Env::system()).await.unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { serve(&listener, &engine).await });
    (port, directory)
}

async fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn get_and_head_of_metrics_are_answered_and_nothing_else() {
    let (port, _directory) = started().await;
    let get = ask(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = get.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nelacsym_request_duration_seconds_count{kind=\"query\"} 0\n"), "{body}");

    let head = ask(port, "HEAD /metrics?x=1 HTTP/1.0\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        ("\u{1} nonsense\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = ask(port, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
    }
}

#[test]
fn a_head_is_read_to_its_end_and_not_beyond_a_limit() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in 0..request.len() {
        assert_eq!(parse(&request[..end]), None, "{end} bytes");
    }
    assert_eq!(parse(request), Some(Asked::Metrics { head: false }));
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(MAX_HEAD_BYTES));
    let too_large = Some(Asked::Other("431 Request Header Fields Too Large"));
    assert_eq!(parse(long.as_bytes()), too_large);
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(parse(many.as_bytes()), too_large);
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out_for_long() {
    let (port, _directory) = started().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
    }
    let limit = CONNECTION_LIMIT + Duration::from_secs(5);
    let answer = tokio::time::timeout(limit, ask(port, "GET /metrics HTTP/1.1\r\n\r\n")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
}
