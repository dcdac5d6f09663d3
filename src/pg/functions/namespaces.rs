//! `create_namespace`, `alter_namespace`, `drop_namespace`.

use super::arguments::required;
use super::{Jsonb, Text};
use crate::pg::error::OrRaise;
use crate::pg::{acl, namespace, preload};
use crate::schema::NamespaceSchema;
use pgrx::pg_extern;

/// \[backend\] `elacsym.create_namespace(name text, schema jsonb)`
#[pg_extern(sql = "")]
fn elacsym_create_namespace(name: Option<Text>, schema: Option<Jsonb>) {
    preload::require();
    acl::check_may_write(c"elacsym.create_namespace()");
    let name = required(name, "name");
    let schema = required(schema, "schema");
    schema
        .parse("schema")
        .and_then(|json| NamespaceSchema::parse(&json))
        .and_then(|schema| namespace::create(&name, &schema))
        .or_raise();
}

/// \[backend\] `elacsym.alter_namespace(name text, changes jsonb)`
#[pg_extern(sql = "")]
fn elacsym_alter_namespace(name: Option<Text>, changes: Option<Jsonb>) {
    preload::require();
    acl::check_may_write(c"elacsym.alter_namespace()");
    let name = required(name, "name");
    let changes = required(changes, "changes");
    changes.parse("changes").and_then(|changes| namespace::alter(&name, &changes)).or_raise();
}

/// \[backend\] `elacsym.drop_namespace(name text)`
#[pg_extern(sql = "")]
fn elacsym_drop_namespace(name: Option<Text>) {
    preload::require();
    acl::check_may_write(c"elacsym.drop_namespace()");
    namespace::drop(&required(name, "name")).or_raise();
}
