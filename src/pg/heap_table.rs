//! The extension's own tables, reached through the table access method and never through SPI: no privileges, triggers,
//! row security, search path or publication comes into it, and a row costs a heap insert and an index insert.
//!
//! Three rules make this safe (pitfalls 8): every write asks for no logical decoding; an update is a delete and an
//! insert, because logical decoding cannot be kept from an update; locks stay to the end of the transaction.

use crate::decoded::Decoded;
use crate::error::{Error, Result};
use crate::ids::NamespaceId;
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::thread::LocalKey;

/// The schema that holds everything of ours.
pub const SCHEMA: &CStr = c"elacsym";

thread_local! {
    /// Catalog rows are few, and each has a value or two.
    static TEXTS: RefCell<Decoded<String>> = const { RefCell::new(Decoded::new(64)) };
}

/// Most columns of one of our tables or indexes.
const MAX_COLUMNS: usize = 12;

/// One of our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// One row per namespace.
    Namespace,
    /// The write buffer.
    Wal,
    /// One row per live segment.
    Segment,
    /// Objects that nothing refers to any more.
    Garbage,
    /// Who may use a namespace.
    Grant,
}

impl Name {
    fn relname(self) -> &'static CStr {
        match self {
            Self::Namespace => c"namespace",
            Self::Wal => c"wal",
            Self::Segment => c"segment",
            Self::Garbage => c"garbage",
            Self::Grant => c"namespace_grant",
        }
    }

    /// Its oid now; the look-up is a hit in a system cache.
    ///
    /// # Errors
    /// `NotFound` when the extension is not installed in this database.
    pub fn oid(self) -> Result<pg_sys::Oid> {
        relation_oid(self.relname())
    }
}

/// The oid of a relation of ours by its name.
fn relation_oid(relname: &CStr) -> Result<pg_sys::Oid> {
    // SAFETY: a C string; `true` means that a missing schema is no error.
    let schema = unsafe { pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true) };
    let oid = if schema == pg_sys::InvalidOid {
        schema
    } else {
        // SAFETY: a C string and the oid of a schema.
        unsafe { pg_sys::get_relname_relid(relname.as_ptr(), schema) }
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::new(
            crate::error::ErrorKind::NotFound,
            format!("relation \"elacsym.{}\" does not exist", relname.to_string_lossy()),
        )
        .with_hint("Run CREATE EXTENSION elacsym in this database."));
    }
    Ok(oid)
}

/// An index of one of our tables.
#[derive(Debug, Clone, Copy)]
pub struct IndexName(pub &'static CStr);

/// A column value on its way into a row. What it points to must outlive the insert, which `'a` sees to.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// SQL's NULL.
    Null,
    /// `bigint`.
    I64(i64),
    /// `integer`.
    I32(i32),
    /// `xid8`.
    Xid8(u64),
    /// `"char"`.
    Char(u8),
    /// `oid`.
    Oid(pg_sys::Oid),
    /// `uuid`.
    Uuid(&'a NamespaceId),
    /// `timestamptz`, microseconds since 2000-01-01.
    Timestamp(i64),
    /// `text`.
    Text(&'a str),
    /// `bytea`.
    Bytes(&'a [u8]),
    /// `jsonb`, as JSON text.
    Jsonb(&'a str),
    /// A value that came out of another row of the same column and is still alive.
    Datum(pg_sys::Datum),
}

impl Column<'_> {
    /// Whether [`Self::datum`] allocates.
    fn allocates(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Bytes(_) | Self::Jsonb(_))
    }

    fn datum(&self) -> Result<Option<pg_sys::Datum>> {
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::I64(value) | Self::Timestamp(value) => pg_sys::Datum::from(*value),
            Self::I32(value) => pg_sys::Datum::from(*value),
            Self::Xid8(value) => pg_sys::Datum::from(*value),
            Self::Char(value) => pg_sys::Datum::from(*value),
            Self::Oid(value) => pg_sys::Datum::from(*value),
            Self::Uuid(value) => pg_sys::Datum::from(value.0.as_ptr()),
            Self::Text(value) => varlena(value.as_bytes())?,
            Self::Bytes(value) => varlena(value)?,
            Self::Jsonb(value) => jsonb(value)?,
            Self::Datum(value) => *value,
        }))
    }
}

