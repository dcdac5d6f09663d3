//! Opening an index that a caller names: what the executor's range table would check, and the planner before it
//! (pitfalls 4.3, 7).

use super::relation::Rel;
use crate::error::{Error, ErrorKind, Result};
use crate::pg::acl;
use pgrx::pg_sys;

/// An open index with its table. Dropping it closes both and keeps the locks; while an error unwinds, the resource owner
/// closes them.
pub struct OpenIndex {
    /// The index.
    pub index: Rel,
    /// Its table.
    pub heap: Rel,
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by us.
            unsafe { pg_sys::index_close(self.index.ptr(), pg_sys::NoLock as i32) };
            // SAFETY: as above.
            unsafe { pg_sys::table_close(self.heap.ptr(), pg_sys::NoLock as i32) };
        }
    }
}

unsafe extern "C-unwind" {
    // Neither is in pgrx' bindings.
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
    fn PredicateLockRelation(relation: pg_sys::Relation, snapshot: pg_sys::Snapshot);
}

/// The index itself, or the leaf indexes of a partitioned one, locked for reading.
pub fn leaves(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    if kind_of(relation) != pg_sys::RELKIND_PARTITIONED_INDEX {
        return vec![relation];
    }
    tree(relation).into_iter().filter(|oid| kind_of(*oid) == pg_sys::RELKIND_INDEX).collect()
}

/// A partitioned table or index with all that is below it, locked for reading.
fn tree(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: an existing relation; errors pass through as unwinding.
    let list = unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            find_all_inheritors(relation, pg_sys::AccessShareLock as i32, std::ptr::null_mut())
        })
    };
    // SAFETY: a list of oids.
    unsafe { pgrx::PgList::<pg_sys::Oid>::from_pg(list) }.iter_oid().collect()
}

/// Whether a relation is an index of this access method; false when it is gone.
pub fn is_ours(relation: pg_sys::Oid) -> bool {
    // SAFETY: a C string; a missing access method gives the invalid oid.
    let method = unsafe { pg_sys::get_am_oid(c"elacsym".as_ptr(), true) };
    if method == pg_sys::InvalidOid {
        return false;
    }
    let id = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: a look-up by oid; released below.
    let tuple = unsafe { pg_sys::SearchSysCache1(id, pg_sys::Datum::from(relation)) };
    if tuple.is_null() {
        return false;
    }
    // SAFETY: a row of pg_class.
    let ours = unsafe { (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).relam } == method;
    // SAFETY: found above.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    ours
}

/// The kind of a relation, 0 if there is none.
pub fn kind_of(relation: pg_sys::Oid) -> u8 {
    // SAFETY: any oid; a missing relation gives 0.
    unsafe { pg_sys::get_rel_relkind(relation) as u8 }
}

impl OpenIndex {
    /// Opens an elacsym index, its table first, as PostgreSQL orders locks.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` when it is another kind of thing.
    pub fn open(relation: pg_sys::Oid, lock: u32) -> Result<Self> {
        if kind_of(relation) != pg_sys::RELKIND_INDEX {
            return Err(not_an_index(relation));
        }
        Self::named(relation, lock)
    }

