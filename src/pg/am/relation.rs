//! A relation that somebody holds open.

use pgrx::pg_sys;

/// An open relation: its cache entry stays where it is for as long as this is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rel(pg_sys::Relation);

impl Rel {
    /// Takes PostgreSQL's pointer.
    ///
    /// # Safety
    /// The relation must be open and stay so until the last use of the result and its copies.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        Self(relation)
    }

    /// PostgreSQL's pointer.
    pub fn ptr(self) -> pg_sys::Relation {
        self.0
    }

    /// The relation's oid.
    pub fn oid(self) -> pg_sys::Oid {
        // SAFETY: an open relation, as `new` demands.
        unsafe { (*self.0).rd_id }
    }

    /// Its name, for messages.
    pub fn name(self) -> String {
        // SAFETY: an open relation, as `new` demands.
        let form = unsafe { &*(*self.0).rd_rel };
        pgrx::name_data_to_str(&form.relname).to_string()
    }
}
