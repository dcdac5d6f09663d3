//! Replacing segments by one: plan under a snapshot, merge in the engine, publish in one short transaction. The maintenance worker
//! and `elacsym.compact()` both go this way.
//!
//! Nothing is locked while the engine works: flushes add segments, and give the inputs new delete vectors. So who publishes takes the
//! flush lock first, looks whether its inputs are still there, and carries over to the new segment what has died in them since the
//! plan was made. Readers see either the inputs or the new segment, with everything flushed so far in both (INV-1).

use crate::compaction::{Figures, Limits, max_rows};
use crate::error::{Error, Result};
use crate::ids::NamespaceId;
use crate::ipc::message::{
    CarryRequest, CompactInput, CompactProgress, CompactRequest, CompactResult, CompactState, Request,
};
use crate::pg::am::open_scans::{self, OpenScan};
use crate::pg::buffer_table::{self, Budget};
use crate::pg::catalog::{self, NamespaceRow, SegmentRow};
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::counters::{self, Work};
use crate::pg::heap_table::changed_meanwhile;
use crate::pg::locks::{self, Mode, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::{flush, gucs, namespace, xact};
use crate::segment_info::{DeleteVector, SegmentInfo};
use std::time::Instant;

/// How long the engine waits for the end of a compaction before it says how far it is.
const POLL_MS: u32 = 200;

/// What a snapshot shows of the segments of a namespace.
pub struct Survey {
    /// The segments.
    pub segments: Vec<SegmentRow>,
    /// Of each of them.
    pub figures: Vec<Figures>,
    /// What the choice depends on besides.
    pub limits: Limits,
}

impl Survey {
    /// Reads it. `row` is the namespace's under the same snapshot, `flush_rows` what counts for it.
    pub fn read(row: &NamespaceRow, flush_rows: u64, snapshot: &Snapshot) -> Result<Self> {
        let segments = catalog::segments(row.id, snapshot)?;
        let root = gucs::storage_root()?;
        let outdated = row.parse_options()?.outdated_generation;
        let figures = segments.iter().map(|segment| Figures {
            rows: segment.info.rows,
            dead: segment.deleted,
            tombstones: segment.info.tombstones,
            bytes: segment.info.bytes(),
            horizon: segment.horizon,
            outdated: outdated.is_some_and(|generation| segment.generation <= generation),
            misplaced: segment.info.root != root,
            busy: false,
        });
        let figures = figures.collect();
        let complete = complete_before(row, snapshot)?;
        let limits = Limits { flush_rows, max_rows: max_rows(gucs::build_memory() as u64), complete };
        Ok(Self { segments, figures, limits })
    }
}

/// Every transaction before this one is over, and has nothing in the write buffer.
fn complete_before(row: &NamespaceRow, snapshot: &Snapshot) -> Result<u64> {
    // The rows come in the order of their transactions.
    let first = Budget { rows: 1, bytes: u64::MAX };
    let buffered = buffer_table::read(row.id, row.watermark, snapshot, Some(first))?;
    Ok(buffered.rows.first().map_or(u64::MAX, |first| first.entry.id.order.xid).min(snapshot.xmin()))
}

/// One segment to replace.
#[derive(Debug)]
struct Input {
    segment: SegmentRow,
    /// Encoded; empty if it has none.
    delete_vector: Vec<u8>,
    forget: bool,
    is_gone: bool,
}

/// What one compaction is going to do.
#[derive(Debug)]
pub struct Plan {
    /// The namespace's row, as the plan's snapshot has it.
    pub row: NamespaceRow,
    inputs: Vec<Input>,
    root: String,
    path: String,
}

/// What has become of the inputs since the plan was made.
#[derive(Debug)]
pub struct Changes {
    /// Delete version of each input.
    versions: Vec<u64>,
    /// Inputs in which rows have died, with these rows as a delete vector.
    died: Vec<(SegmentInfo, Vec<u8>)>,
}

impl Plan {
    /// A plan to replace these segments of the survey, which was read with the same snapshot.
    pub fn read(row: NamespaceRow, survey: &Survey, chosen: &[usize], snapshot: &Snapshot) -> Result<Self> {
        let mut inputs = Vec::with_capacity(chosen.len());
        for at in chosen {
            let (segment, figures) = (&survey.segments[*at], &survey.figures[*at]);
            inputs.push(Input {
                segment: segment.clone(),
                delete_vector: delete_vector(segment, snapshot)?,
                forget: figures.can_forget(survey.limits.complete),
                is_gone: figures.is_gone(survey.limits.complete),
            });
        }
        let path = namespace::object_path(row.id);
        Ok(Self { row, inputs, root: gucs::storage_root()?, path })
    }

    /// Nothing of the inputs is needed any more: the engine need not be asked.
    pub fn is_gone(&self) -> bool {
        self.inputs.iter().all(|input| input.is_gone)
    }

    /// Bytes of the inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.segment.info.bytes()).sum()
    }

    /// Whether it replaces this segment.
    pub fn replaces(&self, segment: &str) -> bool {
        self.inputs.iter().any(|input| input.segment.info.id == segment)
    }

    /// The request to the engine.
    pub fn request(&self) -> Request {
        let inputs = self.inputs.iter().map(|input| CompactInput {
            info: input.segment.info.clone(),
            delete_vector: input.delete_vector.clone(),
            forget: input.forget,
        });
        Request::Compact(Box::new(CompactRequest {
            schema: self.row.schema.clone(),
            inputs: inputs.collect(),
            root: self.root.clone(),
            path: self.path.clone(),
            pin_keys: self.row.kind == catalog::KIND_INDEX,
        }))
    }

    /// What has become of the inputs. The caller holds the flush lock since before it took the snapshot, and until it has
    /// published.
    ///
    /// # Errors
    /// `Fenced` when one of them is no more.
    pub fn changes(&self, snapshot: &Snapshot) -> Result<Changes> {
        let current = catalog::segments(self.row.id, snapshot)?;
        let mut changes = Changes { versions: Vec::new(), died: Vec::new() };
        for input in &self.inputs {
            let info = &input.segment.info;
            let now = current.iter().find(|segment| segment.info.id == info.id).ok_or_else(changed_meanwhile)?;
            changes.versions.push(now.delete_version);
            if now.delete_version != input.segment.delete_version {
                let before = DeleteVector::decode(&input.delete_vector, &info.id)?.0;
                let died = DeleteVector::decode(&delete_vector(now, snapshot)?, &info.id)?.0 - before;
                if !died.is_empty() {
                    changes.died.push((info.clone(), DeleteVector(died).encode()));
                }
            }
        }
        Ok(changes)
    }

    /// The delete vector that the new segment starts with, encoded; empty if it starts with none. Asks the engine.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn carry(&self, changes: &Changes, result: &CompactResult) -> Result<Vec<u8>> {
        let Some(output) = result.segment.as_ref().filter(|output| output.rows > 0 && !changes.died.is_empty()) else {
            return Ok(Vec::new());
        };
        let request =
            CarryRequest { schema: self.row.schema.clone(), output: output.clone(), died: changes.died.clone() };
        match client::call(&Request::Carry(Box::new(request)), &mut NoNeeds)? {
            Reply::Carried(bytes) if DeleteVector::decode(&bytes, &output.id)?.0.is_empty() => Ok(Vec::new()),
            Reply::Carried(bytes) => Ok(bytes),
            other => {
                Err(Error::internal(format!("the engine answered \"{}\" instead of a delete vector", other.name())))
            }
        }
    }

    /// Publishes what the engine made, in the running transaction: the inputs go, and their objects are released; the new
    /// segment comes, with `carried` as its delete vector. `snapshot` is of now; the caller holds the namespace's lock.
    ///
    /// # Errors
    /// `Fenced` when anything the result rests on has changed; the transaction must be rolled back then.
    pub fn publish(&self, snapshot: &Snapshot, changes: &Changes, result: CompactResult, carried: &[u8]) -> Result<()> {
        let current = catalog::namespace_by_id(self.row.id, snapshot)?;
        // A segment of an older schema may lack an index, which nobody would notice (`outdated_generation`).
        let Some(mut row) = current.filter(|row| row.schema == self.row.schema) else {
            return Err(changed_meanwhile());
        };
        // VACUUM of an indexed table reads the segments without a snapshot that would keep what is replaced here.
        locks::lock(Target::Publish(row.id), Mode::Exclusive)?;
        let segments = catalog::segments(row.id, snapshot)?;
        for (input, version) in self.inputs.iter().zip(&changes.versions) {
            let info = &input.segment.info;
            let now = segments.iter().find(|segment| segment.info.id == info.id);
            let now = now.filter(|now| now.delete_version == *version).ok_or_else(changed_meanwhile)?;
            if catalog::delete_segment(now)? == crate::pg::heap_table::Deleted::Gone {
                return Err(changed_meanwhile());
            }
            let keys = info.object_keys();
            catalog::release_objects(&info.root, keys.iter().map(String::as_str))?;
        }
        let generation = row.generation + 1;
        if let Some(info) = result.segment {
            flush::check_place(&info, &self.root, &self.path)?;
            let horizon = self.inputs.iter().map(|input| input.segment.horizon).max().unwrap_or(u64::MAX);
            catalog::insert_compacted(row.id, info, generation, result.stats, horizon, carried)?;
        }
        row.generation = generation;
        catalog::replace_namespace(&row)?;
        xact::mark_written();
        Ok(())
    }

    /// Deletes the objects of a compaction that is not published: nothing ever referred to them.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn discard(result: &CompactResult) -> Result<()> {
        let Some(info) = &result.segment else { return Ok(()) };
        let request = Request::DeleteObjects { root: info.root.clone(), keys: info.object_keys() };
        client::call(&request, &mut NoNeeds).map(drop)
    }
}

