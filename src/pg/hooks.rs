//! Every hook of the library.
//!
//! `ProcessUtility`: commands that need a database for themselves first send our maintenance worker away, which would
//! otherwise make them fail after PostgreSQL's five seconds of waiting; and COMMIT and ROLLBACK PREPARED, which run no
//! callback of ours, request maintenance; and `CREATE INDEX … USING hnsw` or `ivfflat`, which becomes one of ours under
//! `elacsym.replace_hnsw`. Object access: dropping one of our indexes, dropping an extension and creating a database request
//! maintenance too.

use super::{back_pressure, gucs, shmem};
use crate::error::Error;
use crate::pg::error::report;
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::ffi::{CStr, c_char};

const IVFFLAT: &CStr = c"ivfflat";

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;
static mut PREVIOUS_ACCESS: pg_sys::object_access_hook_type = None;

/// \[postmaster\] Installs the hooks; called once, from `_PG_init`, when preloaded.
pub fn install() {
    // SAFETY: the postmaster is single-threaded and still starting.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
    // SAFETY: as above.
    unsafe {
        PREVIOUS_ACCESS = pg_sys::object_access_hook;
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::object_access_hook = Some(object_access);
    }
}

/// A dropped index leaves catalog rows and objects, which the maintenance worker finds by itself (pitfalls 4.9); this only
/// wakes it after the commit.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    argument: *mut std::ffi::c_void,
) {
    // SAFETY: set once, before any backend existed.
    if let Some(previous) = unsafe { PREVIOUS_ACCESS } {
        // SAFETY: PostgreSQL's own arguments for the hook that was there before us.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| previous(access, class, object, sub_object, argument)) };
    }
    let dropped = access == pg_sys::ObjectAccessType::OAT_DROP;
    let index = class == pg_sys::RelationRelationId && sub_object == 0;
    // With an extension that may be ours its catalog goes: the worker looks whether objects are left.
    if dropped && (class == pg_sys::ExtensionRelationId || index && super::am::access::is_ours(object)) {
        super::xact::mark_written();
    }
    // A copy may read the objects of its template, and has to say so.
    if access == pg_sys::ObjectAccessType::OAT_POST_CREATE && class == pg_sys::DatabaseRelationId {
        super::xact::mark_created(object);
    }
}

unsafe extern "C-unwind" {
    // Not pgrx' wrapper, which catches an error and raises it anew with a few of its fields: other people's errors must keep
    // their context, their position and the names of their constraints.
    #[link_name = "standard_ProcessUtility"]
    fn raw_standard_process_utility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// Not guarded, and without anything to drop: an error of the command jumps over this frame untouched.
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL hands over a valid statement.
    let node = unsafe { (*statement).utilityStmt };
    // SAFETY: a valid parse tree of a utility command.
    if unsafe { concerns_us(node) } {
        // SAFETY: PostgreSQL's own arguments.
        unsafe {
            process_ours(statement, query, read_only_tree, context, parameters, environment, destination, completion)
        }
        return;
    }
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(raw_standard_process_utility);
    // SAFETY: PostgreSQL's own arguments, for the hook that was there before us or for its own function.
    unsafe { next(statement, query, read_only_tree, context, parameters, environment, destination, completion) }
}

/// Whether [`classify`] may find anything; raises no error.
///
/// # Safety
/// `node` must be a valid utility statement.
unsafe fn concerns_us(node: *mut pg_sys::Node) -> bool {
    // SAFETY: every node starts with its tag.
    match unsafe { (*node).type_ } {
        pg_sys::NodeTag::T_DropdbStmt | pg_sys::NodeTag::T_CreatedbStmt | pg_sys::NodeTag::T_AlterDatabaseStmt => true,
        pg_sys::NodeTag::T_RenameStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::RenameStmt>() };
            statement.renameType == pg_sys::ObjectType::OBJECT_DATABASE
        }
        pg_sys::NodeTag::T_TransactionStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::TransactionStmt>() };
            ends_a_prepared_transaction(statement)
        }
        pg_sys::NodeTag::T_IndexStmt => {
            // SAFETY: the tag says so.
            gucs::replace_hnsw() && unsafe { replaced_method(node.cast()) }.is_some()
        }
        _ => false,
    }
}

