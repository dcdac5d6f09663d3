//! A read-only tantivy directory over the bundle of a segment.
//!
//! Tantivy reads on the calling thread, so what a read does is a property of that thread for the time of one call (a
//! [`Mode`]): it is answered from the hotcache, or read, or only written down. That gives three things without touching
//! tantivy: recording what opening reads (the hotcache), planning the ranges of an operation before it runs, and reading
//! each planned range once, merged with its neighbours.

use super::hotcache::HotFile;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::{HasLen, TantivyError};

/// Planned ranges closer than this are read as one: skipping a few kilobytes costs more than reading them.
const MERGE_GAP_BYTES: u64 = 8 << 10;

/// Reads ranges of one file of the bundle; the bytes are already verified (INV-8). Called on CPU threads, may block.
///
/// The text arm collects the ranges of an operation and reads each once, merged where they are close; see
/// [`super::TextSegment::plan_postings`] for how to have them fetched in parallel beforehand.
pub trait RangeRead: Send + Sync + Debug {
    /// Exactly the bytes of that range (never empty, always inside the file).
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;
}

/// A file in memory.
impl RangeRead for Vec<u8> {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let slice = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let slice = slice.and_then(|(start, end)| self.get(start..end));
        slice
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::internal(format!("range {range:?} is outside of a file in memory")))
    }
}

/// A range that an operation is going to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRead {
    /// Place of the file in the list given to [`super::TextSegment::open`].
    pub file: usize,
    /// Bytes of that file.
    pub range: Range<u64>,
}

/// What the reads of this thread do, after the hotcache has been asked.
enum Mode {
    /// They are done.
    Direct,
    /// They are done and written down.
    Record(Vec<PlannedRead>),
    /// They are written down and fail.
    Plan(Vec<PlannedRead>),
    /// They are answered from here if they can be, and done otherwise. Sorted by file and start.
    Overlay(Vec<(PlannedRead, OwnedBytes)>),
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Direct) };
}

/// Puts the former mode back, also when tantivy panics.
struct Restore(Option<Mode>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(mode) = self.0.take() {
            MODE.with(|current| *current.borrow_mut() = mode);
        }
    }
}

fn in_mode<T>(mode: Mode, run: impl FnOnce() -> T) -> (T, Mode) {
    let mut restore = Restore(Some(MODE.with(|current| current.replace(mode))));
    let result = run();
    let former = restore.0.take().expect("invariant: set two lines above");
    (result, MODE.with(|current| current.replace(former)))
}

/// Runs `run` and tells which cold ranges it read.
pub(super) fn record<T>(run: impl FnOnce() -> T) -> (T, Vec<PlannedRead>) {
    match in_mode(Mode::Record(Vec::new()), run) {
        (result, Mode::Record(reads)) => (result, reads),
        (result, _) => (result, Vec::new()),
    }
}

/// Runs `run` without reading anything and tells which cold ranges it asked for. Every cold read fails, which `run` has to
/// ignore; [`planning`] tells it so.
pub(super) fn plan(run: impl FnOnce()) -> Vec<PlannedRead> {
    match in_mode(Mode::Plan(Vec::new()), run) {
        ((), Mode::Plan(reads)) => merge(reads),
        _ => Vec::new(),
    }
}

/// Whether this thread is inside [`plan`].
pub(super) fn planning() -> bool {
    MODE.with(|mode| matches!(*mode.borrow(), Mode::Plan(_)))
}

fn merge(mut reads: Vec<PlannedRead>) -> Vec<PlannedRead> {
    reads.sort_unstable_by_key(|read| (read.file, read.range.start, read.range.end));
    let mut merged: Vec<PlannedRead> = Vec::new();
    for read in reads {
        match merged.last_mut() {
            Some(last) if last.file == read.file && read.range.start <= last.range.end + MERGE_GAP_BYTES => {
                last.range.end = last.range.end.max(read.range.end);
            }
            _ => merged.push(read),
        }
    }
    merged
}

