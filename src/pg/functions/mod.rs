//! The SQL functions of architecture 6.C and 6.D. Their declarations are in `sql/elacsym--0.1.0.sql`.
//!
//! Each function checks its arguments, does its work as `Result`, and raises an error only when nothing of its own is
//! left on the stack that would have to be released.

mod aggregate;
mod arguments;
mod compact;
mod conditional;
mod evaluate;
mod figures;
mod flush;
mod gc;
mod grants;
mod index_aggregate;
mod index_ranking;
mod index_search;
mod jsonb;
mod keys;
mod matching;
mod namespaces;
mod patch;
mod ranking;
mod scan;
mod search;
mod stat_buffer;
mod text;
mod text_analysis;
mod times;
mod verify;
mod warm;
mod write;

pub use jsonb::Jsonb;
pub use text::Text;
