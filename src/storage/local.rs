//! `file://`: objects are files below a directory.
//!
//! An object appears under its name only when it is whole: it is written to a temporary file in the same directory,
//! flushed to the disk, moved into place, and the directory is flushed. Blocking calls run on tokio's blocking threads.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind as Io, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::NamedTempFile;

use super::key::{TEMPORARY_PREFIX, validate_prefix};
use super::{ObjectMeta, ObjectStore, PutOutcome, is_empty_range, missing, too_short, validate_key};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};

/// Mode of new directories: object bytes are table rows, so nobody else may look.
const DIRECTORY_MODE: u32 = 0o700;
/// A temporary file older than this was left by a crash; no upload takes a day.
const TEMPORARY_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of one step of a copy.
const COPY_BYTES: usize = 1 << 20;
/// How often a write starts again because a concurrent delete removed its emptied directory. Each time somebody else made
/// progress, so this many in a row do not happen.
const DIRECTORY_RACES: usize = 64;

/// A local directory as an object store.
#[derive(Debug, Clone)]
pub(super) struct LocalStore {
    directory: PathBuf,
    root: String,
    env: Env,
}

impl LocalStore {
    /// A store below `directory`, which is created by the first write. `root` is its URL.
    pub(super) fn new(directory: PathBuf, root: String, env: Env) -> Self {
        Self { directory, root, env }
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        validate_key(key)?;
        Ok(self.directory.join(key))
    }

