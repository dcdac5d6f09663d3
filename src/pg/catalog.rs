//! Rows of `elacsym.namespace` and `elacsym.segment`.

use crate::decoded::Decoded;
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::Reason;
use crate::ids::NamespaceId;
use crate::pg::buffer_table;
use crate::pg::garbage;
use crate::pg::heap_table::{Column, Deleted, HeapTable, IndexName, Key, Name, Row, Scan};
use crate::pg::snapshot::{Snapshot, next_transaction_id};
use crate::schema::NamespaceSchema;
use crate::segment_info::{DeleteVector, SegmentInfo};
use pgrx::pg_sys;
use std::cell::RefCell;

thread_local! {
    static SCHEMAS: RefCell<Decoded<NamespaceSchema>> = const { RefCell::new(Decoded::new(16)) };
    static INFOS: RefCell<Decoded<SegmentInfo>> = const { RefCell::new(Decoded::new(32)) };
}

/// Version of the catalog's content that this library writes.
pub const CATALOG_FORMAT: i32 = 1;
/// `kind` of a namespace that SQL functions created.
pub const KIND_NAMESPACE: u8 = b'n';
/// `kind` of an incarnation of an index.
pub const KIND_INDEX: u8 = b'i';

const NAMESPACE_BY_ID: IndexName = IndexName(c"namespace_pkey");
const NAMESPACE_BY_NAME: IndexName = IndexName(c"namespace_name_key");
const SEGMENT_BY_ID: IndexName = IndexName(c"segment_pkey");

/// A row of `elacsym.namespace`.
#[derive(Debug, Clone)]
pub struct NamespaceRow {
    /// Where the row is.
    pub tid: pg_sys::ItemPointerData,
    /// Identity.
    pub id: NamespaceId,
    /// Name; unique.
    pub name: String,
    /// [`KIND_NAMESPACE`].
    pub kind: u8,
    /// Role that owns it.
    pub owner: pg_sys::Oid,
    /// The index, for an incarnation of one.
    pub relation: pg_sys::Oid,
    /// Stored form of the schema.
    pub schema: String,
    /// Options, a JSON object.
    pub options: String,
    /// [`CATALOG_FORMAT`] when it was created.
    pub format: i32,
    /// Number of changes of its segments.
    pub generation: u64,
    /// Generation of the newest manifest in object storage.
    pub manifest_generation: u64,
    /// Every entry of a transaction before this one is in a segment, or was rolled back.
    pub watermark: u64,
    /// Microseconds since 2000-01-01.
    pub created_at: i64,
}

type NamespaceScan<'t> = Scan<'t, 12>;

impl NamespaceRow {
    fn read(row: &Row<'_, 12>) -> Result<Self> {
        Ok(Self {
            tid: row.tid,
            id: row.uuid(0),
            name: row.text(1)?,
            kind: row.char(2),
            owner: row.oid(3),
            relation: row.oid(4),
            schema: row.jsonb(5)?,
            options: row.jsonb(6)?,
            format: row.i32(7),
            generation: row.u64(8),
            manifest_generation: row.u64(9),
            watermark: row.u64(10),
            created_at: row.i64(11),
        })
    }

    fn columns(&self) -> [Column<'_>; 12] {
        [
            Column::Uuid(&self.id),
            Column::Text(&self.name),
            Column::Char(self.kind),
            Column::Oid(self.owner),
            Column::Oid(self.relation),
            Column::Jsonb(&self.schema),
            Column::Jsonb(&self.options),
            Column::I32(self.format),
            Column::I64(self.generation as i64),
            Column::I64(self.manifest_generation as i64),
            Column::Xid8(self.watermark),
            Column::Timestamp(self.created_at),
        ]
    }

    /// The schema, parsed.
    pub fn parse_schema(&self) -> Result<NamespaceSchema> {
        if self.format > CATALOG_FORMAT {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("namespace \"{}\" has catalog format {}, newer than this library", self.name, self.format),
            )
            .with_hint("Install the version of elacsym that wrote it, or a newer one."));
        }
        let parse = || NamespaceSchema::from_stored(&self.schema);
        SCHEMAS.with_borrow_mut(|kept| kept.get(self.schema.as_bytes(), parse))
    }
}

/// The namespace of that name, if `snapshot` sees one.
pub fn namespace_by_name(name: &str, snapshot: &Snapshot) -> Result<Option<NamespaceRow>> {
    let table = HeapTable::read(Name::Namespace)?;
    let scan: NamespaceScan<'_> = table.scan(Some(NAMESPACE_BY_NAME), &[Key::Text(2, name)], snapshot)?;
    let mut scan = scan.newest_first();
    scan.next().map(|row| NamespaceRow::read(&row)).transpose()
}

