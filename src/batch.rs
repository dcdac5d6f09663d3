//! Which entries of the write buffer one flush takes.
//!
//! A patch changes what its key's older entries made, so it may be folded into a segment only together with all of them: with
//! those that the flush sees, and when no more can come. Its *horizon* is the next transaction id at the moment after its
//! order was drawn. Transactions from there on draw higher orders; when all before it are over, no older entry is left to
//! appear. Until then the patch waits in the buffer, where every reader applies it. Upserts and deletes need not wait: an
//! older one that appears later has lost against them.

use crate::ids::{EntryId, EntryOrder, Key, Op};
use std::collections::HashMap;

/// What one flush may take, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most rows.
    pub rows: usize,
    /// Most bytes of payload.
    pub bytes: u64,
}

/// What the choice needs to know of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Identity.
    pub id: EntryId,
    /// What it does.
    pub op: Op,
    /// Of a patch: transactions from this one on began after it.
    pub horizon: u64,
    /// What it takes of the budget.
    pub bytes: u64,
}

/// Collects entries in the order of their transactions.
#[derive(Debug)]
pub struct Batch<T> {
    oldest_running: u64,
    budget: Budget,
    taken: Vec<T>,
    bytes: u64,
    rest: Option<u64>,
    /// The highest patch taken of each key.
    patched: HashMap<Key, EntryOrder>,
    waiting: Vec<(EntryId, T)>,
}

/// What one flush takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<T> {
    /// The entries: with every patch all visible entries of its key that are older.
    pub entries: Vec<T>,
    /// What they take of the budget.
    pub bytes: u64,
    /// The transaction of the first entry that is left for the next flush, because of the budget.
    pub rest: Option<u64>,
    /// The first transaction of a patch that waits for older transactions.
    pub waiting: Option<u64>,
}

impl<T> Batch<T> {
    /// `oldest_running`: every transaction before this one is over or is the flushing one itself, and what it wrote is offered.
    pub fn new(oldest_running: u64, budget: Budget) -> Self {
        Self {
            oldest_running,
            budget,
            taken: Vec::new(),
            bytes: 0,
            rest: None,
            patched: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Considers the next entry. False: no later one can be taken any more.
    pub fn offer(&mut self, candidate: Candidate, entry: T) -> bool {
        let Candidate { id, op, horizon, bytes } = candidate;
        if op == Op::Patch && horizon > self.oldest_running {
            self.waiting.push((id, entry));
            return true;
        }
        let full = self.taken.len() >= self.budget.rows || self.bytes + bytes > self.budget.bytes;
        if self.rest.is_some() || (full && !self.taken.is_empty()) {
            self.rest.get_or_insert(id.order.xid);
            if self.patched.get(&id.key).is_some_and(|highest| id.order < *highest) {
                self.take(entry, bytes);
            }
            return !self.patched.is_empty();
        }
        if op == Op::Patch {
            let highest = self.patched.entry(id.key).or_insert(id.order);
            *highest = id.order.max(*highest);
        }
        self.take(entry, bytes);
        true
    }

    fn take(&mut self, entry: T, bytes: u64) {
        self.bytes += bytes;
        self.taken.push(entry);
    }

    /// The choice.
    pub fn finish(mut self) -> Taken<T> {
        let mut waiting = None;
        for (id, entry) in self.waiting {
            // Nothing older than the taken patch can appear, hence nothing older than this one.
            if self.patched.get(&id.key).is_some_and(|highest| id.order < *highest) {
                self.taken.push(entry);
            } else {
                waiting = Some(waiting.map_or(id.order.xid, |first: u64| first.min(id.order.xid)));
            }
        }
        Taken { entries: self.taken, bytes: self.bytes, rest: self.rest, waiting }
    }
}

#[cfg(test)]
mod tests;
