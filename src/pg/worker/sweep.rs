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
    /// The first error.
    failed: Option<Error>,
}

impl Sweep {
    /// Announces, or looks at one page, if it is time.
    ///
    /// # Errors
    /// Of storage and of the catalog. A root that cannot be reached is left out; of the catalog's errors a sweep is given up.
    /// Either way it is begun anew with the next announcement.
    pub fn step(&mut self) -> Result<Swept> {
        if let Some(underway) = self.underway.take() {
            return self.go_on(underway);
        }
        if !shmem::announce_due(gucs::announce_period()) {
            return Ok(Swept::Idle);
        }
        // Noted before: what fails is tried again after the same time.
        shmem::announced();
        let announced = announce();
        if announced.as_ref().is_err_and(|error| error.kind == ErrorKind::Fenced) {
            return announced.map(|()| Swept::Idle);
        }
        if !gucs::orphan_sweep_interval().is_some_and(shmem::sweep_due) {
            return announced.map(|()| Swept::Idle);
        }
        let roots = transaction(|| garbage::roots(&Snapshot::statement()?))?;
        let failed = announced.err();
        self.go_on(Underway { roots: roots.into_iter().collect(), after: None, found: 0, failed })
    }

    fn go_on(&mut self, mut underway: Underway) -> Result<Swept> {
        if let Err(error) = underway.page() {
            underway.next_root();
            underway.failed.get_or_insert(error);
        }
        if underway.roots.is_empty() {
            if let Some(error) = underway.failed {
                return Err(error);
            }
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
            // Only where no other server lives. A store that does not allow it keeps them; what else the sweep finds does not depend
            // on it.
            if let Err(error) = garbage::claim(root, false).and_then(|()| garbage::abort_uploads(root)) {
                super::log(error.with_hint("Uploads that a crash left unfinished are not ended in this store."));
            }
            self.report();
            self.next_root();
        }
        Ok(())
    }

    fn next_root(&mut self) {
        self.roots.pop();
        self.after = None;
        self.found = 0;
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
    let (mut wanted, mut unmarked) = (BTreeSet::new(), BTreeSet::new());
    // What fails in one root keeps nobody from the others.
    let mut failed: Option<Error> = None;
    for ((root, lender), newest) in borrowed {
        let mark = Lent { lender, borrower: own, newest };
        let text = "a copied database reads objects of the one it was copied from\n";
        if let Err(error) = garbage::put_mark(&root, mark.key(cluster), text) {
            failed.get_or_insert(error);
            unmarked.insert(root.clone());
        }
        wanted.insert((root, mark));
    }
    roots.insert(present.clone());
    let remove_old = |root: &String| {
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
        garbage::delete(root, over)
    };
    // An older mark is better than none.
    for root in roots.difference(&unmarked) {
        if let Err(error) = remove_old(root) {
            failed.get_or_insert(error);
        }
    }
    // Where there are no objects there is nobody to tell.
    let empty = garbage::first(&present, &crate::garbage::cluster_prefix(cluster), None)?.is_none();
    for root in roots.iter().filter(|root| **root != present || !empty) {
        if let Err(error) = garbage::claim(root, true) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}
