//! `patch`: changes of documents that nobody looks at first, so that they commit while object storage is away (INV-6), and
//! none of several at once is lost.

use super::arguments::required;
use super::write::documents_of;
use super::{Jsonb, Text};
use crate::document::Patch;
use crate::error::Result;
use crate::ids::{Key, Op};
use crate::pg::buffer_table::Writer;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::{acl, buckets, namespace, preload};
use pgrx::pg_extern;
use std::collections::BTreeMap;

/// \[backend\] `elacsym.patch(namespace text, documents jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_patch(namespace: Option<Text>, documents: Option<Jsonb>) -> i64 {
    preload::require();
    acl::check_may_write(c"elacsym.patch()");
    let namespace = required(namespace, "namespace");
    let documents = required(documents, "documents");
    patch(&namespace, &documents).or_raise()
}

fn patch(name: &str, documents: &Jsonb) -> Result<i64> {
    let namespace = namespace::resolve(name, Mode::RowExclusive)?;
    // All are checked before the first is written; several of one id are one patch.
    let mut patches: BTreeMap<Key, Patch> = BTreeMap::new();
    for json in documents_of(documents)? {
        let (key, patch) = Patch::parse(&namespace.schema, &json)?;
        patches.entry(key).or_default().then(patch);
    }
    buckets::lock_to_write(&namespace, patches.keys().copied())?;
    let writer = Writer::open(namespace.id)?;
    for (key, patch) in patches.iter().filter(|(_, patch)| !patch.is_empty()) {
        writer.append(*key, Op::Patch, &patch.encode())?;
    }
    Ok(patches.len() as i64)
}
