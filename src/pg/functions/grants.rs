//! `grant`, `revoke`: who besides the owner may use a namespace.

use super::Text;
use super::arguments::required;
use crate::error::{Error, ErrorKind, Result};
use crate::pg::error::OrRaise;
use crate::pg::grants::{self, Grant, PUBLIC, Privilege};
use crate::pg::heap_table::Name;
use crate::pg::locks::{self, Mode, Target};
use crate::pg::snapshot::Snapshot;
use crate::pg::{acl, namespace, preload};
use pgrx::{pg_extern, pg_sys};
use std::ffi::CString;

/// \[backend\] `elacsym.grant(namespace text, role text, privilege text)`
#[pg_extern(sql = "")]
fn elacsym_grant(namespace: Option<Text>, role: Option<Text>, privilege: Option<Text>) {
    preload::require();
    acl::check_may_write(c"elacsym.grant()");
    let namespace = required(namespace, "namespace");
    let role = required(role, "role");
    let privilege = required(privilege, "privilege");
    change(&namespace, &role, &privilege, true).or_raise();
}

/// \[backend\] `elacsym.revoke(namespace text, role text, privilege text)`
#[pg_extern(sql = "")]
fn elacsym_revoke(namespace: Option<Text>, role: Option<Text>, privilege: Option<Text>) {
    preload::require();
    acl::check_may_write(c"elacsym.revoke()");
    let namespace = required(namespace, "namespace");
    let role = required(role, "role");
    let privilege = required(privilege, "privilege");
    change(&namespace, &role, &privilege, false).or_raise();
}

fn change(name: &str, role: &str, privilege: &str, give: bool) -> Result<()> {
    let privilege = match privilege {
        "read" => Privilege::Read,
        "write" => Privilege::Write,
        other => {
            return Err(
                Error::invalid(format!("privilege \"{other}\" is not known")).with_hint("Privileges: read, write.")
            );
        }
    };
    let role = role_oid(role)?;
    let namespace = namespace::resolve_as_owner(name)?;
    // Two sessions that grant the same must not both find it missing.
    locks::lock(Target::Name(name), Mode::Exclusive)?;
    // What this statement has changed before must be visible to the snapshot.
    // SAFETY: inside a transaction, in no parallel mode: the functions are PARALLEL UNSAFE.
    unsafe { pg_sys::CommandCounterIncrement() };
    let held = grants::of(namespace.id, &Snapshot::fresh(Name::Grant.oid()?))?;
    let held: Vec<Grant> = held.into_iter().filter(|g| g.role == role && g.is_of(privilege)).collect();
    match (give, held.is_empty()) {
        (true, true) => grants::insert(namespace.id, role, privilege),
        (true, false) => Ok(()),
        (false, _) => grants::delete(&held),
    }
}

/// The oid of a role; `public` is everybody.
fn role_oid(role: &str) -> Result<pg_sys::Oid> {
    if role == "public" {
        return Ok(PUBLIC);
    }
    let name = CString::new(role).map_err(|_| Error::invalid("a role name contains a zero byte"))?;
    // SAFETY: a C string; `true` means that a missing role is no error.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    if oid == pg_sys::InvalidOid {
        return Err(Error::new(ErrorKind::NotFound, format!("role \"{role}\" does not exist")));
    }
    Ok(oid)
}
