//! What the supervisor hands to the engine at start, and again on every reload, as one JSON object.
//!
//! There is no secret in it: credentials come from the environment, the instance role or a file that is only named here.
//! Nothing in this module needs the engine's dependencies, so the supervisor can build the same struct.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Smallest disk tier in bytes: below this the cache's write granularity (1 MiB) leaves too few blocks to evict among.
pub const MIN_CACHE_DISK_BYTES: u64 = 64 << 20;
/// Smallest memory tier in bytes: one page for each of the reads a query may have under way, with room to spare.
pub const MIN_CACHE_MEMORY_BYTES: u64 = 1 << 20;
/// Smallest memory budget of a segment build in bytes: tantivy's writer alone refuses to start below 15 MB.
pub const MIN_BUILD_MEMORY_BYTES: u64 = 32 << 20;
/// Most threads of the engine's CPU pool: a mistyped setting must not start thousands.
pub const MAX_ENGINE_THREADS: u32 = 1_024;
/// Longest Unix socket path in bytes: `sun_path` holds 108 with its terminating zero.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// What a storage URL inside PostgreSQL's data directory begins with.
pub const DATA_DIRECTORY_SCHEME: &str = "pgdata:";

/// How much the engine logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// Failures and degraded service.
    Warn,
    /// Also what an operator wants to see once: start, stop, reload, compactions.
    #[default]
    Info,
    /// Also one line for each request.
    Debug,
    /// Everything.
    Trace,
}

/// How long the engine waits for object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageTimeouts {
    /// Milliseconds to establish one connection.
    pub connect_ms: u64,
    /// Milliseconds without a byte from the server before an attempt counts as lost.
    pub read_ms: u64,
    /// Milliseconds for one whole attempt of a small request; uploads get more, by their size.
    pub attempt_ms: u64,
    /// Milliseconds for one operation with all its retries.
    pub deadline_ms: u64,
    /// Attempts of one operation, the first included.
    pub attempts: u32,
}

impl Default for StorageTimeouts {
    /// Bearable for a person who waits, generous for a store that throttles.
    fn default() -> Self {
        Self { connect_ms: 3_000, read_ms: 10_000, attempt_ms: 20_000, deadline_ms: 60_000, attempts: 6 }
    }
}

impl StorageTimeouts {
    /// [`Self::connect_ms`] as a duration.
    pub fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    /// [`Self::read_ms`] as a duration.
    pub fn read(&self) -> Duration {
        Duration::from_millis(self.read_ms)
    }

    /// [`Self::attempt_ms`] as a duration.
    pub fn attempt(&self) -> Duration {
        Duration::from_millis(self.attempt_ms)
    }

    /// [`Self::deadline_ms`] as a duration.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

/// Where segments live and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// `file:///absolute/directory` (taken literally, no percent-decoding), `pgdata:directory` (below the data directory) or
    /// `s3://bucket/prefix`.
    pub url: String,
    /// Endpoint of an S3-compatible store, with its scheme; none means AWS.
    pub s3_endpoint: Option<String>,
    /// Region; none means what the environment says, else `us-east-1`.
    pub s3_region: Option<String>,
    /// Address buckets as `endpoint/bucket` instead of `bucket.endpoint`.
    pub s3_path_style: bool,
    /// An AWS credentials file (INI); its profile `default` is used. None means environment, then instance role.
    pub s3_credentials_file: Option<PathBuf>,
    /// How long to wait.
    pub timeouts: StorageTimeouts,
}

/// Every setting of the engine process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// Object storage.
    pub storage: StorageConfig,
    /// Bytes of the memory tier of the block cache.
    pub cache_memory: u64,
    /// Bytes of the disk tier of the block cache; 0 switches it off.
    pub cache_disk: u64,
    /// Directory of the disk tier (unless [`Self::cache_disk`] is 0) and of pinned keys; empty: nothing is pinned.
    pub cache_path: PathBuf,
    /// Bytes of answers that are kept for repeated queries; 0 keeps none.
    #[serde(default)]
    pub result_cache: u64,
    /// Threads of the CPU pool; 0 means one for each core.
    pub engine_threads: u32,
    /// Bytes one segment build may hold in memory.
    pub build_memory: u64,
    /// The Unix socket the engine listens on; may be relative to the engine's working directory.
    pub socket_path: PathBuf,
    /// How much is logged.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Port of 127.0.0.1 that figures are served on; 0: none.
    #[serde(default)]
    pub metrics_port: u16,
}

/// What the supervisor tells between settings: the server's own figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerMetrics {
    /// In Prometheus' text format.
    pub server_metrics: String,
}

impl ServerMetrics {
    /// Reads a line of the supervisor; `None` if it is something else.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The line that [`Self::from_json`] reads.
    ///
    /// # Errors
    /// None in practice: a string is always JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::internal(format!("figures cannot be written: {e}")))
    }
}

impl EngineSettings {
    /// Parses and validates the supervisor's JSON.
    ///
    /// # Errors
    /// `Invalid` or `OutOfRange`, naming the setting.
    pub fn from_json(json: &str) -> Result<Self> {
        let settings: Self =
            serde_json::from_str(json).map_err(|e| Error::invalid(format!("engine settings are not valid: {e}")))?;
        settings.validate()?;
        Ok(settings)
    }