    /// As [`Self::open`], also a partitioned index, which has no rows of its own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn named(relation: pg_sys::Oid, lock: u32) -> Result<Self> {
        if ![pg_sys::RELKIND_INDEX, pg_sys::RELKIND_PARTITIONED_INDEX].contains(&kind_of(relation)) {
            return Err(not_an_index(relation));
        }
        // SAFETY: an index; `true` means that a vanished one gives the invalid oid.
        let table = unsafe { pg_sys::IndexGetRelation(relation, true) };
        if table == pg_sys::InvalidOid {
            return Err(not_an_index(relation));
        }
        // Whoever drops or rebuilds the index holds the table's lock until it is gone: then the wait was for nothing.
        // SAFETY: any oid of a table; null if it is gone by now.
        let heap = unsafe { pg_sys::try_table_open(table, lock as i32) };
        if heap.is_null() {
            return Err(not_an_index(relation));
        }
        // SAFETY: any oid; also looks what others have committed meanwhile.
        unsafe { pg_sys::LockRelationOid(relation, lock as i32) };
        if kind_of(relation) == 0 {
            // SAFETY: opened above.
            unsafe { pg_sys::table_close(heap, pg_sys::NoLock as i32) };
            return Err(not_an_index(relation));
        }
        // SAFETY: it exists, and is locked.
        let index = unsafe { pg_sys::index_open(relation, pg_sys::NoLock as i32) };
        // SAFETY: open until the result is dropped.
        let open = unsafe { Self { index: Rel::new(index), heap: Rel::new(heap) } };
        // SAFETY: an open index has the routines of its access method.
        let build = unsafe { (*(*index).rd_indam).ambuild };
        if build.map(|f| f as usize) != Some(super::build::ambuild as *const () as usize) {
            return Err(not_an_index(relation));
        }
        Ok(open)
    }

    /// Opens the index that `regclass` would read in this text; `None` when there is no such relation.
    ///
    /// # Errors
    /// As [`Self::open`], and PostgreSQL's own for text that is no name.
    pub fn by_name(name: &str, lock: u32) -> Result<Option<Self>> {
        Self::look_up(name, |relation| Self::open(relation, lock))
    }

    /// As [`Self::by_name`], also a partitioned index.
    ///
    /// # Errors
    /// As [`Self::by_name`].
    pub fn named_by_name(name: &str, lock: u32) -> Result<Option<Self>> {
        Self::look_up(name, |relation| Self::named(relation, lock))
    }

    fn look_up(name: &str, open: impl Fn(pg_sys::Oid) -> Result<Self>) -> Result<Option<Self>> {
        let text = std::ffi::CString::new(name).map_err(|_| Error::invalid("the name holds a zero byte"))?;
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        // SAFETY: a C string; raises an error for bad quoting.
        let names = unsafe { pg_sys::stringToQualifiedNameList(text.as_ptr()) };
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        // SAFETY: as above; without a context errors are raised.
        let names = unsafe { pg_sys::stringToQualifiedNameList(text.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: the list of above.
        let range = unsafe { pg_sys::makeRangeVarFromNameList(names) };
        let find = || {
            // SAFETY: a range variable; a missing relation gives the invalid oid.
            unsafe {
                pg_sys::RangeVarGetRelidExtended(
                    range,
                    pg_sys::NoLock as i32,
                    pg_sys::RVROption::RVR_MISSING_OK,
                    None,
                    std::ptr::null_mut(),
                )
            }
        };
        let mut relation = find();
        loop {
            if relation == pg_sys::InvalidOid {
                return Ok(None);
            }
            match open(relation) {
                // While we waited for its lock the name may have gone to another: the table was altered, for example.
                Err(error) if error.kind == ErrorKind::NotFound => {
                    let again = find();
                    if again == relation {
                        return Err(error);
                    }
                    relation = again;
                }
                other => return other.map(Some),
            }
        }
    }

    /// Whether it has no rows of its own.
    pub fn is_partitioned(&self) -> bool {
        kind_of(self.index.oid()) == pg_sys::RELKIND_PARTITIONED_INDEX
    }

    /// The index itself, or its leaf indexes. They and all partitions are locked for reading, tables first, as a query of the
    /// table would: none can go away, and nobody who locks in that order waits for us with what we want next.
    pub fn leaves(&self) -> Vec<pg_sys::Oid> {
        if self.is_partitioned() {
            tree(self.heap.oid());
        }
        leaves(self.index.oid())
    }

    /// Refuses a partitioned index that not every partition has a part of; an index without parts is [`Self::check_valid`]'s.
    ///
    /// # Errors
    /// `Fenced` (object not in prerequisite state).
    pub fn check_parts(&self) -> Result<()> {
        // SAFETY: an open index.
        if !self.is_partitioned() || unsafe { (*(*self.index.ptr()).rd_index).indisvalid } {
            return Ok(());
        }
        let name = self.index.name();
        Err(Error::new(ErrorKind::Fenced, format!("index \"{name}\" is not valid"))
            .with_hint("Some partitions have no part of it: create indexes there and attach them with ALTER INDEX."))
    }

    /// Refuses a partitioned index whose table has rows in foreign tables: those are in no index, and an answer without them
    /// would be silently partial.
    ///
    /// # Errors
    /// `Fenced` (object not in prerequisite state).
    pub fn check_no_foreign_rows(&self) -> Result<()> {
        if !self.is_partitioned() {
            return Ok(());
        }
        let foreign = tree(self.heap.oid()).into_iter().find(|table| kind_of(*table) == pg_sys::RELKIND_FOREIGN_TABLE);
        let Some(foreign) = foreign else { return Ok(()) };
        // SAFETY: a table that is locked.
        let name = unsafe { pg_sys::get_rel_name(foreign) };
        // SAFETY: a C string.
        let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy();
        let message =
            format!("partition \"{name}\" of table \"{}\" is a foreign table, which no index holds", self.heap.name());
        Err(Error::new(ErrorKind::Fenced, message).with_hint("Search the indexes of the other partitions."))
    }

    /// Refuses an index that is not complete.
    ///
    /// # Errors
    /// `Fenced` (object not in prerequisite state).
    pub fn check_valid(&self) -> Result<()> {
        // SAFETY: an open index.
        let form = unsafe { &*(*self.index.ptr()).rd_index };
        if form.indisvalid && form.indisready && form.indislive {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, format!("index \"{}\" is not valid", self.index.name()))
            .with_hint("It is being built, or a concurrent build of it failed: then run REINDEX."))
    }

    /// Refuses an index that the planner would not use.
    ///
    /// # Errors
    /// `Fenced` (object not in prerequisite state).
    pub fn check_usable(&self) -> Result<()> {
        self.check_valid()?;
        // SAFETY: an open index.
        let form = unsafe { &*(*self.index.ptr()).rd_index };
        let name = self.index.name();
        if form.indcheckxmin {
            // SAFETY: the index's row of pg_index.
            let header = unsafe { &*(*(*self.index.ptr()).rd_indextuple).t_data };
            // SAFETY: the header of a catalog row.
            let xmin = unsafe { xmin_of(header) };
            // SAFETY: a plain global, and two transaction ids.
            let precedes = unsafe { pg_sys::TransactionIdPrecedes(xmin, pg_sys::TransactionXmin) };
            if !precedes {
                return Err(Error::new(
                    ErrorKind::Fenced,
                    format!("index \"{name}\" is too young for this transaction"),
                )
                .with_hint("Run the query in a new transaction."));
            }
        }
        Ok(())
    }

    /// Checks what SELECT on the indexed columns would.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_may_select(&self) -> Result<()> {
        // SAFETY: an open relation.
        let schema = unsafe { (*(*self.heap.ptr()).rd_rel).relnamespace };
        if !may_use_schema(schema, acl::current_role()) {
            let name = self.heap.name();
            return Err(Error::new(ErrorKind::Denied, format!("permission denied for the schema of table \"{name}\"")));
        }
        self.check_may_select_columns(&self.columns_read())
    }

    /// Columns of the table whose values an answer of the index tells of: what is indexed, and what its expressions and its
    /// predicate read. 0 is the whole row.
    fn columns_read(&self) -> Vec<i16> {
        // SAFETY: an open index.
        let form = unsafe { &*(*self.index.ptr()).rd_index };
        let mut columns: Vec<i16> = (0..usize::try_from(form.indnatts).unwrap_or(0))
            // SAFETY: one number for each column of the index.
            .map(|i| unsafe { *form.indkey.values.as_ptr().add(i) })
            // An expression; it comes below.
            .filter(|column| *column != 0)
            .collect();
        // SAFETY: an open index; lists of the current memory context.
        let nodes = unsafe {
            [pg_sys::RelationGetIndexExpressions(self.index.ptr()), pg_sys::RelationGetIndexPredicate(self.index.ptr())]
        };
        let mut set: *mut pg_sys::Bitmapset = std::ptr::null_mut();
        for node in nodes {
            // SAFETY: expressions over the only table of an index, whose number is 1.
            unsafe { pg_sys::pull_varattnos(node.cast(), 1, &raw mut set) };
        }
        let mut member = -1;
        loop {
            // SAFETY: a set, or null for an empty one.
            member = unsafe { pg_sys::bms_next_member(set, member) };
            if member < 0 {
                return columns;
            }
            let column = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            columns.push(i16::try_from(column).unwrap_or(0));
        }
    }

    /// Checks that the current role may read these columns of the table.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_may_select_columns(&self, columns: &[i16]) -> Result<()> {
        let (table, role) = (self.heap.oid(), acl::current_role());
        let ok = pg_sys::AclResult::ACLCHECK_OK;
        let select = pg_sys::AclMode::from(pg_sys::ACL_SELECT);
        // SAFETY: an open table and the current role.
        let whole = unsafe { pg_sys::pg_class_aclcheck(table, role, select) } == ok;
        // A whole row, 0, holds every column.
        // SAFETY: as above, and its columns.
        let may =
            |column: &i16| *column != 0 && unsafe { pg_sys::pg_attribute_aclcheck(table, *column, role, select) } == ok;
        if whole || columns.iter().all(may) {
            return Ok(());
        }
        let name = self.heap.name();
        Err(Error::new(ErrorKind::Denied, format!("permission denied for table \"{name}\"")))
    }

    /// Whether row-level security hides rows of the table from the current role.
    pub fn has_row_security(&self) -> bool {
        // SAFETY: an open table; `true` means that `row_security = off` raises no error here.
        let state = unsafe { pg_sys::check_enable_rls((*self.heap.ptr()).rd_id, pg_sys::InvalidOid, false) };
        state == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }

    /// Notes for SERIALIZABLE that the whole index was read, as an index scan does.
    pub fn lock_predicate(&self, snapshot: &crate::pg::snapshot::Snapshot) {
        // SAFETY: an open index and a registered snapshot; errors pass through as unwinding.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| PredicateLockRelation(self.index.ptr(), snapshot.as_ptr())) };
    }

    /// Checks that the current role owns the table.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_owner(&self) -> Result<()> {
        // SAFETY: an open relation.
        let owner = unsafe { (*(*self.heap.ptr()).rd_rel).relowner };
        // SAFETY: two oids.
        if unsafe { pg_sys::has_privs_of_role(acl::current_role(), owner) } {
            return Ok(());
        }
        let name = self.index.name();
        Err(Error::new(ErrorKind::Denied, format!("must be owner of index \"{name}\"")))
    }
}