/// A varlena with these bytes, in the current memory context.
fn varlena(bytes: &[u8]) -> Result<pg_sys::Datum> {
    let len = i32::try_from(bytes.len())
        .map_err(|_| Error::internal(format!("value of {} bytes is too long for a column", bytes.len())))?;
    // SAFETY: the bytes are readable for that length; the function copies them.
    let copy = unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), len) };
    Ok(pg_sys::Datum::from(copy))
}

/// JSON text as a value of `jsonb`, in the current memory context.
pub fn jsonb(json: &str) -> Result<pg_sys::Datum> {
    let text = CString::new(json).map_err(|_| Error::invalid("JSON text contains a zero byte"))?;
    // SAFETY: jsonb_in takes a C string and returns a jsonb; it copies what it keeps.
    let datum = unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) };
    datum.ok_or_else(|| Error::internal("jsonb_in returned null"))
}

/// An open table. Dropping it closes it and keeps the lock; while a PostgreSQL error unwinds, the resource owner does it.
pub struct HeapTable {
    rel: pg_sys::Relation,
}

impl Drop for HeapTable {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by us, closed once.
            unsafe { pg_sys::table_close(self.rel, pg_sys::NoLock as i32) };
        }
    }
}

/// What became of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The row is deleted by this transaction now.
    Done,
    /// Somebody else, or this very command, deleted it before.
    Gone,
}