/// The namespace of that id, if `snapshot` sees it.
pub fn namespace_by_id(id: NamespaceId, snapshot: &Snapshot) -> Result<Option<NamespaceRow>> {
    let table = HeapTable::read(Name::Namespace)?;
    let scan: NamespaceScan<'_> = table.scan(Some(NAMESPACE_BY_ID), &[Key::Uuid(1, &id)], snapshot)?;
    let mut scan = scan.newest_first();
    scan.next().map(|row| NamespaceRow::read(&row)).transpose()
}

/// All namespaces that `snapshot` sees.
pub fn namespaces(snapshot: &Snapshot) -> Result<Vec<NamespaceRow>> {
    let table = HeapTable::read(Name::Namespace)?;
    let mut scan: NamespaceScan<'_> = table.scan(None, &[], snapshot)?;
    let mut rows = Vec::new();
    while let Some(row) = scan.next() {
        rows.push(NamespaceRow::read(&row)?);
    }
    Ok(rows)
}

/// Adds a namespace.
pub fn insert_namespace(row: &NamespaceRow) -> Result<()> {
    HeapTable::write(Name::Namespace)?.insert(row.columns())
}

/// Writes a changed row in the place of the one at `row.tid`.
///
/// # Errors
/// `Fenced` when the row has changed since it was read.
pub fn replace_namespace(row: &NamespaceRow) -> Result<()> {
    HeapTable::write(Name::Namespace)?.replace(row.tid, row.columns())
}

/// Removes a namespace.
pub fn delete_namespace(row: &NamespaceRow) -> Result<Deleted> {
    HeapTable::write(Name::Namespace)?.delete(row.tid)
}

/// A row of `elacsym.segment`, without its delete vector.
#[derive(Debug, Clone)]
pub struct SegmentRow {
    /// Where the row is.
    pub tid: pg_sys::ItemPointerData,
    /// The segment.
    pub info: SegmentInfo,
    /// Generation that published it.
    pub generation: u64,
    /// Names its delete vector, for caches: never used again, not even after a rollback. 0 means it has none.
    pub delete_version: u64,
    /// Rows that the delete vector marks.
    pub deleted: u64,
    /// Statistics of its build, a JSON object.
    pub stats: String,
    /// Transactions from this one on draw higher orders than all of its entries.
    pub horizon: u64,
}

const SEGMENT_COLUMNS: usize = 11;
/// Column number (from 1) of the delete vector.
const DELETE_VECTOR_COLUMN: i32 = 9;

impl SegmentRow {
    fn read(row: &Row<'_, SEGMENT_COLUMNS>) -> Result<Self> {
        let id = row.text(1)?;
        let info = row.decoded(3, &INFOS, |json| {
            serde_json::from_str(&json).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("description of segment {id} is not readable: {error}"))
            })
        })?;
        Ok(Self {
            tid: row.tid,
            info,
            generation: row.u64(2),
            delete_version: row.u64(7),
            deleted: row.u64(6),
            stats: row.jsonb(9)?,
            horizon: row.u64(10),
        })
    }
}

fn write_segment(
    namespace: NamespaceId,
    segment: &SegmentRow,
    delete_vector: Option<&[u8]>,
    replace: bool,
) -> Result<()> {
    let info = serde_json::to_string(&segment.info).expect("invariant: a segment's description has string keys only");
    let deleted = match delete_vector {
        Some(bytes) => DeleteVector::decode(bytes, &segment.info.id)?.0.len(),
        None => 0,
    };
    let columns = [
        Column::Uuid(&namespace),
        Column::Text(&segment.info.id),
        Column::I64(segment.generation as i64),
        Column::Jsonb(&info),
        Column::I64(segment.info.rows as i64),
        Column::I64(segment.info.bytes() as i64),
        Column::I64(deleted as i64),
        Column::I64(segment.delete_version as i64),
        delete_vector.map_or(Column::Null, Column::Bytes),
        Column::Jsonb(&segment.stats),
        Column::Xid8(segment.horizon),
    ];
    let table = HeapTable::write(Name::Segment)?;
    if replace { table.replace(segment.tid, columns) } else { table.insert(columns) }
}

/// The segments of a namespace that `snapshot` sees, oldest first.
pub fn segments(namespace: NamespaceId, snapshot: &Snapshot) -> Result<Vec<SegmentRow>> {
    let table = HeapTable::read(Name::Segment)?;
    let mut scan: Scan<'_, SEGMENT_COLUMNS> = table.scan(Some(SEGMENT_BY_ID), &[Key::Uuid(1, &namespace)], snapshot)?;
    let mut rows = Vec::new();
    while let Some(row) = scan.next() {
        rows.push(SegmentRow::read(&row)?);
    }
    Ok(rows)
}

