//! A real S3 server for tests: moto, started by the test that needs it and killed when its handle is dropped.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use elacsym::config::{StorageConfig, StorageTimeouts};

/// The bucket every fresh server has.
pub const BUCKET: &str = "elacsym-test";

/// A running moto server.
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts a server on a free port of the loopback interface with one empty bucket. None, with one line that says so,
    /// when there is no moto: neither `ELACSYM_MOTO` nor `moto_server` on the path.
    pub fn start(test: &str) -> Option<Self> {
        let program = std::env::var_os("ELACSYM_MOTO").unwrap_or_else(|| "moto_server".into());
        for _ in 0..5 {
            let address = free_address();
            let mut command = Command::new(&program);
            command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
            let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let Ok(child) = started else {
                assert!(std::env::var_os("ELACSYM_MOTO").is_none(), "ELACSYM_MOTO cannot be started");
                println!("skipped: {test} needs moto_server (set ELACSYM_MOTO or install moto[server])");
                return None;
            };
            let mut moto = Self { child, address };
            if moto.wait_until_up() {
                // Any credentials will do; the bucket exists before the first test request.
                let status = moto.http("PUT", &format!("/{BUCKET}"), b"");
                assert_eq!(status, 200, "creating the bucket");
                return Some(moto);
            }
        }
        panic!("moto did not come up on five ports");
    }

    fn wait_until_up(&mut self) -> bool {
        let patience = Instant::now() + Duration::from_secs(60);
        while Instant::now() < patience {
            if self.child.try_wait().expect("child").is_some() {
                // Somebody took the port between our look and its bind.
                return false;
            }
            if TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// The endpoint URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Settings that reach this server. Credentials are in a file of the caller's.
    pub fn config(&self, credentials: &std::path::Path) -> StorageConfig {
        StorageConfig {
            url: format!("s3://{BUCKET}"),
            s3_endpoint: Some(self.endpoint()),
            s3_region: Some("us-east-1".into()),
            s3_path_style: true,
            s3_credentials_file: Some(credentials.to_owned()),
            timeouts: quick(),
        }
    }

    /// One plain HTTP request without a body of interest; returns the status.
    pub fn http(&self, method: &str, path: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(self.address).expect("connect to moto");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("send");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("status line");
        reader.read_to_end(&mut Vec::new()).expect("rest");
        line.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("status")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on the loopback interface that nobody listened on a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    listener.local_addr().expect("address")
}

/// Timeouts that let a failing test fail soon.
pub fn quick() -> StorageTimeouts {
    StorageTimeouts { connect_ms: 1_000, deadline_ms: 30_000, attempts: 3, ..StorageTimeouts::default() }
}

/// An AWS credentials file in a directory of its own.
pub fn credentials() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("credentials");
    std::fs::write(&path, "[default]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hunter2secret\n")
        .expect("write");
    (directory, path)
}
