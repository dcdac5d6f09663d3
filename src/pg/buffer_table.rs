//! The write buffer, `elacsym.wal`: entries that are not in a segment yet.
//!
//! A row is found by an index on (namespace, xid), from the namespace's watermark on, so that what is flushed and not
//! yet vacuumed costs nothing. Scans read the fixed columns only; payloads are fetched by tid when somebody needs them,
//! and every payload's CRC is checked then.

use crate::back_pressure::entry_bytes;
use crate::batch::{Batch, Candidate};
use crate::document::entry_crc;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EntryId, EntryOrder, Key as DocumentKey, NamespaceId, Op};
use crate::ipc::message::BufferedEntry;
use crate::pg::heap_table::{Column, Deleted, Fetcher, HeapTable, IndexName, Key, Name, Row, Scan};
use crate::pg::snapshot::{Snapshot, next_transaction_id, top_transaction_id};
use crate::pg::{back_pressure, counters, gucs, xact};
use pgrx::pg_sys;
use std::cell::Cell;

const BY_XID: IndexName = IndexName(c"wal_namespace_xid_idx");
const COLUMNS: usize = 9;
/// Column number (from 1) of the payload.
const PAYLOAD_COLUMN: i32 = 7;

thread_local! {
    static LAST_SEQ: Cell<u64> = const { Cell::new(0) };
}

/// The next `seq` of this session: the WAL insert position, made strictly increasing.
fn next_seq() -> u64 {
    // SAFETY: no arguments; not in recovery, because writers are refused there.
    let lsn = unsafe { pg_sys::GetXLogInsertRecPtr() };
    let seq = lsn.max(LAST_SEQ.get() + 1);
    LAST_SEQ.set(seq);
    seq
}

/// The order of what this transaction writes now: above everything this session has drawn before. What draws it without
/// writing to the buffer must write some other record to the log before it draws again.
pub fn next_order() -> EntryOrder {
    EntryOrder { seq: next_seq(), xid: top_transaction_id() }
}

/// Writes entries of one namespace. The caller holds the namespace's lock, row exclusive, to the end of the transaction.
pub struct Writer {
    table: HeapTable,
    namespace: NamespaceId,
    xid: u64,
}

impl Writer {
    /// Opens the buffer for writing; the transaction gets an id.
    pub fn open(namespace: NamespaceId) -> Result<Self> {
        xact::mark_written();
        Ok(Self { table: HeapTable::write(Name::Wal)?, namespace, xid: top_transaction_id() })
    }

    /// Adds one entry; before that, waits for room if it is not a deletion.
    ///
    /// # Errors
    /// `LimitExceeded` where the buffer is full.
    pub fn append(&self, key: DocumentKey, op: Op, payload: &[u8]) -> Result<()> {
        let bytes = entry_bytes(payload.len() as u64);
        // A deletion makes room, and takes next to none.
        if op != Op::Delete {
            back_pressure::wait_for_room(bytes)?;
        }
        let id = EntryId { key, order: EntryOrder { seq: next_seq(), xid: self.xid } };
        // After the order was drawn: see `crate::batch`.
        let horizon = if op == Op::Patch { next_transaction_id() } else { 0 };
        let crc = row_crc(self.namespace, id, op, payload, horizon);
        let (low, high) = halves(key);
        self.table.insert([
            Column::Uuid(&self.namespace),
            Column::Xid8(id.order.xid),
            Column::I64(id.order.seq as i64),
            Column::I64(low),
            Column::I32(crc.cast_signed()),
            Column::Char(op as u8),
            Column::Bytes(payload),
            if op == Op::Patch { Column::Xid8(horizon) } else { Column::Null },
            high.map_or(Column::Null, Column::I64),
        ])?;
        back_pressure::wrote(bytes);
        counters::written(op, 1, payload.len() as u64);
        gucs::fault_point("upsert.after_insert");
        Ok(())
    }
}

/// A visible row of the buffer, without its payload.
#[derive(Debug, Clone, Copy)]
pub struct BufferRow {
    /// Where the row is; it never moves.
    pub tid: pg_sys::ItemPointerData,
    /// Identity and operation.
    pub entry: BufferedEntry,
    /// Of a patch: transactions from this one on began after it was written; else 0.
    horizon: u64,
    crc: u32,
    /// Bytes of the payload.
    size: u64,
}

