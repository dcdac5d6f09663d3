//! \[worker\] The search for orphans: objects of this database that nothing refers to, because a build was rolled back, or a flush
//! ended between its upload and its publication. One page of a listing at a time, so that flushes do not wait.
//!
//! At the same pace the worker says in storage that this server lives, and whose objects it reads besides its own: a database that was
//! copied from another one refers to objects of that.

use crate::error::{Error, ErrorKind, Result};
use crate::garbage::marks::Lent;
use crate::limits::MAX_LISTED_OBJECTS;
use crate::pg::garbage::{self, Used};
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::transaction::transaction;
use crate::pg::{gucs, namespace, shmem};
use std::collections::BTreeSet;

/// What there was to do.
pub enum Swept {
    /// Nothing, or nothing more.
    Idle,
    /// The next page is to be looked at.
    Underway,
}

/// A sweep of this worker.
#[derive(Default)]
pub struct Sweep {
    underway: Option<Underway>,
}

/// Where it is.
struct Underway {
    /// Roots to go; the last one is at its turn.
    roots: Vec<String>,
    /// The last key of the page before.
    after: Option<String>,
    /// Orphans so far.
    found: usize,
}

impl Sweep {
    /// Announces, or looks at one page, if it is time.
    ///
    /// # Errors
    /// Of storage and of the catalog. A sweep is given up then, and begun anew with the next announcement.
    pub fn step(&mut self) -> Result<Swept> {
        if let Some(underway) = self.underway.take() {
            return self.go_on(underway);
        }
        if !shmem::announce_due(gucs::announce_period()) {
            return Ok(Swept::Idle);
        }
        // Noted before: what fails is tried again after the same time.
        shmem::announced();
        announce()?;
        if !gucs::orphan_sweep_interval().is_some_and(shmem::sweep_due) {
            return Ok(Swept::Idle);
        }
        let roots = transaction(|| garbage::roots(&Snapshot::statement()?))?;
        self.go_on(Underway { roots: roots.into_iter().collect(), after: None, found: 0 })
    }

    fn go_on(&mut self, mut underway: Underway) -> Result<Swept> {
        underway.page()?;
        if underway.roots.is_empty() {
            shmem::swept();
            return Ok(Swept::Idle);
        }
        self.underway = Some(underway);
        Ok(Swept::Underway)
    }
}

impl Underway {
    fn page(&mut self) -> Result<()> {
        let Some(root) = self.roots.last() else { return Ok(()) };
        let objects = garbage::page(root, &namespace::database_prefix(), self.after.as_deref())?;
        let is_last = objects.len() < MAX_LISTED_OBJECTS as usize;
        self.after = objects.last().map(|object| object.key.clone());
        let orphans = transaction(|| {
            let found = garbage::unreferenced(objects, &Snapshot::statement()?)?;
            Ok(found.into_iter().filter(|(_, known)| known.is_none()).map(|(object, _)| object.key).collect::<Vec<_>>())
        })?;
        if !orphans.is_empty() {
            // They may be those of a server that lives beside this one.
            garbage::claim(root, true)?;
            transaction(|| garbage::mark(root, orphans.iter().map(String::as_str)))?;
            gucs::fault_point("gc.after_mark");
            self.found += orphans.len();
        }
        if is_last {
            // A store that does not allow it keeps them; what else the sweep finds does not depend on it.
            if let Err(error) = garbage::abort_uploads(root) {
                super::log(error.with_hint("Uploads that a crash left unfinished are not ended in this store."));
            }
            self.report();
            self.roots.pop();
            self.after = None;
            self.found = 0;
        }
        Ok(())
    }

    fn report(&self) {
        if self.found > 0
            && let Some(root) = self.roots.last()
        {
            let message = format!("elacsym found {} objects in \"{root}\" that nothing refers to", self.found);
            let hint = "They are deleted after elacsym.object_retention.";
            super::log(Error::new(ErrorKind::NotFound, message).with_hint(hint));
        }
    }
}

/// Tells other servers that this one lives, and the databases it was copied from what it reads.
fn announce() -> Result<()> {
    let Used { mut roots, borrowed } = transaction(|| garbage::used(&Snapshot::statement()?))?;
    let (cluster, own) = (namespace::cluster_id(), namespace::own_database());
    let present = gucs::storage_root()?;
    let mut wanted = BTreeSet::new();
    for ((root, lender), newest) in borrowed {
        let mark = Lent { lender, borrower: own, newest };
        garbage::put_mark(&root, mark.key(cluster), "a copied database reads objects of the one it was copied from\n")?;
        wanted.insert((root, mark));
    }
    roots.insert(present.clone());
    for root in &roots {
        let mut over = Vec::new();
        garbage::each_page(root, &Lent::prefix(cluster, None), |objects| {
            for object in objects {
                let own_mark = Lent::parse(cluster, &object.key).filter(|mark| mark.borrower == own);
                if own_mark.is_some_and(|mark| !wanted.contains(&(root.clone(), mark))) {
                    over.push(object.key);
                }
            }
            Ok(())
        })?;
        // A catalog is here: what was noted when there was none does not count any more.
        over.extend(garbage::dropped(root, own)?.into_iter().map(|(_, object)| object.key));
        garbage::delete(root, over)?;
    }
    // Where there are no objects there is nobody to tell.
    let empty = garbage::first(&present, &crate::garbage::cluster_prefix(cluster), None)?.is_none();
    let mut fenced = None;
    for root in roots.iter().filter(|root| **root != present || !empty) {
        match garbage::claim(root, true) {
            Err(error) if error.kind == ErrorKind::Fenced => fenced = Some(error),
            other => other?,
        }
    }
    fenced.map_or(Ok(()), Err)
}
