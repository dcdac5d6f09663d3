//! The text part of a segment whose documents do not fit into memory: small tantivy segments on the local disk, merged at the end.
//! The bytes are those that [`TextBuilder`] makes of the same documents, if each attribute has a value in one of them at least.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};
use tantivy::indexer::merge_indices;
use tantivy::schema::Schema;
use tantivy::{HasLen, Index, TantivyDocument};

use super::builder::{
    self, BundleSource, TextBuilder, build_error, check_rows, fixed_meta, name_in_bundle, only_segment, settings,
};
use super::directory::RangeRead;
use super::terms;
use crate::document::{Document, Value};
use crate::error::Result;
use crate::schema::NamespaceSchema;
use crate::scratch::{Scratch, ScratchFile, ScratchWriter};

/// So many parts of a size become one: few are open at a time, and each document is merged only some times.
const MERGED_PARTS: usize = 16;
/// Bytes of text after which the memory is looked at, which costs a look at every field.
const LOOK_BYTES: usize = 256 << 10;
/// What a document costs beside its text, in this count.
const DOCUMENT_BYTES: usize = 4 << 10;
/// Of the document store: no thread, no memory worth mentioning.
const STORE_BUDGET_BYTES: usize = 1 << 20;

/// The files of one tantivy segment on the local disk, and what opening them reads; see [`super::TextBundle`].
#[derive(Debug)]
pub struct SpilledText {
    /// Name and bytes, sorted by name.
    pub files: Vec<(String, ScratchFile)>,
    /// As that of a [`super::TextBundle`].
    pub hotcache: Vec<u8>,
}

/// Collects documents in ordinal order.
pub struct SpillingTextBuilder {
    schema: NamespaceSchema,
    scratch: Arc<Scratch>,
    /// Bytes that the documents of a part may take in memory.
    memory: usize,
    /// The part that is being filled.
    builder: Option<(TextBuilder, ScratchDirectory)>,
    /// Bytes since the memory was looked at.
    unseen: usize,
    parts: Vec<Part>,
    rows: u32,
}

/// Some documents, on disk.
struct Part {
    index: Index,
    directory: ScratchDirectory,
    /// How often its documents were merged.
    level: u32,
}

impl SpillingTextBuilder {
    /// A builder for that schema, whose documents may take about `memory` bytes before they go to the disk. That takes about as much
    /// again for a moment.
    pub fn new(schema: &NamespaceSchema, scratch: &Arc<Scratch>, memory: usize) -> Self {
        Self {
            schema: schema.clone(),
            scratch: scratch.clone(),
            memory,
            builder: None,
            unseen: 0,
            parts: Vec::new(),
            rows: 0,
        }
    }

