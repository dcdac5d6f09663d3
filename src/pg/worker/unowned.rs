//! \[worker, launcher\] Objects of databases that have no catalog of ours any more: dropped, or without the extension.
//!
//! When that is noticed, a mark in storage ([`Dropped`]) says so. When the mark is as old as the retention time, the objects that are
//! older than it go. A catalog that is created meanwhile removes the mark, and its objects are younger.

use crate::error::Result;
use crate::garbage::marks::{Dropped, Lent};
use crate::garbage::{cluster_prefix, database_of, database_prefix, is_lent, place_in};
use crate::ipc::message::StoredObject;
use crate::pg::garbage;
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::transaction::transaction;
use crate::pg::{gucs, namespace};
use pgrx::pg_sys;

/// Whether a database still has no catalog, as of now: the horizon of transactions then, before which all are over.
type Gone<'a> = &'a dyn Fn() -> Result<Option<u64>>;

/// Looks after the objects of one such database in one root.
fn tidy(root: &str, database: u32, gone: Gone<'_>) -> Result<()> {
    let cluster = namespace::cluster_id();
    let prefix = database_prefix(cluster, database);
    let marks = garbage::dropped(root, database)?;
    let remove_marks = || garbage::delete(root, marks.iter().map(|(_, object)| object.key.clone()).collect());
    if garbage::first(root, &prefix, None)?.is_none() {
        return remove_marks();
    }
    let Some((mark, object)) = marks.first() else {
        let mark = Dropped { database, xid: garbage::last_transaction_id() };
        return garbage::put_mark(root, mark.key(cluster), "this database has no catalog of its objects any more\n");
    };
    if !is_old_enough(object) {
        return Ok(());
    }
    // A transaction that creates a catalog may have written objects before the mark.
    let Some(xmin) = gone()? else { return remove_marks() };
    if mark.xid >= xmin {
        return Ok(());
    }
    garbage::claim(root, true)?;
    let lent = garbage::lent(root, database, |other| Ok(databases()?.contains(&other)))?;
    let mut is_left = false;
    garbage::each_page(root, &prefix, |objects| {
        let mut keys = Vec::new();
        for found in objects {
            // INV-9: what has no name of ours is left alone.
            let Some(place) = place_in(&prefix, &found.key) else { continue };
            if is_lent(&place, lent.as_deref()) {
                is_left = true;
            } else if found.modified < object.modified {
                keys.push(found.key);
            }
        }
        garbage::delete(root, keys)
    })?;
    // What is younger than the mark waits for a new one.
    if is_left { Ok(()) } else { remove_marks() }
}

/// Whether the objects that are older than this mark may go.
pub fn is_old_enough(mark: &StoredObject) -> bool {
    garbage::age(mark) >= i64::try_from(gucs::object_retention().as_micros()).unwrap_or(i64::MAX)
}

/// \[worker\] This database has no extension: looks after what it has left.
///
/// # Errors
/// Of storage; repeating is safe.
pub fn tidy_own() -> Result<()> {
    tidy(&gucs::storage_root()?, namespace::own_database(), &|| {
        transaction(|| {
            // SAFETY: a C string; `true` means that a missing extension is no error.
            let extension = unsafe { pg_sys::get_extension_oid(c"elacsym".as_ptr(), true) };
            if extension != pg_sys::InvalidOid {
                return Ok(None);
            }
            Ok(Some(Snapshot::statement()?.xmin()))
        })
    })
}

/// \[launcher\] Looks after what dropped databases have left.
///
/// # Errors
/// Of storage; repeating is safe.
pub fn tidy_dropped() -> Result<()> {
    let root = gucs::storage_root()?;
    let found = directories(&root)?;
    // Looked up after the directories: a database that is new since has no objects there.
    let present = databases()?;
    for database in found.into_iter().filter(|database| !present.contains(database)) {
        // No transaction brings a dropped database back.
        tidy(&root, database, &|| Ok((!databases()?.contains(&database)).then_some(u64::MAX)))?;
    }
    let cluster = namespace::cluster_id();
    garbage::each_page(&root, &Lent::prefix(cluster, None), |objects| {
        // Again after the listing: whoever has put a mark was there by then.
        let present = databases()?;
        let of_dropped = |key: &str| Lent::parse(cluster, key).is_some_and(|mark| !present.contains(&mark.borrower));
        garbage::delete(&root, objects.into_iter().map(|object| object.key).filter(|key| of_dropped(key)).collect())
    })
}

/// The databases that have objects below the cluster's prefix.
///
/// # Errors
/// Of storage.
pub fn directories(root: &str) -> Result<Vec<u32>> {
    let cluster = namespace::cluster_id();
    let prefix = cluster_prefix(cluster);
    let (mut found, mut after) = (Vec::new(), None);
    while let Some(object) = garbage::first(root, &prefix, after.as_deref())? {
        found.extend(database_of(cluster, &object.key));
        let name = object.key.strip_prefix(prefix.as_str()).and_then(|rest| rest.split_once('/'));
        // '0' is the character after '/': this is above every key of that directory.
        after = Some(name.map_or(object.key.clone(), |(name, _)| format!("{prefix}{name}0")));
    }
    Ok(found)
}

/// The databases that exist.
fn databases() -> Result<Vec<u32>> {
    transaction(|| Ok(super::launcher::databases().into_iter().map(|database| u32::from(database.oid)).collect()))
}
