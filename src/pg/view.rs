//! The visible state of a namespace under one snapshot, and answers to what the engine lacks of it.

use crate::error::{Error, Result};
use crate::ids::{EntryId, NamespaceId};
use crate::ipc::message::{BufferedEntry, NamespaceView, ProvidedEntry, SegmentView};
use crate::pg::buffer_table::{self, BufferRow, Payloads};
use crate::pg::catalog::{self, SegmentRow};
use crate::pg::heap_table::{HeapTable, Name};
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;
use std::collections::HashMap;

/// What one snapshot shows of a namespace: segments, and entries of the write buffer (INV-1: each entry in exactly one
/// of them).
#[derive(Debug)]
pub struct View {
    /// Identity.
    pub id: NamespaceId,
    /// Stored form of the schema.
    pub stored_schema: String,
    /// Segments, oldest first.
    pub segments: Vec<SegmentRow>,
    /// Buffered entries.
    pub buffered: Vec<BufferRow>,
}

/// The id under which the engine remembers things; of that id, the namespace's again. A database that was copied from a template has the ids of its origin, and
/// both ask one engine; from then on tombstones of the same number are no longer the same.
pub fn in_this_database(id: NamespaceId) -> NamespaceId {
    // SAFETY: a plain global, set once when the process connects to its database.
    let database = u32::from(unsafe { pg_sys::MyDatabaseId });
    let mut bytes = id.0;
    bytes.iter_mut().zip(database.to_be_bytes()).for_each(|(byte, oid)| *byte ^= oid);
    NamespaceId(bytes)
}

impl View {
    /// Reads it. `watermark` is the namespace's as this same snapshot shows it; a newer one would hide rows that an older
    /// snapshot still sees.
    pub fn read(id: NamespaceId, stored_schema: String, watermark: u64, snapshot: &Snapshot) -> Result<Self> {
        let buffered = buffer_table::read(id, watermark, snapshot, None)?.rows;
        Ok(Self { id, stored_schema, segments: catalog::segments(id, snapshot)?, buffered })
    }

    /// As [`Self::read`] with no buffered entry: for VACUUM, and for a write that adds a segment.
    pub fn without_buffer(id: NamespaceId, stored_schema: String, snapshot: &Snapshot) -> Result<Self> {
        let segments = catalog::segments(id, snapshot)?;
        Ok(Self { id, stored_schema, segments, buffered: Vec::new() })
    }

    /// What the engine gets to know at once.
    pub fn message(&self) -> NamespaceView {
        NamespaceView {
            id: in_this_database(self.id),
            schema: self.stored_schema.clone(),
            segments: self
                .segments
                .iter()
                .map(|s| SegmentView { info: s.info.clone(), delete_version: s.delete_version })
                .collect(),
            buffered: self.buffered.iter().map(|row| row.entry).collect::<Vec<BufferedEntry>>(),
            tombstones: None,
        }
    }

    /// The payloads of these entries, in this order, each handed to `sink` once its CRC is checked.
    ///
    /// # Errors
    /// `Internal` for an entry that is not part of the view; `Fenced` for one that is gone; `Corrupt`.
    pub fn payloads(
        &self,
        entries: &[EntryId],
        snapshot: &Snapshot,
        mut sink: impl FnMut(ProvidedEntry) -> Result<()>,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows: HashMap<EntryId, &BufferRow> = self.buffered.iter().map(|row| (row.entry.id, row)).collect();
        let table = HeapTable::read(Name::Wal)?;
        let mut payloads = Payloads::new(&table, self.id, snapshot);
        for id in entries {
            let row = rows.get(id).ok_or_else(|| {
                Error::internal(format!("the engine asked for entry {id:?}, which is not part of the request"))
            })?;
            sink(ProvidedEntry { id: *id, payload: payloads.get(row)? })?;
        }
        Ok(())
    }

    /// The encoded delete vectors of these segments.
    ///
    /// # Errors
    /// `Internal` for a segment that is not part of the view; `Fenced` for one that is gone; `Corrupt`.
    pub fn delete_vectors(&self, ids: &[String], snapshot: &Snapshot) -> Result<Vec<(String, Vec<u8>)>> {
        ids.iter()
            .map(|id| {
                let segment = self.segments.iter().find(|s| s.info.id == *id).ok_or_else(|| {
                    Error::internal(format!("the engine asked for segment {id}, which is not part of the request"))
                })?;
                Ok((id.clone(), catalog::delete_vector(segment, snapshot)?))
            })
            .collect()
    }
}
