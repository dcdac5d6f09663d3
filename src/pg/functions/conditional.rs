//! Conditional writes: each document is looked at before it is written, and nobody writes it in between.

use super::arguments::{Ids, required};
use super::search::visible;
use super::write::documents_of;
use super::{Jsonb, Text};
use crate::document::{Document, Patch};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Condition, Filter};
use crate::ids::{Key, Op};
use crate::ipc::message::{CheckRequest, KeyState, Request};
use crate::limits::MAX_PAGE_ROWS;
use crate::pg::buffer_table::Writer;
use crate::pg::engine_call::{Source, checked};
use crate::pg::error::or_raise_or_retry;
use crate::pg::heap_table::Name;
use crate::pg::namespace::{self, Namespace};
use crate::pg::snapshot::{Snapshot, transaction_has_one_snapshot};
use crate::pg::{acl, buckets, preload};
use crate::schema::NamespaceSchema;
use pgrx::{pg_extern, pg_sys};
use serde_json::Value as Json;
use std::collections::HashSet;

/// \[backend\] `elacsym.upsert_if(namespace text, documents jsonb, condition jsonb DEFAULT NULL) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_upsert_if(namespace: Option<Text>, documents: Option<Jsonb>, condition: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.upsert_if()");
    let namespace = required(namespace, "namespace");
    let documents = required(documents, "documents");
    let parse = |schema: &NamespaceSchema, json: &Json| {
        Document::parse(schema, json).map(|(key, document)| (key, Op::Upsert, document.encode()))
    };
    or_raise_or_retry(write_documents(&namespace, &documents, condition, parse))
}

/// \[backend\] `elacsym.patch_if(namespace text, documents jsonb, condition jsonb DEFAULT NULL) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_patch_if(namespace: Option<Text>, documents: Option<Jsonb>, condition: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.patch_if()");
    let namespace = required(namespace, "namespace");
    let documents = required(documents, "documents");
    let parse = |schema: &NamespaceSchema, json: &Json| {
        Patch::parse(schema, json).map(|(key, patch)| (key, Op::Patch, patch.encode()))
    };
    or_raise_or_retry(write_documents(&namespace, &documents, condition, parse))
}

/// \[backend\] `elacsym.delete_if(namespace text, ids bigint[], condition jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_delete_if(namespace: Option<Text>, ids: Option<Vec<Option<i64>>>, condition: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.delete_if()");
    let namespace = required(namespace, "namespace");
    let condition = required(condition, "condition");
    or_raise_or_retry(Ids::ints(ids).and_then(|ids| delete_if(&namespace, ids, &condition)))
}

pub(super) fn delete_if(name: &str, ids: Ids, condition: &Jsonb) -> Result<i64> {
    let namespace = namespace::resolve_to_look_and_write(name)?;
    let keys = ids.keys(&namespace.schema)?;
    let condition = Condition::parse(&namespace.schema, &condition.parse("condition")?)?;
    let writes = keys.into_iter().map(|key| Write { key, op: Op::Delete, payload: Vec::new(), condition: 0 }).collect();
    write_if(&namespace, writes, vec![condition])
}

/// One write, and the number of its condition.
struct Write {
    key: Key,
    op: Op,
    payload: Vec<u8>,
    condition: u32,
}

