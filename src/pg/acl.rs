//! Who may use a namespace: its owner, members of the owner's role, and superusers. Grants come later.

use crate::error::{Error, ErrorKind, Result};
use pgrx::pg_sys;

/// The role that runs the statement (`SET ROLE` and SECURITY DEFINER count).
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: no arguments.
    unsafe { pg_sys::GetUserId() }
}

/// # Errors
/// `Denied` unless the current role has the privileges of `owner`.
pub fn check_owner(owner: pg_sys::Oid, namespace: &str) -> Result<()> {
    // SAFETY: two oids; memberships are cached, and a superuser is a member of every role.
    if unsafe { pg_sys::has_privs_of_role(current_role(), owner) } {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, format!("permission denied for namespace \"{namespace}\""))
        .with_hint("Only its owner, members of the owner's role and superusers may use a namespace."))
}

/// # Errors
/// A PostgreSQL ERROR in a read-only transaction (25006) or during recovery (25006); `command` names the function.
pub fn check_may_write(command: &std::ffi::CStr) {
    // SAFETY: a C string.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) };
    // SAFETY: a C string.
    unsafe { pg_sys::PreventCommandDuringRecovery(command.as_ptr()) };
}
