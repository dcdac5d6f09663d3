//! The present state of an index, as a reader takes it (pitfalls 2.2, INV-2): first the position of the tombstone log,
//! then one fresh snapshot, then segments and buffer with that same snapshot. The heap decides visibility later.

use super::metapage::Metapage;
use super::relation::Rel;
use super::tombstones;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, NamespaceId};
use crate::ipc::message::{NamespaceView, Tombstone, TombstonesVersion};
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::client::{Needs, Provided};
use crate::pg::engine_call::Source;
use crate::pg::heap_table::{HeapTable, Name};
use crate::pg::snapshot::Snapshot;
use crate::pg::view::View;
use crate::schema::NamespaceSchema;
use pgrx::pg_sys;

/// What a fresh snapshot shows of an index.
pub struct IndexView {
    /// Segments and buffered entries.
    pub view: View,
    /// The schema the index was built with.
    pub schema: NamespaceSchema,
    /// How far the tombstone log was.
    pub log: TombstonesVersion,
    tombstones: Option<TombstonesVersion>,
    snapshot: Snapshot,
    index: Rel,
}

/// How often a look at an index is repeated when its tombstone log was trimmed in between.
pub const LOOKS: usize = 5;

impl IndexView {
    /// Reads it. The index is open and stays so.
    ///
    /// # Errors
    /// `Corrupt` when pages or catalog rows are damaged or missing.
    pub fn read(index: Rel) -> Result<Self> {
        // Locked before the snapshot is taken: a truncation of the buffer would show it empty (pitfalls 2.c).
        let buffer = HeapTable::read(Name::Wal)?;
        let meta = Metapage::read(index)?;
        let snapshot = Snapshot::fresh(Name::Wal.oid()?);
        let row = namespace_row(index, meta.incarnation, &snapshot)?;
        let schema = row.parse_schema()?;
        let view = View::read(row.id, row.schema, row.watermark, &snapshot)?;
        drop(buffer);
        let tombstones = (meta.tombstones.count > 0).then_some(meta.tombstones);
        Ok(Self { view, schema, log: meta.tombstones, tombstones, snapshot, index })
    }

    /// What the engine gets to know at once.
    pub fn message(&self) -> NamespaceView {
        NamespaceView { tombstones: self.tombstones, ..self.view.message() }
    }
}

impl Needs for IndexView {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        Source { view: &self.view, snapshot: &self.snapshot }.read(entries, delete_vectors)
    }

    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        match self.tombstones {
            Some(version) => tombstones::read(self.index, version),
            None => Ok(Vec::new()),
        }
    }
}

/// The catalog row of an index's incarnation.
///
/// # Errors
/// `Corrupt` when there is none.
pub fn namespace_row(index: Rel, incarnation: NamespaceId, snapshot: &Snapshot) -> Result<NamespaceRow> {
    catalog::namespace_by_id(incarnation, snapshot)?.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("index \"{}\" is not in elacsym's catalog", index.name()))
            .with_detail("The extension was dropped and created again, or its tables were restored without the index.")
            .with_hint("Run REINDEX on the index.")
    })
}

/// Runs `ask` over the present state, again if the tombstone log was trimmed under it.
///
/// # Errors
/// Those of `ask`, and those of [`IndexView::read`].
pub fn with_view<T>(index: Rel, mut ask: impl FnMut(&mut IndexView) -> Result<T>) -> Result<T> {
    let mut looks = 1;
    loop {
        let mut view = IndexView::read(index)?;
        match ask(&mut view) {
            Err(error) if error.kind == ErrorKind::Fenced && looks < LOOKS => looks += 1,
            other => return other,
        }
    }
}

/// The quoted name of a table with its schema, for queries.
///
/// # Errors
/// `NotFound` when it is gone.
pub fn qualified_name(table: pg_sys::Oid) -> Result<String> {
    // SAFETY: any oid; null if there is no such relation.
    let name = unsafe { pg_sys::get_rel_name(table) };
    // SAFETY: as above; the oid of its schema, and null if that is gone.
    let schema = unsafe { pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)) };
    if name.is_null() || schema.is_null() {
        return Err(Error::new(ErrorKind::NotFound, "the table was dropped"));
    }
    // SAFETY: two C strings; the result is one of the current memory context.
    let quoted = unsafe { pg_sys::quote_qualified_identifier(schema, name) };
    // SAFETY: a C string.
    Ok(unsafe { std::ffi::CStr::from_ptr(quoted) }.to_string_lossy().into_owned())
}
