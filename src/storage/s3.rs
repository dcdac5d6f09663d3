//! `s3://`: objects in a bucket of AWS S3 or a store that speaks its protocol.
//!
//! The SDK signs, sends and parses; timeouts and retries are ours ([`super::retry`]), so that every store and every
//! operation behaves the same. No secret reaches a log or an error: only codes and messages of the service do.

mod error;
mod multipart;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::{Bytes, BytesMut};

use self::error::Request;
use self::multipart::Body;
use super::key::validate_prefix;
use super::retry::{Failure, retry};
use super::{ObjectMeta, ObjectStore, PutOutcome, StoreMetrics, is_empty_range, too_short, validate_key};
use crate::config::{StorageConfig, StorageTimeouts, StorageUrl};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};

/// Objects above this are uploaded in parts: a part that fails is repeated alone, and parts travel in parallel.
pub(super) const MULTIPART_BYTES: usize = 16 << 20;
/// Keys of one DeleteObjects request: the limit of S3.
const DELETE_BATCH: usize = 1_000;
/// Keys of one page of a listing: the limit of S3.
const LIST_BATCH: usize = 1_000;
/// Slowest uplink that an upload's timeout allows for, in bytes a second.
const SLOWEST_UPLOAD: u64 = 512 << 10;
/// The region of last resort; stores other than AWS mostly ignore it.
const DEFAULT_REGION: &str = "us-east-1";
/// Metadata name under which a create-if-absent leaves its writer's mark.
const WRITER: &str = "elacsym-writer";

type Attempt<T> = std::result::Result<T, Failure>;

/// A prefix of a bucket as an object store.
#[derive(Debug, Clone)]
pub(super) struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    root: String,
    /// For messages: the endpoint setting, or which AWS region.
    endpoint: String,
    timeouts: StorageTimeouts,
    env: Env,
    metrics: Arc<StoreMetrics>,
}

impl S3Store {
    /// Makes the client; the first request will show whether it can reach the bucket.
    pub(super) async fn open(
        config: &StorageConfig,
        bucket: String,
        prefix: String,
        env: Env,
        metrics: Arc<StoreMetrics>,
    ) -> Result<Self> {
        let (client, endpoint) = connect(config).await?;
        let root = StorageUrl::S3 { bucket: bucket.clone(), prefix: prefix.clone() }.to_string();
        Ok(Self { client, bucket, prefix, root, endpoint, timeouts: config.timeouts, env, metrics })
    }

    /// The name in the bucket of a valid key (INV-9: always below the prefix).
    fn full(&self, key: &str) -> Result<String> {
        validate_key(key)?;
        Ok(self.below_prefix(key))
    }

