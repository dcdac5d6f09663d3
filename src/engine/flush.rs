//! Flush: the buffered entries of a view become one segment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::activity::{self, Phase};
use super::stats::Kind;
use super::view::{LiveView, Schema};
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{FlushRequest, FlushResult};
use crate::segment::{Place, WriteOptions, WrittenSegment, write_segment};
use crate::segment_info::DeleteVector;
use crate::storage::{ObjectStore, PutOutcome};

impl Engine {
    /// Builds one segment of all buffered entries that nothing supersedes and no tombstone kills, uploads it, and finds the rows
    /// of older segments that it or the tombstones make dead: with these delete vectors, the tombstones are folded in. Publishing is the caller's: until then the new objects are orphans, whatever happens.
    ///
    /// # Errors
    /// As [`Engine::query`], and the store's for the uploads.
    pub async fn flush(&self, request: FlushRequest, provider: &mut dyn Provider) -> Result<FlushResult> {
        let start = self.env.clock.monotonic();
        let result = self.run_flush(request, provider, start).await;
        self.counters.count(Kind::Flush, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_flush(
        &self,
        request: FlushRequest,
        provider: &mut dyn Provider,
        start: Duration,
    ) -> Result<FlushResult> {
        let schema = Schema::new(&request.namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let entries = request.namespace.buffered.len();
        activity::phase(Phase::Resolve);
        activity::rows(0, entries as u64);
        let live = self.resolve(request.namespace, &schema, provider, &reads).await?;
        let resolved = self.micros_since(start);
        let mut stats = json!({
            "entries": entries,
            "superseded": live.superseded,
            "rows": live.buffered.len(),
            "tombstones": live.deletes.len(),
            "resolve_micros": resolved,
        });
        let delete_vectors = newly_dead(&live);
        if live.buffered.is_empty() && live.deletes.is_empty() {
            return Ok(FlushResult { segment: None, delete_vectors, stats: stats.to_string() });
        }
        // Before the build: a store that cannot be written should cost nothing.
        let store = self.stores.get_checked(&request.root).await?;
        let id = self.env.ids.ulid().to_string();
        let place = Place { path: format!("{}/{id}", request.path), root: request.root, id };
        activity::phase(Phase::Build);
        let written = self.build(&schema, &live, place).await?;
        let built = self.micros_since(start);
        activity::phase(Phase::Upload);
        activity::rows(entries as u64, entries as u64);
        upload(store.as_ref(), &written).await?;
        if request.pin_keys {
            self.pin(&written.info, written.key_records()).await;
        }
        let uploaded = self.micros_since(start);
        let attributes: serde_json::Map<String, serde_json::Value> = schema
            .schema
            .own_attributes()
            .map(|a| (a.name.clone(), live.buffered.iter().filter(|d| d.document.get(a.id).is_some()).count().into()))
            .collect();
        if let Some(map) = stats.as_object_mut() {
            map.insert("vectors".to_string(), written.info.vectors.into());
            map.insert("bytes".to_string(), written.info.bytes().into());
            map.insert("attributes".to_string(), attributes.into());
            map.insert("build_micros".to_string(), (built - resolved).into());
            map.insert("upload_micros".to_string(), (uploaded - built).into());
        }
        Ok(FlushResult { segment: Some(written.info), delete_vectors, stats: stats.to_string() })
    }

    async fn build(&self, schema: &Schema, live: &Arc<LiveView>, place: Place) -> Result<WrittenSegment> {
        let cpu = self.cpu();
        let options = WriteOptions { threads: cpu.threads() };
        let (schema, live) = (schema.schema.clone(), live.clone());
        cpu.run(move |_| {
            let entries = live.buffered.iter().map(|entry| (entry.id, entry.document.clone())).collect();
            write_segment(&schema, entries, live.deletes.clone(), &options, place)
        })
        .await
    }
}

/// The complete new delete vector of each segment that has newly dead rows.
fn newly_dead(live: &LiveView) -> Vec<(String, Vec<u8>)> {
    let changed = live.segments.iter().filter(|segment| !segment.hidden.is_subset(&segment.deleted));
    changed
        .map(|segment| {
            let dead = DeleteVector(&segment.hidden | segment.deleted.as_ref());
            (segment.segment.info().id.clone(), dead.encode())
        })
        .collect()
}

/// Puts the objects of a new segment: rows first, so that an index that exists always has its rows.
pub(super) async fn upload(store: &dyn ObjectStore, written: &WrittenSegment) -> Result<()> {
    if let Some(parquet) = &written.parquet {
        put_new(store, &written.info.parquet_key(), parquet.clone()).await?;
    }
    put_new(store, &written.info.index_key(), written.index.clone()).await
}

/// Puts an object that must not exist (INV-4). One with the same bytes is our own earlier attempt, whose answer was lost.
///
/// # Errors
/// `Fenced` if it exists with other bytes; the store's.
pub(super) async fn put_new(store: &dyn ObjectStore, key: &str, bytes: Bytes) -> Result<()> {
    if store.put_if_absent(key, bytes.clone()).await? == PutOutcome::Created {
        return Ok(());
    }
    if store.get(key).await? == bytes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Fenced, format!("object \"{key}\" exists already with other bytes")))
}