fn may_use_schema(schema: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    let usage = pg_sys::AclMode::from(pg_sys::ACL_USAGE);
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: an existing schema and role.
    let result = unsafe { pg_sys::pg_namespace_aclcheck(schema, role, usage) };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: an existing schema and role.
    let result = unsafe { pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, role, usage) };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// # Safety
/// `header` must be that of a heap tuple on disk.
unsafe fn xmin_of(header: &pg_sys::HeapTupleHeaderData) -> pg_sys::TransactionId {
    if u32::from(header.t_infomask) & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN {
        return pg_sys::FrozenTransactionId;
    }
    // SAFETY: a tuple on disk uses this side of the union.
    unsafe { header.t_choice.t_heap.t_xmin }
}

fn not_an_index(relation: pg_sys::Oid) -> Error {
    // SAFETY: any oid; null if there is no such relation.
    let name = unsafe { pg_sys::get_rel_name(relation) };
    if name.is_null() {
        return Error::new(ErrorKind::NotFound, format!("relation with oid {} does not exist", u32::from(relation)));
    }
    // SAFETY: a C string.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy();
    Error::new(ErrorKind::Invalid, format!("\"{name}\" is not an elacsym index"))
        .with_hint("Create one with CREATE INDEX … USING elacsym (…).")
}