impl HeapTable {
    /// Opens it for reading.
    ///
    /// # Errors
    /// `NotFound` when the extension is not installed in this database.
    pub fn read(name: Name) -> Result<Self> {
        Self::open(name, pg_sys::AccessShareLock)
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// `NotFound` when the extension is not installed in this database.
    pub fn write(name: Name) -> Result<Self> {
        Self::open(name, pg_sys::RowExclusiveLock)
    }

    fn open(name: Name, lock: u32) -> Result<Self> {
        let oid = name.oid()?;
        // SAFETY: opening a relation by oid; PostgreSQL raises an error if it is gone.
        let rel = unsafe { pg_sys::table_open(oid, lock as i32) };
        Ok(Self { rel })
    }

    fn tuple_desc(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open.
        unsafe { (*self.rel).rd_att }
    }

    /// Inserts one row and its index entries. Unique indexes are checked, waiting for whoever else inserts the same key.
    pub fn insert<const N: usize>(&self, columns: [Column<'_>; N]) -> Result<()> {
        let mut values = [pg_sys::Datum::from(0_usize); N];
        let mut nulls = [false; N];
        for (i, column) in columns.iter().enumerate() {
            match column.datum()? {
                Some(datum) => values[i] = datum,
                None => nulls[i] = true,
            }
        }
        // SAFETY: the relation is open.
        let natts = unsafe { (*self.tuple_desc()).natts };
        if usize::try_from(natts) != Ok(N) {
            return Err(Error::internal(format!("a table of the extension has {natts} columns, expected {N}"))
                .with_hint("Run ALTER EXTENSION elacsym UPDATE."));
        }
        // SAFETY: as many values as the descriptor has columns, of their types.
        let tuple = unsafe { pg_sys::heap_form_tuple(self.tuple_desc(), values.as_mut_ptr(), nulls.as_mut_ptr()) };
        // SAFETY: no arguments; raises an error in a parallel worker, which is right.
        let command = unsafe { pg_sys::GetCurrentCommandId(true) };
        // SAFETY: an open heap relation, locked for writing, and a tuple formed for it.
        unsafe {
            pg_sys::heap_insert(self.rel, tuple, command, pg_sys::TABLE_INSERT_NO_LOGICAL as i32, std::ptr::null_mut());
        }
        self.insert_index_entries(tuple, &values, &nulls)?;
        // SAFETY: allocated by heap_form_tuple, not used after this.
        unsafe { pg_sys::heap_freetuple(tuple) };
        // A batch inserts many rows in one memory context: copies go at once.
        for (column, value) in columns.iter().zip(values) {
            if column.allocates() {
                // SAFETY: allocated by `Column::datum` above; the tuple had its own copy.
                unsafe { pg_sys::pfree(value.cast_mut_ptr()) };
            }
        }
        Ok(())
    }

    /// One entry in each index: plain columns only, which is all our script creates.
    fn insert_index_entries(&self, tuple: pg_sys::HeapTuple, values: &[pg_sys::Datum], nulls: &[bool]) -> Result<()> {
        // SAFETY: the relation is open; the list is a copy.
        let list = unsafe { pg_sys::RelationGetIndexList(self.rel) };
        // SAFETY: a list of oids from PostgreSQL, or null.
        let oids: Vec<pg_sys::Oid> = unsafe { pgrx::PgList::<pg_sys::Oid>::from_pg(list) }.iter_oid().collect();
        for oid in oids {
            // SAFETY: an index of the open relation.
            let index = unsafe { pg_sys::index_open(oid, pg_sys::RowExclusiveLock as i32) };
            // SAFETY: the index is open.
            let form = unsafe { &*(*index).rd_index };
            let columns = usize::try_from(form.indnatts).unwrap_or(0).min(MAX_COLUMNS);
            let mut index_values = [pg_sys::Datum::from(0_usize); MAX_COLUMNS];
            let mut index_nulls = [false; MAX_COLUMNS];
            // SAFETY: indkey has indnatts elements.
            let keys = unsafe { form.indkey.values.as_slice(columns) };
            for (i, attno) in keys.iter().enumerate() {
                let column = usize::try_from(*attno - 1)
                    .map_err(|_| Error::internal("an index of the extension has an expression"))?;
                index_values[i] = values[column];
                index_nulls[i] = nulls[column];
            }
            let check = if form.indisunique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            // SAFETY: the index is open.
            let info = unsafe { pg_sys::BuildIndexInfo(index) };
            // SAFETY: heap_insert has set the tuple's own tid.
            let tid = unsafe { &raw mut (*tuple).t_self };
            // SAFETY: an open index of the open heap, its values, and the tuple that was inserted just now.
            unsafe {
                pg_sys::index_insert(
                    index,
                    index_values.as_mut_ptr(),
                    index_nulls.as_mut_ptr(),
                    tid,
                    self.rel,
                    check,
                    false,
                    info,
                );
            }
            // SAFETY: built above, referenced by nothing.
            unsafe { pg_sys::pfree(info.cast()) };
            // SAFETY: opened above; the lock stays.
            unsafe { pg_sys::index_close(index, pg_sys::NoLock as i32) };
        }
        Ok(())
    }

    /// Deletes the row at `tid`, waiting for a transaction that is deleting it.
    ///
    /// # Errors
    /// `Internal` if `tid` never was a row that this transaction can see.
    pub fn delete(&self, mut tid: pg_sys::ItemPointerData) -> Result<Deleted> {
        let mut failure = std::mem::MaybeUninit::<pg_sys::TM_FailureData>::zeroed();
        // SAFETY: no arguments.
        let command = unsafe { pg_sys::GetCurrentCommandId(true) };
        // SAFETY: an open heap relation locked for writing; all pointers are to locals that outlive the call.
        let result = unsafe {
            pg_sys::table_tuple_delete(
                self.rel,
                &raw mut tid,
                command,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                true,
                failure.as_mut_ptr(),
                false,
            )
        };
        match result {
            pg_sys::TM_Result::TM_Ok => Ok(Deleted::Done),
            pg_sys::TM_Result::TM_SelfModified | pg_sys::TM_Result::TM_Deleted | pg_sys::TM_Result::TM_Updated => {
                Ok(Deleted::Gone)
            }
            other => Err(Error::internal(format!("delete of a row of the extension's tables returned {other}"))),
        }
    }

    /// Replaces the row at `tid`.
    ///
    /// # Errors
    /// `Fenced` when the row has changed since it was read.
    pub fn replace<const N: usize>(&self, tid: pg_sys::ItemPointerData, columns: [Column<'_>; N]) -> Result<()> {
        match self.delete(tid)? {
            Deleted::Done => self.insert(columns),
            Deleted::Gone => Err(changed_meanwhile()),
        }
    }

    /// The rows that `snapshot` sees and that fulfil `keys`, through `index` if there is one, else by reading the heap.
    pub fn scan<'t, const N: usize>(
        &'t self,
        index: Option<IndexName>,
        keys: &[Key<'_>],
        snapshot: &'t Snapshot,
    ) -> Result<Scan<'t, N>> {
        let mut scan_keys = Vec::with_capacity(keys.len());
        for key in keys {
            scan_keys.push(key.scan_key()?);
        }
        let index = match index {
            Some(name) => relation_oid(name.0)?,
            None => pg_sys::InvalidOid,
        };
        // SAFETY: an open relation, an index of it or none, keys over its columns; the keys are copied.
        let desc = unsafe {
            pg_sys::systable_beginscan(
                self.rel,
                index,
                index != pg_sys::InvalidOid,
                snapshot.to_scan_with(),
                scan_keys.len() as i32,
                scan_keys.as_mut_ptr(),
            )
        };
        // What a key points to must stay until the scan ends.
        Ok(Scan { desc, table: self, _keys: scan_keys, snapshot, newest_first: false })
    }

    /// Whether `snapshot` sees the row in `slot`, which was found with [`Snapshot::to_scan_with`].
    ///
    /// # Safety
    /// `slot` must hold a row of this table, its buffer pinned.
    unsafe fn sees(&self, snapshot: &Snapshot, slot: *mut pg_sys::TupleTableSlot) -> bool {
        if !snapshot.is_quiet() {
            return true;
        }
        // SAFETY: an open relation.
        let satisfies = unsafe { (*(*self.rel).rd_tableam).tuple_satisfies_snapshot };
        let satisfies = satisfies.expect("invariant: a table access method knows what a snapshot sees");
        // SAFETY: as the caller says; the snapshot is registered.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| satisfies(self.rel, slot, snapshot.as_ptr())) }
    }

    /// Reads rows by tid again.
    pub fn fetcher<'t>(&'t self, snapshot: &'t Snapshot) -> Fetcher<'t> {
        // SAFETY: the relation is open; the slot is freed in drop, or with its memory context.
        let slot = unsafe { pg_sys::table_slot_create(self.rel, std::ptr::null_mut()) };
        Fetcher { slot, table: self, snapshot }
    }
}

/// The error for a catalog row that somebody else has changed since it was read.
pub fn changed_meanwhile() -> Error {
    Error::new(crate::error::ErrorKind::Fenced, "the namespace was changed by a concurrent flush")
        .with_hint("Run the transaction again.")
}

/// A condition of a scan: column (counted from 1) compared with a value.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// `uuid =`.
    Uuid(i16, &'a NamespaceId),
    /// `text =`, collation C.
    Text(i16, &'a str),
    /// `xid8 >=`.
    Xid8AtLeast(i16, u64),
    /// `"char" =`.
    Char(i16, u8),
    /// `timestamptz <=`, microseconds since 2000-01-01.
    TimestampAtMost(i16, i64),
}

impl Key<'_> {
    fn scan_key(&self) -> Result<pg_sys::ScanKeyData> {
        let (column, strategy, procedure, datum) = match self {
            Self::Uuid(column, value) => {
                (*column, pg_sys::BTEqualStrategyNumber, pg_sys::F_UUID_EQ, pg_sys::Datum::from(value.0.as_ptr()))
            }
            Self::Text(column, value) => {
                (*column, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, varlena(value.as_bytes())?)
            }
            Self::Xid8AtLeast(column, value) => {
                (*column, pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_XID8GE, pg_sys::Datum::from(*value))
            }
            Self::Char(column, value) => {
                (*column, pg_sys::BTEqualStrategyNumber, pg_sys::F_CHAREQ, pg_sys::Datum::from(*value))
            }
            Self::TimestampAtMost(column, value) => {
                (*column, pg_sys::BTLessEqualStrategyNumber, pg_sys::F_TIMESTAMPTZ_LE, pg_sys::Datum::from(*value))
            }
        };
        let mut key = std::mem::MaybeUninit::<pg_sys::ScanKeyData>::zeroed();
        // SAFETY: fills the whole struct; the procedure is the operator of that type and strategy.
        unsafe {
            pg_sys::ScanKeyInit(key.as_mut_ptr(), column, strategy as u16, pg_sys::Oid::from(procedure), datum);
        }
        // SAFETY: initialised above.
        Ok(unsafe { key.assume_init() })
    }
}

/// A running scan over rows of `N` columns.
pub struct Scan<'t, const N: usize> {
    desc: pg_sys::SysScanDesc,
    table: &'t HeapTable,
    _keys: Vec<pg_sys::ScanKeyData>,
    snapshot: &'t Snapshot,
    newest_first: bool,
}

impl<const N: usize> Drop for Scan<'_, N> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun by us, ended once.
            unsafe { pg_sys::systable_endscan(self.desc) };
        }
    }
}

