//! Rows of `elacsym.namespace_grant`: who besides the owner may use a namespace.

use crate::error::Result;
use crate::ids::NamespaceId;
use crate::pg::heap_table::{Column, HeapTable, IndexName, Key, Name, Scan};
use crate::pg::snapshot::Snapshot;
use pgrx::pg_sys;

const GRANT_BY_NAMESPACE: IndexName = IndexName(c"namespace_grant_pkey");

/// The role that stands for everybody.
pub const PUBLIC: pg_sys::Oid = pg_sys::InvalidOid;

/// What may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Searching and reading documents.
    Read,
    /// Writing documents.
    Write,
}

impl Privilege {
    /// The persisted form.
    fn to_u8(self) -> u8 {
        match self {
            Self::Read => b'r',
            Self::Write => b'w',
        }
    }

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One grant.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    tid: pg_sys::ItemPointerData,
    /// To whom; [`PUBLIC`] is everybody. The role may be gone.
    pub role: pg_sys::Oid,
    privilege: u8,
}

impl Grant {
    /// Whether it is of this privilege.
    pub fn is_of(&self, privilege: Privilege) -> bool {
        self.privilege == privilege.to_u8()
    }
}

/// All grants of a namespace that `snapshot` sees.
pub fn of(namespace: NamespaceId, snapshot: &Snapshot) -> Result<Vec<Grant>> {
    let table = HeapTable::read(Name::Grant)?;
    let mut scan: Scan<'_, 3> = table.scan(Some(GRANT_BY_NAMESPACE), &[Key::Uuid(1, &namespace)], snapshot)?;
    let mut grants = Vec::new();
    while let Some(row) = scan.next() {
        grants.push(Grant { tid: row.tid, role: row.oid(1), privilege: row.char(2) });
    }
    Ok(grants)
}

/// Adds a grant, which must not be there.
pub fn insert(namespace: NamespaceId, role: pg_sys::Oid, privilege: Privilege) -> Result<()> {
    let columns = [Column::Uuid(&namespace), Column::Oid(role), Column::Char(privilege.to_u8())];
    HeapTable::write(Name::Grant)?.insert(columns)
}

/// Removes grants; those that are gone already are fine.
pub fn delete<'g>(grants: impl IntoIterator<Item = &'g Grant>) -> Result<()> {
    let table = HeapTable::write(Name::Grant)?;
    for grant in grants {
        table.delete(grant.tid)?;
    }
    Ok(())
}