/// What a compaction of which nothing stays makes.
pub fn nothing() -> CompactResult {
    CompactResult { segment: None, stats: String::new() }
}

/// Its encoded delete vector; empty if it has none.
fn delete_vector(segment: &SegmentRow, snapshot: &Snapshot) -> Result<Vec<u8>> {
    if segment.delete_version == 0 { Ok(Vec::new()) } else { catalog::delete_vector(segment, snapshot) }
}

/// A compaction under way in the engine: its number, and the connection it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    connection: u64,
    number: u64,
    of: NamespaceId,
    entries: u64,
    since: Instant,
}

impl Started {
    /// Starts it. It ends with the connection, or when it is told to.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn new(plan: &Plan) -> Result<Self> {
        let entries = plan.inputs.iter().map(|input| input.segment.info.rows).sum();
        Self::begin(&plan.request(), plan.row.id, entries)
    }

    /// As [`Self::new`], of so many entries of a namespace by a request of the caller's.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn begin(request: &Request, of: NamespaceId, entries: u64) -> Result<Self> {
        let since = Instant::now();
        match client::call(request, &mut NoNeeds)? {
            Reply::CompactStarted(number) => {
                Ok(Self { connection: client::connection().unwrap_or(0), number, of, entries, since })
            }
            other => Err(Error::internal(format!("the engine answered \"{}\" instead of a compaction", other.name()))),
        }
    }

    /// Its number on its connection.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Its state at its end, or after so many milliseconds.
    ///
    /// # Errors
    /// Its own; `Unavailable` when the engine, or the connection to it, is gone.
    pub fn poll(self, wait_ms: u32) -> Result<CompactState> {
        let request = Request::CompactPoll { compaction: self.number, wait_ms };
        match client::call_on(self.connection, &request, &mut NoNeeds)? {
            Some(Reply::Compacting(state)) => {
                if let CompactState::Done(result) = &state {
                    let objects_written = result.segment.as_ref().map_or(0, |info| info.object_keys().len() as u64);
                    let micros = counters::micros_since(self.since);
                    let work = Work { micros, entries: self.entries, objects_written, ..Work::default() };
                    counters::compacted(self.of, work);
                }
                Ok(state)
            }
            Some(other) => Err(Error::internal(format!("the engine answered \"{}\" instead of a state", other.name()))),
            None => Err(Error::unavailable("the elacsym engine went away during a compaction")),
        }
    }

    /// Waits for its end; whatever ends that early ends the compaction too. `running` is told how far it is.
    ///
    /// # Errors
    /// As [`Self::poll`].
    pub fn drive(self, mut running: impl FnMut(CompactProgress)) -> Result<CompactResult> {
        let open = OpenScan::new(self.number());
        loop {
            match self.poll(POLL_MS) {
                Ok(CompactState::Running(progress)) => running(progress),
                Ok(CompactState::Done(result)) => {
                    open_scans::ended(Some(open));
                    return Ok(*result);
                }
                Err(error) => {
                    open_scans::ended(Some(open));
                    return Err(error);
                }
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// Those of the engine; none when it is gone.
    pub fn stop(self) -> Result<()> {
        let request = Request::ScanClose { scans: vec![self.number] };
        client::call_on(self.connection, &request, &mut NoNeeds).map(drop)
    }
}