/// Whether a namespace has a segment of that id.
pub fn has_segment(namespace: NamespaceId, id: &str, snapshot: &Snapshot) -> Result<bool> {
    let table = HeapTable::read(Name::Segment)?;
    let keys = [Key::Uuid(1, &namespace), Key::Text(2, id)];
    let mut scan: Scan<'_, SEGMENT_COLUMNS> = table.scan(Some(SEGMENT_BY_ID), &keys, snapshot)?;
    Ok(scan.next().is_some())
}

/// Shows every segment of the database to `work`.
pub fn each_segment(snapshot: &Snapshot, mut work: impl FnMut(SegmentInfo)) -> Result<()> {
    let table = HeapTable::read(Name::Segment)?;
    let mut scan: Scan<'_, SEGMENT_COLUMNS> = table.scan(None, &[], snapshot)?;
    while let Some(row) = scan.next() {
        work(SegmentRow::read(&row)?.info);
    }
    Ok(())
}

/// Adds a new segment, which has no delete vector. All of its entries have been written by now.
pub fn insert_segment(namespace: NamespaceId, info: SegmentInfo, generation: u64, stats: String) -> Result<()> {
    insert_compacted(namespace, info, generation, stats, next_transaction_id(), &[])
}

/// As [`insert_segment`], with a horizon of its own and an encoded delete vector, unless that is empty.
pub fn insert_compacted(
    namespace: NamespaceId,
    info: SegmentInfo,
    generation: u64,
    stats: String,
    horizon: u64,
    delete_vector: &[u8],
) -> Result<()> {
    let tid = pg_sys::ItemPointerData::default();
    let has_dead = !delete_vector.is_empty();
    // See `set_delete_vector`; of a new segment any number but 0 would do.
    let delete_version = if has_dead { buffer_table::next_order().seq } else { 0 };
    let segment = SegmentRow { tid, info, generation, delete_version, deleted: 0, stats, horizon };
    write_segment(namespace, &segment, has_dead.then_some(delete_vector), false)
}

/// Gives a segment a new delete vector. `version` must never have been used for another one of the segment: the engine
/// remembers what it was told, also of transactions that were rolled back.
///
/// # Errors
/// `Fenced` when the row has changed since it was read; `Corrupt` when the bytes are no delete vector.
pub fn set_delete_vector(
    namespace: NamespaceId,
    segment: &SegmentRow,
    version: u64,
    delete_vector: &[u8],
) -> Result<()> {
    let changed = SegmentRow { delete_version: version, ..segment.clone() };
    write_segment(namespace, &changed, Some(delete_vector), true)
}

/// Removes a segment's row; its objects are the caller's to release.
pub fn delete_segment(segment: &SegmentRow) -> Result<Deleted> {
    HeapTable::write(Name::Segment)?.delete(segment.tid)
}

/// The encoded delete vector of a segment that `snapshot` sees; empty if it has none.
///
/// # Errors
/// `Fenced` if the row is gone.
pub fn delete_vector(segment: &SegmentRow, snapshot: &Snapshot) -> Result<Vec<u8>> {
    let table = HeapTable::read(Name::Segment)?;
    let bytes = table.fetcher(snapshot).bytes(segment.tid, DELETE_VECTOR_COLUMN);
    let bytes = bytes.ok_or_else(crate::pg::heap_table::changed_meanwhile)?;
    // Decoding checks the CRC: a bad one is found here, where the segment can be named.
    DeleteVector::decode(&bytes, &segment.info.id)?;
    Ok(bytes)
}

/// What the segments of all namespaces hold together.
#[derive(Debug, Clone, Copy, Default)]
pub struct SegmentTotals {
    /// Segments.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rows that their delete vectors mark.
    pub dead_rows: u64,
    /// Bytes of their objects.
    pub bytes: u64,
}

/// What the segments that `snapshot` sees hold together.
pub fn segment_totals(snapshot: &Snapshot) -> Result<SegmentTotals> {
    let table = HeapTable::read(Name::Segment)?;
    let mut scan: Scan<'_, SEGMENT_COLUMNS> = table.scan(None, &[], snapshot)?;
    let mut totals = SegmentTotals::default();
    while let Some(row) = scan.next() {
        totals.segments += 1;
        totals.rows += row.u64(4);
        totals.bytes += row.u64(5);
        totals.dead_rows += row.u64(6);
    }
    Ok(totals)
}

/// Notes that nothing will refer to these objects once this transaction commits.
pub fn release_objects<'a>(root: &str, keys: impl IntoIterator<Item = &'a str>) -> Result<()> {
    garbage::release(root, keys, Reason::Released)
}

/// Microseconds since 2000-01-01, by PostgreSQL's clock.
pub fn now() -> i64 {
    // SAFETY: no arguments.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
