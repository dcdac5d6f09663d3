//! Rows on their way from old segments into a new one: on the local disk, because they need not fit into memory. In memory are
//! their identities and places. The files have no name, so that nothing is left of them whatever ends the process.

use std::fs::{DirBuilder, File};
use std::io::{BufWriter, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::sync::Arc;

use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use crate::vector::VectorInput;

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Says whether to go on; asked before every read.
pub type Check = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// One row.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: EntryId,
    /// Its attributes in the file of documents.
    offset: u64,
    len: u32,
}

/// Takes rows.
#[derive(Debug)]
pub struct Spill {
    dim: usize,
    vectors: BufWriter<File>,
    documents: BufWriter<File>,
    /// For who reads the rows.
    scratch: File,
    end: u64,
    with_vector: Vec<Row>,
    without: Vec<Row>,
}

impl Spill {
    /// Empty files in that directory, which is made if it is missing; None: where the system has its temporary files. `dim`: of
    /// the vectors.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted`, naming the directory.
    pub fn new(directory: Option<&Path>, dim: usize) -> Result<Self> {
        let file = || match directory {
            Some(directory) => {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
                tempfile::tempfile_in(directory)
            }
            None => tempfile::tempfile(),
        };
        let failed =
            |error| failed(&error, &format!("in \"{}\" ", directory.unwrap_or(&std::env::temp_dir()).display()));
        let buffered = |file| BufWriter::with_capacity(BUFFER_BYTES, file);
        let vectors = buffered(file().map_err(failed)?);
        let documents = buffered(file().map_err(failed)?);
        let scratch = file().map_err(failed)?;
        Ok(Self { dim, vectors, documents, scratch, end: 0, with_vector: Vec::new(), without: Vec::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `TypeMismatch` for a vector of another dimension; `Unavailable` or `Exhausted`.
    pub fn add(&mut self, id: EntryId, mut document: Document) -> Result<()> {
        let vector = document.vector.take();
        let bytes = document.encode();
        let len = u32::try_from(bytes.len()).map_err(|_| Error::internal("a document of more than 4 GiB"))?;
        let row = Row { id, offset: self.end, len };
        self.documents.write_all(&bytes).map_err(|error| failed(&error, ""))?;
        self.end += u64::from(len);
        let Some(vector) = vector else {
            self.without.push(row);
            return Ok(());
        };
        if vector.len() != self.dim {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("a stored vector has {} dimensions, not {}", vector.len(), self.dim),
            ));
        }
        for value in vector {
            self.vectors.write_all(&value.to_le_bytes()).map_err(|error| failed(&error, ""))?;
        }
        self.with_vector.push(row);
        Ok(())
    }

    /// All rows, to be read: those with a vector first, else in the order they were added.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted`.
    pub fn finish(self, check: Check) -> Result<SpilledRows> {
        let close = |file: BufWriter<File>| file.into_inner().map_err(|error| failed(error.error(), ""));
        let vectors = self.with_vector.len();
        let mut rows = self.with_vector;
        rows.extend(self.without);
        Ok(SpilledRows {
            dim: self.dim,
            vectors: close(self.vectors)?,
            documents: close(self.documents)?,
            scratch: self.scratch,
            rows,
            with_vector: vectors,
            check,
        })
    }
}

/// Gives rows back, in any order.
pub struct SpilledRows {
    dim: usize,
    vectors: File,
    documents: File,
    scratch: File,
    rows: Vec<Row>,
    with_vector: usize,
    check: Check,
}

impl SpilledRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that have a vector; they come first.
    pub fn vectors(&self) -> usize {
        self.with_vector
    }

    /// How many of these rows, from the first on, hold no more than so many bytes together; at least one.
    pub fn fitting(&self, rows: &[u32], bytes: usize) -> usize {
        let mut sum = 0;
        let fits = rows.iter().take_while(|row| {
            let width = if (**row as usize) < self.with_vector { self.dim * size_of::<f32>() } else { 0 };
            sum += self.rows[**row as usize].len as usize + width;
            sum <= bytes
        });
        fits.count().max(1)
    }

    /// Which entry a row is.
    pub fn id(&self, row: usize) -> EntryId {
        self.rows[row].id
    }

    /// A row.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn document(&self, row: usize) -> Result<Document> {
        (self.check)()?;
        let Row { offset, len, .. } = self.rows[row];
        let mut bytes = vec![0; len as usize];
        self.documents.read_exact_at(&mut bytes, offset).map_err(|error| failed(&error, ""))?;
        let mut document = Document::decode(&bytes, "temporary file")?;
        if row < self.with_vector {
            let mut vector = Vec::with_capacity(self.dim);
            self.read(row..row + 1, &mut vector)?;
            document.vector = Some(vector);
        }
        Ok(document)
    }

    /// Whether these bytes are the values of a row's vector.
    ///
    /// # Errors
    /// `Unavailable`; those of the check.
    pub fn is_vector(&self, row: usize, bytes: &[u8]) -> Result<bool> {
        Ok(self.vector_bytes(row..row + 1)? == bytes)
    }

    /// What `write` writes, which is on the local disk until it is complete: so the memory it is written from and the memory it
    /// ends in are not needed at the same time.
    ///
    /// # Errors
    /// Those of `write`; `Unavailable` or `Exhausted`.
    pub fn by_way_of_disk(&self, write: impl FnOnce(BufWriter<&File>) -> Result<BufWriter<&File>>) -> Result<Vec<u8>> {
        let io = |error: std::io::Error| failed(&error, "");
        self.scratch.set_len(0).map_err(io)?;
        (&self.scratch).rewind().map_err(io)?;
        let mut written = write(BufWriter::with_capacity(BUFFER_BYTES, &self.scratch))?;
        written.flush().map_err(io)?;
        drop(written);
        let len = self.scratch.metadata().map_err(io)?.len();
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Error::internal("an object of more than memory"))?];
        self.scratch.read_exact_at(&mut bytes, 0).map_err(io)?;
        Ok(bytes)
    }

    fn vector_bytes(&self, rows: Range<usize>) -> Result<Vec<u8>> {
        (self.check)()?;
        let width = self.dim * size_of::<f32>();
        let mut bytes = vec![0; rows.len() * width];
        let offset = (rows.start * width) as u64;
        self.vectors.read_exact_at(&mut bytes, offset).map_err(|error| failed(&error, ""))?;
        Ok(bytes)
    }
}

impl VectorInput for SpilledRows {
    fn rows(&self) -> usize {
        self.with_vector
    }

    fn read(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let bytes = self.vector_bytes(rows)?;
        out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        Ok(())
    }
}

fn failed(error: &std::io::Error, place: &str) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("a temporary file {place}cannot be used: {error}"))
        .with_hint("A compaction needs room for its rows on the local disk, at elacsym.cache_path.")
}

#[cfg(test)]
mod tests;