impl<const N: usize> Scan<'_, N> {
    /// Reads the index from its end: of rows with one key, which lie there by their places, the versions that were written last
    /// come first. Whoever looks for the one visible version then passes over few dead ones, also where an old snapshot keeps
    /// all of them. For a scan that nothing was read of yet.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    fn get_next(&mut self) -> pg_sys::HeapTuple {
        // SAFETY: begun in `scan`, not ended. There is no index while PostgreSQL ignores those of catalogs.
        if self.newest_first && !unsafe { (*self.desc).irel }.is_null() {
            // SAFETY: a running scan of an index, read in this direction only.
            unsafe { pg_sys::systable_getnext_ordered(self.desc, pg_sys::ScanDirection::BackwardScanDirection) }
        } else {
            // SAFETY: the scan is running.
            unsafe { pg_sys::systable_getnext(self.desc) }
        }
    }

    /// The next row; its values live until the next call.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Row<'_, N>> {
        let tuple = loop {
            let tuple = self.get_next();
            if tuple.is_null() {
                return None;
            }
            // SAFETY: the scan's slot holds the tuple.
            if unsafe { self.table.sees(self.snapshot, (*self.desc).slot) } {
                break tuple;
            }
        };
        let mut row = Row {
            // SAFETY: the tuple is alive until the next call.
            tid: unsafe { (*tuple).t_self },
            values: [pg_sys::Datum::from(0_usize); N],
            nulls: [false; N],
            _life: std::marker::PhantomData,
        };
        // SAFETY: the extension's script gives the table N columns, and `insert` refuses any other number.
        unsafe {
            pg_sys::heap_deform_tuple(tuple, self.table.tuple_desc(), row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
        }
        Some(row)
    }
}

