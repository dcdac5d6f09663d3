//! Pages of a row group of `rows.parquet` until it is complete, on the local disk: a row group of vectors is larger than memory may be.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::{ParquetError, Result};

use crate::scratch::Scratch;

/// One file for the pages of all columns, used anew for each row group.
#[derive(Debug)]
pub struct ScratchPages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    scratch: Arc<Scratch>,
    file: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    end: u64,
    /// Columns that have pages here.
    columns: usize,
}

impl ScratchPages {
    /// No pages yet.
    ///
    /// # Errors
    /// As [`Scratch::file`].
    pub fn new(scratch: &Arc<Scratch>) -> crate::error::Result<Self> {
        Ok(Self(Arc::new(Shared { file: scratch.file()?, scratch: scratch.clone(), state: Mutex::default() })))
    }
}

impl PageStoreFactory for ScratchPages {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).columns += 1;
        Ok(Box::new(Column { shared: self.0.clone(), pages: Vec::new() }))
    }
}

/// The pages of one column.
struct Column {
    shared: Arc<Shared>,
    /// Offset and length.
    pages: Vec<(u64, usize)>,
}

impl PageStore for Column {
    fn put(&mut self, value: Bytes) -> Result<PageKey> {
        let at = {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let at = state.end;
            state.end += value.len() as u64;
            at
        };
        let written = self.shared.scratch.write_at(&self.shared.file, &value, at);
        written.map_err(|error| ParquetError::External(Box::new(error)))?;
        self.pages.push((at, value.len()));
        Ok(PageKey::new(self.pages.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let page = self.pages.get(key.get() as usize);
        let (at, len) = *page.ok_or_else(|| ParquetError::General(format!("there is no page {}", key.get())))?;
        let mut bytes = vec![0; len];
        let read = self.shared.scratch.read_at(&self.shared.file, &mut bytes, at);
        read.map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(Bytes::from(bytes))
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.columns -= 1;
        if state.columns == 0 {
            // The row group is written, or given up.
            state.end = 0;
        }
    }
}
