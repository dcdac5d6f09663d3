//! Moving entries from the write buffer into a segment: plan under a snapshot, build in the engine, publish in one
//! transaction (INV-1). The maintenance worker and `elacsym.flush()` both go this way; they differ only in whose
//! transactions the steps run. A bulk write ([`crate::pg::bulk`]) publishes in the same way what never was in the buffer.
//!
//! Whoever plans holds the namespace's flush lock until after it has published: the set of segments must not change in
//! between, because the engine computed which of their rows the new segment supersedes.

use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{BufferedEntry, FlushRequest, FlushResult, NamespaceView, Request, TombstonesVersion};
use crate::pg::buffer_table::{self, Budget};
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::locks::{self, Mode, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::view::View;
use crate::pg::{gucs, namespace, xact};
use crate::segment_info::SegmentInfo;

/// What goes into one segment at most. The rest waits for the next one: the engine holds all of it in memory.
pub const BUDGET: Budget = Budget { rows: 100_000, bytes: 64 << 20 };

/// What one flush is going to do.
#[derive(Debug)]
pub struct Plan {
    /// The namespace's row, as the plan's snapshot has it.
    pub row: NamespaceRow,
    /// The state the engine works on; all of its buffered entries are flushed.
    pub view: View,
    /// Tombstones that the engine applies.
    pub tombstones: Option<TombstonesVersion>,
    /// Every transaction before this one is over, and none of its entries is left in the buffer after this flush.
    watermark: u64,
    /// Entries were left out because of the budget.
    has_rest: bool,
    root: String,
    path: String,
}

impl Plan {
    /// Reads what there is to flush; `None` if that is nothing, or only patches that wait for older transactions. The caller holds the flush lock since before it took
    /// the snapshot.
    pub fn read(row: NamespaceRow, snapshot: &Snapshot) -> Result<Option<Self>> {
        Self::read_with(row, snapshot, None)
    }

    /// As [`Self::read`]; with tombstones of an index (read before the snapshot was taken) there is always something to
    /// do: dead entries are left out, and dead rows of segments go into delete vectors.
    pub fn read_with(
        row: NamespaceRow,
        snapshot: &Snapshot,
        tombstones: Option<TombstonesVersion>,
    ) -> Result<Option<Self>> {
        let mut view = View::without_buffer(row.id, row.schema.clone(), snapshot)?;
        let (rows, bytes) =
            view.segments.iter().fold((0, 0), |(rows, bytes), s| (rows + s.info.rows, bytes + s.info.bytes()));
        let average = bytes.checked_div(rows).unwrap_or(0);
        let taken = buffer_table::read_batch(row.id, row.watermark, snapshot, BUDGET, average)?;
        if taken.entries.is_empty() && tombstones.is_none() {
            return Ok(None);
        }
        view.buffered = taken.entries;
        let left = taken.rest.into_iter().chain(taken.waiting);
        let watermark = left.fold(snapshot.xmin(), u64::min).max(row.watermark);
        let path = namespace::object_path(row.id);
        let has_rest = taken.rest.is_some();
        Ok(Some(Self { row, view, tombstones, watermark, has_rest, root: gucs::storage_root()?, path }))
    }

    /// A plan for rows that are not in the buffer: it moves nothing out of there, and leaves the watermark alone. The
    /// caller holds the flush lock since before it took the snapshot.
    pub fn for_rows(row: NamespaceRow, snapshot: &Snapshot) -> Result<Self> {
        let view = View::without_buffer(row.id, row.schema.clone(), snapshot)?;
        let path = namespace::object_path(row.id);
        Ok(Self {
            watermark: row.watermark,
            row,
            view,
            tombstones: None,
            has_rest: false,
            root: gucs::storage_root()?,
            path,
        })
    }

    /// The request to the engine.
    pub fn request(&self) -> Request {
        self.request_about(NamespaceView { tombstones: self.tombstones, ..self.view.message() })
    }

    /// The request of a plan [`Self::for_rows`], with the rows.
    pub fn request_for(&self, entries: Vec<BufferedEntry>) -> Request {
        self.request_about(NamespaceView { buffered: entries, ..self.view.message() })
    }

    fn request_about(&self, namespace: NamespaceView) -> Request {
        let (root, path) = (self.root.clone(), self.path.clone());
        let pin_keys = self.row.kind == catalog::KIND_INDEX;
        Request::Flush(Box::new(FlushRequest { namespace, root, path, pin_keys }))
    }

    /// Whether entries were left out because of the budget.
    pub fn has_rest(&self) -> bool {
        self.has_rest
    }

    /// Publishes what the engine made, in the running transaction: the buffer's rows go, the segment comes, older
    /// segments get their new delete vectors, the namespace its next generation. `current` is the namespace's row as of
    /// now. Returns the number of entries moved.
    ///
    /// # Errors
    /// `Fenced` when anything the plan rests on has changed; the transaction must be rolled back then.
    pub fn publish(&self, current: Option<NamespaceRow>, result: FlushResult) -> Result<u64> {
        let Some(mut row) = current else {
            return Err(Error::new(ErrorKind::Fenced, format!("namespace \"{}\" was dropped", self.row.name)));
        };
        if row.id != self.row.id || row.generation != self.row.generation {
            return Err(crate::pg::heap_table::changed_meanwhile());
        }
        // VACUUM of an indexed table reads the segments without a snapshot that would keep what is replaced here.
        locks::lock(Target::Publish(row.id), Mode::Exclusive)?;
        let generation = row.generation + 1;
        buffer_table::delete(&self.view.buffered)?;
        if let Some(info) = result.segment {
            check_place(&info, &self.root, &self.path)?;
            catalog::insert_segment(row.id, info, generation, result.stats)?;
        }
        // Not the generation, which the next flush takes again if this one is rolled back.
        let version = buffer_table::next_order().seq;
        for (id, delete_vector) in &result.delete_vectors {
            let segment = self.view.segments.iter().find(|s| s.info.id == *id).ok_or_else(|| {
                Error::internal(format!("the engine returned a delete vector of unknown segment {id}"))
            })?;
            catalog::set_delete_vector(row.id, segment, version, delete_vector)?;
        }
        row.generation = generation;
        row.watermark = row.watermark.max(self.watermark);
        catalog::replace_namespace(&row)?;
        xact::mark_written();
        Ok(self.view.buffered.len() as u64)
    }

    /// Keys of the objects that a flush which is not published leaves behind, with their root.
    pub fn leftovers(result: &FlushResult) -> Option<(String, Vec<String>)> {
        result.segment.as_ref().map(|info| (info.root.clone(), info.object_keys()))
    }
}

/// INV-9: nothing outside this namespace's own directory is ever recorded, hence none deleted.
///
/// # Errors
/// `Internal` for a segment that is elsewhere.
pub fn check_place(info: &SegmentInfo, root: &str, path: &str) -> Result<()> {
    let inside = info.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    if info.root == root && inside {
        return Ok(());
    }
    let (root, path) = (&info.root, &info.path);
    Err(Error::internal(format!("the engine wrote a segment to \"{root}\", \"{path}\", which is not its place")))
}