    /// Runs `work` where blocking is allowed.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this))
            .await
            .map_err(|e| Error::internal(format!("a file operation in \"{}\" did not finish: {e}", self.root)))?
    }

    fn error(&self, doing: &str, key: &str, error: &std::io::Error) -> Error {
        let message = || format!("could not {doing} \"{key}\" in \"{}\": {error}", self.root);
        match error.kind() {
            // A component of the key is a file, or the key is a directory: in a flat store neither object exists.
            Io::NotFound | Io::NotADirectory | Io::IsADirectory => missing(&self.root, key),
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Error::new(ErrorKind::Denied, message())
                .with_hint("The operating system user of the server needs to own this directory."),
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
                Error::new(ErrorKind::Exhausted, message()).with_hint("Free space on this file system.")
            }
            _ => Error::unavailable(message()),
        }
    }

    /// Writes an object: `fill` writes its bytes.
    fn write(
        &self,
        key: &str,
        overwrite: bool,
        fill: impl FnOnce(&mut NamedTempFile) -> std::io::Result<()>,
    ) -> Result<PutOutcome> {
        let path = self.path(key)?;
        let parent = path.parent().unwrap_or(&self.directory);
        if !overwrite && path.symlink_metadata().is_ok() {
            return Ok(PutOutcome::Exists);
        }
        let fail = |e: &std::io::Error| match e.kind() {
            Io::NotADirectory | Io::IsADirectory | Io::DirectoryNotEmpty => Error::invalid(format!(
                "object \"{key}\" and another object of \"{}\" would need one name as file and directory",
                self.root
            )),
            _ => self.error("write", key, e),
        };
        let mut file = self.temporary_file(parent).map_err(|e| fail(&e))?;
        fill(&mut file).and_then(|()| file.as_file().sync_all()).map_err(|e| fail(&e))?;
        let moved = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        match moved {
            Ok(_) => {}
            Err(e) if !overwrite && e.error.kind() == Io::AlreadyExists => return Ok(PutOutcome::Exists),
            Err(e) => return Err(fail(&e.error)),
        }
        sync_directory(parent).map_err(|e| fail(&e))?;
        Ok(PutOutcome::Created)
    }

    /// A temporary file in `parent`, which is created if need be.
    fn temporary_file(&self, parent: &Path) -> std::io::Result<NamedTempFile> {
        let mut race = 0;
        loop {
            // Mode 0600 is tempfile's default.
            let made = create_directories(parent)
                .and_then(|()| tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(parent));
            match made {
                // A concurrent delete removed the directory, or one above it, in between.
                Err(e) if e.kind() == Io::NotFound && race < DIRECTORY_RACES => race += 1,
                done => return done,
            }
        }
    }

    fn read(&self, key: &str) -> Result<Bytes> {
        let path = self.path(key)?;
        fs::read(path).map(Bytes::from).map_err(|e| self.error("read", key, &e))
    }

    fn read_range(&self, key: &str, range: &Range<u64>) -> Result<Bytes> {
        let path = self.path(key)?;
        let file = File::open(path).map_err(|e| self.error("read", key, &e))?;
        let size = file.metadata().map_err(|e| self.error("read", key, &e))?.len();
        // Before allocating: a range from a damaged footer may be absurd.
        if size < range.end {
            return Err(too_short(&self.root, key, range, size.saturating_sub(range.start)));
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::invalid(format!("range of object \"{key}\" is larger than memory")))?;
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, range.start).map_err(|e| match e.kind() {
            Io::UnexpectedEof => too_short(&self.root, key, range, 0),
            _ => self.error("read", key, &e),
        })?;
        Ok(Bytes::from(buffer))
    }

    fn size(&self, key: &str) -> Result<u64> {
        let metadata = fs::metadata(self.path(key)?).map_err(|e| self.error("look at", key, &e))?;
        if metadata.is_file() { Ok(metadata.len()) } else { Err(missing(&self.root, key)) }
    }

    /// Objects in the order of their keys, until `limit` are found. What is in memory is one directory of each level.
    fn walk(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        // Only directories that can hold a match are visited.
        let top = prefix.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        // What is left of each directory on the way down, last name first.
        let mut open = vec![self.names_in(&top, prefix, start_after)?];
        while let Some(names) = open.last_mut() {
            let Some(name) = names.pop().filter(|_| found.len() < limit) else {
                open.pop();
                continue;
            };
            if name.ends_with('/') {
                open.push(self.names_in(&name, prefix, start_after)?);
                continue;
            }
            let fail = |e: &std::io::Error| self.error("list", &name, e);
            match fs::metadata(self.directory.join(&name)) {
                Ok(m) => {
                    let modified = m.modified().map_err(|e| fail(&e))?;
                    found.push(ObjectMeta { size: m.len(), modified, key: name });
                }
                // Removed meanwhile.
                Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => {}
                Err(e) => return Err(fail(&e)),
            }
        }
        Ok(found)
    }

    /// The files in a directory, and its directories with a slash at the end, that can be or hold a match: keys below the
    /// root, in falling order. With the slash they are in the order of the keys below them.
    fn names_in(&self, directory: &str, prefix: &str, start_after: Option<&str>) -> Result<Vec<String>> {
        let fail = |e: &std::io::Error| self.error("list", directory, e);
        let entries = match fs::read_dir(self.directory.join(directory)) {
            Ok(entries) => entries,
            // Never written, or removed by a concurrent delete: empty.
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
            Err(e) => return Err(fail(&e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| fail(&e))?;
            let name = entry.file_name();
            // Files that no key can name are not objects.
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(TEMPORARY_PREFIX) {
                self.remove_leftover(&entry);
                continue;
            }
            let kind = match entry.file_type() {
                Err(e) if e.kind() == Io::NotFound => continue,
                other => other.map_err(|e| fail(&e))?,
            };
            if kind.is_dir() {
                let name = format!("{directory}{name}/");
                // All keys below it are greater than its own name, and begin with it.
                let before = start_after.is_some_and(|after| after >= name.as_str() && !after.starts_with(&name));
                if !before && (name.starts_with(prefix) || prefix.starts_with(&name)) {
                    names.push(name);
                }
            } else if kind.is_file() {
                let name = format!("{directory}{name}");
                if name.starts_with(prefix) && start_after.is_none_or(|after| name.as_str() > after) {
                    names.push(name);
                }
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Removes a temporary file that a crash left behind. Failing is fine: the next listing tries again.
    fn remove_leftover(&self, entry: &fs::DirEntry) {
        let modified = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let age = self.env.clock.now().duration_since(modified).unwrap_or_default();
        if modified != SystemTime::UNIX_EPOCH && age > TEMPORARY_GRACE && fs::remove_file(entry.path()).is_ok() {
            tracing::info!(path = %entry.path().display(), "removed a temporary file left by a crash");
        }
    }

    fn remove(&self, keys: &[String]) -> Result<()> {
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.path(key)).collect::<Result<_>>()?;
        for (path, key) in paths.iter().zip(keys) {
            match fs::remove_file(path) {
                Ok(()) => self.remove_empty_parents(path),
                Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory | Io::IsADirectory) => {}
                // A directory gives EPERM on some file systems; it is no object, so there is nothing to delete.
                Err(_) if path.is_dir() => {}
                Err(e) => return Err(self.error("delete", key, &e)),
            }
        }
        Ok(())
    }

    /// Directories are no objects: they go with their last one. The root stays. A delete that a crash undoes is repeated
    /// by the garbage collector, so nothing is flushed here.
    fn remove_empty_parents(&self, path: &Path) {
        for parent in path.ancestors().skip(1).take_while(|p| *p != self.directory && p.starts_with(&self.directory)) {
            if fs::remove_dir(parent).is_err() {
                return;
            }
        }
    }
}

/// Copies the first `len` bytes of a file; its own position does not matter.
fn copy(from: &File, len: u64, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < len {
        let piece = &mut buffer[..usize::try_from(len - at).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
        from.read_exact_at(piece, at)?;
        to.write_all(piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Creates `directory` and its missing ancestors, and flushes the directory that each new one appeared in.
fn create_directories(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directories(parent)?;
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Ok(()) => {}
            Err(e) if e.kind() == Io::AlreadyExists && directory.is_dir() => {}
            // In the way stands a file, unless what stood there has just been removed.
            Err(e) if e.kind() == Io::AlreadyExists => {
                let file = directory.symlink_metadata().is_ok_and(|found| !found.is_dir());
                return Err(if file { Io::NotADirectory } else { Io::NotFound }.into());
            }
            Err(e) => return Err(e),
        }
        return sync_directory(parent);
    }
    Ok(())
}

/// Flushes the names in `directory` to the disk.
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    match File::open(directory).and_then(|d| d.sync_all()) {
        // A concurrent delete removed it: then a later write creates, and flushes, it again.
        Err(e) if e.kind() == Io::NotFound => Ok(()),
        // An ancestor that we may pass through but not read was there before us, so its names are durable.
        Err(e) if e.kind() == Io::PermissionDenied => Ok(()),
        done => done,
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    fn root(&self) -> &str {
        &self.root
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = key.to_owned();
        self.blocking(move |this| this.write(&key, true, |file| file.write_all(&bytes))).await.map(|_| ())
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let key = key.to_owned();
        self.blocking(move |this| this.write(&key, false, |file| file.write_all(&bytes))).await
    }

    async fn put_file_if_absent(&self, key: &str, file: &Arc<File>, len: u64) -> Result<PutOutcome> {
        let (key, from) = (key.to_owned(), file.clone());
        self.blocking(move |this| this.write(&key, false, |to| copy(&from, len, to))).await
    }

    async fn abort_uploads(&self, _prefix: &str, _before: SystemTime) -> Result<usize> {
        // A listing removes the temporary files that a crash left.
        Ok(0)
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let key = key.to_owned();
        self.blocking(move |this| this.read(&key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        validate_key(key)?;
        if is_empty_range(key, &range)? {
            return Ok(Bytes::new());
        }
        let key = key.to_owned();
        self.blocking(move |this| this.read_range(&key, &range)).await
    }

    async fn head(&self, key: &str) -> Result<u64> {
        let key = key.to_owned();
        self.blocking(move |this| this.size(&key)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        self.list_page(prefix, start_after, usize::MAX).await
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectMeta>> {
        validate_prefix(prefix)?;
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.blocking(move |this| this.walk(&prefix, start_after.as_deref(), limit)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        let keys = keys.to_vec();
        self.blocking(move |this| this.remove(&keys)).await
    }
}