/// One row of a scan. Column numbers count from 0.
pub struct Row<'s, const N: usize> {
    /// Where it is.
    pub tid: pg_sys::ItemPointerData,
    values: [pg_sys::Datum; N],
    nulls: [bool; N],
    _life: std::marker::PhantomData<&'s ()>,
}

impl<const N: usize> Row<'_, N> {
    /// Whether the column is null.
    pub fn is_null(&self, i: usize) -> bool {
        self.nulls[i]
    }

    /// The value as it is, to be put into another row while this one is alive.
    pub fn column(&self, i: usize) -> Column<'_> {
        if self.nulls[i] { Column::Null } else { Column::Datum(self.values[i]) }
    }

    /// `bigint` or `timestamptz`.
    pub fn i64(&self, i: usize) -> i64 {
        self.values[i].value() as i64
    }

    /// `integer`.
    pub fn i32(&self, i: usize) -> i32 {
        self.values[i].value() as i32
    }

    /// `xid8`, or a `bigint` that never is negative.
    pub fn u64(&self, i: usize) -> u64 {
        self.values[i].value() as u64
    }

    /// `"char"`.
    pub fn char(&self, i: usize) -> u8 {
        self.values[i].value() as u8
    }

    /// `oid`.
    pub fn oid(&self, i: usize) -> pg_sys::Oid {
        pg_sys::Oid::from(self.values[i].value() as u32)
    }

    /// `uuid`.
    pub fn uuid(&self, i: usize) -> NamespaceId {
        let mut bytes = [0; 16];
        let source: *const u8 = self.values[i].cast_mut_ptr();
        // SAFETY: a uuid is 16 bytes, passed by reference, and the row is alive.
        unsafe { std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len()) };
        NamespaceId(bytes)
    }

    /// `text`.
    pub fn text(&self, i: usize) -> Result<String> {
        String::from_utf8(self.bytes(i)).map_err(|_| Error::internal("text in the extension's tables is not UTF-8"))
    }

    /// `bytea`; null is no bytes.
    pub fn bytes(&self, i: usize) -> Vec<u8> {
        if self.nulls[i] {
            return Vec::new();
        }
        // SAFETY: a varlena column of a row that is alive.
        unsafe { copy_varlena(self.values[i]) }
    }

    /// `jsonb` as JSON text.
    pub fn jsonb(&self, i: usize) -> Result<String> {
        self.decoded(i, &TEXTS, Ok)
    }

    /// `jsonb`, decoded from JSON text unless `kept` remembers it.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn decoded<T: Clone>(
        &self,
        i: usize,
        kept: &'static LocalKey<RefCell<Decoded<T>>>,
        decode: impl FnOnce(String) -> Result<T>,
    ) -> Result<T> {
        // SAFETY: a jsonb value of a row that is alive.
        let decode = || decode(unsafe { jsonb_text(self.values[i]) }?);
        // SAFETY: as above.
        match unsafe { inline_bytes(&self.values[i]) } {
            Some(bytes) => kept.with_borrow_mut(|kept| kept.get(bytes, decode)),
            None => decode(),
        }
    }

    /// Size of a varlena column without its header, found without fetching it; null is 0.
    pub fn raw_size(&self, i: usize) -> u64 {
        if self.nulls[i] {
            return 0;
        }
        // SAFETY: a varlena column of a row that is alive.
        let size = unsafe { pg_sys::toast_raw_datum_size(self.values[i]) };
        (size as u64).saturating_sub(pg_sys::VARHDRSZ as u64)
    }
}

