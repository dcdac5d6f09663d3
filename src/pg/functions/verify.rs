//! `verify`: whether an index holds what its table says.

use super::arguments::required;
use crate::error::Result;
use crate::pg::am::access::{OpenIndex, kind_of, leaves};
use crate::pg::am::key;
use crate::pg::am::verify::{Problem, verify};
use crate::pg::error::OrRaise;
use crate::pg::preload;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};

/// \[backend\] `elacsym.verify(index regclass)`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_verify(
    index: Option<pg_sys::Oid>,
) -> TableIterator<'static, (name!(problem, String), name!(ctid, Option<pg_sys::ItemPointerData>), name!(detail, String))>
{
    preload::require();
    let problems = of_all_leaves(required(index, "index")).or_raise();
    TableIterator::new(problems.into_iter().map(|p| (p.problem.to_string(), p.key.map(key::to_tid), p.detail)))
}

/// The problems of the index, or of every leaf of a partitioned one, which the details then name.
fn of_all_leaves(relation: pg_sys::Oid) -> Result<Vec<Problem>> {
    let partitioned = kind_of(relation) == pg_sys::RELKIND_PARTITIONED_INDEX;
    let mut all = Vec::new();
    for leaf in leaves(relation) {
        let open = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
        open.check_owner()?;
        open.check_valid()?;
        let name = open.index.name();
        all.extend(verify(&open)?.into_iter().map(|problem| match partitioned {
            true => Problem { detail: format!("index \"{name}\": {}", problem.detail), ..problem },
            false => problem,
        }));
    }
    Ok(all)
}
