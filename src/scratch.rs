//! Files without a name on the engine's own disk: what does not fit into memory while a segment is made. Nothing is left of
//! them whatever ends the process.
//!
//! Whoever works with them is asked now and then whether to go on, also deep inside of libraries that cannot be cancelled.

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Result};

/// Bytes that a writer collects before it writes them.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of one step of a copy.
const COPY_BYTES: u64 = 1 << 20;

/// Says whether to go on.
pub type Check = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// Where the files of one piece of work are.
pub struct Scratch {
    /// None: where the system has its temporary files.
    directory: Option<PathBuf>,
    check: RwLock<Option<Check>>,
    written: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Scratch {
    /// Files in that directory, which is made if it is missing; None: where the system has its temporary files.
    pub fn new(directory: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { directory, check: RwLock::new(None), written: AtomicU64::new(0), failure: Mutex::new(None) })
    }

    /// From now on `check` is asked before every read and write; None: nobody is.
    pub fn set_check(&self, check: Option<Check>) {
        *self.check.write().unwrap_or_else(PoisonError::into_inner) = check;
    }

    /// Bytes written so far, to all files.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong with a file: libraries pass on only its text.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An empty file.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted`, naming the directory.
    pub fn file(&self) -> Result<File> {
        let directory = self.make_directory()?;
        tempfile::tempfile_in(&directory).map_err(|error| self.failed(failed_in(&error, &directory)))
    }

    /// Looks whether there is room for so many bytes now; nothing keeps it. A file system that does not say counts as one that has it.
    ///
    /// # Errors
    /// `Exhausted` if there is not, naming what is there; `Unavailable`.
    pub fn look_for_room(&self, bytes: u64) -> Result<()> {
        let directory = self.make_directory()?;
        let Ok(found) = rustix::fs::statvfs(&directory) else { return Ok(()) };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if bytes <= free {
            return Ok(());
        }
        let what =
            format!("a merge of segments needs about {bytes} bytes on the local disk in \"{}\"", directory.display());
        Err(Error::new(ErrorKind::Exhausted, format!("{what}, where {free} are free"))
            .with_hint("Make room there, or let elacsym.cache_path name a directory that has it."))
    }

    fn make_directory(&self) -> Result<PathBuf> {
        let Some(directory) = &self.directory else { return Ok(std::env::temp_dir()) };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| self.failed(failed_in(&error, directory)))?;
        Ok(directory.clone())
    }

    /// An empty file, to be written from its start to its end.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn writer(self: &Arc<Self>) -> Result<ScratchWriter> {
        let target = Target { file: self.file()?, scratch: self.clone() };
        Ok(ScratchWriter { to: BufWriter::with_capacity(BUFFER_BYTES, target), len: 0 })
    }

    /// Writes into a file.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted`; those of the check.
    pub fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> Result<()> {
        self.ask()?;
        file.write_all_at(bytes, offset).map_err(|error| self.failed(failed(&error, "")))?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads from a file.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.ask()?;
        file.read_exact_at(bytes, offset).map_err(|error| self.failed(failed(&error, "")))
    }

    fn ask(&self) -> Result<()> {
        let check = self.check.read().unwrap_or_else(PoisonError::into_inner);
        check.as_ref().map_or(Ok(()), |check| check()).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> Error {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error).clone()
    }
}

/// The unbuffered end of a writer.
#[derive(Debug)]
struct Target {
    file: File,
    scratch: Arc<Scratch>,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scratch.ask().map_err(io::Error::other)?;
        let done = self.file.write(bytes);
        match done {
            Ok(count) => self.scratch.written.fetch_add(count as u64, Ordering::Relaxed),
            // The caller repeats it.
            Err(ref error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(io::Error::other(self.scratch.failed(failed(&error, "")))),
        };
        done
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file while it is written.
#[derive(Debug)]
pub struct ScratchWriter {
    to: BufWriter<Target>,
    len: u64,
}

impl ScratchWriter {
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`Scratch::write_at`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|error| from_io(&error))
    }

    /// The whole file, to be read.
    ///
    /// # Errors
    /// As [`Scratch::write_at`].
    pub fn finish(self) -> Result<ScratchFile> {
        let len = self.len;
        let target = self.to.into_inner().map_err(|error| from_io(error.error()))?;
        Ok(ScratchFile { file: Arc::new(target.file), len, scratch: target.scratch })
    }
}

impl Write for ScratchWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file that is complete. Clones are the same file.
#[derive(Debug, Clone)]
pub struct ScratchFile {
    file: Arc<File>,
    len: u64,
    scratch: Arc<Scratch>,
}

impl ScratchFile {
    /// Its length.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file itself, which nobody changes.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Exactly the bytes of a range.
    ///
    /// # Errors
    /// As [`Scratch::read_at`]; `Internal` for a range outside of it.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let len = range.end.checked_sub(range.start).filter(|_| range.end <= self.len);
        let len = len.and_then(|len| usize::try_from(len).ok());
        let len = len.ok_or_else(|| Error::internal(format!("a temporary file has no range {range:?}")))?;
        let mut bytes = vec![0; len];
        self.read_into(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// Fills `bytes` from that offset on.
    ///
    /// # Errors
    /// As [`Scratch::read_at`].
    pub fn read_into(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.scratch.read_at(&self.file, bytes, offset)
    }

    /// Calls `on` with all bytes, piece after piece, each of `piece` bytes but the last.
    ///
    /// # Errors
    /// As [`Scratch::read_at`]; those of `on`.
    pub fn pieces(&self, piece: u64, mut on: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while at < self.len {
            let end = self.len.min(at + piece.max(1));
            on(&self.read(at..end)?)?;
            at = end;
        }
        Ok(())
    }

    /// Appends all bytes to a writer.
    ///
    /// # Errors
    /// As [`Scratch::read_at`]; those of the writer.
    pub fn copy_to(&self, to: &mut dyn Write) -> Result<()> {
        self.pieces(COPY_BYTES, |bytes| to.write_all(bytes).map_err(|error| from_io(&error)))
    }
}

/// The error of ours that travelled through a writer, or what the system says.
pub fn from_io(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(ours) => ours.clone(),
        None => failed(error, ""),
    }
}

fn failed_in(error: &io::Error, directory: &Path) -> Error {
    failed(error, &format!("in \"{}\" ", directory.display()))
}

fn failed(error: &io::Error, place: &str) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("a temporary file {place}cannot be used: {error}"))
        .with_hint("A compaction needs room on the local disk, at elacsym.cache_path.")
}

#[cfg(test)]
mod tests;
