//! Uploads in parts, aborted when they fail or their caller goes away: unfinished parts cost money and no listing shows
//! them.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::S3Store;
use super::error::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::ObjectStore;

/// Smallest part we send (the last may be shorter): above the 5 MiB that S3 demands, small enough to repeat cheaply.
const PART_BYTES: usize = 8 << 20;
/// Most parts of one upload: the limit of S3.
const MAX_PARTS: usize = 10_000;
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

/// Writes an object of more than one part.
pub(super) async fn put(store: &S3Store, key: &str, bytes: &Bytes) -> Result<()> {
    let (full, request) = (store.full(key)?, store.request("write", key));
    let created = store
        .retry(async |_| {
            let send = store.client.create_multipart_upload().bucket(&store.bucket).key(&full).send();
            store.attempt(&request, 0, send).await
        })
        .await?;
    let upload = created
        .upload_id
        .ok_or_else(|| Error::unavailable(format!("{} gave no id for the upload of \"{key}\"", store.endpoint)))?;
    let mut unfinished = Unfinished { store, full, upload, completed: false };
    match upload_and_complete(&unfinished, &request, bytes).await {
        Ok(()) => {
            unfinished.completed = true;
            Ok(())
        }
        Err(error) => {
            unfinished.abort().await;
            Err(error)
        }
    }
}

async fn upload_and_complete(to: &Unfinished<'_>, request: &Request<'_>, bytes: &Bytes) -> Result<()> {
    let store = to.store;
    let part_bytes = PART_BYTES.max(bytes.len().div_ceil(MAX_PARTS));
    let parts = (0..bytes.len().div_ceil(part_bytes)).map(|index| {
        let start = index * part_bytes;
        let part = bytes.slice(start..(start + part_bytes).min(bytes.len()));
        upload_part(to, request, index as i32 + 1, part)
    });
    let parts: Vec<CompletedPart> = futures::stream::iter(parts).buffered(PARALLEL_PARTS).try_collect().await?;
    let completed = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let attempts = AtomicU32::new(0);
    let done = store
        .retry(async |number| {
            attempts.store(number, Ordering::Relaxed);
            let send = store
                .client
                .complete_multipart_upload()
                .bucket(&store.bucket)
                .key(&to.full)
                .upload_id(&to.upload)
                .multipart_upload(completed.clone())
                .send();
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
    match if repeated { store.head(request.key).await } else { Err(error.clone()) } {
        Ok(size) if size == bytes.len() as u64 => Ok(()),
        _ => Err(Error { kind: ErrorKind::Unavailable, ..error }),
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