/// Checksum of a row. What is not a patch has no horizon.
fn row_crc(namespace: NamespaceId, id: EntryId, op: Op, payload: &[u8], horizon: u64) -> u32 {
    let crc = entry_crc(namespace, id, op, payload);
    if op != Op::Patch {
        return crc;
    }
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(&horizon.to_le_bytes());
    hasher.finalize()
}

fn read_row(row: &Row<'_, COLUMNS>, namespace: NamespaceId) -> Result<BufferRow> {
    let op = Op::from_u8(row.char(5)).ok_or_else(|| corrupt(namespace, row.tid, "unknown operation"))?;
    let key = whole(row.i64(3), (!row.is_null(8)).then(|| row.i64(8)));
    Ok(BufferRow {
        tid: row.tid,
        entry: BufferedEntry { id: EntryId { key, order: EntryOrder { seq: row.u64(2), xid: row.u64(1) } }, op },
        horizon: if row.is_null(7) { 0 } else { row.u64(7) },
        crc: row.i32(4).cast_unsigned(),
        size: row.raw_size(6),
    })
}

/// A key as the columns `key` and `key_high` hold it: the second is null if the first is all of it.
fn halves(key: DocumentKey) -> (i64, Option<i64>) {
    match i64::try_from(key) {
        Ok(key) => (key, None),
        Err(_) => ((key as u64).cast_signed(), Some((key >> 64) as i64)),
    }
}

/// The reverse of [`halves`].
fn whole(low: i64, high: Option<i64>) -> DocumentKey {
    match high {
        None => low.into(),
        Some(high) => DocumentKey::from(high) << 64 | DocumentKey::from(low.cast_unsigned()),
    }
}

fn corrupt(namespace: NamespaceId, tid: pg_sys::ItemPointerData, what: &str) -> Error {
    let (block, offset) = pgrx::itemptr::item_pointer_get_both(tid);
    Error::new(
        ErrorKind::Corrupt,
        format!("row ({block},{offset}) of elacsym.wal of namespace {namespace} is corrupt: {what}"),
    )
    .with_hint("The table's storage was damaged. Restore it from a backup or a replica.")
}

pub use crate::batch::{Budget, Taken};

/// What a scan of the buffer found.
#[derive(Debug, Default)]
pub struct Buffered {
    /// The rows, in the order of their transactions.
    pub rows: Vec<BufferRow>,
    /// Bytes of their payloads; counted only under a budget.
    pub bytes: u64,
    /// The transaction of the first row that did not fit, if one did not.
    pub rest: Option<u64>,
}

