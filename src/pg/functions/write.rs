//! `upsert` in its two forms, `delete`.

use super::arguments::{Ids, require_int, required};
use super::{Jsonb, Text};
use crate::document::{Document, DocumentId};
use crate::error::{Error, Result};
use crate::ids::{Key, Op};
use crate::pg::buffer_table::Writer;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::vector_type::PgVector;
use crate::pg::{acl, buckets, bulk, counters, namespace, preload};
use crate::schema::{NamespaceSchema, json_type};
use pgrx::pg_extern;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::time::Instant;

/// \[backend\] `elacsym.upsert(namespace text, documents jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_upsert_documents(namespace: Option<Text>, documents: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.upsert()");
    let namespace = required(namespace, "namespace");
    let documents = required(documents, "documents");
    upsert_documents(&namespace, &documents).or_raise()
}

fn upsert_documents(name: &str, documents: &Jsonb) -> Result<i64> {
    let start = Instant::now();
    let namespace = namespace::resolve(name, Mode::RowExclusive)?;
    let documents = documents_of(documents)?;
    // All are checked before the first is written, and the last one of an id counts.
    let mut encoded: Vec<bulk::Row> = Vec::with_capacity(documents.len());
    let mut places: HashMap<Key, usize> = HashMap::with_capacity(documents.len());
    for json in documents {
        let (key, document) = Document::parse(&namespace.schema, &json)?;
        let payload = document.encode();
        match places.get(&key) {
            Some(place) => encoded[*place].1 = payload,
            None => {
                places.insert(key, encoded.len());
                encoded.push((key, payload));
            }
        }
    }
    buckets::lock_to_write(&namespace, encoded.iter().map(|(key, _)| *key))?;
    let rest = bulk::write(&namespace, &encoded)?;
    if !rest.is_empty() {
        let writer = Writer::open(namespace.id)?;
        for (key, payload) in rest {
            writer.append(*key, Op::Upsert, payload)?;
        }
    }
    counters::upserted(start);
    Ok(encoded.len() as i64)
}

/// The elements of an argument "documents".
pub(super) fn documents_of(documents: &Jsonb) -> Result<Vec<Json>> {
    match documents.parse("documents")? {
        Json::Array(documents) => Ok(documents),
        document @ Json::Object(_) => Ok(vec![document]),
        other => Err(Error::invalid(format!(
            "\"documents\" must be an array of documents or one document, not {}",
            json_type(&other)
        ))
        .with_hint("Example: [{\"id\": 1, \"vector\": [0.1, 0.2], \"attributes\": {\"title\": \"…\"}}]")),
    }
}

/// \[backend\] `elacsym.upsert(namespace text, id bigint, vector vector, attributes jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_upsert_row(
    namespace: Option<Text>,
    id: Option<i64>,
    vector: Option<PgVector>,
    attributes: Option<Jsonb>,
) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.upsert()");
    let namespace = required(namespace, "namespace");
    let id = required(id, "id");
    let id = |schema: &NamespaceSchema| require_int(schema).map(|()| DocumentId::Int(id));
    upsert_row(&namespace, id, vector, attributes).or_raise()
}

/// `id` says the id by the schema.
pub(super) fn upsert_row(
    name: &str,
    id: impl FnOnce(&NamespaceSchema) -> Result<DocumentId>,
    vector: Option<PgVector>,
    attributes: Option<Jsonb>,
) -> Result<i64> {
    let start = Instant::now();
    let namespace = namespace::resolve(name, Mode::RowExclusive)?;
    let id = id(&namespace.schema)?;
    let in_document = |error: Error| {
        let detail = format!("document id {id}");
        if error.detail.is_some() { error } else { error.with_detail(detail) }
    };
    let attributes = match attributes {
        None => Vec::new(),
        Some(json) => {
            let json = json.parse("attributes").map_err(in_document)?;
            Document::parse_attributes(&namespace.schema, &json).map_err(in_document)?
        }
    };
    let document = Document::new(&id, vector.map(PgVector::into_elements), attributes);
    document.check(&namespace.schema).map_err(in_document)?;
    let key = id.key();
    buckets::lock_to_write(&namespace, std::iter::once(key))?;
    Writer::open(namespace.id)?.append(key, Op::Upsert, &document.encode())?;
    counters::upserted(start);
    Ok(1)
}

/// \[backend\] `elacsym.delete(namespace text, ids bigint[]) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_delete(namespace: Option<Text>, ids: Option<Vec<Option<i64>>>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.delete()");
    let namespace = required(namespace, "namespace");
    Ids::ints(ids).and_then(|ids| delete(&namespace, ids)).or_raise()
}

/// Records a deletion of each id. Whether there was such a document only a search would tell, and a delete must work
/// while object storage does not (INV-6).
pub(super) fn delete(name: &str, ids: Ids) -> Result<i64> {
    let namespace = namespace::resolve(name, Mode::RowExclusive)?;
    let keys = ids.keys(&namespace.schema)?;
    if keys.is_empty() {
        return Ok(0);
    }
    buckets::lock_to_write(&namespace, keys.iter().copied())?;
    let writer = Writer::open(namespace.id)?;
    for key in &keys {
        writer.append(*key, Op::Delete, &[])?;
    }
    Ok(keys.len() as i64)
}
