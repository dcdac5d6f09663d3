//! Rows of `elacsym.garbage`, and the catalog as the rules of [`crate::garbage`] ask it.

use crate::error::{Error, ErrorKind, Result};
use crate::garbage::marks::{Dropped, Lent};
use crate::garbage::{Catalog, Due, Horizon, Place, Reason, Released, Verdict, database_prefix, judge, place_in};
use crate::ids::NamespaceId;
use crate::ipc::message::{Request, StoredObject};
use crate::limits::MAX_LISTED_OBJECTS;
use crate::pg::catalog;
use crate::pg::engine_call;
use crate::pg::heap_table::{Column, HeapTable, IndexName, Key, Name, Row, Scan};
use crate::pg::snapshot::{Snapshot, next_transaction_id, top_transaction_id};
use crate::pg::{gucs, namespace};
use pgrx::pg_sys;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const COLUMNS: usize = 5;
const BY_KEY: IndexName = IndexName(c"garbage_key_idx");
const BY_TIME: IndexName = IndexName(c"garbage_reason_released_at_idx");

/// A superseded manifest stays for this long at most: it is for readers that have just listed the directory, and a namespace that is
/// flushed every second writes one every second, each as long as the list of segments.
const MANIFEST_RETENTION: Duration = Duration::from_secs(600);
/// A sweep leaves younger objects alone, unless even the retention time is shorter: they are being uploaded or published, most of
/// them, and rows about them would be taken back.
const YOUNG: Duration = Duration::from_secs(3_600);
/// PostgreSQL counts microseconds from 2000, everybody else from 1970: the difference.
const EPOCH_DIFFERENCE: i64 = 946_684_800_000_000;

/// A row of `elacsym.garbage`.
#[derive(Debug, Clone)]
pub struct GarbageRow {
    /// Where the row is.
    pub tid: pg_sys::ItemPointerData,
    /// Storage root of the object.
    pub root: String,
    /// Its key below the root.
    pub key: String,
    /// Why and since when.
    pub released: Released,
}

impl GarbageRow {
    fn read(row: &Row<'_, COLUMNS>) -> Result<Self> {
        Ok(Self { tid: row.tid, root: row.text(0)?, key: row.text(1)?, released: released(row)? })
    }
}

fn released(row: &Row<'_, COLUMNS>) -> Result<Released> {
    let reason = Reason::from_u8(row.char(4)).ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "a row of elacsym.garbage has a reason that this library does not know")
    })?;
    Ok(Released { reason, xid: row.u64(2), at: row.i64(3) })
}

fn columns<'a>(root: &'a str, key: &'a str, released: &Released) -> [Column<'a>; COLUMNS] {
    [
        Column::Text(root),
        Column::Text(key),
        Column::Xid8(released.xid),
        Column::Timestamp(released.at),
        Column::Char(released.reason as u8),
    ]
}

/// Notes that nothing will refer to these objects once this transaction commits.
pub fn release<'a>(root: &str, keys: impl IntoIterator<Item = &'a str>, reason: Reason) -> Result<()> {
    let table = HeapTable::write(Name::Garbage)?;
    let released = Released { reason, xid: top_transaction_id(), at: catalog::now() };
    for key in keys {
        table.insert(columns(root, key, &released))?;
    }
    Ok(())
}

/// Notes objects that nothing refers to. Call it after the listing they are from: whoever made one has drawn its transaction id.
pub fn mark<'a>(root: &str, orphans: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let table = HeapTable::write(Name::Garbage)?;
    let xid = top_transaction_id().max(last_transaction_id());
    let released = Released { reason: Reason::Orphan, xid, at: catalog::now() };
    for key in orphans {
        table.insert(columns(root, key, &released))?;
    }
    Ok(())
}

/// The last full transaction id that was drawn.
pub fn last_transaction_id() -> u64 {
    next_transaction_id().saturating_sub(1)
}

/// Rows are kept for as long again, because another database reads the objects.
pub fn postpone(rows: &[GarbageRow]) -> Result<()> {
    let table = HeapTable::write(Name::Garbage)?;
    let now = catalog::now();
    for row in rows {
        table.replace(row.tid, columns(&row.root, &row.key, &Released { at: now, ..row.released }))?;
    }
    Ok(())
}

/// Removes rows.
pub fn forget(rows: &[GarbageRow]) -> Result<()> {
    let table = HeapTable::write(Name::Garbage)?;
    for row in rows {
        table.delete(row.tid)?;
    }
    Ok(())
}

