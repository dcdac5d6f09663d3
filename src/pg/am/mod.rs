//! The index access method. On this branch only what the SQL objects around it need to exist.

use pgrx::pg_sys;

/// Columns of an index.
pub mod columns {
    use crate::schema::AttributeId;

    /// The attribute of a key column, counted from 0.
    pub fn attribute_id(column: usize) -> AttributeId {
        AttributeId::try_from(column).expect("invariant: an index has at most 32 columns")
    }
}

/// The present state of an index.
pub mod view {
    use crate::error::{Error, Result};
    use crate::ipc::message::NamespaceView;
    use crate::pg::client::{Needs, NoNeeds};
    use pgrx::pg_sys;

    /// What a fresh snapshot shows of an index.
    pub struct IndexView(NoNeeds);

    impl IndexView {
        /// What the engine gets to know at once.
        pub fn message(&self) -> NamespaceView {
            unreachable!("invariant: never made")
        }
    }

    impl Needs for IndexView {
        fn provide(&mut self, e: &[crate::ids::EntryId], d: &[String]) -> Result<crate::pg::client::Provided> {
            self.0.provide(e, d)
        }
    }

    /// Runs `ask` over the present state.
    pub fn with_view<T>(_: pg_sys::Relation, _: impl FnMut(&mut IndexView) -> Result<T>) -> Result<T> {
        Err(Error::internal("the access method is on another branch"))
    }
}

fn handler(_: &mut crate::pg::c_function::Call) -> crate::pg::c_function::Returned {
    let routine = pg_sys::IndexAmRoutine {
        type_: pg_sys::NodeTag::T_IndexAmRoutine,
        amstrategies: 10,
        amsupport: 2,
        amoptsprocnum: 2,
        amcanorderbyop: true,
        amcanmulticol: true,
        amoptionalkey: true,
        amsearcharray: true,
        amsearchnulls: true,
        amcaninclude: true,
        ..Default::default()
    };
    // SAFETY: allocation in the current memory context.
    let place = unsafe { pg_sys::palloc(size_of::<pg_sys::IndexAmRoutine>()) }.cast::<pg_sys::IndexAmRoutine>();
    // SAFETY: just allocated with that size.
    unsafe { place.write(routine) };
    Ok(Some(pg_sys::Datum::from(place)))
}

crate::pg::c_function::c_functions! {
    /// The handler.
    elacsym_amhandler = handler;
}
