//! The index access method `elacsym`: the callbacks PostgreSQL knows it by. `docs/architecture.md` has a walk of an insert,
//! a scan and a VACUUM; the facts about PostgreSQL that decide its form are named in each file.

pub mod access;
pub mod build;
pub mod columns;
pub mod corpus;
pub mod cost;
pub mod effort;
pub mod halfvec;
pub mod heap_rows;
pub mod insert;
pub mod key;
pub mod metapage;
pub mod open_scans;
pub mod options;
pub mod page;
pub mod quals;
pub mod recheck;
pub mod relation;
pub mod row_values;
pub mod scan;
pub mod tombstones;
pub mod vacuum;
pub mod values;
pub mod verify;
pub mod view;
pub mod visibility_map;

use crate::pg::c_function::{Call, Returned, c_functions};
use pgrx::pg_sys;

/// Support functions of an operator class.
const SUPPORT_FUNCTIONS: u16 = columns::OPTIONS_SUPPORT;

/// \[backend\] `elacsym.amhandler(internal) RETURNS index_am_handler`: called without arguments.
fn handler(_: &mut Call) -> Returned {
    // SAFETY: zeroed memory of the current context, tagged as what it is.
    let routine = unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexAmRoutine>()) }.cast::<pg_sys::IndexAmRoutine>();
    // SAFETY: just allocated; all-zero bytes are a valid struct of flags and null function pointers.
    let am = unsafe { &mut *routine };
    am.type_ = pg_sys::NodeTag::T_IndexAmRoutine;
    // Operator classes choose their own numbers (quals::strategy).
    am.amstrategies = 0;
    am.amsupport = SUPPORT_FUNCTIONS;
    am.amoptsprocnum = columns::OPTIONS_SUPPORT;
    am.amcanorderbyop = true;
    am.amcanmulticol = true;
    am.amoptionalkey = true;
    am.amsearcharray = true;
    am.amsearchnulls = true;
    am.amcaninclude = true;
    am.amusemaintenanceworkmem = false;
    am.amkeytype = pg_sys::InvalidOid;
    am.ambuild = Some(build::ambuild);
    am.ambuildempty = Some(build::ambuildempty);
    am.aminsert = Some(insert::aminsert);
    am.ambulkdelete = Some(vacuum::ambulkdelete);
    am.amvacuumcleanup = Some(vacuum::amvacuumcleanup);
    am.amcostestimate = Some(cost::amcostestimate);
    am.amoptions = Some(options::amoptions);
    am.ambuildphasename = Some(build::ambuildphasename);
    am.amvalidate = Some(amvalidate);
    am.ambeginscan = Some(scan::ambeginscan);
    am.amrescan = Some(scan::amrescan);
    am.amgettuple = Some(scan::amgettuple);
    am.amgetbitmap = Some(scan::amgetbitmap);
    am.amendscan = Some(scan::amendscan);
    Ok(Some(pg_sys::Datum::from(routine)))
}

c_functions! {
    /// The handler of the access method.
    elacsym_amhandler = handler;
}

/// PostgreSQL's `amvalidate`: operator classes are made by the extension's script alone, whose tests check them.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn amvalidate(_opclass: pg_sys::Oid) -> bool {
    true
}
