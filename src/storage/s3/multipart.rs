//! Uploads in parts, aborted when they fail or their caller goes away: unfinished parts cost money and no listing shows
//! them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::error::Request;
use super::{S3Store, WRITER};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ObjectStore, PutOutcome};

/// Smallest part we send (the last may be shorter): above the 5 MiB that S3 demands, small enough to repeat cheaply.
const PART_BYTES: u64 = 8 << 20;
/// Most parts of one upload: the limit of S3.
const MAX_PARTS: u64 = 10_000;
/// Parts of one upload under way at once.
const PARALLEL_PARTS: usize = 4;

/// Aborts the upload unless it was completed.
struct Unfinished<'a> {
    store: &'a S3Store,
    full: String,
    upload: String,
    completed: bool,
}

impl Unfinished<'_> {
    async fn abort(mut self) {
        self.completed = true;
        abort(self.store, &self.full, &self.upload).await;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.completed, tokio::runtime::Handle::try_current()) {
            let (store, full, upload) = (self.store.clone(), self.full.clone(), self.upload.clone());
            runtime.spawn(async move { abort(&store, &full, &upload).await });
        }
    }
}

/// Best effort: a lifecycle rule of the bucket is the last resort.
async fn abort(store: &S3Store, full: &str, upload: &str) {
    let request = store.request("abort the upload of", full);
    let done = store
        .retry(async |_| {
            let send = store.client.abort_multipart_upload().bucket(&store.bucket).key(full).upload_id(upload).send();
            store.attempt(&request, 0, send).await
        })
        .await;
    if let Err(error) = done {
        tracing::warn!(object = full, %error, "an unfinished upload could not be aborted");
    }
}

/// The bytes of an object that is written.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// In memory.
    Memory(Bytes),
    /// The first bytes of a file that nobody changes.
    File(Arc<File>, u64),
}

impl Body {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
        }
    }

    /// Some of them; those of a file are read.
    pub(super) async fn part(&self, range: Range<u64>) -> Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Self::File(file, _) => {
                let file = file.clone();
                let read = move || {
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    file.read_exact_at(&mut bytes, range.start).map(|()| Bytes::from(bytes))
                };
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.map_err(|e| Error::internal(format!("reading a file did not finish: {e}")))?;
                read.map_err(|e| Error::unavailable(format!("a file on its way to object storage cannot be read: {e}")))
            }
        }
    }
}

/// Writes an object of more than one part; `only_new`: unless it exists.
pub(super) async fn put(store: &S3Store, key: &str, body: &Body, only_new: bool) -> Result<PutOutcome> {
    let (full, request) = (store.full(key)?, store.request("write", key));
    let writer = only_new.then(|| store.env.ids.ulid().to_string());
    let created = store
        .retry(async |_| {
            let create = store.client.create_multipart_upload().bucket(&store.bucket).key(&full);
            let create = if let Some(writer) = &writer { create.metadata(WRITER, writer) } else { create };
            store.attempt(&request, 0, create.send()).await
        })
        .await?;
    let upload = created
        .upload_id
        .ok_or_else(|| Error::unavailable(format!("{} gave no id for the upload of \"{key}\"", store.endpoint)))?;
    let mut unfinished = Unfinished { store, full: full.clone(), upload, completed: false };
    let done = upload_and_complete(&unfinished, &request, body, writer.as_deref()).await;
    match (done, &writer) {
        (Ok(()), _) => {
            unfinished.completed = true;
            Ok(PutOutcome::Created)
        }
        (Err(error), Some(writer)) if error.kind == ErrorKind::AlreadyExists => {
            // Or an attempt of ours whose answer was lost has made it.
            let ours = store.is_ours(key, &full, writer).await;
            unfinished.abort().await;
            Ok(if ours? { PutOutcome::Created } else { PutOutcome::Exists })
        }
        (Err(error), _) => {
            unfinished.abort().await;
            Err(error)
        }
    }
}

/// `only_new`: who writes it, unless it exists.
async fn upload_and_complete(
    to: &Unfinished<'_>,
    request: &Request<'_>,
    body: &Body,
    only_new: Option<&str>,
) -> Result<()> {
    let store = to.store;
    let part_bytes = PART_BYTES.max(body.len().div_ceil(MAX_PARTS));
    let parts = (0..body.len().div_ceil(part_bytes)).map(|index| async move {
        let start = index * part_bytes;
        let part = body.part(start..(start + part_bytes).min(body.len())).await?;
        upload_part(to, request, index as i32 + 1, part).await
    });
    let parts: Vec<CompletedPart> = futures::stream::iter(parts).buffered(PARALLEL_PARTS).try_collect().await?;
    let completed = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let attempts = AtomicU32::new(0);
    let done = store
        .retry(async |number| {
            attempts.store(number, Ordering::Relaxed);
            let complete = store
                .client
                .complete_multipart_upload()
                .bucket(&store.bucket)
                .key(&to.full)
                .upload_id(&to.upload)
                .multipart_upload(completed.clone());
            let send = if only_new.is_some() { complete.if_none_match("*") } else { complete }.send();
            store.attempt(request, 0, send).await
        })
        .await;
    let error = match done {
        Ok(_) => return Ok(()),
        Err(error) if error.kind == ErrorKind::Fenced => error,
        Err(error) => return Err(error),
    };
    // "No such upload". If an earlier attempt was sent, it completed the upload and its answer was lost: then the object
    // is there. Otherwise somebody aborted the upload under us.
    let repeated = attempts.load(Ordering::Relaxed) > 0;
    let is_there = match only_new {
        _ if !repeated => false,
        Some(writer) => store.is_ours(request.key, &to.full, writer).await.unwrap_or(false),
        None => store.head(request.key).await.is_ok_and(|size| size == body.len()),
    };
    if is_there { Ok(()) } else { Err(Error { kind: ErrorKind::Unavailable, ..error }) }
}

/// Aborts the uploads below a prefix that began before that time; returns how many.
pub(super) async fn abort_begun_before(store: &S3Store, prefix: &str, before: SystemTime) -> Result<usize> {
    let (full, request) = (store.below_prefix(prefix), store.request("list the uploads of", prefix));
    let (mut aborted, mut key_marker, mut upload_marker) = (0, None, None);
    loop {
        let page = store
            .retry(async |_| {
                let list = store.client.list_multipart_uploads().bucket(&store.bucket).prefix(&full);
                let list = list.set_key_marker(key_marker.clone()).set_upload_id_marker(upload_marker.clone());
                store.attempt(&request, 0, list.send()).await
            })
            .await?;
        for upload in page.uploads() {
            let (Some(name), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let begun = upload.initiated().and_then(|time| SystemTime::try_from(*time).ok());
            // One of unknown age may be under way; and some stores ignore the prefix.
            if name.starts_with(&full) && begun.is_some_and(|begun| begun < before) {
                abort(store, name, id).await;
                aborted += 1;
            }
        }
        (key_marker, upload_marker) = (page.next_key_marker, page.next_upload_id_marker);
        if page.is_truncated != Some(true) || key_marker.is_none() {
            return Ok(aborted);
        }
    }
}

async fn upload_part(to: &Unfinished<'_>, request: &Request<'_>, number: i32, part: Bytes) -> Result<CompletedPart> {
    let store = to.store;
    let done = store
        .retry(async |_| {
            let send = store
                .client
                .upload_part()
                .bucket(&store.bucket)
                .key(&to.full)
                .upload_id(&to.upload)
                .part_number(number)
                .body(part.clone().into())
                .send();
            store.attempt(request, part.len(), send).await
        })
        .await?;
    Ok(CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build())
}