/// The files of one bundle.
#[derive(Debug, Clone)]
pub(super) struct BundleDirectory {
    files: Arc<[Arc<BundleFile>]>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct BundleFile {
    index: usize,
    /// The object's name and the file's, for messages.
    object: String,
    name: String,
    len: usize,
    source: Arc<dyn RangeRead>,
    /// Sorted, apart from each other.
    hot: Vec<(u64, OwnedBytes)>,
    /// Bytes read outside of the hotcache.
    cold: AtomicUsize,
}

impl BundleDirectory {
    /// `hot` comes from the hotcache of these files; files it does not name have nothing hot.
    pub(super) fn new(object: &str, files: Vec<(String, u64, Arc<dyn RangeRead>)>, hot: &[HotFile]) -> Result<Self> {
        let mut opened = Vec::with_capacity(files.len());
        for (index, (name, len, source)) in files.into_iter().enumerate() {
            let hot = hot.iter().find(|file| file.name == name);
            if let Some(hot) = hot
                && hot.len != len
            {
                let what = format!("hotcache is for a file \"{name}\" of {} bytes, not {len}", hot.len);
                return Err(Error::corrupt(object, 0, what));
            }
            let len = usize::try_from(len).map_err(|_| Error::corrupt(object, 0, "file is too long"))?;
            let hot = hot.map(|file| file.slices.clone()).unwrap_or_default();
            let object = object.to_string();
            opened.push(Arc::new(BundleFile { index, object, name, len, source, hot, cold: AtomicUsize::new(0) }));
        }
        Ok(Self { files: opened.into() })
    }

    /// Tantivy's names are `<segment uuid>.<extension>`, ours the extension: a bundle has one segment.
    fn file(&self, path: &Path) -> Option<&Arc<BundleFile>> {
        let name = path.file_name()?.to_str()?;
        let name = if name == "meta.json" { name } else { path.extension()?.to_str()? };
        self.files.iter().find(|file| file.name == name)
    }

    /// The file of that name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<BundleFile>> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The same files, but for one whose bytes are given.
    pub(super) fn with_file(&self, name: &str, bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        let bytes = OwnedBytes::new(bytes);
        let replaced = |file: &Arc<BundleFile>| {
            if file.name != name {
                return file.clone();
            }
            let (object, name, source) = (file.object.clone(), file.name.clone(), file.source.clone());
            let hot = vec![(0, bytes.clone())];
            Arc::new(BundleFile { index: file.index, object, name, len, source, hot, cold: AtomicUsize::new(0) })
        };
        Self { files: self.files.iter().map(replaced).collect() }
    }

    /// Reads the planned ranges and runs `run` with them at hand.
    pub(super) fn with_reads<T>(&self, planned: Vec<PlannedRead>, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if planned.is_empty() {
            return run();
        }
        let overlay = planned
            .into_iter()
            .map(|read| {
                let bytes = self.files[read.file]
                    .read_cold(read.range.clone())
                    .map_err(from_io_ref(&self.files[read.file].object))?;
                Ok((read, bytes))
            })
            .collect::<Result<Vec<_>>>()?;
        in_mode(Mode::Overlay(overlay), run).0
    }

