//! Pinned keys: for each segment of an index one file with its keys on the engine's own disk, outside the block cache, which
//! evicts. VACUUM reads them instead of object storage (INV-6).
//!
//! A file is a copy of what storage holds, named by the segment's ULID, which no other segment ever has. So whatever is wrong
//! with one (missing, damaged, of an older version) means that it is fetched anew, and a disk that takes none means that VACUUM
//! needs storage: a warning, never an error.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::Engine;
use crate::segment::{KeyRecord, pinned_keys};
use crate::segment_info::SegmentInfo;

/// Directory below the cache path; beside the block cache's.
const DIRECTORY: &str = "keys";
/// End of a file's name, after the segment's id.
const SUFFIX: &str = ".keys";
/// End of the storage key that names a segment's directory; see [`SegmentInfo::index_key`].
const INDEX_OBJECT: &str = "/search.idx";
/// A file that no VACUUM has read for this long is removed at the next start of the engine: nothing tells the engine of a
/// dropped database or of another engine's garbage. Longer than autovacuum ever leaves a table that changes; and what is
/// removed too early is fetched again.
const UNUSED_LIMIT: Duration = Duration::from_secs(90 * 86_400);

/// The files.
#[derive(Debug)]
pub struct Pins {
    /// None: nothing is pinned.
    directory: Option<PathBuf>,
    /// The last write failed: repeated failures are not logged.
    failing: AtomicBool,
}

impl Pins {
    /// Files below the cache path; an empty path switches them off.
    pub fn new(cache_path: &Path) -> Self {
        let directory = (!cache_path.as_os_str().is_empty()).then(|| cache_path.join(DIRECTORY));
        Self { directory, failing: AtomicBool::new(false) }
    }

    /// The file of a segment.
    fn path(&self, segment: &str) -> Option<PathBuf> {
        // An id comes from a catalog: it must not lead out of the directory.
        let is_name = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric());
        let directory = self.directory.as_ref().filter(|_| is_name)?;
        Some(directory.join(format!("{segment}{SUFFIX}")))
    }

    /// Stores what [`pinned_keys::encode`] made, durably, all or nothing.
    fn write(&self, segment: &str, bytes: &[u8]) {
        let Some(path) = self.path(segment) else { return };
        let failed = match replace(&path, bytes) {
            Ok(()) => return self.failing.store(false, Ordering::Relaxed),
            Err(error) => error,
        };
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %path.display(), error = %failed,
                "keys of a segment could not be stored on the local disk, VACUUM needs object storage for them"
            );
        }
    }

    /// The keys of a segment's rows, if they are here and right. Marks the file as used `now`.
    fn read(&self, info: &SegmentInfo, now: SystemTime) -> Option<Vec<KeyRecord>> {
        let path = self.path(&info.id)?;
        let read = File::open(&path).and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            // Only the sweep wants to know.
            let _ = file.set_modified(now);
            Ok(bytes)
        });
        let wrong = match read {
            Ok(bytes) => match pinned_keys::decode(&bytes, info) {
                Ok(records) => return Some(records),
                Err(damage) => {
                    let _ = fs::remove_file(&path);
                    damage
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            path = %path.display(), %wrong,
            "a local file with the keys of a segment is not usable, they are read from object storage"
        );
        None
    }

    /// Removes the files of the segments that these storage keys are of.
    pub async fn remove(self: &Arc<Self>, keys: &[String]) {
        let segments = keys.iter().filter_map(|key| key.strip_suffix(INDEX_OBJECT)?.rsplit('/').next());
        let paths: Vec<PathBuf> = segments.filter_map(|segment| self.path(segment)).collect();
        if !paths.is_empty() {
            // What cannot be removed stays until the sweep can.
            blocking(move || paths.iter().for_each(|path| drop(fs::remove_file(path)))).await;
        }
    }

    /// Sweeps in the background.
    pub fn start_sweep(self: Arc<Self>, now: SystemTime) {
        tokio::task::spawn_blocking(move || self.sweep(now));
    }

    /// Removes the files that were not used for [`UNUSED_LIMIT`]. Best effort.
    fn sweep(&self, now: SystemTime) {
        let Some(entries) = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok()) else { return };
        let mut removed = 0;
        for entry in entries.flatten() {
            let used = entry.metadata().ok().filter(|m| m.is_file()).and_then(|m| m.modified().ok());
            let unused = used.and_then(|used| now.duration_since(used).ok());
            if unused.is_some_and(|unused| unused > UNUSED_LIMIT) && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed local files with keys of segments that no VACUUM has read for 90 days");
        }
    }
}

impl Engine {
    /// Pins the keys of a segment's rows.
    pub(super) async fn pin(&self, info: &SegmentInfo, records: Vec<KeyRecord>) {
        let (pins, id) = (self.pins.clone(), info.id.clone());
        blocking(move || match pinned_keys::encode(&id, &records) {
            Ok(bytes) => pins.write(&id, &bytes),
            Err(error) => tracing::warn!(%error, "keys of a segment are not stored on the local disk"),
        })
        .await;
    }

    /// The pinned keys of a segment's rows, by ascending key.
    pub(super) async fn pinned(&self, info: &SegmentInfo) -> Option<Vec<KeyRecord>> {
        let (pins, info, now) = (self.pins.clone(), info.clone(), self.env.clock.now());
        blocking(move || pins.read(&info, now)).await.flatten()
    }
}

/// Runs what waits for the disk. None: the engine stops, or it panicked.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(run).await.ok()
}

/// Writes a file under another name, forces it to disk, and moves it to its place.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Mode 0600 is tempfile's default.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