fn write_documents(
    name: &str,
    documents: &Jsonb,
    condition: Option<Jsonb>,
    parse: impl Fn(&NamespaceSchema, &Json) -> Result<(Key, Op, Vec<u8>)>,
) -> Result<i64> {
    let namespace = namespace::resolve_to_look_and_write(name)?;
    let schema = &namespace.schema;
    let of_all = condition.map(|json| Condition::parse(schema, &json.parse("condition")?)).transpose()?;
    let mut conditions: Vec<Condition> = of_all.clone().into_iter().collect();
    let mut writes = Vec::new();
    let mut seen = HashSet::new();
    for mut json in documents_of(documents)? {
        let own = json.as_object_mut().and_then(|map| map.remove("if"));
        let (key, op, payload) = parse(schema, &json)?;
        // As it is written, now that it is known to be one.
        let id = json.get("id").map(Json::to_string).unwrap_or_default();
        let in_document = |error: Error| {
            let detail = format!("document id {id}");
            error.with_detail(detail)
        };
        if !seen.insert(key) {
            return Err(Error::invalid(format!("document id {id} occurs twice"))
                .with_hint("Which of them meets the condition would depend on their order: use several calls."));
        }
        let condition = match (own, &of_all) {
            (Some(json), _) => {
                let condition = Condition::parse(schema, &json).map_err(in_document)?;
                // Those of neighbours are often the same.
                if conditions.last() != Some(&condition) {
                    conditions.push(condition);
                }
                conditions.len() - 1
            }
            (None, Some(_)) => 0,
            (None, None) => {
                return Err(in_document(Error::invalid("a document has no \"if\", and there is no condition for all")
                    .with_hint("Example of a condition: {\"type\": \"not_exists\"} or {\"field\": \"version\", \"op\": \"lt\", \"value\": 7}")));
            }
        };
        writes.push(Write { key, op, payload, condition: condition as u32 });
    }
    write_if(&namespace, writes, conditions)
}

/// Writes what meets its condition; returns how many that are.
fn write_if(namespace: &Namespace, mut writes: Vec<Write>, conditions: Vec<Condition>) -> Result<i64> {
    buckets::lock_to_look(namespace, writes.iter().map(|write| write.key))?;
    let filters: Vec<Filter> = conditions.iter().map(|condition| condition.filter.clone()).collect();
    let mut written = 0;
    // What is written in one round is not looked at in another: each key occurs once.
    for writes in writes.chunks_mut(MAX_PAGE_ROWS) {
        let keys = writes.iter().map(|write| (write.key, write.condition)).collect();
        let states = current_states(namespace, keys, filters.clone())?;
        let writer = Writer::open(namespace.id)?;
        for (write, state) in writes.iter().zip(states) {
            let is_there = state.order.is_some();
            let met = if is_there { state.matches } else { conditions[write.condition as usize].if_missing };
            if met {
                // Patching and deleting do nothing where there is no document.
                if write.op == Op::Upsert || is_there {
                    writer.append(write.key, write.op, &write.payload)?;
                    written += 1;
                }
            }
        }
    }
    Ok(written)
}

/// The state of documents as of now, own uncommitted writes included; the caller holds their buckets alone. At most
/// [`MAX_PAGE_ROWS`] of them.
///
/// # Errors
/// `Fenced` where the transaction has one snapshot and something has changed since; the engine's.
pub(super) fn current_states(
    namespace: &Namespace,
    keys: Vec<(Key, u32)>,
    filters: Vec<Filter>,
) -> Result<Vec<KeyState>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    // What this statement has written before must be visible to the snapshots.
    // SAFETY: inside a transaction, in no parallel mode: the functions are PARALLEL UNSAFE.
    unsafe { pg_sys::CommandCounterIncrement() };
    let table = Name::Namespace.oid()?;
    let look = |snapshot: Snapshot| {
        let view = visible(namespace, &snapshot)?;
        let request = CheckRequest { namespace: view.message(), keys: keys.clone(), filters: filters.clone() };
        let states = checked(&Request::Check(Box::new(request)), Source { view: &view, snapshot: &snapshot })?;
        if states.len() != keys.len() {
            return Err(Error::internal(format!("the engine told {} of {} states", states.len(), keys.len())));
        }
        Ok(states)
    };
    let now = look(Snapshot::fresh(table))?;
    if transaction_has_one_snapshot() {
        let then = look(Snapshot::for_change(table))?;
        let changed = now.iter().zip(&then).position(|(now, then)| now.order != then.order);
        if let Some(at) = changed {
            let key = namespace.schema.id.describe(keys[at].0);
            let message = format!("could not serialize access due to a concurrent write of document {key}");
            return Err(Error::new(ErrorKind::Fenced, message));
        }
    }
    Ok(now)
}