fn ends_a_prepared_transaction(statement: &pg_sys::TransactionStmt) -> bool {
    use pg_sys::TransactionStmtKind::{TRANS_STMT_COMMIT_PREPARED, TRANS_STMT_ROLLBACK_PREPARED};
    matches!(statement.kind, TRANS_STMT_COMMIT_PREPARED | TRANS_STMT_ROLLBACK_PREPARED)
}

#[pgrx::pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
unsafe extern "C-unwind" fn process_ours(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL hands over a valid statement.
    let node = unsafe { (*statement).utilityStmt };
    // SAFETY: a valid parse tree of a utility command.
    let plan = unsafe { classify(node) };
    // Looked up now: afterwards the name may be gone.
    let database = match &plan {
        Some(Plan::Hold { database, .. }) => find(database.as_ptr()),
        _ => pg_sys::InvalidOid,
    };
    let of_default_template =
        matches!(&plan, Some(Plan::Hold { database, .. }) if [c"template0", c"template1"].contains(database));
    let statement = match plan {
        // SAFETY: an index statement, as classified.
        Some(Plan::Replace { method }) => unsafe { with_our_method(statement, method) },
        _ => statement,
    };
    let hold = shmem::hold_maintenance(database);
    // SAFETY: set once, before any backend existed.
    let next = unsafe { PREVIOUS }.unwrap_or(raw_standard_process_utility);
    // SAFETY: our own arguments, unchanged; errors pass through as unwinding, which drops `hold`.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            next(statement, query, read_only_tree, context, parameters, environment, destination, completion)
        })
    };
    drop(hold);
    match plan {
        Some(Plan::Hold { dropped: true, .. }) => shmem::forget(database),
        // Nobody keeps data in these: a worker would only be in the way of the next command about the new database.
        Some(Plan::Hold { .. }) if of_default_template => super::xact::mark_created(pg_sys::InvalidOid),
        Some(Plan::Nudge) => {
            back_pressure::count_again();
            // SAFETY: set when the session connected.
            shmem::nudge_maintenance(unsafe { pg_sys::MyDatabaseId });
        }
        _ => {}
    }
}

/// What a command means to us.
enum Plan<'a> {
    /// It needs this database for itself.
    Hold { database: &'a CStr, dropped: bool },
    /// Rows may become visible, or go, without a callback.
    Nudge,
    /// It creates an index of this method, which ours takes the place of.
    Replace { method: &'a CStr },
}

/// # Safety
/// `node` must be a valid utility statement that outlives the result.
unsafe fn classify<'a>(node: *mut pg_sys::Node) -> Option<Plan<'a>> {
    // SAFETY: every node starts with its tag.
    match unsafe { (*node).type_ } {
        pg_sys::NodeTag::T_DropdbStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::DropdbStmt>() };
            // SAFETY: a string of the parse tree.
            unsafe { name(statement.dbname) }.map(|database| Plan::Hold { database, dropped: true })
        }
        pg_sys::NodeTag::T_CreatedbStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::CreatedbStmt>() };
            // SAFETY: the option list of the statement.
            let option = unsafe { find_option(statement.options, c"template") };
            let database = match option {
                None => c"template1",
                // SAFETY: an option of the list.
                Some(option) => unsafe { option_text(option) }?,
            };
            Some(Plan::Hold { database, dropped: false })
        }
        pg_sys::NodeTag::T_AlterDatabaseStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::AlterDatabaseStmt>() };
            // SAFETY: the option list of the statement.
            unsafe { find_option(statement.options, c"tablespace") }?;
            // SAFETY: a string of the parse tree.
            unsafe { name(statement.dbname) }.map(|database| Plan::Hold { database, dropped: false })
        }
        pg_sys::NodeTag::T_RenameStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::RenameStmt>() };
            if statement.renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                return None;
            }
            // SAFETY: a string of the parse tree.
            unsafe { name(statement.subname) }.map(|database| Plan::Hold { database, dropped: false })
        }
        pg_sys::NodeTag::T_TransactionStmt => {
            // SAFETY: the tag says so.
            let statement = unsafe { &*node.cast::<pg_sys::TransactionStmt>() };
            ends_a_prepared_transaction(statement).then_some(Plan::Nudge)
        }
        pg_sys::NodeTag::T_IndexStmt if gucs::replace_hnsw() => {
            // SAFETY: the tag says so.
            unsafe { replaced_method(node.cast()) }.map(|method| Plan::Replace { method })
        }
        _ => None,
    }
}

