//! Which index a full-text query goes by.

use crate::error::{Error, ErrorKind, Result};
use crate::pg::opclass::{self, Kind};
use crate::schema::FullTextOptions;
use pgrx::{PgList, pg_sys};

/// The access method's name.
const ACCESS_METHOD: &std::ffi::CStr = c"elacsym";

/// An open index of the access method (also a partitioned one); closed when dropped. While a PostgreSQL error unwinds, the
/// resource owner does it.
pub struct TextIndex {
    rel: pg_sys::Relation,
}

impl Drop for TextIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by us, closed once.
            unsafe { pg_sys::relation_close(self.rel, pg_sys::AccessShareLock as i32) };
        }
    }
}

impl TextIndex {
    /// Opens it.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Invalid` when it is not an index of ours.
    pub fn open(oid: pg_sys::Oid) -> Result<Self> {
        // SAFETY: opens by oid; null if there is no such relation.
        let rel = unsafe { pg_sys::try_relation_open(oid, pg_sys::AccessShareLock as i32) };
        if rel.is_null() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the index of a full-text query, with oid {}, does not exist", oid.to_u32()),
            )
            .with_hint("Plan the statement again, or name another index."));
        }
        let index = Self { rel };
        // SAFETY: an open relation.
        let form = unsafe { &*(*rel).rd_rel };
        let is_index = [pg_sys::RELKIND_INDEX, pg_sys::RELKIND_PARTITIONED_INDEX].contains(&(form.relkind as u8));
        if !is_index || Some(form.relam) != access_method() {
            return Err(Error::invalid(format!("\"{}\" is not an elacsym index", index.name())));
        }
        Ok(index)
    }

    /// The open relation.
    pub fn relation(&self) -> pg_sys::Relation {
        self.rel
    }

    /// Its oid.
    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: an open relation.
        unsafe { (*self.rel).rd_id }
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        // SAFETY: an open relation.
        let form = unsafe { &*(*self.rel).rd_rel };
        pgrx::name_data_to_str(&form.relname).to_owned()
    }

    /// The table.
    pub fn table(&self) -> pg_sys::Oid {
        self.form().indrelid
    }

    fn form(&self) -> &pg_sys::FormData_pg_index {
        // SAFETY: an open index.
        unsafe { &*(*self.rel).rd_index }
    }

    /// Whether it has no storage of its own.
    pub fn is_partitioned(&self) -> bool {
        // SAFETY: an open relation.
        let form = unsafe { &*(*self.rel).rd_rel };
        form.relkind as u8 == pg_sys::RELKIND_PARTITIONED_INDEX
    }

    /// Whether queries may go by it.
    fn is_usable(&self) -> bool {
        let form = self.form();
        form.indisvalid && form.indisready && form.indislive
    }

    fn is_partial(&self) -> bool {
        // SAFETY: an open index; null if it has no predicate.
        let predicate = unsafe { pg_sys::RelationGetIndexPredicate(self.rel) };
        !predicate.is_null()
    }

    /// The key columns of class `bm25_ops`, from 1.
    fn text_columns(&self) -> Result<Vec<i16>> {
        let mut columns = Vec::new();
        for column in 1..=self.form().indnkeyatts {
            // SAFETY: an open index of ours and one of its key columns.
            if unsafe { opclass::kind(self.rel, column) }? == Some(Kind::Bm25) {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// The column, if it is a full-text one.
    ///
    /// # Errors
    /// `Invalid` if it is not.
    pub fn require_text_column(&self, column: i32) -> Result<i16> {
        self.text_columns()?.into_iter().find(|known| i32::from(*known) == column).ok_or_else(|| {
            Error::invalid(format!("column {column} of index \"{}\" is not of class bm25_ops", self.name()))
        })
    }

    /// The only full-text column.
    ///
    /// # Errors
    /// `Invalid` if there is none, or more than one.
    pub fn only_text_column(&self) -> Result<i16> {
        match *self.text_columns()?.as_slice() {
            [column] => Ok(column),
            [] => Err(Error::invalid(format!("index \"{}\" has no column of class bm25_ops", self.name()))),
            _ => Err(Error::invalid(format!("index \"{}\" has several columns of class bm25_ops", self.name()))
                .with_hint("Give the number of the column.")),
        }
    }

    /// How a column is analysed.
    ///
    /// # Errors
    /// As [`opclass::bm25_options`].
    pub fn options(&self, column: i16) -> Result<FullTextOptions> {
        let column = self.require_text_column(column.into())?;
        // SAFETY: an open index of ours and one of its key columns.
        unsafe { opclass::bm25_options(self.rel, column) }
    }

    /// The operator family of a key column.
    pub fn family(&self, column: i16) -> pg_sys::Oid {
        let place = usize::try_from(column - 1).unwrap_or(0);
        // SAFETY: one oid for each key column.
        unsafe { *(*self.rel).rd_opfamily.add(place) }
    }

    /// The first full-text column over `operand`, an expression over the table as range table entry `varno`.
    fn column_of(&self, operand: *mut pg_sys::Node, varno: i32) -> Result<Option<i16>> {
        for column in self.text_columns()? {
            if self.is_over(column, operand, varno) {
                return Ok(Some(column));
            }
        }
        Ok(None)
    }

    fn is_over(&self, column: i16, operand: *mut pg_sys::Node, varno: i32) -> bool {
        let place = usize::try_from(column - 1).unwrap_or(0);
        let keys = &self.form().indkey;
        // SAFETY: the vector has an element for each column of the index, behind its fixed part.
        let key = |i: usize| unsafe { *keys.values.as_ptr().add(i) };
        if key(place) != 0 {
            // SAFETY: every node starts with its tag.
            if unsafe { (*operand).type_ } != pg_sys::NodeTag::T_Var {
                return false;
            }
            // SAFETY: the tag says so.
            return unsafe { (*operand.cast::<pg_sys::Var>()).varattno } == key(place);
        }
        let nth = (0..place).filter(|i| key(*i) == 0).count();
        // SAFETY: an open index; the list is a copy.
        let expressions = unsafe { pg_sys::RelationGetIndexExpressions(self.rel) };
        // SAFETY: a list of nodes.
        let expression = unsafe { PgList::<pg_sys::Node>::from_pg(expressions) }.get_ptr(nth);
        let Some(expression) = expression else { return false };
        // SAFETY: our copy; index expressions refer to the table as entry 1.
        unsafe { pg_sys::ChangeVarNodes(expression, 1, varno, 0) };
        // SAFETY: two valid expressions.
        unsafe { pg_sys::equal(strip(expression).cast(), operand.cast()) }
    }
}

/// Oid of the access method; none where the extension is not installed.
fn access_method() -> Option<pg_sys::Oid> {
    // SAFETY: a C string; a missing one is no error.
    let oid = unsafe { pg_sys::get_am_oid(ACCESS_METHOD.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The expression below changes of type that change no bytes (varchar to text), and below marks of the planner.
///
/// # Safety
/// `node` must be a valid expression.
unsafe fn strip(mut node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    loop {
        // SAFETY: the caller's contract; every node starts with its tag.
        node = match unsafe { (*node).type_ } {
            // SAFETY: the tag says so.
            pg_sys::NodeTag::T_RelabelType => unsafe { (*node.cast::<pg_sys::RelabelType>()).arg.cast() },
            // SAFETY: the tag says so.
            pg_sys::NodeTag::T_PlaceHolderVar => unsafe { (*node.cast::<pg_sys::PlaceHolderVar>()).phexpr.cast() },
            _ => return node,
        };
    }
}

/// An index for the left operand of a text operator, and its column. Scores (`scores`) go by a partitioned index that is not
/// valid if there is no other, so that the error says what is missing.
///
/// # Errors
/// As [`opclass::kind`].
///
/// # Safety
/// `root` and `operand` must be what the planner hands to a support function.
pub unsafe fn index_for(
    root: *mut pg_sys::PlannerInfo,
    operand: *mut pg_sys::Node,
    scores: bool,
) -> Result<Option<(TextIndex, i16)>> {
    // SAFETY: the caller's contract.
    let operand = unsafe { strip(operand) };
    // SAFETY: as above.
    let Some((table, varno, operand)) = (unsafe { table_of(root, operand) }) else { return Ok(None) };
    indexes_over(table, operand, varno, scores)
}

/// The table that an expression is about, its number in the range table, and the expression there.
///
/// # Safety
/// As [`index_for`].
#[allow(clippy::useless_conversion)] // numbers of entries are unsigned in PostgreSQL 14
unsafe fn table_of(
    mut root: *mut pg_sys::PlannerInfo,
    operand: *mut pg_sys::Node,
) -> Option<(pg_sys::Oid, i32, *mut pg_sys::Node)> {
    if root.is_null() {
        return None;
    }
    // SAFETY: every node starts with its tag.
    let varno = if unsafe { (*operand).type_ } == pg_sys::NodeTag::T_Var {
        // SAFETY: the tag says so.
        let var = unsafe { &*operand.cast::<pg_sys::Var>() };
        for _ in 0..var.varlevelsup {
            // SAFETY: the planner's chain of queries.
            root = unsafe { (*root).parent_root };
            if root.is_null() {
                return None;
            }
        }
        i32::try_from(var.varno).ok()?
    } else {
        // SAFETY: the planner's own structures.
        let varnos = unsafe { pg_sys::pull_varnos(root, operand) };
        let mut member = 0;
        // SAFETY: a bitmap set or null.
        if !unsafe { pg_sys::bms_get_singleton_member(varnos, &raw mut member) } {
            return None;
        }
        member
    };
    // SAFETY: the query that is being planned.
    let mut query = unsafe { (*root).parse };
    let (mut varno, mut operand) = (varno, operand);
    loop {
        // SAFETY: a query and a number from one of its expressions.
        let entry = unsafe { range_table_entry(query, varno) }?;
        // SAFETY: an entry of the range table.
        let entry = unsafe { &*entry };
        match entry.rtekind {
            pg_sys::RTEKind::RTE_RELATION => return Some((entry.relid, varno, operand)),
            pg_sys::RTEKind::RTE_SUBQUERY => {
                query = entry.subquery;
                // SAFETY: a subquery of the range table, and the column an expression refers to.
                (varno, operand) = unsafe { column_of_subquery(query, operand) }?;
            }
            _ => return None,
        }
    }
}

/// What a column of a subquery (a view with `security_barrier`, say) is, if it is a column of one of its own tables.
///
/// # Safety
/// `query` must be the query that `operand` refers to.
#[allow(clippy::useless_conversion)] // as above
unsafe fn column_of_subquery(
    query: *mut pg_sys::Query,
    operand: *mut pg_sys::Node,
) -> Option<(i32, *mut pg_sys::Node)> {
    // SAFETY: every node starts with its tag.
    if query.is_null() || unsafe { (*operand).type_ } != pg_sys::NodeTag::T_Var {
        return None;
    }
    // SAFETY: not null.
    let targets = unsafe { (*query).targetList };
    // SAFETY: as above.
    let set_operations = unsafe { (*query).setOperations };
    if !set_operations.is_null() {
        return None;
    }
    // SAFETY: the tag was checked.
    let column = unsafe { (*operand.cast::<pg_sys::Var>()).varattno };
    let nth = usize::try_from(column.checked_sub(1)?).ok()?;
    // SAFETY: a list of target entries.
    let target = unsafe { PgList::<pg_sys::TargetEntry>::from_pg(targets) }.get_ptr(nth)?;
    // SAFETY: an entry of the list, with an expression.
    let expression = unsafe { strip((*target).expr.cast()) };
    // SAFETY: every node starts with its tag.
    if unsafe { (*expression).type_ } != pg_sys::NodeTag::T_Var {
        return None;
    }
    // SAFETY: the tag says so.
    let var = unsafe { &*expression.cast::<pg_sys::Var>() };
    (var.varlevelsup == 0).then_some((i32::try_from(var.varno).ok()?, expression))
}

/// # Safety
/// `query` must be a valid query.
unsafe fn range_table_entry(query: *mut pg_sys::Query, varno: i32) -> Option<*mut pg_sys::RangeTblEntry> {
    let nth = usize::try_from(varno.checked_sub(1)?).ok()?;
    // SAFETY: the caller's contract.
    let table = unsafe { (*query).rtable };
    // SAFETY: a list of range table entries.
    unsafe { PgList::<pg_sys::RangeTblEntry>::from_pg(table) }.get_ptr(nth)
}

/// Among the indexes of a table with a full-text column over `operand`: one without a predicate before one with, an older
/// one before a newer one.
fn indexes_over(
    table: pg_sys::Oid,
    operand: *mut pg_sys::Node,
    varno: i32,
    scores: bool,
) -> Result<Option<(TextIndex, i16)>> {
    let Some(method) = access_method() else { return Ok(None) };
    // SAFETY: the statement that is being planned has locked its tables.
    let rel = unsafe { pg_sys::try_relation_open(table, pg_sys::AccessShareLock as i32) };
    if rel.is_null() {
        return Ok(None);
    }
    // SAFETY: an open relation; the list is a copy, empty for what has no indexes.
    let list = unsafe { pg_sys::RelationGetIndexList(rel) };
    // SAFETY: a list of oids.
    let mut oids: Vec<pg_sys::Oid> = unsafe { PgList::<pg_sys::Oid>::from_pg(list) }.iter_oid().collect();
    // SAFETY: opened above.
    unsafe { pg_sys::relation_close(rel, pg_sys::AccessShareLock as i32) };
    oids.sort_unstable_by_key(|oid| oid.to_u32());
    let (mut partial, mut incomplete) = (None, None);
    for oid in oids {
        if relation_method(oid) != Some(method) {
            continue;
        }
        let index = TextIndex::open(oid)?;
        let usable = index.is_usable();
        let wanted = usable || (scores && index.is_partitioned());
        if !wanted {
            continue;
        }
        if let Some(column) = index.column_of(operand, varno)? {
            if !usable {
                incomplete.get_or_insert((index, column));
                continue;
            }
            if !index.is_partial() {
                return Ok(Some((index, column)));
            }
            partial.get_or_insert((index, column));
        }
    }
    Ok(partial.or(incomplete))
}

/// The access method of a relation, from the system cache.
fn relation_method(oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: the key of this cache is an oid.
    let tuple = unsafe { pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, pg_sys::Datum::from(oid)) };
    if tuple.is_null() {
        return None;
    }
    // SAFETY: a row of pg_class, which starts with this structure.
    let method = unsafe { (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relam };
    // SAFETY: found above.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    Some(method)
}

unsafe extern "C-unwind" {
    // Not among the bindings.
    fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
}

/// Whether index `part` may answer a query that goes by column `column` of index `named`: that one itself, or part of it that
/// analyses texts the same. A part that was attached may not.
///
/// # Errors
/// As [`TextIndex::open`] and [`TextIndex::options`].
pub fn answers_for(part: pg_sys::Oid, named: pg_sys::Oid, column: i16) -> Result<bool> {
    if part == named {
        return Ok(true);
    }
    if !is_part_of(part, named) {
        return Ok(false);
    }
    Ok(TextIndex::open(part)?.options(column)?.scores_alike(&TextIndex::open(named)?.options(column)?))
}

/// Whether index `part` belongs, at whatever depth, to the partitioned index `whole`.
fn is_part_of(part: pg_sys::Oid, whole: pg_sys::Oid) -> bool {
    // SAFETY: reads a catalog; a relation that is no partition has no ancestors.
    let ancestors = unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_ancestors(part)) };
    // SAFETY: a list of oids.
    unsafe { PgList::<pg_sys::Oid>::from_pg(ancestors) }.iter_oid().any(|oid| oid == whole)
}
