//! `GET /metrics` over HTTP on the loopback interface, for a scraper on the same machine.
//!
//! One answer for each connection, few connections at once, all of it in bounded time. Requests are parsed by `httparse`;
//! nothing of a request but its method and path has any effect.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Engine;
use crate::metrics::Exposition;

/// Connections served at once: a scraper uses one, and somebody may look by hand. Others wait to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// From accepting a connection to the last byte of the answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);
/// Longest head of a request. Prometheus sends about 300 bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Most header lines.
const MAX_HEADERS: usize = 64;
/// Pause before another attempt to listen on a port that somebody else has, or to accept where no descriptor is left.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
const PATH: &str = "/metrics";

/// Listens on a port, or on none.
#[derive(Debug, Default)]
pub struct MetricsListener {
    port: u16,
    task: Option<JoinHandle<()>>,
}

impl MetricsListener {
    /// Listens on this port of 127.0.0.1 from now on, and on no other; 0: on none. A port that is taken is tried again
    /// until it is free. Call it inside a tokio runtime.
    pub fn set_port(&mut self, port: u16, engine: &Arc<Engine>) {
        if self.port == port {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.port = port;
        self.task = (port != 0).then(|| tokio::spawn(listen(port, engine.clone())));
    }
}

impl Drop for MetricsListener {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn listen(port: u16, engine: Arc<Engine>) {
    let mut told = false;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => {
                tracing::info!("figures are at http://127.0.0.1:{port}{PATH}");
                return serve(&listener, &engine).await;
            }
            Err(error) if !told => {
                tracing::warn!("cannot listen on 127.0.0.1:{port} for figures: {error}; it is tried again");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

pub(super) async fn serve(listener: &TcpListener, engine: &Arc<Engine>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so never an error.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let engine = engine.clone();
                tokio::spawn(async move {
                    // Who is too slow, or goes away, gets nothing.
                    let _ = tokio::time::timeout(CONNECTION_LIMIT, answer(&mut stream, &engine)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a scraper: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, engine: &Engine) -> std::io::Result<()> {
    let asked = read_head(stream).await?;
    let (status, kind, body) = match asked {
        Asked::Metrics { .. } => ("200 OK", Exposition::CONTENT_TYPE, engine.scraped().await),
        Asked::Other(status) => (status, "text/plain; charset=utf-8", format!("{status}\n")),
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
    );
    if !matches!(asked, Asked::Metrics { head: true }) {
        response.push_str(&body);
    }
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Metrics {
        /// Without the body.
        head: bool,
    },
    /// Something that is not there, or not HTTP: the status of the answer.
    Other(&'static str),
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Asked> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(asked) = parse(&head) {
            return Ok(asked);
        }
    }
}

/// What the bytes ask for; `None` if more must come.
fn parse(bytes: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(Asked::Other("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Asked::Other("400 Bad Request")),
    }
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Some(match (path, request.method) {
        (PATH, Some("GET")) => Asked::Metrics { head: false },
        (PATH, Some("HEAD")) => Asked::Metrics { head: true },
        (PATH, _) => Asked::Other("405 Method Not Allowed"),
        _ => Asked::Other("404 Not Found"),
    })
}

#[cfg(test)]
mod tests;
