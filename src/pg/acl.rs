//! Who may use a namespace: its owner, members of the owner's role and superusers for everything, others for what was
//! granted to them.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::pg::grants::{self, Grant, Privilege};
use crate::pg::heap_table::Name;
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;

/// The role that runs the statement (`SET ROLE` and SECURITY DEFINER count).
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: no arguments.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the current role has the privileges of another one.
fn has_privileges_of(role: pg_sys::Oid) -> bool {
    // SAFETY: two oids; memberships are cached, and a superuser is a member of every role.
    unsafe { pg_sys::has_privs_of_role(current_role(), role) }
}

/// Whether the current role is a member of `pg_read_all_stats`, as superusers are.
pub fn may_read_all_statistics() -> bool {
    has_privileges_of(pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS))
}

fn denied(namespace: &str, hint: String) -> Error {
    Error::new(ErrorKind::Denied, format!("permission denied for namespace \"{namespace}\"")).with_hint(hint)
}

/// # Errors
/// `Denied` unless the current role has the privileges of `owner`.
pub fn check_owner(owner: pg_sys::Oid, namespace: &str) -> Result<()> {
    if has_privileges_of(owner) {
        return Ok(());
    }
    let hint = "Only its owner, members of the owner's role and superusers may do this.";
    Err(denied(namespace, hint.to_string()))
}

/// # Errors
/// `Denied` unless the current role has the privileges of `owner`, or all of these were granted to it, to a role that it is a
/// member of, or to everybody.
pub fn check(id: NamespaceId, owner: pg_sys::Oid, namespace: &str, privileges: &[Privilege]) -> Result<()> {
    if has_privileges_of(owner) {
        return Ok(());
    }
    let grants = grants::of(id, &Snapshot::fresh(Name::Grant.oid()?))?;
    for privilege in privileges {
        let applies =
            |grant: &Grant| grant.is_of(*privilege) && (grant.role == grants::PUBLIC || has_privileges_of(grant.role));
        if !grants.iter().any(applies) {
            let privilege = privilege.name();
            let hint = format!("Its owner may grant the privilege \"{privilege}\" with elacsym.grant().");
            return Err(denied(namespace, hint));
        }
    }
    Ok(())
}

/// # Errors
/// `Denied` unless the current role owns the extension, or has the privileges of who does; `command` names the function.
pub fn check_extension_owner(command: &str) -> Result<()> {
    let id = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: a look-up by oid; released below.
    let tuple = unsafe { pg_sys::SearchSysCache1(id, pg_sys::Datum::from(Name::Garbage.oid()?)) };
    if tuple.is_null() {
        return Err(Error::internal("a table of the extension is gone"));
    }
    // SAFETY: a row of pg_class. The tables belong to who created the extension.
    let owner = unsafe { (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).relowner };
    // SAFETY: found above.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    if has_privileges_of(owner) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, format!("permission denied for {command}"))
        .with_hint("Only the owner of extension elacsym and superusers may do this."))
}

/// # Errors
/// A PostgreSQL ERROR in a read-only transaction (25006) or during recovery (25006); `command` names the function.
pub fn check_may_write(command: &std::ffi::CStr) {
    // SAFETY: a C string.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) };
    // SAFETY: a C string.
    unsafe { pg_sys::PreventCommandDuringRecovery(command.as_ptr()) };
}