/// The rows that `snapshot` sees, from the transaction `watermark` on, as far as the budget goes.
pub fn read(namespace: NamespaceId, watermark: u64, snapshot: &Snapshot, budget: Option<Budget>) -> Result<Buffered> {
    let table = HeapTable::read(Name::Wal)?;
    let keys = [Key::Uuid(1, &namespace), Key::Xid8AtLeast(2, watermark)];
    let mut scan: Scan<'_, COLUMNS> = table.scan(Some(BY_XID), &keys, snapshot)?;
    let mut found = Buffered::default();
    while let Some(row) = scan.next() {
        if let Some(budget) = budget {
            let bytes = row.raw_size(6);
            let full = found.rows.len() >= budget.rows || found.bytes + bytes > budget.bytes;
            if full && !found.rows.is_empty() {
                found.rest = Some(row.u64(1));
                break;
            }
            found.bytes += bytes;
        }
        found.rows.push(read_row(&row, namespace)?);
        if found.rows.len().is_multiple_of(INTERRUPT_EVERY) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok(found)
}

/// What the rows that `snapshot` sees, from the transaction `watermark` on, count in the figures of [`back_pressure`].
pub fn count(namespace: NamespaceId, watermark: u64, snapshot: &Snapshot) -> Result<u64> {
    let table = HeapTable::read(Name::Wal)?;
    let keys = [Key::Uuid(1, &namespace), Key::Xid8AtLeast(2, watermark)];
    let mut scan: Scan<'_, COLUMNS> = table.scan(Some(BY_XID), &keys, snapshot)?;
    let (mut bytes, mut seen) = (0_u64, 0_usize);
    while let Some(row) = scan.next() {
        bytes += entry_bytes(row.raw_size(6));
        seen += 1;
        if seen.is_multiple_of(INTERRUPT_EVERY) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok(bytes)
}

/// What one flush takes of the rows that `snapshot` sees, from the transaction `watermark` on. A patch takes `patched_bytes` of
/// the budget on top of its own, for the document that it changes.
pub fn read_batch(
    namespace: NamespaceId,
    watermark: u64,
    snapshot: &Snapshot,
    budget: Budget,
    patched_bytes: u64,
) -> Result<Taken<BufferRow>> {
    let table = HeapTable::read(Name::Wal)?;
    let keys = [Key::Uuid(1, &namespace), Key::Xid8AtLeast(2, watermark)];
    let mut scan: Scan<'_, COLUMNS> = table.scan(Some(BY_XID), &keys, snapshot)?;
    let mut batch = Batch::new(snapshot.oldest_other(), budget);
    let mut seen = 0_usize;
    while let Some(row) = scan.next() {
        let row = read_row(&row, namespace)?;
        let BufferedEntry { id, op } = row.entry;
        let bytes = if op == Op::Patch { row.size + patched_bytes } else { row.size };
        if !batch.offer(Candidate { id, op, horizon: row.horizon, bytes }, row) {
            break;
        }
        seen += 1;
        if seen.is_multiple_of(INTERRUPT_EVERY) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok(batch.finish())
}

/// Rows between two looks at interrupts.
const INTERRUPT_EVERY: usize = 1024;

/// How many rows of a namespace `snapshot` sees, and the bytes of their payloads.
pub fn size(namespace: NamespaceId, watermark: u64, snapshot: &Snapshot) -> Result<(u64, u64)> {
    let table = HeapTable::read(Name::Wal)?;
    let keys = [Key::Uuid(1, &namespace), Key::Xid8AtLeast(2, watermark)];
    let mut scan: Scan<'_, COLUMNS> = table.scan(Some(BY_XID), &keys, snapshot)?;
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    while let Some(row) = scan.next() {
        rows += 1;
        bytes += row.raw_size(6);
        if rows.is_multiple_of(INTERRUPT_EVERY as u64) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok((rows, bytes))
}

/// Reads payloads by tid.
pub struct Payloads<'t> {
    fetcher: Fetcher<'t>,
    namespace: NamespaceId,
}

impl<'t> Payloads<'t> {
    /// Reads from `table` (opened for reading) what `snapshot` sees.
    pub fn new(table: &'t HeapTable, namespace: NamespaceId, snapshot: &'t Snapshot) -> Self {
        Self { fetcher: table.fetcher(snapshot), namespace }
    }

    /// The payload of a row, its CRC checked.
    ///
    /// # Errors
    /// `Fenced` if the row is gone; `Corrupt` if the CRC differs.
    pub fn get(&mut self, row: &BufferRow) -> Result<Vec<u8>> {
        let payload =
            self.fetcher.bytes(row.tid, PAYLOAD_COLUMN).ok_or_else(crate::pg::heap_table::changed_meanwhile)?;
        if row_crc(self.namespace, row.entry.id, row.entry.op, &payload, row.horizon) != row.crc {
            return Err(corrupt(self.namespace, row.tid, "checksum mismatch"));
        }
        Ok(payload)
    }
}

/// Deletes exactly these rows.
///
/// # Errors
/// `Fenced` if one of them is gone.
pub fn delete<'r>(rows: impl IntoIterator<Item = &'r BufferRow>) -> Result<()> {
    let table = HeapTable::write(Name::Wal)?;
    for (i, row) in rows.into_iter().enumerate() {
        if table.delete(row.tid)? == Deleted::Gone {
            return Err(crate::pg::heap_table::changed_meanwhile());
        }
        back_pressure::removed(entry_bytes(row.size));
        if i.is_multiple_of(INTERRUPT_EVERY) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok(())
}