    /// Bytes read outside of the hotcache from files of that name, so far.
    pub(super) fn cold_bytes(&self, name: &str) -> usize {
        self.files.iter().filter(|file| file.name == name).map(|file| file.cold.load(Ordering::Relaxed)).sum()
    }
}

impl BundleFile {
    fn read_cold(&self, range: Range<u64>) -> io::Result<OwnedBytes> {
        let len = (range.end - range.start) as usize;
        let bytes = self.source.read(range.clone()).map_err(io::Error::other)?;
        if bytes.len() != len {
            let what = format!("\"{}\" gave {} bytes for {range:?}", self.name, bytes.len());
            return Err(io::Error::other(Error::corrupt(&self.object, range.start, what)));
        }
        self.cold.fetch_add(len, Ordering::Relaxed);
        Ok(OwnedBytes::new(bytes))
    }
}

/// The slice of `bytes`, which start at `start`, for a wider coordinate range.
fn cut(start: u64, bytes: &OwnedBytes, range: &Range<u64>) -> Option<OwnedBytes> {
    let end = start + bytes.len() as u64;
    (start <= range.start && range.end <= end)
        .then(|| bytes.slice((range.start - start) as usize..(range.end - start) as usize))
}

impl HasLen for BundleFile {
    fn len(&self) -> usize {
        self.len
    }
}

impl FileHandle for BundleFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.len {
            let what = format!("\"{}\" of {} bytes has no range {range:?}", self.name, self.len);
            return Err(io::Error::other(Error::corrupt(&self.object, range.start as u64, what)));
        }
        if range.is_empty() {
            return Ok(OwnedBytes::empty());
        }
        let range = range.start as u64..range.end as u64;
        let at = self.hot.partition_point(|(start, _)| *start <= range.start);
        if let Some((start, bytes)) = at.checked_sub(1).map(|at| &self.hot[at])
            && let Some(bytes) = cut(*start, bytes, &range)
        {
            return Ok(bytes);
        }
        let answered = MODE.with(|mode| match &mut *mode.borrow_mut() {
            Mode::Direct => Ok(None),
            Mode::Record(reads) => {
                reads.push(PlannedRead { file: self.index, range: range.clone() });
                Ok(None)
            }
            Mode::Plan(reads) => {
                reads.push(PlannedRead { file: self.index, range: range.clone() });
                Err(io::Error::from(io::ErrorKind::WouldBlock))
            }
            Mode::Overlay(slices) => {
                let at = slices.partition_point(|(read, _)| (read.file, read.range.start) <= (self.index, range.start));
                let slice = at.checked_sub(1).map(|at| &slices[at]).filter(|(read, _)| read.file == self.index);
                Ok(slice.and_then(|(read, bytes)| cut(read.range.start, bytes, &range)))
            }
        })?;
        match answered {
            Some(bytes) => Ok(bytes),
            None => self.read_cold(range),
        }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a bundle is read-only")
}

impl Directory for BundleDirectory {
    fn get_file_handle(&self, path: &Path) -> std::result::Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.file(path) {
            Some(file) => Ok(file.clone()),
            None => Err(OpenReadError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn delete(&self, path: &Path) -> std::result::Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_path_buf() })
    }

    fn exists(&self, path: &Path) -> std::result::Result<bool, OpenReadError> {
        Ok(self.file(path).is_some())
    }

    fn open_write(&self, path: &Path) -> std::result::Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_path_buf()))
    }

    fn atomic_read(&self, path: &Path) -> std::result::Result<Vec<u8>, OpenReadError> {
        let missing = || OpenReadError::FileDoesNotExist(path.to_path_buf());
        // `.managed.json` and lock files have an extension or none that no file of the bundle has.
        let file = self.file(path).ok_or_else(missing)?;
        let bytes = file.read_bytes(0..file.len);
        Ok(bytes.map_err(|error| OpenReadError::wrap_io_error(error, path.to_path_buf()))?.to_vec())
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody writes, so there is nothing to lock.
    fn acquire_lock(&self, _lock: &Lock) -> std::result::Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// An error of ours that travelled through tantivy comes out as it went in; anything else tantivy says while reading means
/// that the bytes are not what was written.
pub(super) fn from_io(object: &str, error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(ours) => ours.clone(),
        None => Error::corrupt(object, 0, error),
    }
}

fn from_io_ref(object: &str) -> impl Fn(io::Error) -> Error + '_ {
    move |error| from_io(object, &error)
}

/// See [`from_io`].
pub(super) fn from_tantivy(object: &str, error: TantivyError) -> Error {
    match error {
        TantivyError::IoError(error) => from_io(object, &error),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => from_io(object, &io_error),
        TantivyError::OpenReadError(error) => Error::corrupt(object, 0, error),
        TantivyError::DataCorruption(error) => Error::corrupt(object, 0, format!("{error:?}")),
        TantivyError::IncompatibleIndex(error) => Error::corrupt(object, 0, format!("{error:?}")),
        other => Error::internal(format!("text index of \"{object}\": {other}")),
    }
}

#[cfg(test)]
mod tests;