/// All bytes of a varlena, with its header, if they are all there and not in another table.
///
/// # Safety
/// `datum` is a non-null varlena value that is alive.
unsafe fn inline_bytes(datum: &pg_sys::Datum) -> Option<&[u8]> {
    let start: *const pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: as the caller says.
    if unsafe { pgrx::varlena::varatt_is_1b_e(start) } {
        return None;
    }
    // SAFETY: as above.
    let size = unsafe { pgrx::varlena::varsize_any(start) };
    // SAFETY: that many bytes are the value.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), size) })
}

/// A jsonb value as JSON text.
///
/// # Safety
/// `datum` is a non-null value of type `jsonb`.
unsafe fn jsonb_text(datum: pg_sys::Datum) -> Result<String> {
    // SAFETY: as the caller says.
    let text = unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(datum)]) };
    let text = text.ok_or_else(|| Error::internal("jsonb_out returned null"))?;
    let text: *mut std::ffi::c_char = text.cast_mut_ptr();
    // SAFETY: jsonb_out returns a C string.
    let copy = unsafe { CStr::from_ptr(text) }.to_str().map(str::to_string);
    // SAFETY: allocated by jsonb_out, not used after this.
    unsafe { pg_sys::pfree(text.cast()) };
    copy.map_err(|_| {
        Error::invalid("JSON text is not UTF-8").with_hint("elacsym needs a database whose encoding is UTF8.")
    })
}

/// The bytes of a varlena, detoasted.
///
/// # Safety
/// `datum` is a non-null varlena value that is alive.
unsafe fn copy_varlena(datum: pg_sys::Datum) -> Vec<u8> {
    let raw: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: as the caller says; a snapshot is registered, because all rows come from a scan under one.
    let plain = unsafe { pg_sys::pg_detoast_datum_packed(raw) };
    // SAFETY: detoasted.
    let bytes = unsafe { pgrx::varlena_to_byte_slice(plain) }.to_vec();
    if plain != raw {
        // SAFETY: a copy that pg_detoast_datum_packed made.
        unsafe { pg_sys::pfree(plain.cast()) };
    }
    bytes
}

/// Reads single columns of rows by tid, under one snapshot.
pub struct Fetcher<'t> {
    slot: *mut pg_sys::TupleTableSlot,
    table: &'t HeapTable,
    snapshot: &'t Snapshot,
}

impl Drop for Fetcher<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: created by us, dropped once.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
        }
    }
}

impl Fetcher<'_> {
    /// The bytes of column `column` (counted from 1) of the row at `tid`; `None` if the snapshot sees no row there.
    /// A null column is no bytes.
    pub fn bytes(&mut self, mut tid: pg_sys::ItemPointerData, column: i32) -> Option<Vec<u8>> {
        // SAFETY: the relation is open, the snapshot registered, the slot made for the relation.
        let found = unsafe {
            pg_sys::table_tuple_fetch_row_version(self.table.rel, &raw mut tid, self.snapshot.to_scan_with(), self.slot)
        };
        // SAFETY: the slot holds the row that was found.
        if !found || !unsafe { self.table.sees(self.snapshot, self.slot) } {
            return None;
        }
        let mut is_null = false;
        // SAFETY: the slot holds a row, and the column exists.
        let datum = unsafe { pg_sys::slot_getattr(self.slot, column, &raw mut is_null) };
        let bytes = if is_null {
            Vec::new()
        } else {
            // SAFETY: callers ask for varlena columns only; the slot keeps the row alive.
            unsafe { copy_varlena(datum) }
        };
        // SAFETY: releases the buffer pin; the slot stays usable.
        unsafe { pg_sys::ExecClearTuple(self.slot) };
        Some(bytes)
    }
}