/// The access method that an index statement names, if it is one of pgvector's.
///
/// # Safety
/// `statement` must be a valid index statement that outlives the result.
unsafe fn replaced_method<'a>(statement: *mut pg_sys::IndexStmt) -> Option<&'a CStr> {
    // SAFETY: the caller's contract.
    let method = unsafe { name((*statement).accessMethod) }?;
    [c"hnsw", IVFFLAT].contains(&method).then_some(method)
}

/// A copy of the statement that creates an index of ours: the original may be in a plan cache.
///
/// # Safety
/// `statement` must be a planned statement around an index statement.
unsafe fn with_our_method(statement: *mut pg_sys::PlannedStmt, method: &CStr) -> *mut pg_sys::PlannedStmt {
    // SAFETY: a valid node.
    let copy = unsafe { pg_sys::copyObjectImpl(statement.cast()) }.cast::<pg_sys::PlannedStmt>();
    // SAFETY: the copy has the same shape.
    let index = unsafe { (*copy).utilityStmt }.cast::<pg_sys::IndexStmt>();
    // SAFETY: a C string; the copy lives in the current memory context, as this does.
    let ours = unsafe { pg_sys::pstrdup(c"elacsym".as_ptr()) };
    // SAFETY: a field of the copy.
    unsafe { (*index).accessMethod = ours };
    if method == IVFFLAT {
        // SAFETY: the list of columns of the copy.
        unsafe { add_default_class((*index).indexParams) };
    }
    report(
        Error::invalid(format!("creating an elacsym index instead of {}", method.to_string_lossy()))
            .with_hint("This is what elacsym.replace_hnsw = on asks for."),
        PgLogLevel::NOTICE,
    );
    copy
}

/// ivfflat has a default operator class for vectors, the other methods have none.
///
/// # Safety
/// `columns` must be the columns of an index statement.
unsafe fn add_default_class(columns: *mut pg_sys::List) {
    // SAFETY: the caller's contract.
    for column in unsafe { pgrx::PgList::<pg_sys::IndexElem>::from_pg(columns) }.iter_ptr() {
        // SAFETY: an element of the list.
        if unsafe { (*column).opclass }.is_null() {
            // SAFETY: a C string, copied into the current memory context.
            let class = unsafe { pg_sys::pstrdup(c"vector_l2_ops".as_ptr()) };
            let mut names = pgrx::PgList::<pg_sys::Node>::new();
            // SAFETY: the string belongs to the node from here on.
            names.push(unsafe { pg_sys::makeString(class) }.cast());
            // SAFETY: as above.
            unsafe { (*column).opclass = names.into_pg() };
        }
    }
}

/// # Safety
/// `text` must be null or a C string that outlives the result.
unsafe fn name<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The option called `wanted`.
///
/// # Safety
/// `options` must be null or a list of `DefElem`.
unsafe fn find_option(options: *mut pg_sys::List, wanted: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: null or a valid list.
    let length = unsafe { options.as_ref() }.map_or(0, |list| list.length);
    (0..length).find_map(|index| {
        // SAFETY: the index is below the length.
        let option = unsafe { pg_sys::list_nth(options, index) }.cast::<pg_sys::DefElem>();
        // SAFETY: the caller's contract: an element of such a list.
        let found = unsafe { name((*option).defname) } == Some(wanted);
        found.then_some(option)
    })
}

/// The text of an option.
///
/// # Safety
/// `option` must be a `DefElem` that outlives the result.
unsafe fn option_text<'a>(option: *mut pg_sys::DefElem) -> Option<&'a CStr> {
    // SAFETY: the caller's contract. `TEMPLATE DEFAULT` has no argument.
    if unsafe { (*option).arg }.is_null() {
        return Some(c"template1");
    }
    // SAFETY: an option with an argument; wrong types raise the error the command would raise.
    unsafe { name(pg_sys::defGetString(option)) }
}

/// The oid of a database, or the invalid one.
fn find(database: *const c_char) -> pg_sys::Oid {
    // Outside a transaction (a walsender, say) no catalog can be read.
    // SAFETY: reads a variable.
    if !unsafe { pg_sys::IsTransactionState() } {
        return pg_sys::InvalidOid;
    }
    // SAFETY: a C string; a missing database is no error.
    unsafe { pg_sys::get_database_oid(database, true) }
}
