//! \[worker\] Lives of indexes that no metapage names any more: of dropped indexes, and of those that were rebuilt.
//!
//! The metapage alone tells. An index's oid may change while its file stays (ALTER COLUMN TYPE without a rewrite), and its
//! file may change while its oid stays (REINDEX, TRUNCATE); both may be rolled back.

use crate::error::{ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::pg::am::metapage::Metapage;
use crate::pg::am::options::{self, Thresholds};
use crate::pg::am::relation::Rel;
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::heap_table::Name;
use crate::pg::locks::{self, Mode, Target};
use crate::pg::namespace;
use crate::pg::snapshot::Snapshot;
use crate::pg::worker::transaction::transaction;
use pgrx::pg_sys;
use std::collections::HashMap;

/// An index whose tombstone log is not empty.
#[derive(Debug, Clone, Copy)]
pub struct Vacuumed {
    /// The index.
    pub index: pg_sys::Oid,
    /// What its metapage said.
    pub meta: Metapage,
    thresholds: Thresholds,
}

/// What a look at all indexes found.
#[derive(Debug, Default)]
pub struct Found {
    /// Indexes with tombstones.
    pub vacuumed: Vec<Vacuumed>,
    /// When each index wants to be flushed.
    pub thresholds: HashMap<NamespaceId, Thresholds>,
}

/// Drops what abandoned lives have left, and says what it found of the indexes. `None` when that could not be decided
/// now, because an index is locked.
///
/// # Errors
/// Of the catalog; what is dropped before stays dropped.
pub fn bury() -> Result<Option<Found>> {
    let Some(Lives { abandoned, moved, found }) = transaction(find)? else { return Ok(None) };
    for row in abandoned {
        transaction(|| namespace::drop_row(row))?;
    }
    let mut noted = true;
    for row in moved {
        noted &= note_move(&row)?;
    }
    Ok(noted.then_some(found))
}

/// What has become of the lives in the catalog.
#[derive(Default)]
struct Lives {
    /// No metapage names them.
    abandoned: Vec<NamespaceRow>,
    /// The metapage that names them belongs to another oid than the catalog says; the rows have the new one.
    moved: Vec<NamespaceRow>,
    /// About the indexes that live.
    found: Found,
}

/// Notes the new oid of an index, for the views. False if a flush is under way, which would find the row changed.
fn note_move(row: &NamespaceRow) -> Result<bool> {
    let noted = transaction(|| {
        if !locks::try_lock(Target::Flush(row.id), Mode::Exclusive)? {
            return Ok(false);
        }
        catalog::replace_namespace(row).map(|()| true)
    });
    match noted {
        Err(error) if error.kind == ErrorKind::Fenced => Ok(false),
        other => other,
    }
}

fn find() -> Result<Option<Lives>> {
    if Name::Namespace.oid().is_err() {
        return Ok(Some(Lives::default()));
    }
    let snapshot = Snapshot::statement()?;
    let mut rows = catalog::namespaces(&snapshot)?;
    rows.retain(|row| row.kind == catalog::KIND_INDEX);
    if rows.is_empty() {
        return Ok(Some(Lives::default()));
    }
    // The same snapshot: whoever's life is visible in ours is visible in pg_class. A metapage is read as it is now; what was
    // replaced since the snapshot is abandoned indeed, and whatever may still be rolled back is locked.
    let Some(named) = named_by_metapages(&snapshot) else { return Ok(None) };
    let mut lives = Lives::default();
    for mut row in rows {
        match named.get(&row.id) {
            None => lives.abandoned.push(row),
            Some(life) if life.index != row.relation => {
                row.relation = life.index;
                lives.moved.push(row);
            }
            Some(_) => {}
        }
    }
    lives.found.thresholds = named.iter().map(|(id, life)| (*id, life.thresholds)).collect();
    lives.found.vacuumed = named.into_values().filter(|life| life.meta.tombstones.count > 0).collect();
    Ok(Some(lives))
}

/// The incarnations that metapages name, with the index of each; `None` if one cannot be read now.
fn named_by_metapages(snapshot: &Snapshot) -> Option<HashMap<NamespaceId, Vacuumed>> {
    let mut named = HashMap::new();
    for oid in indexes(snapshot) {
        // SAFETY: an oid; the lock is released with the transaction.
        if !unsafe { pg_sys::ConditionalLockRelationOid(oid, pg_sys::AccessShareLock as i32) } {
            return None;
        }
        // SAFETY: locked above; null when it is gone.
        let index = unsafe { pg_sys::try_relation_open(oid, pg_sys::NoLock as i32) };
        if index.is_null() {
            // Dropped since the snapshot. Its file may live on under an oid that the snapshot does not see.
            return None;
        }
        // SAFETY: open until it is closed below.
        let open = unsafe { Rel::new(index) };
        let (meta, thresholds) = (Metapage::read(open), options::thresholds(open));
        // SAFETY: opened above.
        unsafe { pg_sys::relation_close(index, pg_sys::NoLock as i32) };
        // A damaged page tells nothing: then nothing is dropped.
        let meta = meta.ok()?;
        named.insert(meta.incarnation, Vacuumed { index: oid, meta, thresholds });
    }
    Some(named)
}

/// Indexes of the access method that the snapshot sees.
fn indexes(snapshot: &Snapshot) -> Vec<pg_sys::Oid> {
    // SAFETY: a C string; a missing access method gives the invalid oid.
    let method = unsafe { pg_sys::get_am_oid(c"elacsym".as_ptr(), true) };
    if method == pg_sys::InvalidOid {
        return Vec::new();
    }
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: fills the whole struct; oid equality on an oid column.
    unsafe {
        pg_sys::ScanKeyInit(
            &raw mut key,
            pg_sys::Anum_pg_class_relam as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::Oid::from(pg_sys::F_OIDEQ),
            pg_sys::Datum::from(method),
        );
    }
    // SAFETY: a catalog.
    let class = unsafe { pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::AccessShareLock as i32) };
    // SAFETY: an open relation, no index, one key, a registered snapshot.
    let scan =
        unsafe { pg_sys::systable_beginscan(class, pg_sys::InvalidOid, false, snapshot.as_ptr(), 1, &raw mut key) };
    let mut found = Vec::new();
    loop {
        // SAFETY: the scan is running.
        let tuple = unsafe { pg_sys::systable_getnext(scan) };
        if tuple.is_null() {
            break;
        }
        // SAFETY: a row of pg_class.
        let form = unsafe { &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple) };
        if form.relkind as u8 == pg_sys::RELKIND_INDEX {
            found.push(form.oid);
        }
    }
    // SAFETY: begun above.
    unsafe { pg_sys::systable_endscan(scan) };
    // SAFETY: opened above.
    unsafe { pg_sys::table_close(class, pg_sys::AccessShareLock as i32) };
    found
}