/// What is due when `snapshot` is the present.
pub fn horizon(snapshot: &Snapshot) -> Horizon {
    let before = |time: Duration| catalog::now().saturating_sub(micros(time));
    let retention = gucs::object_retention();
    Horizon {
        xmin: snapshot.xmin(),
        until: before(retention),
        manifests_until: before(retention.min(MANIFEST_RETENTION)),
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Up to `limit` rows that are due, of the roots that are wanted, those of the longest time first.
pub fn due(snapshot: &Snapshot, limit: usize, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<GarbageRow>> {
    let horizon = horizon(snapshot);
    let table = HeapTable::read(Name::Garbage)?;
    let mut rows = Vec::new();
    for reason in Reason::ALL {
        let keys = [Key::Char(5, reason as u8), Key::TimestampAtMost(4, horizon.until(reason))];
        let mut scan: Scan<'_, COLUMNS> = table.scan(Some(BY_TIME), &keys, snapshot)?;
        // Transactions that are not over hold back what was released after they began: so everything behind them, too.
        let mut held = 0;
        while rows.len() < limit
            && held < limit
            && let Some(row) = scan.next()
        {
            let row = GarbageRow::read(&row)?;
            match horizon.due(&row.released) {
                Due::Now if is_wanted(&row.root) => rows.push(row),
                Due::Now => {}
                Due::AfterTransactions | Due::AfterRetention => held += 1,
            }
        }
    }
    Ok(rows)
}

/// The catalog as one snapshot has it.
pub struct Tables<'s> {
    snapshot: &'s Snapshot,
    garbage: HeapTable,
}

impl<'s> Tables<'s> {
    /// Under this snapshot.
    pub fn new(snapshot: &'s Snapshot) -> Result<Self> {
        Ok(Self { snapshot, garbage: HeapTable::read(Name::Garbage)? })
    }
}

impl Catalog for Tables<'_> {
    fn has_segment(&self, namespace: NamespaceId, segment: &str) -> Result<bool> {
        catalog::has_segment(namespace, segment, self.snapshot)
    }

    fn manifest_generation(&self, namespace: NamespaceId) -> Result<Option<u64>> {
        Ok(catalog::namespace_by_id(namespace, self.snapshot)?.map(|row| row.manifest_generation))
    }

    fn released(&self, key: &str) -> Result<Vec<Released>> {
        let mut scan: Scan<'_, COLUMNS> = self.garbage.scan(Some(BY_KEY), &[Key::Text(2, key)], self.snapshot)?;
        let mut rows = Vec::new();
        while let Some(row) = scan.next() {
            rows.push(released(&row)?);
        }
        Ok(rows)
    }
}

/// Age of an object in microseconds.
pub fn age(object: &StoredObject) -> i64 {
    catalog::now().saturating_add(EPOCH_DIFFERENCE).saturating_sub(object.modified).max(0)
}

/// What a page of a listing holds that nothing refers to: the objects in the order of the listing with what is known of them. Orphans
/// that may be in the middle of their making are left out. `snapshot` must be later than the listing.
pub fn unreferenced(objects: Vec<StoredObject>, snapshot: &Snapshot) -> Result<Vec<(StoredObject, Option<Released>)>> {
    let prefix = namespace::database_prefix();
    let tables = Tables::new(snapshot)?;
    let young = micros(YOUNG.min(gucs::object_retention()));
    let mut found = Vec::new();
    for object in objects {
        // What has no name of ours was put there by somebody else, who may want it.
        let Some(place) = place_in(&prefix, &object.key) else { continue };
        match judge(&place, &object.key, &tables)? {
            Verdict::Live => {}
            Verdict::Garbage(released) => found.push((object, Some(released))),
            Verdict::Unknown if age(&object) < young => {}
            Verdict::Unknown => found.push((object, None)),
        }
    }
    Ok(found)
}

/// Storage that the catalog names, and what of it belongs to others.
#[derive(Debug, Default)]
pub struct Used {
    /// Roots of live segments.
    pub roots: BTreeSet<String>,
    /// Segments of databases that this one was copied from: root and database, and the newest one.
    pub borrowed: BTreeMap<(String, u32), String>,
}

impl Used {
    /// Notes a segment of another database.
    fn borrow(&mut self, root: &str, lender: u32, segment: &str) {
        let newest = self.borrowed.entry((root.to_string(), lender)).or_default();
        if newest.as_str() < segment {
            *newest = segment.to_string();
        }
    }
}

/// What the segments of this database use, and what those of other databases that it has released are still kept for: standbys,
/// cursors and recovery to an earlier time read them until the retention time has passed, and their rows of garbage with it.
pub fn used(snapshot: &Snapshot) -> Result<Used> {
    let cluster = namespace::cluster_id();
    let own = namespace::own_database();
    let lender = |path: &str| crate::garbage::database_of(cluster, path).filter(|other| *other != own);
    let mut used = Used::default();
    catalog::each_segment(snapshot, |info| {
        if let Some(other) = lender(&info.path) {
            used.borrow(&info.root, other, &info.id);
        }
        if !used.roots.contains(&info.root) {
            used.roots.insert(info.root);
        }
    })?;
    let table = HeapTable::read(Name::Garbage)?;
    let mut scan: Scan<'_, COLUMNS> = table.scan(None, &[], snapshot)?;
    while let Some(row) = scan.next() {
        let key = row.text(1)?;
        let Some(other) = lender(&key) else { continue };
        if let Some(Place::Segment { segment, .. }) = place_in(&database_prefix(cluster, other), &key) {
            used.borrow(&row.text(0)?, other, segment);
        }
    }
    Ok(used)
}

/// Every root where something of this database may be: those of its segments and of its garbage, and the present one.
pub fn roots(snapshot: &Snapshot) -> Result<BTreeSet<String>> {
    let mut roots = used(snapshot)?.roots;
    roots.insert(gucs::storage_root()?);
    let table = HeapTable::read(Name::Garbage)?;
    let mut scan: Scan<'_, COLUMNS> = table.scan(None, &[], snapshot)?;
    while let Some(row) = scan.next() {
        let root = row.text(0)?;
        if !roots.contains(&root) {
            roots.insert(root);
        }
    }
    Ok(roots)
}

// ---- storage, through the engine ----

/// One page of a listing; a short one is the last.
pub fn page(root: &str, prefix: &str, after: Option<&str>) -> Result<Vec<StoredObject>> {
    list(root, prefix, after, MAX_LISTED_OBJECTS)
}

/// The first object of a listing.
pub fn first(root: &str, prefix: &str, after: Option<&str>) -> Result<Option<StoredObject>> {
    Ok(list(root, prefix, after, 1)?.pop())
}

fn list(root: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<StoredObject>> {
    let (root, prefix) = (root.to_string(), prefix.to_string());
    engine_call::objects(&Request::ListObjects { root, prefix, after: after.map(str::to_string), limit })
}

/// Every object below a prefix, page by page.
pub fn each_page(root: &str, prefix: &str, mut work: impl FnMut(Vec<StoredObject>) -> Result<()>) -> Result<()> {
    let mut after = None;
    loop {
        let objects = page(root, prefix, after.as_deref())?;
        let is_last = objects.len() < MAX_LISTED_OBJECTS as usize;
        after = objects.last().map(|object| object.key.clone());
        work(objects)?;
        if is_last {
            return Ok(());
        }
    }
}

/// Deletes objects.
pub fn delete(root: &str, keys: Vec<String>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    engine_call::done(&Request::DeleteObjects { root: root.to_string(), keys })
}

/// Puts a mark.
pub fn put_mark(root: &str, key: String, text: &str) -> Result<()> {
    engine_call::done(&Request::PutMark { root: root.to_string(), key, text: text.to_string() })
}

/// No upload takes longer: one that began before was left by a crash.
const LONGEST_UPLOAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Ends what crashes have left of uploads in this root, of any database of this cluster: also of dropped ones.
pub fn abort_uploads(root: &str) -> Result<()> {
    let prefix = crate::garbage::cluster_prefix(namespace::cluster_id());
    let age_seconds = gucs::object_retention().max(LONGEST_UPLOAD).as_secs();
    engine_call::done(&Request::AbortUploads { root: root.to_string(), prefix, age_seconds })
}

/// Whether this server is alone in using its prefix. With `announce` it first says so in storage, for as long as a copy may be silent
/// before what it needs is deleted.
///
/// # Errors
/// `Fenced` if another one lives.
pub fn claim(root: &str, announce: bool) -> Result<()> {
    let announce = announce.then(|| gucs::object_retention().max(gucs::announce_period() * SILENT_PERIODS).as_secs());
    engine_call::done(&Request::Claim { root: root.to_string(), cluster: namespace::cluster_id(), announce })
}

/// A server that has not announced itself for so many periods is gone, if the retention time is shorter than that.
const SILENT_PERIODS: u32 = 10;

/// The newest segment of `lender` that another database reads, in this root.
pub fn lent(root: &str, lender: u32, exists: impl Fn(u32) -> Result<bool>) -> Result<Option<String>> {
    let cluster = namespace::cluster_id();
    let mut newest: Option<String> = None;
    each_page(root, &Lent::prefix(cluster, Some(lender)), |objects| {
        for object in objects {
            let Some(mark) = Lent::parse(cluster, &object.key) else { continue };
            // The mark of a database that is gone does not count.
            if exists(mark.borrower)? {
                newest = newest.take().max(Some(mark.newest));
            }
        }
        Ok(())
    })?;
    Ok(newest)
}

/// The marks about one database that has no catalog, oldest first.
pub fn dropped(root: &str, database: u32) -> Result<Vec<(Dropped, StoredObject)>> {
    let cluster = namespace::cluster_id();
    let objects = page(root, &Dropped::prefix(cluster, database), None)?;
    let mut marks: Vec<_> = objects
        .into_iter()
        .filter_map(|object| Dropped::parse(cluster, database, &object.key).map(|mark| (mark, object)))
        .collect();
    marks.sort_by_key(|(_, object)| object.modified);
    Ok(marks)
}

/// Whether a database of that oid exists. Inside a transaction, in a process that is connected to a database.
pub fn database_exists(database: u32) -> bool {
    let id = pg_sys::SysCacheIdentifier::DATABASEOID as i32;
    let oid = pg_sys::Datum::from(pg_sys::Oid::from(database));
    let none = pg_sys::Datum::from(0_usize);
    // SAFETY: a look-up by oid in a shared catalog.
    unsafe { pg_sys::SearchSysCacheExists(id, oid, none, none, none) }
}
