//! `warm`: a namespace or an index into the engine's cache.

use super::Text;
use super::arguments::required;
use super::search::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::Request;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::view::with_view;
use crate::pg::client::{self, Reply};
use crate::pg::engine_call::Source;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::namespace;
use crate::pg::snapshot::Snapshot;
use crate::pg::{preload, xact};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};

/// Objects and bytes.
type Warmed = (u64, u64);

/// \[backend\] `elacsym.warm(target text)`
#[pg_extern(sql = "")]
fn elacsym_warm(target: Option<Text>) -> TableIterator<'static, (name!(objects, i64), name!(bytes, i64))> {
    preload::require();
    let target = required(target, "target");
    let (objects, bytes) = warm(&target).or_raise();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    TableIterator::once((signed(objects), signed(bytes)))
}

/// Whoever may read the target may warm it: it reads as a query does, and tells nothing but sizes.
fn warm(target: &str) -> Result<Warmed> {
    xact::register();
    match namespace::resolve(target, Mode::AccessShare) {
        Ok(namespace) => {
            let snapshot = Snapshot::statement()?;
            let view = visible(&namespace, &snapshot)?;
            let request = Request::Warm(Box::new(view.message()));
            warmed(client::call(&request, &mut Source { view: &view, snapshot: &snapshot })?)
        }
        Err(error) if error.kind == ErrorKind::NotFound => {
            let named = OpenIndex::named_by_name(target, pg_sys::AccessShareLock)?.ok_or(error)?;
            of_index(&named)
        }
        Err(error) => Err(error),
    }
}

/// All leaves, if it is partitioned.
fn of_index(named: &OpenIndex) -> Result<Warmed> {
    named.check_may_select()?;
    named.check_parts()?;
    let (mut objects, mut bytes) = (0, 0);
    for leaf in named.leaves() {
        let open = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
        open.check_usable()?;
        let reply = with_view(open.index, |view| client::call(&Request::Warm(Box::new(view.message())), view))?;
        let (more_objects, more_bytes) = warmed(reply)?;
        (objects, bytes) = (objects + more_objects, bytes + more_bytes);
    }
    Ok((objects, bytes))
}

fn warmed(reply: Reply) -> Result<Warmed> {
    match reply {
        Reply::Warmed { objects, bytes } => Ok((objects, bytes)),
        other => Err(Error::internal(format!("the engine answered \"{}\" instead of sizes", other.name()))),
    }
}