    /// The JSON that [`Self::from_json`] reads.
    ///
    /// # Errors
    /// `Invalid` when a path is not UTF-8.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::invalid(format!("engine settings cannot be written: {e}")))
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// `Invalid` or `OutOfRange`, naming the setting as the user knows it.
    pub fn validate(&self) -> Result<()> {
        self.storage.validate()?;
        at_least("elacsym.cache_memory", self.cache_memory, MIN_CACHE_MEMORY_BYTES)?;
        at_least("elacsym.build_memory", self.build_memory, MIN_BUILD_MEMORY_BYTES)?;
        if self.cache_disk != 0 {
            at_least("elacsym.cache_disk", self.cache_disk, MIN_CACHE_DISK_BYTES)
                .map_err(|e| e.with_hint("0 switches the disk tier off."))?;
            if self.cache_path.as_os_str().is_empty() {
                return Err(
                    Error::invalid("elacsym.cache_path is empty").with_hint("Name a directory on a local disk.")
                );
            }
        }
        if self.engine_threads > MAX_ENGINE_THREADS {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("elacsym.engine_threads is {}, more than {MAX_ENGINE_THREADS}", self.engine_threads),
            ));
        }
        let socket_bytes = self.socket_path.as_os_str().len();
        if socket_bytes == 0 || socket_bytes > MAX_SOCKET_PATH_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "socket path \"{}\" is not 1 to {MAX_SOCKET_PATH_BYTES} bytes long",
                    self.socket_path.display()
                ),
            ));
        }
        Ok(())
    }
}

impl StorageConfig {
    /// Checks the URL's form, the endpoint and the timeouts; touches neither disk nor network.
    ///
    /// # Errors
    /// `Invalid` or `OutOfRange`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        StorageUrl::parse(&self.url)?;
        if let Some(endpoint) = &self.s3_endpoint {
            let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
            if rest.is_none_or(|host| host.trim_matches('/').is_empty()) {
                return Err(Error::invalid(format!("elacsym.s3_endpoint \"{endpoint}\" is not an http or https URL"))
                    .with_hint("Write for example https://s3.example.com or http://127.0.0.1:9000."));
            }
            // Userinfo would travel into logs and error messages, and the SDK ignores it anyway.
            if rest.is_some_and(|host| host.contains('@')) {
                return Err(Error::invalid("elacsym.s3_endpoint holds credentials")
                    .with_hint("Use the environment or elacsym.s3_credentials_file."));
            }
        }
        if self.s3_region.as_ref().is_some_and(|region| region.is_empty()) {
            return Err(Error::invalid("elacsym.s3_region is empty"));
        }
        let t = &self.timeouts;
        for (name, value) in
            [("connect", t.connect_ms), ("read", t.read_ms), ("attempt", t.attempt_ms), ("deadline", t.deadline_ms)]
        {
            at_least(&format!("object storage {name} timeout in milliseconds"), value, 1)?;
        }
        at_least("number of object storage attempts", u64::from(t.attempts), 1)
    }
}

/// A parsed storage URL. Its `Display` form is canonical: no trailing slash, no empty component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StorageUrl {
    /// A local directory, absolute.
    File(PathBuf),
    /// A directory below PostgreSQL's data directory, which the engine works in: it moves with it.
    DataDirectory(String),
    /// A prefix (possibly empty, no slash at either end) of a bucket.
    S3 {
        /// Bucket name.
        bucket: String,
        /// Key prefix without slashes at its ends.
        prefix: String,
    },
}

impl StorageUrl {
    /// Parses `file:///directory`, `pgdata:directory` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// `Invalid`, naming the URL.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format!("storage URL \"{url}\" {what}"))
                .with_hint("Write file:///absolute/directory or s3://bucket/prefix.")
        };
        if url.chars().any(char::is_control) {
            return Err(wrong("holds a control character"));
        }
        if let Some(path) = url.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(wrong("does not name an absolute directory"));
            }
            let parts = components(path).ok_or_else(|| wrong("holds \".\" or \"..\""))?;
            if parts.is_empty() {
                return Err(wrong("names the root directory"));
            }
            return Ok(Self::File(PathBuf::from(format!("/{}", parts.join("/")))));
        }
        if let Some(path) = url.strip_prefix(DATA_DIRECTORY_SCHEME) {
            let parts = components(path).ok_or_else(|| wrong("holds \".\" or \"..\""))?;
            if parts.is_empty() || path.starts_with('/') {
                return Err(wrong("does not name a directory below the data directory"));
            }
            return Ok(Self::DataDirectory(parts.join("/")));
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(allowed) || bucket.contains("..") {
                return Err(wrong("does not name a bucket"));
            }
            let parts = components(prefix).ok_or_else(|| wrong("holds \".\" or \"..\""))?;
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: parts.join("/") });
        }
        Err(wrong("has an unknown scheme"))
    }

    /// True for local directories.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_) | Self::DataDirectory(_))
    }
}

impl std::fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::DataDirectory(path) => write!(f, "{DATA_DIRECTORY_SCHEME}{path}"),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// The non-empty components of a path, or none when one of them is `.` or `..`.
fn components(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (!parts.iter().any(|part| matches!(*part, "." | ".."))).then_some(parts)
}

/// `OutOfRange`, naming the setting, unless `value >= min`.
fn at_least(name: &str, value: u64, min: u64) -> Result<()> {
    if value < min {
        return Err(Error::new(ErrorKind::OutOfRange, format!("{name} is {value}, less than {min}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