    fn below_prefix(&self, rest: &str) -> String {
        if self.prefix.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.prefix) }
    }

    fn request<'a>(&'a self, doing: &'a str, key: &'a str) -> Request<'a> {
        Request { doing, key, bucket: &self.bucket, root: &self.root, endpoint: &self.endpoint }
    }

    async fn retry<T, F: Future<Output = Attempt<T>>>(&self, attempt: impl FnMut(u32) -> F) -> Result<T> {
        retry(&self.timeouts, &self.env, &self.metrics, attempt).await
    }

    /// One attempt of a request that carries `upload` bytes, in bounded time.
    async fn attempt<T, E: error::ServiceFailure>(
        &self,
        request: &Request<'_>,
        upload: usize,
        send: impl Future<Output = std::result::Result<T, error::SdkError<E>>>,
    ) -> Attempt<T> {
        let limit = self.timeouts.attempt() + Duration::from_secs(upload as u64 / SLOWEST_UPLOAD);
        match tokio::time::timeout(limit, send).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(request.failure(&error)),
            Err(_) => Err(request.timed_out(limit)),
        }
    }

    /// The whole body of a response; `expected` bytes if the response told.
    async fn body(&self, request: &Request<'_>, mut body: ByteStream, expected: Option<i64>) -> Attempt<Bytes> {
        // Half a GiB at once at most: the length comes from outside.
        let expected = expected.and_then(|n| usize::try_from(n).ok());
        let mut whole = BytesMut::with_capacity(expected.unwrap_or(0).min(1 << 29));
        loop {
            let limit = self.timeouts.read();
            match tokio::time::timeout(limit, body.next()).await {
                Ok(Some(Ok(chunk))) => whole.extend_from_slice(&chunk),
                Ok(Some(Err(error))) => return Err(request.broken_off(&error)),
                Ok(None) => break,
                Err(_) => return Err(request.timed_out(limit)),
            }
        }
        if expected.is_some_and(|n| n != whole.len()) {
            return Err(request.broken_off(&std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
        }
        Ok(whole.freeze())
    }

    async fn put_small(&self, key: &str, bytes: &Bytes) -> Result<()> {
        let (full, request) = (self.full(key)?, self.request("write", key));
        self.retry(async |_| {
            let send = self.client.put_object().bucket(&self.bucket).key(&full).body(bytes.clone().into()).send();
            self.attempt(&request, bytes.len(), send).await.map(drop)
        })
        .await
    }

    /// True if the object that stands in the way of our create-if-absent was made by an attempt of ours whose answer was
    /// lost.
    async fn is_ours(&self, key: &str, full: &str, writer: &str) -> Result<bool> {
        let request = self.request("look at", key);
        let head = self
            .retry(async |_| {
                let send = self.client.head_object().bucket(&self.bucket).key(full).send();
                self.attempt(&request, 0, send).await
            })
            .await;
        match head {
            Ok(head) => Ok(head.metadata().is_some_and(|m| m.get(WRITER).is_some_and(|w| w == writer))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete_batch(&self, keys: &[String], full: &[String]) -> Result<()> {
        let invalid = |e: aws_sdk_s3::error::BuildError| Error::internal(format!("could not build a delete: {e}"));
        let objects =
            full.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect::<std::result::Result<_, _>>();
        let delete =
            Delete::builder().set_objects(Some(objects.map_err(invalid)?)).quiet(true).build().map_err(invalid)?;
        let first = keys.first().map_or("", String::as_str);
        let request = self.request("delete", first);
        self.retry(async |_| {
            let send = self.client.delete_objects().bucket(&self.bucket).delete(delete.clone()).send();
            let done = self.attempt(&request, 0, send).await?;
            // The request as a whole succeeds even if no key was deleted.
            let mut failure = None;
            for e in done.errors() {
                let (code, message) = (e.code().unwrap_or("unknown"), e.message().unwrap_or_default());
                let at = full.iter().position(|name| Some(name.as_str()) == e.key());
                let key = at.and_then(|at| keys.get(at)).map_or(first, String::as_str);
                match (Request { key, ..request.clone() }).service_failure(None, code, message) {
                    Failure::Final(error) if error.kind == ErrorKind::NotFound => {}
                    Failure::Final(error) => return Err(Failure::Final(error)),
                    transient => failure = Some(transient),
                }
            }
            failure.map_or(Ok(()), Err)
        })
        .await
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn root(&self) -> &str {
        &self.root
    }

    fn is_local(&self) -> bool {
        false
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        if bytes.len() > MULTIPART_BYTES {
            multipart::put(self, key, &Body::Memory(bytes), false).await.map(drop)
        } else {
            self.put_small(key, &bytes).await
        }
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let (full, request) = (self.full(key)?, self.request("create", key));
        let writer = self.env.ids.ulid().to_string();
        let (outcome, attempts) = self
            .retry(async |number| {
                let send = self
                    .client
                    .put_object()
                    .bucket(&self.bucket)
                    .key(&full)
                    .metadata(WRITER, &writer)
                    .if_none_match("*")
                    .body(bytes.clone().into())
                    .send();
                match self.attempt(&request, bytes.len(), send).await {
                    Ok(_) => Ok((PutOutcome::Created, number)),
                    Err(Failure::Final(e)) if e.kind == ErrorKind::AlreadyExists => Ok((PutOutcome::Exists, number)),
                    Err(failure) => Err(failure),
                }
            })
            .await?;
        if outcome == PutOutcome::Exists && attempts > 0 && self.is_ours(key, &full, &writer).await? {
            return Ok(PutOutcome::Created);
        }
        Ok(outcome)
    }

    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome> {
        let body = Body::File(file.clone(), len);
        if len > MULTIPART_BYTES as u64 {
            return multipart::put(self, key, &body, true).await;
        }
        self.put_if_absent(key, body.part(0..len).await?).await
    }

    async fn abort_uploads(&self, prefix: &str, before: SystemTime) -> Result<usize> {
        validate_prefix(prefix)?;
        multipart::abort_begun_before(self, prefix, before).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let (full, request) = (self.full(key)?, self.request("read", key));
        self.retry(async |_| {
            let send = self.client.get_object().bucket(&self.bucket).key(&full).send();
            let response = self.attempt(&request, 0, send).await?;
            self.body(&request, response.body, response.content_length).await
        })
        .await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let (full, request) = (self.full(key)?, self.request("read", key));
        if is_empty_range(key, &range)? {
            return Ok(Bytes::new());
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let bytes = self
            .retry(async |_| {
                let send = self.client.get_object().bucket(&self.bucket).key(&full).range(&header).send();
                let response = match self.attempt(&request, 0, send).await {
                    Err(Failure::Final(e)) if e.kind == ErrorKind::OutOfRange => {
                        return Err(Failure::Final(too_short(&self.root, key, &range, 0)));
                    }
                    other => other?,
                };
                if response.content_range().is_none() {
                    let what = format!("object store \"{}\" at {} ignores ranges", self.root, self.endpoint);
                    return Err(Failure::Final(Error::invalid(what)));
                }
                self.body(&request, response.body, response.content_length).await
            })
            .await?;
        let got = bytes.len() as u64;
        if got != range.end - range.start {
            return Err(too_short(&self.root, key, &range, got));
        }
        Ok(bytes)
    }

    async fn head(&self, key: &str) -> Result<u64> {
        let (full, request) = (self.full(key)?, self.request("look at", key));
        self.retry(async |_| {
            let send = self.client.head_object().bucket(&self.bucket).key(&full).send();
            let head = self.attempt(&request, 0, send).await?;
            head.content_length.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
                Failure::Final(Error::unavailable(format!(
                    "{} did not tell the size of object \"{key}\"",
                    self.endpoint
                )))
            })
        })
        .await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        self.list_page(prefix, start_after, usize::MAX).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        validate_prefix(prefix)?;
        let base = self.below_prefix("");
        let (full, after) = (self.below_prefix(prefix), start_after.map(|after| self.below_prefix(after)));
        let request = self.request("list", prefix);
        let (mut found, mut token) = (Vec::new(), None);
        // Names that are no keys of ours take places too, so that one more request may be needed.
        let batch = i32::try_from(limit.min(LIST_BATCH)).unwrap_or(i32::MAX);
        while found.len() < limit {
            let page = self
                .retry(async |_| {
                    let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(&full).max_keys(batch);
                    let list = list.set_start_after(after.clone()).set_continuation_token(token.clone());
                    self.attempt(&request, 0, list.send()).await
                })
                .await?;
            for object in page.contents.unwrap_or_default() {
                // Markers that consoles make for "folders" have no valid key and are not ours.
                let Some(key) = object.key.as_deref().and_then(|name| name.strip_prefix(&base)) else { continue };
                if validate_key(key).is_ok() {
                    let size = object.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                    let modified = object.last_modified.and_then(|t| SystemTime::try_from(t).ok());
                    // An object of unknown age must look young: the garbage collector deletes by age.
                    let modified = modified.unwrap_or_else(|| self.env.clock.now());
                    found.push(ObjectMeta { key: key.to_owned(), size, modified });
                }
            }
            token = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
            if token.is_none() {
                break;
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found.truncate(limit);
        Ok(found)
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        let full: Vec<String> = keys.iter().map(|key| self.full(key)).collect::<Result<_>>()?;
        for (keys, full) in keys.chunks(DELETE_BATCH).zip(full.chunks(DELETE_BATCH)) {
            self.delete_batch(keys, full).await?;
        }
        Ok(())
    }
}

/// The client of the settings, and its endpoint for messages.
async fn connect(config: &StorageConfig) -> Result<(Client, String)> {
    use aws_smithy_http_client::{Builder, tls};
    // ring, because the SDK's default provider needs cmake and a C++ compiler to build.
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let http = Builder::new().tls_provider(ring).build_https();
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(config.timeouts.connect()).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &config.s3_endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &config.s3_region {
        loader = loader.region(Region::new(region.clone()));
    } else if config.s3_endpoint.is_some() {
        // Not AWS: asking the instance metadata service for a region would only cost its timeout.
        let region = std::env::var("AWS_REGION").unwrap_or_else(|_| DEFAULT_REGION.to_owned());
        loader = loader.region(Region::new(region));
    }
    if let Some(path) = &config.s3_credentials_file {
        loader = loader.credentials_provider(file_credentials(path, http)?);
    }
    let base = loader.load().await;
    let region = base.region().cloned().unwrap_or_else(|| Region::new(DEFAULT_REGION));
    let endpoint = base.endpoint_url().map_or_else(|| format!("AWS region {region}"), str::to_owned);
    let s3 = aws_sdk_s3::config::Builder::from(&base)
        .region(region)
        .force_path_style(config.s3_path_style)
        // Payloads are signed (SHA-256) on the way in and verified page by page on the way out (INV-8); the SDK's own
        // checksums would only exclude stores that do not know them.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok((Client::from_conf(s3), endpoint))
}

/// The profile `default` of an AWS credentials file.
// The file types moved to a crate that is not among our dependencies; their old names are kept for others.
#[allow(deprecated)]
fn file_credentials(
    path: &std::path::Path,
    http: aws_sdk_s3::config::SharedHttpClient,
) -> Result<aws_config::profile::ProfileFileCredentialsProvider> {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    use aws_config::provider_config::ProviderConfig;
    // The provider would say this only at the first request, and less clearly.
    let bytes = std::fs::read(path).map_err(|e| {
        Error::new(ErrorKind::Denied, format!("elacsym.s3_credentials_file \"{}\" cannot be read: {e}", path.display()))
            .with_hint("The operating system user of the server must be able to read it.")
    })?;
    if let Err(error) = std::str::from_utf8(&bytes) {
        let at = error.valid_up_to() + 1;
        let what = format!("elacsym.s3_credentials_file \"{}\" is not UTF-8: byte {at} is wrong", path.display());
        return Err(Error::invalid(what).with_hint("Write the file anew, as text in UTF-8 without other characters."));
    }
    let files = ProfileFiles::builder().with_file(ProfileFileKind::Credentials, path).build();
    Ok(aws_config::profile::ProfileFileCredentialsProvider::builder()
        // A profile may name another source (a role, the instance); without a client the SDK would panic on it.
        .configure(&ProviderConfig::default().with_http_client(http))
        .profile_files(files)
        .profile_name("default")
        .build())
}

#[cfg(test)]
mod tests;
