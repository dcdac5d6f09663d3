//! The type `vector` as the glue sees it, and the functions behind the stand-in extension of that name.
//!
//! Two parts, and only the second one is optional at run time:
//!
//! * [`PgVector`] reads and writes values of `vector`. The layout is pgvector's, so it works whichever extension
//!   defines the type: a varlena header, `int16` dimensions, `int16` reserved (always zero), `float4` elements.
//! * The `elacsym_vector_*` symbols that `sql/vector--*.sql` names. They exist in every build of the library and do
//!   nothing unless that script runs, which is where the server offers no pgvector. They need neither
//!   `shared_preload_libraries` nor the engine.
//!
//! Inside: [`layout`] is the only file that touches the bytes of a vector, [`call`] the only one that touches the
//! function-call interface; every SQL function is a safe Rust function over [`call::Args`] that returns a
//! [`VectorError`] with PostgreSQL's code, and is bound to its symbol by [`crate::pg::c_function::c_functions`].
//!
//! Left out: `halfvec`, `sparsevec`, and pgvector's access methods.

mod aggregates;
mod arrays;
mod bits;
mod call;
mod casts;
mod catalog;
mod distance;
mod error;
mod functions;
mod io;
mod layout;
mod pg_vector;
mod text;

pub use catalog::vector_type_oid;
pub use error::VectorError;
pub use layout::VectorArg;
pub use pg_vector::PgVector;