    /// As [`TextBuilder::add`].
    ///
    /// # Errors
    /// As [`TextBuilder::add`]; those of the local disk.
    pub fn add(&mut self, document: &Document) -> Result<()> {
        let (builder, _) = match &mut self.builder {
            Some(builder) => builder,
            none => {
                let directory = ScratchDirectory::new(&self.scratch);
                none.insert((TextBuilder::in_directory(&self.schema, Box::new(directory.clone()))?, directory))
            }
        };
        builder.add(document)?;
        self.unseen += DOCUMENT_BYTES + text_bytes(document);
        if self.unseen < LOOK_BYTES.min(self.memory) {
            return Ok(());
        }
        self.unseen = 0;
        if builder.memory_bytes() >= self.memory { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let Some((builder, directory)) = self.builder.take() else { return Ok(()) };
        self.rows += builder.rows();
        self.parts.push(Part { index: builder.finalize()?, directory, level: 0 });
        while let Some(level) = self.parts.last().map(|part| part.level)
            && self.parts.iter().rev().take_while(|part| part.level == level).count() == MERGED_PARTS
        {
            let merged = self.parts.split_off(self.parts.len() - MERGED_PARTS);
            self.parts.push(self.merge(&merged, level + 1)?);
        }
        Ok(())
    }

    fn merge(&self, parts: &[Part], level: u32) -> Result<Part> {
        let directory = ScratchDirectory::new(&self.scratch);
        let indexes: Vec<Index> = parts.iter().map(|part| part.index.clone()).collect();
        let index = merge_indices(&indexes, Box::new(directory.clone()) as Box<dyn Directory>).map_err(build_error)?;
        Ok(Part { index, directory, level })
    }

    /// Writes the files and the hotcache.
    ///
    /// # Errors
    /// Of the local disk; `Internal`.
    pub fn finish(mut self) -> Result<SpilledText> {
        if self.parts.is_empty() && self.builder.is_none() {
            let directory = ScratchDirectory::new(&self.scratch);
            self.builder = Some((TextBuilder::in_directory(&self.schema, Box::new(directory.clone()))?, directory));
        }
        self.spill()?;
        let parts = std::mem::take(&mut self.parts);
        let (part, is_merged) = match <[Part; 1]>::try_from(parts) {
            Ok([part]) => {
                let is_merged = part.level > 0;
                (part, is_merged)
            }
            Err(parts) => (self.merge(&parts, u32::MAX)?, true),
        };
        check_rows(&part.index, self.rows)?;
        let uuid = only_segment(&part.index)?.id().uuid_string();
        let mut files = Vec::new();
        for path in part.index.directory().list_managed_files() {
            let name = name_in_bundle(path.to_str().unwrap_or_default(), &uuid)?;
            let file = if name == "meta.json" {
                // Merging leaves a note of what was merged.
                let mut meta = part.index.load_metas().map_err(build_error)?;
                meta.payload = None;
                let mut bytes = serde_json::to_vec_pretty(&meta).map_err(|error| build_error(error.into()))?;
                bytes.push(b'\n');
                self.small_file(&fixed_meta(bytes, &uuid)?)?
            } else if name == "store" && is_merged {
                // Merging puts blocks of the parts next to each other.
                store_of(self.rows, &self.scratch)?
            } else {
                part.directory.file(&path)?
            };
            files.push((name, file));
        }
        drop(part);
        let sources = |files: &[(String, ScratchFile)]| -> Vec<BundleSource> {
            let source = |(name, file): &(String, ScratchFile)| {
                (name.clone(), file.len(), Arc::new(file.clone()) as Arc<dyn RangeRead>)
            };
            files.iter().map(source).collect()
        };
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut table = self.scratch.writer()?;
        let (long, fences) = builder::long_dictionaries(sources(&files), &mut table)?;
        if fences.is_some() {
            files.push((terms::FILE.to_string(), table.finish()?));
            files.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let hotcache = builder::hotcache_of(sources(&files), &long, fences)?;
        Ok(SpilledText { files, hotcache })
    }

    fn small_file(&self, bytes: &[u8]) -> Result<ScratchFile> {
        let mut writer = self.scratch.writer()?;
        writer.put(bytes)?;
        writer.finish()
    }
}

fn text_bytes(document: &Document) -> usize {
    let bytes = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::ArrayString(texts) => texts.iter().map(String::len).sum(),
        _ => 0,
    };
    document.attributes.iter().map(|(_, value)| bytes(value)).sum()
}

/// The document store of so many documents, of which nothing is stored.
fn store_of(rows: u32, scratch: &Arc<Scratch>) -> Result<ScratchFile> {
    let directory = ScratchDirectory::new(scratch);
    let mut writer = Index::builder()
        .schema(Schema::builder().build())
        .settings(settings())
        .single_segment_index_writer::<TantivyDocument>(directory.clone(), STORE_BUDGET_BYTES)
        .map_err(build_error)?;
    for _ in 0..rows {
        writer.add_document(TantivyDocument::default()).map_err(build_error)?;
    }
    let index = writer.finalize().map_err(build_error)?;
    let uuid = only_segment(&index)?.id().uuid_string();
    directory.file(Path::new(&format!("{uuid}.store")))
}

/// A tantivy directory of files without a name. Clones are the same directory.
#[derive(Debug, Clone)]
struct ScratchDirectory {
    scratch: Arc<Scratch>,
    files: Arc<Mutex<BTreeMap<PathBuf, Stored>>>,
}

#[derive(Debug, Clone)]
enum Stored {
    /// Being written.
    Open,
    Small(Vec<u8>),
    File(ScratchFile),
}

impl ScratchDirectory {
    fn new(scratch: &Arc<Scratch>) -> Self {
        Self { scratch: scratch.clone(), files: Arc::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Stored>> {
        // Each change is one insertion or removal.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> Result<ScratchFile> {
        match self.files().get(path) {
            Some(Stored::File(file)) => Ok(file.clone()),
            _ => Err(crate::error::Error::internal(format!("text index has no file \"{}\"", path.display()))),
        }
    }
}

/// A file of the directory while it is written.
struct Writing {
    path: PathBuf,
    directory: ScratchDirectory,
    /// None once it is complete.
    to: Option<ScratchWriter>,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let to = self.to.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Writing {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        let to = self.to.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let file = to.finish().map_err(io::Error::other)?;
        self.directory.files().insert(self.path.clone(), Stored::File(file));
        Ok(())
    }
}

impl RangeRead for ScratchFile {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        Self::read(self, range)
    }
}

/// A file as tantivy reads it.
#[derive(Debug)]
struct Handle(ScratchFile);

impl HasLen for Handle {
    fn len(&self) -> usize {
        self.0.len() as usize
    }
}

impl FileHandle for Handle {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let bytes = self.0.read(range.start as u64..range.end as u64).map_err(io::Error::other)?;
        Ok(OwnedBytes::new(bytes))
    }
}

impl Directory for ScratchDirectory {
    fn get_file_handle(&self, path: &Path) -> std::result::Result<Arc<dyn FileHandle>, OpenReadError> {
        match self.files().get(path) {
            Some(Stored::File(file)) => Ok(Arc::new(Handle(file.clone()))),
            Some(Stored::Small(bytes)) => Ok(Arc::new(OwnedBytes::new(bytes.clone()))),
            Some(Stored::Open) | None => Err(OpenReadError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn delete(&self, path: &Path) -> std::result::Result<(), DeleteError> {
        match self.files().remove(path) {
            Some(_) => Ok(()),
            None => Err(DeleteError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn exists(&self, path: &Path) -> std::result::Result<bool, OpenReadError> {
        Ok(self.files().contains_key(path))
    }

    fn open_write(&self, path: &Path) -> std::result::Result<WritePtr, OpenWriteError> {
        let mut files = self.files();
        if files.contains_key(path) {
            return Err(OpenWriteError::FileAlreadyExists(path.to_path_buf()));
        }
        let to = self.scratch.writer();
        let to = to.map_err(|error| OpenWriteError::wrap_io_error(io::Error::other(error), path.to_path_buf()))?;
        files.insert(path.to_path_buf(), Stored::Open);
        let writing = Writing { path: path.to_path_buf(), directory: self.clone(), to: Some(to) };
        Ok(io::BufWriter::new(Box::new(writing)))
    }

    fn atomic_read(&self, path: &Path) -> std::result::Result<Vec<u8>, OpenReadError> {
        match self.files().get(path) {
            Some(Stored::Small(bytes)) => Ok(bytes.clone()),
            _ => Err(OpenReadError::FileDoesNotExist(path.to_path_buf())),
        }
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.files().insert(path.to_path_buf(), Stored::Small(data.to_vec()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody else knows it.
    fn acquire_lock(&self, _lock: &Lock) -> std::result::Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

#[cfg(test)]
mod tests;
