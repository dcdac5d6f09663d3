//! `gc`: what nothing in object storage refers to, and what becomes of it.
//!
//! The function lists and marks; the maintenance worker deletes, right after the commit what is due then. So a rollback has done
//! nothing, and whoever deletes is one process for each database.

use super::arguments::required;
use crate::error::{ErrorKind, Result};
use crate::garbage::{Due, Released, database_prefix, is_lent, place_in};
use crate::ipc::message::StoredObject;
use crate::pg::error::OrRaise;
use crate::pg::heap_table::Name;
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::{launcher, unowned};
use crate::pg::{acl, garbage, gucs, namespace, preload, shmem, xact};
use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern};

/// What becomes of an object.
#[derive(Debug, Clone, Copy)]
enum Action {
    Delete,
    WaitForRetention,
    WaitForTransactions,
    KeepForCopy,
    KeepForServer,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::WaitForRetention => "wait for retention",
            Self::WaitForTransactions => "wait for transactions",
            Self::KeepForCopy => "keep for a copied database",
            Self::KeepForServer => "keep for another server",
        }
    }
}

/// One row of the answer.
struct Found {
    root: String,
    object: StoredObject,
    reason: &'static str,
    action: Action,
}

/// \[backend\] `elacsym.gc(dry_run boolean)`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_gc(
    dry_run: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(root, String),
        name!(object, String),
        name!(bytes, i64),
        name!(age, Interval),
        name!(reason, String),
        name!(action, String),
    ),
> {
    preload::require();
    let dry_run = required(dry_run, "dry_run");
    if !dry_run {
        acl::check_may_write(c"elacsym.gc()");
    }
    let found = gc(dry_run).or_raise();
    TableIterator::new(found.into_iter().map(|found| {
        (
            found.root,
            found.object.key.clone(),
            i64::try_from(found.object.bytes).unwrap_or(i64::MAX),
            Interval::from_micros(garbage::age(&found.object)),
            found.reason.to_string(),
            found.action.name().to_string(),
        )
    }))
}

fn gc(dry_run: bool) -> Result<Vec<Found>> {
    acl::check_extension_owner("elacsym.gc()")?;
    xact::register();
    let mut found = Vec::new();
    for root in garbage::roots(&Snapshot::fresh(Name::Segment.oid()?))? {
        of_this_database(root, dry_run, &mut found)?;
    }
    of_dropped_databases(&mut found)?;
    if !dry_run {
        // Wakes the worker after the commit, and the launcher.
        xact::mark_written();
        shmem::request_launch();
    }
    Ok(found)
}

/// What stands in the way of deleting in a root.
struct Obstacles {
    another_server: bool,
    lent: Option<String>,
}

impl Obstacles {
    fn of(root: &str, database: u32, announce: bool) -> Result<Self> {
        let another_server = match garbage::claim(root, announce) {
            Err(error) if error.kind == ErrorKind::Fenced => true,
            other => other.map(|()| false)?,
        };
        let lent = garbage::lent(root, database, |borrower| Ok(garbage::database_exists(borrower)))?;
        Ok(Self { another_server, lent })
    }

    fn action(&self, prefix: &str, key: &str, otherwise: Action) -> Action {
        if self.another_server {
            Action::KeepForServer
        } else if place_in(prefix, key).is_some_and(|place| is_lent(&place, self.lent.as_deref())) {
            Action::KeepForCopy
        } else {
            otherwise
        }
    }
}

fn of_this_database(root: String, dry_run: bool, found: &mut Vec<Found>) -> Result<()> {
    let prefix = namespace::database_prefix();
    let obstacles = Obstacles::of(&root, namespace::own_database(), !dry_run)?;
    garbage::each_page(&root, &prefix, |objects| {
        // Later than the listing, and again for each page.
        let snapshot = Snapshot::fresh(Name::Segment.oid()?);
        let horizon = garbage::horizon(&snapshot);
        let page = garbage::unreferenced(objects, &snapshot)?;
        if !dry_run && !obstacles.another_server {
            let orphans = page.iter().filter(|(_, known)| known.is_none());
            garbage::mark(&root, orphans.map(|(object, _)| object.key.as_str()))?;
        }
        found.extend(page.into_iter().map(|(object, known)| {
            let otherwise = known.map_or_else(unknown, |released| match horizon.due(&released) {
                Due::Now => Action::Delete,
                Due::AfterRetention => Action::WaitForRetention,
                Due::AfterTransactions => Action::WaitForTransactions,
            });
            Found {
                reason: reason(known),
                action: obstacles.action(&prefix, &object.key, otherwise),
                root: root.clone(),
                object,
            }
        }));
        Ok(())
    })
}

/// Its time begins when it is marked.
fn unknown() -> Action {
    if gucs::object_retention().is_zero() { Action::WaitForTransactions } else { Action::WaitForRetention }
}

fn reason(known: Option<Released>) -> &'static str {
    known.map_or(crate::garbage::Reason::Orphan, |released| released.reason).name()
}

/// What the launcher does about these, and when.
fn of_dropped_databases(found: &mut Vec<Found>) -> Result<()> {
    let root = gucs::storage_root()?;
    let directories = unowned::directories(&root)?;
    let present: Vec<u32> = launcher::databases().into_iter().map(|database| u32::from(database.oid)).collect();
    for database in directories.into_iter().filter(|database| !present.contains(database)) {
        let prefix = database_prefix(namespace::cluster_id(), database);
        let obstacles = Obstacles::of(&root, database, false)?;
        let otherwise = match garbage::dropped(&root, database)?.first() {
            Some((_, mark)) if unowned::is_old_enough(mark) => Action::Delete,
            _ => Action::WaitForRetention,
        };
        garbage::each_page(&root, &prefix, |objects| {
            found.extend(objects.into_iter().filter(|object| place_in(&prefix, &object.key).is_some()).map(|object| {
                let action = obstacles.action(&prefix, &object.key, otherwise);
                Found { root: root.clone(), reason: "database dropped", action, object }
            }));
            Ok(())
        })?;
    }
    Ok(())
}
