//! \[worker\] Compactions of one database: started when a namespace has too many segments or too many dead rows, looked after between
//! flushes, published when they are done. At most one large and one small at a time. They live in the engine and end with this
//! process's connection to it.
//!
//! Steps, and what a crash between them leaves:
//! 1. plan under a snapshot (nothing);
//! 2. merge and upload in the engine (objects that no row refers to: orphans);
//! 3. publish in one transaction: either all of it or nothing (INV-1), the inputs' objects are garbage from then on.

use crate::compaction::{Choice, choose, is_small};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::ipc::message::{CompactResult, CompactState};
use crate::pg::am::options::Thresholds;
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::compaction::{Plan, Started, Survey, nothing};
use crate::pg::compaction_progress::Entry;
use crate::pg::heap_table::Name;
use crate::pg::locks::{self, Mode, SessionLock, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::database::{back_off, warn};
use crate::pg::worker::transaction::{transaction, transaction_after};
use crate::pg::{gucs, shmem};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time between two looks at a compaction under way, and at what waits.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The same while a small one is under way, which takes little longer.
const LOOK_SOON: Duration = Duration::from_millis(20);

/// What is under way, and what is known of namespaces with nothing to do.
#[derive(Default)]
pub struct Compactor {
    jobs: Vec<Job>,
    /// The generation, and the CRC32 of the schema, with which nothing was to be done.
    settled: HashMap<NamespaceId, (u64, u32)>,
    /// Failures in a row, and when to try again.
    failed: HashMap<NamespaceId, (u32, Instant)>,
    /// The same of looking for what should be merged.
    look_failed: Option<(u32, Instant)>,
}

struct Job {
    plan: Plan,
    lock: SessionLock,
    state: State,
    small: bool,
    entry: Entry,
}

impl Job {
    /// Ends the work, or removes its result.
    fn give_up(&self) {
        let ended = match &self.state {
            State::Running(started) => started.stop(),
            State::Done(result) => Plan::discard(result),
        };
        if let Err(error) = ended {
            warn("elacsym could not clear up after an abandoned compaction", error);
        }
    }
}

enum State {
    Running(Started),
    Done(CompactResult),
}

/// What became of a look at a job.
enum Step {
    Goes,
    Over,
}

impl Compactor {
    /// One look at what is under way, and at what should be. Returns when to look again, if something is left.
    pub fn step(&mut self, thresholds: &HashMap<NamespaceId, Thresholds>) -> Option<Duration> {
        self.keep_locks();
        let mut jobs = std::mem::take(&mut self.jobs);
        jobs.retain_mut(|job| match advance(job) {
            Ok(Step::Goes) => true,
            Ok(Step::Over) => {
                self.failed.remove(&job.plan.row.id);
                false
            }
            Err(error) => {
                self.note_failure(&job.plan.row, error);
                false
            }
        });
        self.jobs = jobs;
        let waits = match self.look_failed {
            Some((_, retry_at)) if Instant::now() < retry_at => true,
            _ => self.look(thresholds),
        };
        self.keep_locks();
        shmem::set_compacting(!self.jobs.is_empty());
        let soon = self.jobs.iter().any(|job| job.small && matches!(job.state, State::Running(_)));
        let pause = if soon { LOOK_SOON } else { LOOK_AGAIN };
        (waits || !self.jobs.is_empty()).then_some(pause)
    }

    /// Whether nothing is left but what waits for others: for old transactions, or for somebody who merges by hand.
    pub fn is_patient(&self) -> bool {
        self.jobs.is_empty() && self.failed.is_empty() && self.look_failed.is_none()
    }

    /// Takes the locks of jobs again, which an abort has released, of whatever transaction of this worker. They protect objects that
    /// no row refers to yet, so this comes before the next look for orphans. Who does not get his lock gives up.
    fn keep_locks(&mut self) {
        while let Some(at) = self.jobs.iter().position(|job| !job.lock.is_held()) {
            let target = Target::Compact(self.jobs[at].plan.row.id);
            match transaction(|| SessionLock::try_acquire(target, Mode::Exclusive)) {
                Ok(Some(lock)) => self.jobs[at].lock = lock,
                other => {
                    let job = self.jobs.swap_remove(at);
                    job.give_up();
                    if let Err(error) = other {
                        self.note_failure(&job.plan.row, error);
                    }
                }
            }
        }
    }

    fn note_failure(&mut self, row: &NamespaceRow, error: Error) {
        let (failures, retry_at) = self.failed.entry(row.id).or_insert((0, Instant::now()));
        if *failures == 0 {
            warn(&format!("elacsym could not merge segments of namespace \"{}\"", row.name), error);
        }
        *failures += 1;
        *retry_at = Instant::now() + back_off(*failures);
    }

    /// As [`Self::start_all`]; of failures in a row it tells once.
    fn look(&mut self, thresholds: &HashMap<NamespaceId, Thresholds>) -> bool {
        match self.start_all(thresholds) {
            Ok(waits) => {
                self.look_failed = None;
                waits
            }
            Err(error) => {
                let failures = self.look_failed.map_or(0, |(failures, _)| failures);
                if failures == 0 {
                    warn("elacsym maintenance could not look for segments to merge", error);
                }
                self.look_failed = Some((failures + 1, Instant::now() + back_off(failures + 1)));
                true
            }
        }
    }

    /// Starts what should be under way. True if something waits for a moment when it can be.
    fn start_all(&mut self, thresholds: &HashMap<NamespaceId, Thresholds>) -> Result<bool> {
        if !gucs::compaction() {
            return Ok(false);
        }
        if shmem::compaction_pause().is_some() {
            // Not worth staying for: the next commit brings another worker.
            return Ok(false);
        }
        let (candidates, mut waits) = self.candidates(thresholds)?;
        for Candidate { plan, lock } in candidates {
            let small = is_small(plan.bytes(), gucs::build_memory() as u64);
            if !plan.is_gone() && self.jobs.iter().any(|job| job.small == small) {
                lock.release();
                waits = true;
                continue;
            }
            let row = plan.row.clone();
            match start(plan, lock, small) {
                Ok(job) => self.jobs.push(job),
                Err(error) => self.note_failure(&row, error),
            }
        }
        Ok(waits)
    }

    /// At most one plan for each namespace that is not known to be settled, its compaction lock taken.
    fn candidates(&mut self, thresholds: &HashMap<NamespaceId, Thresholds>) -> Result<(Vec<Candidate>, bool)> {
        transaction(|| {
            let (mut candidates, mut waits) = (Vec::new(), false);
            if Name::Namespace.oid().is_err() {
                return Ok((candidates, waits));
            }
            let snapshot = Snapshot::statement()?;
            let rows = catalog::namespaces(&snapshot)?;
            self.settled.retain(|id, _| rows.iter().any(|row| row.id == *id));
            self.failed.retain(|id, _| rows.iter().any(|row| row.id == *id));
            for row in rows {
                let state = (row.generation, crc32fast::hash(row.schema.as_bytes()));
                if self.settled.get(&row.id) == Some(&state) {
                    continue;
                }
                if self.failed.get(&row.id).is_some_and(|(_, retry_at)| Instant::now() < *retry_at) {
                    waits = true;
                    continue;
                }
                let own = thresholds.get(&row.id).and_then(|own| own.rows);
                let mut survey = Survey::read(&row, own.unwrap_or_else(gucs::flush_rows), &snapshot)?;
                for (segment, figures) in survey.segments.iter().zip(&mut survey.figures) {
                    figures.busy = self.jobs.iter().any(|job| job.plan.replaces(&segment.info.id));
                }
                match choose(&survey.figures, &survey.limits) {
                    // What is under way may fail, and would have to be tried again.
                    Choice::Nothing if survey.figures.iter().any(|figures| figures.busy) => {}
                    Choice::Nothing => drop(self.settled.insert(row.id, state)),
                    Choice::Wait => waits = true,
                    Choice::Merge(chosen) => {
                        match SessionLock::try_acquire(Target::Compact(row.id), Mode::Exclusive)? {
                            Some(lock) => {
                                let plan = Plan::read(row, &survey, &chosen, &snapshot)?;
                                candidates.push(Candidate { plan, lock });
                            }
                            None => waits = true,
                        }
                    }
                }
            }
            Ok((candidates, waits))
        })
    }
}

struct Candidate {
    plan: Plan,
    lock: SessionLock,
}

fn start(plan: Plan, lock: SessionLock, small: bool) -> Result<Job> {
    gucs::fault_point("compaction.after_read");
    let entry = Entry::new(plan.row.id, &plan.row.name);
    let state = if plan.is_gone() {
        State::Done(nothing())
    } else {
        match Started::new(&plan) {
            Ok(started) => State::Running(started),
            Err(error) => {
                lock.release();
                return Err(error);
            }
        }
    };
    Ok(Job { plan, lock, state, small, entry })
}

/// Looks after a job. After an error, and when it is over, its lock is released.
fn advance(job: &mut Job) -> Result<Step> {
    let step = advance_locked(job);
    if !matches!(step, Ok(Step::Goes)) {
        job.lock.release_now();
    }
    step
}

fn advance_locked(job: &mut Job) -> Result<Step> {
    if let State::Running(started) = job.state {
        match started.poll(0) {
            Err(error) => return if still_there(&job.plan)? { Err(error) } else { Ok(Step::Over) },
            Ok(CompactState::Running(progress)) => {
                job.entry.set(progress);
                return Ok(Step::Goes);
            }
            Ok(CompactState::Done(result)) => {
                gucs::fault_point("compaction.after_upload");
                job.state = State::Done(*result);
            }
        }
    }
    let State::Done(result) = &job.state else { return Ok(Step::Goes) };
    match publish(&job.plan, result) {
        Ok(Published::Done) => {
            gucs::fault_point("compaction.after_commit");
            return Ok(Step::Over);
        }
        // A transaction that has the flush lock and wants ours would wait for ever, and nobody would notice.
        Ok(Published::Busy) if !job.lock.has_waiters() => return Ok(Step::Goes),
        // A drop may wait for somebody who waits for our lock.
        Ok(Published::Busy | Published::Dropped) => {}
        // Somebody else has replaced an input, or the schema has changed.
        Err(error) if error.kind == ErrorKind::Fenced => {}
        // Whether a commit that failed has happened is not always known, so the objects stay: the search for orphans removes
        // them if nothing refers to them.
        Err(error) => return Err(error),
    }
    if let Err(error) = Plan::discard(result) {
        warn("elacsym could not delete the objects of an abandoned compaction", error);
    }
    Ok(Step::Over)
}

/// Whether all inputs are: objects of those that are not may be gone, which is no failure of their compaction.
fn still_there(plan: &Plan) -> Result<bool> {
    match transaction(|| plan.changes(&Snapshot::statement()?).map(drop)) {
        Err(error) if error.kind == ErrorKind::Fenced => Ok(false),
        other => other.map(|()| true),
    }
}

/// What came of the attempt to publish. But for the first, nothing was changed.
enum Published {
    Done,
    /// Somebody has the flush lock: later.
    Busy,
    /// The namespace is dropped, or about to be.
    Dropped,
}

fn publish(plan: &Plan, result: &CompactResult) -> Result<Published> {
    let id = plan.row.id;
    let looked = transaction_after(
        || SessionLock::try_acquire(Target::Flush(id), Mode::Exclusive),
        |lock| {
            let Some(lock) = lock else { return Ok(None) };
            // An error releases the lock, as every abort does.
            Ok(Some((lock, plan.changes(&Snapshot::statement()?)?)))
        },
    )?;
    let Some((lock, changes)) = looked else { return Ok(Published::Busy) };
    let published = plan.carry(&changes, result).and_then(|carried| {
        transaction_after(
            || locks::try_lock(Target::Namespace(id), Mode::RowExclusive),
            |free| {
                if !lock.is_held() {
                    return Ok(Published::Busy);
                }
                if !free {
                    return Ok(Published::Dropped);
                }
                plan.publish(&Snapshot::statement()?, &changes, result.clone(), &carried)?;
                gucs::fault_point("compaction.after_publish_before_commit");
                Ok(Published::Done)
            },
        )
    });
    lock.release();
    published
}
