//! `delete_where`, `patch_where`: the statement's snapshot finds documents, and each is written if it still matches once nobody
//! else can write it, as UPDATE and DELETE do it.

use super::arguments::required;
use super::conditional::current_states;
use super::search::visible;
use super::{Jsonb, Text};
use crate::document::Patch;
use crate::error::Result;
use crate::filter::Filter;
use crate::ids::{IdType, Key, Op};
use crate::ipc::message::{PageRequest, Request, ResultRow};
use crate::limits::MAX_PAGE_ROWS;
use crate::pg::buffer_table::Writer;
use crate::pg::engine_call::{Source, rows_of};
use crate::pg::error::or_raise_or_retry;
use crate::pg::namespace::{self, Namespace};
use crate::pg::snapshot::Snapshot;
use crate::pg::view::View;
use crate::pg::{acl, buckets, preload};
use pgrx::pg_extern;

/// \[backend\] `elacsym.delete_where(namespace text, filter jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_delete_where(namespace: Option<Text>, filter: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.delete_where()");
    let namespace = required(namespace, "namespace");
    let filter = required(filter, "filter");
    or_raise_or_retry(delete_where(&namespace, &filter))
}

fn delete_where(name: &str, filter: &Jsonb) -> Result<i64> {
    let namespace = namespace::resolve_to_look_and_write(name)?;
    let filter = Filter::parse(&namespace.schema, &filter.parse("filter")?)?;
    write_where(&namespace, &filter, Op::Delete, &[])
}

/// \[backend\] `elacsym.patch_where(namespace text, filter jsonb, patch jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_patch_where(namespace: Option<Text>, filter: Option<Jsonb>, patch: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.patch_where()");
    let namespace = required(namespace, "namespace");
    let filter = required(filter, "filter");
    let patch = required(patch, "patch");
    or_raise_or_retry(patch_where(&namespace, &filter, &patch))
}

fn patch_where(name: &str, filter: &Jsonb, patch: &Jsonb) -> Result<i64> {
    let namespace = namespace::resolve_to_look_and_write(name)?;
    let filter = Filter::parse(&namespace.schema, &filter.parse("filter")?)?;
    let patch = Patch::parse_changes(&namespace.schema, &patch.parse("patch")?)?;
    write_where(&namespace, &filter, Op::Patch, &patch.encode())
}

/// Writes one entry for each document that matches, a page at a time: memory does not grow with their number.
fn write_where(namespace: &Namespace, filter: &Filter, op: Op, payload: &[u8]) -> Result<i64> {
    let snapshot = Snapshot::statement()?;
    let view = visible(namespace, &snapshot)?;
    let (mut written, mut after) = (0, None);
    loop {
        let rows = matching_rows(namespace, &view, &snapshot, filter, after)?;
        let Some(last) = rows.last().cloned() else { return Ok(written) };
        let keys: Vec<Key> = rows.iter().map(|row| row.key).collect();
        let is_last = keys.len() < MAX_PAGE_ROWS;
        if is_last {
            buckets::lock_to_look(namespace, keys.iter().copied())?;
        } else {
            buckets::lock_all_to_look(namespace)?;
        }
        let asked = keys.iter().map(|key| (*key, 0)).collect();
        let states = current_states(namespace, asked, vec![filter.clone()])?;
        let writer = Writer::open(namespace.id)?;
        for (key, state) in keys.iter().zip(states) {
            if state.matches {
                writer.append(*key, op, payload)?;
                written += 1;
            }
        }
        if is_last {
            return Ok(written);
        }
        after = Some(last);
        pgrx::check_for_interrupts!();
    }
}

/// The first documents after that one that the snapshot shows and that match, without their values.
fn matching_rows(
    namespace: &Namespace,
    view: &View,
    snapshot: &Snapshot,
    filter: &Filter,
    after: Option<ResultRow>,
) -> Result<Vec<ResultRow>> {
    let by_text = namespace.schema.id == IdType::Text;
    let request = PageRequest {
        namespace: view.message(),
        filter: Some(filter.clone()),
        after: after.as_ref().filter(|_| !by_text).map(|row| row.key),
        after_text: after.and_then(|row| row.id),
        rows: MAX_PAGE_ROWS as u32,
        include_vector: false,
        include_attributes: Vec::new(),
    };
    rows_of(&Request::Page(Box::new(request)), Source { view, snapshot })
}
